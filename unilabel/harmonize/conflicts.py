"""Pairs of classes of two datasets: relation, pixels concerned, and what is doubtful.

Letters: C classes of a dataset, N unified labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unilabel.core.unified_space import UnifiedLabelSpace, class_relations

_FEW_SHARE = 0.002  # of a class's pixels; a link that carries fewer is doubtful
_MANY_LABELS = 6  # a class of so many unified labels is doubtful
_DISAGREE = 0.5  # share of pixels, read otherwise or read as the other class
_LEAST_PIXELS = 500  # of a class on the photos looked at; with fewer nothing is said

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Side:
    """One class of a pair.

    Attributes:
        dataset: index of its dataset.
        row: class id.
        name: of the class.
        pixels: that people drew of it.
        shared: of them, those that got a label which both classes share.
        read: share of the pixels looked at that the model reads as the other class; None: too few.
    """

    dataset: int
    row: int
    name: str
    pixels: int
    shared: int
    read: float | None


@dataclass(frozen=True)
class Pair:
    """Two classes that share pixels or a name.

    Attributes:
        one: the class of the dataset that comes first.
        two: the other.
        relation: equal, subset, superset, overlap (read from one to two) or none.
        labels: the unified labels that they share.
        doubts: what a person should look at, in words.
    """

    one: Side
    two: Side
    relation: str
    labels: tuple[int, ...]
    doubts: list[str] = field(default_factory=list)

    @property
    def stake(self) -> int:
        """Pixels concerned: those of shared labels; of two classes with a name only, all."""
        if self.labels:
            return self.one.shared + self.two.shared
        return self.one.pixels + self.two.pixels


def find_pairs(
    space: UnifiedLabelSpace,
    names: Sequence[str],
    pixels: Sequence[Counts],
    written: Sequence[Counts],
    free: Sequence[Counts],
) -> list[Pair]:
    """All pairs, those with most pixels concerned first.

    Args:
        space: the links.
        names: the datasets that were harmonised, all known to the label space.
        pixels: for each (C,) pixels that people drew.
        written: for each (C, N) pixels of each class and label.
        free: for each (C, N) the model's free answers on the photos looked at.
    """
    rows: list[Pair] = []
    related = {}
    for entry in class_relations(space.mapping):
        ends = tuple((entry[end]["dataset"], entry[end]["label"]) for end in "ab")
        related[ends] = entry["type"]
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            for a, name_a in enumerate(space.label_spaces.get(first).class_names):
                for b, name_b in enumerate(space.label_spaces.get(names[j]).class_names):
                    ends = ((first, name_a), (names[j], name_b))
                    kind = related.get(ends) or _flipped(related.get(ends[::-1]))
                    if kind or _plain(name_a) == _plain(name_b):
                        sides = ((i, a), (j, b))
                        rows.append(
                            _pair(space, names, sides, kind or "none", pixels, written, free)
                        )
    return sorted(rows, key=lambda p: (-p.stake, p.one.dataset, p.one.row, p.two.dataset))


def _flipped(kind: str | None) -> str | None:
    return {"subset": "superset", "superset": "subset"}.get(kind or "", kind)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _pair(
    space: UnifiedLabelSpace,
    names: Sequence[str],
    sides: tuple[tuple[int, int], tuple[int, int]],
    kind: str,
    pixels: Sequence[Counts],
    written: Sequence[Counts],
    free: Sequence[Counts],
) -> Pair:
    matrices = [space.mapping[names[d]].numpy()[:, row] for d, row in sides]
    shared = matrices[0] & matrices[1]
    found = []
    for (dataset, row), other in zip(sides, matrices[::-1], strict=True):
        looked = free[dataset][row]
        total = int(looked.sum())
        read = float(looked[other].sum() / total) if total >= _LEAST_PIXELS else None
        name = space.label_spaces.get(names[dataset]).class_names[row]
        drawn, carried = int(pixels[dataset][row]), int(written[dataset][row][shared].sum())
        found.append(Side(dataset, row, name, drawn, carried, read))
    pair = Pair(found[0], found[1], kind, tuple(np.flatnonzero(shared).tolist()))
    pair.doubts.extend(_doubts(pair, space, names, written))
    return pair


def _doubts(
    pair: Pair, space: UnifiedLabelSpace, names: Sequence[str], written: Sequence[Counts]
) -> list[str]:
    texts = []
    one, two = pair.one, pair.two
    if _plain(one.name) == _plain(two.name):
        low = [s for s in (one, two) if s.read is not None and s.read < _DISAGREE]
        if not pair.labels:
            texts.append("the same name, but no label in common")
        elif len(low) == 2:
            texts.append("the same name, but most pixels of both are read as something else")
    narrow = {"subset": [one], "superset": [two], "equal": [one, two]}.get(pair.relation, [])
    for side in narrow:
        if side.read is not None and side.read < _DISAGREE:
            texts.append(
                f"the model reads only {100 * side.read:.0f} % of {side.name} in "
                f"{names[side.dataset]} as the other class"
            )
    for side in (one, two):
        carried = written[side.dataset][side.row]
        total = int(carried.sum())
        for label in pair.labels:
            if space.links[label, names[side.dataset], side.row].source == "text":
                continue  # texts never claimed that the photos show it
            if total >= _LEAST_PIXELS and carried[label] < _FEW_SHARE * total:
                texts.append(
                    f"the link of {side.name} in {names[side.dataset]} to the label "
                    f"{space.names[label]!r} carries {int(carried[label])} of {total} pixels"
                )
    return texts


def split_classes(space: UnifiedLabelSpace, names: Sequence[str]) -> list[str]:
    """Classes that are split over many labels, in words."""
    texts = []
    for name in names:
        counts = space.mapping[name].sum(0).tolist()
        for class_name, count in zip(space.label_spaces.get(name).class_names, counts, strict=True):
            if count >= _MANY_LABELS:
                texts.append(f"{class_name} in {name} is split over {count} labels")
    return texts
