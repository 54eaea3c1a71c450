"""Edits of a label space by a person: links, names, colours, checks, with undo.

Edits that leave a class without a unified label are kept as a draft, so that links can be moved in
several steps; saving and predicting need a draft without problems.

Letters: N unified labels, K datasets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import clean_text
from unilabel.core.unified_space import Link, UnifiedLabelSpace

MAX_STEPS = 200  # edits that can be undone
MAX_NAME = 80  # characters
DIFF_SCHEMA = "unilabel/label_space_diff"

Links = dict[tuple[int, str], tuple[int, Link]]  # (unified label, dataset) -> class id, link


@dataclass(frozen=True)
class Draft:
    """A label space under edit.

    Attributes:
        links: at most one class for each unified label and dataset.
        names: N names.
        colors: N colours.
        checked: unified labels that a person has marked as checked.
        change: what the last edit did, for the list of edits.
    """

    links: Links
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    checked: frozenset[int]
    change: str = ""

    @classmethod
    def of(cls, space: UnifiedLabelSpace, change: str = "") -> Draft:
        """A draft without edits."""
        links = {(row, name): (column, link) for (row, name, column), link in space.links.items()}
        return cls(links, space.names, space.colors, space.checked, change)


class Review:
    """One person's edits of a label space."""

    def __init__(self, base: UnifiedLabelSpace) -> None:
        """Start from ``base``, the label space of the model."""
        self.base = base
        self.draft = Draft.of(base)
        self.past: list[Draft] = []
        self.future: list[Draft] = []
        self.valid = base  # of the last draft without problems
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
        name = clean_text(name, "the new name")
        if len(name) > MAX_NAME:
            raise UniLabelError(
                f"the name has {len(name)} characters; at most {MAX_NAME} are allowed."
            )
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
        if not self.problems():
            self.valid = self._space() if self.changed else self.base

    # --- answers ---------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Constraints that the draft breaks, as sentences; empty if it can be used."""
        linked = {(dataset, column) for (_, dataset), (column, _) in self.draft.links.items()}
        return [
            f"{name} of {space.display_name or space.name} has no unified label any more; link one "
            "to it, or undo."
            for space in self.base.label_spaces
            for column, name in enumerate(space.class_names)
            if (space.name, column) not in linked
        ]

    def _space(self) -> UnifiedLabelSpace:
        spaces = self.base.label_spaces
        matrices = {s.name: torch.zeros(len(self.draft.names), s.num_classes) for s in spaces}
        links = {}
        for (row, dataset), (column, link) in self.draft.links.items():
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
            raise UniLabelError(f"not saved: {problems[0]}")
        note = {
            "base_checksum": self.base.mapping.checksum(),
            "changed_links": len(self.diff()["links"]),
            "checked": len(self.draft.checked),
        }
        return replace(self._space(), provenance={**self.base.provenance, "review": note})

    def diff(self) -> dict[str, Any]:
        """What differs from the label space of the model.

        Returns:
            ``links`` [{"id", "label", "dataset", "before", "after"}] (class names or None),
            ``names`` [{"id", "before", "after"}], ``colors`` likewise, ``checked`` [id].
        """
        old, new = self._original, self.draft
        links = []
        for key in sorted(old.links.keys() | new.links.keys()):
            row, dataset = key
            names = self.base.label_spaces.get(dataset).class_names
            before, after = (names[d.links[key][0]] if key in d.links else None for d in (old, new))
            if before != after:
                entry = {"id": row, "label": new.names[row], "dataset": dataset}
                links.append({**entry, "before": before, "after": after})
        return {
            "schema": DIFF_SCHEMA,
            "base_checksum": self.base.mapping.checksum(),
            "links": links,
            "names": _changes(old.names, new.names),
            "colors": _changes(old.colors, new.colors),
            "checked": sorted(new.checked - old.checked),
        }

    @property
    def changed(self) -> bool:
        """Whether anything differs from the model's label space."""
        return replace(self.draft, change="") != self._original


def _changes(before: tuple[Any, ...], after: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [
        {"id": row, "before": old, "after": new}
        for row, (old, new) in enumerate(zip(before, after, strict=True))
        if old != new
    ]
