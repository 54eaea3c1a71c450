"""Edits of a label space by a person: links, names, colours, checks, with undo.

Edits that leave a class without a unified label are kept as a draft, so that links can be moved in
several steps. Saving needs a draft without problems; predictions use all edits but those that took
a class its last unified label.

Letters: N unified labels, K datasets.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace
from unilabel.core.unified_space import Link, UnifiedLabelSpace
from unilabel.demo_app.changes import Draft, Links, changed_draft, changes_of, new_name

MAX_STEPS = 200  # edits that can be undone


@dataclass(frozen=True)
class Problem:
    """A class without a unified label.

    Attributes:
        dataset: its dataset.
        class_name: the class.
        row: the unified label to which one click gives it back.
        text: a sentence.
    """

    dataset: str
    class_name: str
    row: int
    text: str


class Review:
    """One person's edits of a label space."""

    def __init__(self, base: UnifiedLabelSpace) -> None:
        """Start from ``base``, the label space of the model."""
        self.base = base
        self.draft = Draft.of(base)
        self.past: list[Draft] = []
        self.future: list[Draft] = []
        self.valid = base  # all edits that can be used
        self.held: frozenset[tuple[int, str]] = frozenset()  # links that wait, see :meth:`problems`
        self._original = self.draft

    # --- edits -----------------------------------------------------------------------------------

    def set_link(self, row: int, dataset: str, class_name: str | None) -> None:
        """Link a unified label to a class of a dataset, instead of the one before; None: to none.

        Raises:
            UniLabelError: there is no such unified label, dataset or class.
        """
        self._check_row(row)
        space = self.base.label_spaces.get(dataset)
        links = dict(self.draft.links)
        before = links.pop((row, dataset), None)
        if class_name is None:
            if before is None:
                return
            change = f"{self.draft.names[row]}: no class of {dataset}"
        else:
            column = space.index(class_name)
            if before is not None and before[0] == column:
                return
            own = self.base.links.get((row, dataset, column))
            links[row, dataset] = (column, own or Link("human", 1.0))
            change = f"{self.draft.names[row]}: {class_name} of {dataset}"
        self._apply(replace(self.draft, links=links, change=change))

    def rename(self, row: int, name: str) -> None:
        """Rename a unified label.

        Raises:
            UniLabelError: the name is empty, too long, or taken.
        """
        self._check_row(row)
        name = new_name(name)
        names = list(self.draft.names)
        if names[row] == name:
            return
        if name in names:
            raise UniLabelError(
                f"unified label {names.index(name)} is already named {name!r}; names must be "
                "distinct: choose another one."
            )
        change = f"{names[row]}: renamed to {name}"
        names[row] = name
        self._apply(replace(self.draft, names=tuple(names), change=change))

    def recolour(self, row: int, color: tuple[int, int, int]) -> None:
        """Change the display colour of a unified label.

        Raises:
            UniLabelError: it is no colour.
        """
        self._check_row(row)
        if len(color) != 3 or any(type(v) is not int or not 0 <= v <= 255 for v in color):
            raise UniLabelError(f"the colour is {color!r}, expected three numbers of 0 to 255.")
        if self.draft.colors[row] == color:
            return
        colors = list(self.draft.colors)
        colors[row] = color
        change = f"{self.draft.names[row]}: new colour"
        self._apply(replace(self.draft, colors=tuple(colors), change=change))

    def check(self, row: int, checked: bool) -> None:
        """Mark a unified label as checked: its links count as confirmed by a person."""
        self._check_row(row)
        if (row in self.draft.checked) == checked:
            return
        links = dict(self.draft.links)
        for (label, dataset), (column, _) in self.draft.links.items():
            if label == row:
                own = self.base.links.get((row, dataset, column))
                kept = Link("human", 1.0) if checked or own is None else own
                links[row, dataset] = (column, kept)
        marked = self.draft.checked | {row} if checked else self.draft.checked - {row}
        change = f"{self.draft.names[row]}: {'checked' if checked else 'not checked'}"
        self._apply(replace(self.draft, links=links, checked=marked, change=change))

    def replace(self, space: UnifiedLabelSpace, change: str) -> None:
        """Continue with another label space of the same unified labels (checked by the caller)."""
        self._apply(Draft.of(space, change))

    def load(self, content: Any, name: str) -> None:
        """Continue with the changes of a file, or of a browser's draft; can be undone.

        Raises:
            UniLabelError: they are malformed, or of another label space.
        """
        self._apply(changed_draft(content, self._original, self.base, f"{name} loaded"))

    def give_back(self, dataset: str, class_name: str) -> None:
        """Link a class that lost its last unified label to the one that it had.

        Raises:
            UniLabelError: there is no such dataset or class.
        """
        self.base.label_spaces.get(dataset).index(class_name)
        for problem in self.problems():
            if (problem.dataset, problem.class_name) == (dataset, class_name):
                self.set_link(problem.row, dataset, class_name)

    def reset(self) -> None:
        """Back to the label space of the model; can be undone."""
        if self.draft is not self._original:
            self._apply(replace(self._original, change="everything as in the model"))

    def undo(self) -> None:
        """Take the last edit back, if there is one."""
        if self.past:
            self.future.append(self.draft)
            self._show(self.past.pop())

    def redo(self) -> None:
        """Repeat the edit that was taken back last, if there is one."""
        if self.future:
            self.past.append(self.draft)
            self._show(self.future.pop())

    def _check_row(self, row: int) -> None:
        if not 0 <= row < len(self.draft.names):
            raise UniLabelError(f"there is no unified label {row}.")

    def _apply(self, draft: Draft) -> None:
        self.past = [*self.past[-MAX_STEPS + 1 :], self.draft]
        self.future = []
        self._show(draft)

    def _show(self, draft: Draft) -> None:
        self.draft = draft
        links = self._usable_links()
        self.held = frozenset(
            key
            for key in links.keys() | draft.links.keys()
            if links.get(key) != draft.links.get(key)
        )
        usable = replace(draft, links=links, change="")
        self.valid = self.base if usable == self._original else self._space(links)

    # --- answers ---------------------------------------------------------------------------------

    def problems(self) -> list[Problem]:
        """Classes that the draft leaves without a unified label; empty if it can be saved."""
        return [
            Problem(
                space.name,
                space.class_names[column],
                self._home(space.name, column),
                f"{space.class_names[column]} of {space.display_name or space.name} has no unified "
                "label any more; link one to it, or undo.",
            )
            for space, column in self._orphans(self.draft.links)
        ]

    def _orphans(self, links: Links) -> list[tuple[LabelSpace, int]]:
        linked = {(dataset, column) for (_, dataset), (column, _) in links.items()}
        return [
            (space, column)
            for space in self.base.label_spaces
            for column in range(space.num_classes)
            if (space.name, column) not in linked
        ]

    def _home(self, dataset: str, column: int) -> int:
        """The unified label that a class goes back to: the model's strongest link.

        One whose present class has other unified labels comes first, since nothing is lost there.
        """
        counts = Counter(c for (_, d), (c, _) in self.draft.links.items() if d == dataset)

        def rank(row: int) -> tuple[bool, float, int]:
            present = self.draft.links.get((row, dataset))
            last = present is not None and counts[present[0]] == 1
            return last, -self.base.links[row, dataset, column].weight, row

        return min((r for r, d, c in self.base.links if (d, c) == (dataset, column)), key=rank)

    def _usable_links(self) -> Links:
        """The draft's links; where a class would have none, the model's own of that class instead.

        Each round gives links back to the model's state, in which every class has one, so it ends.
        """
        links = dict(self.draft.links)
        while orphans := self._orphans(links):
            for space, column in orphans:
                for row, dataset, own in self.base.links:
                    if (dataset, own) == (space.name, column):
                        links[row, dataset] = (own, self.base.links[row, dataset, own])
        return links

    def _space(self, links_of: Links) -> UnifiedLabelSpace:
        spaces = self.base.label_spaces
        matrices = {s.name: torch.zeros(len(self.draft.names), s.num_classes) for s in spaces}
        links = {}
        for (row, dataset), (column, link) in links_of.items():
            matrices[dataset][row, column] = 1
            links[row, dataset, column] = link
        return replace(
            self.base,
            mapping=LabelMapping(spaces, matrices),
            names=self.draft.names,
            colors=self.draft.colors,
            links=links,
            checked=self.draft.checked,
        )

    def export(self) -> UnifiedLabelSpace:
        """The edited label space, with a note on where it comes from.

        Raises:
            UniLabelError: the draft has problems.
        """
        problems = self.problems()
        if problems:
            raise UniLabelError(f"not saved: {problems[0].text}")
        note = {
            "base_checksum": self.base.mapping.checksum(),
            "changed_links": len(self.diff()["links"]),
            "checked": len(self.draft.checked),
        }
        return replace(
            self._space(self.draft.links), provenance={**self.base.provenance, "review": note}
        )

    def diff(self) -> dict[str, Any]:
        """What differs from the label space of the model, see :func:`changes.changes_of`."""
        return changes_of(self._original, self.draft, self.base)

    @property
    def edits(self) -> int:
        """Number of differences from the label space of the model."""
        return sum(len(entries) for entries in self.diff().values() if isinstance(entries, list))

    @property
    def changed(self) -> bool:
        """Whether anything differs from the model's label space."""
        return replace(self.draft, change="") != self._original
