"""What a person said about unified labels, carried through a training that changes their rows.

Letters: N unified labels now, C classes of all datasets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from unilabel.core.extension import carried, class_origin
from unilabel.core.label_space import LabelSpaceSet, default_color
from unilabel.core.typed_relations import merged_with
from unilabel.core.unified_space import UnifiedLabelSpace


def merged_origin(origin: Tensor, new_index: Tensor, reviewed: UnifiedLabelSpace) -> Tensor:
    """Where merged unified labels come from: of several reviewed ones the first checked, or first.

    Args:
        origin: (N,) int64, row of ``reviewed`` that each unified label was, -1 for none.
        new_index: (N,) int64, index after merging, -1 for dropped ones.
        reviewed: what a person saved.

    Returns:
        (max(new_index) + 1,) int64.
    """
    merged = torch.full((int(new_index.max()) + 1,), -1, dtype=torch.int64)
    for old, new in zip(origin.tolist(), new_index.tolist(), strict=True):
        if new < 0 or old < 0:
            continue
        present = int(merged[new])
        if present < 0 or (old in reviewed.checked and present not in reviewed.checked):
            merged[new] = old
    return merged


def free_color(taken: Iterable[tuple[int, int, int]]) -> tuple[int, int, int]:
    """The first colour of the palette that nothing has."""
    known = set(taken)
    return next(c for c in map(default_color, itertools.count()) if c not in known)


def with_review(
    space: UnifiedLabelSpace,
    reviewed: UnifiedLabelSpace,
    origin: Tensor,
    learned: bool,
    held: Tensor | None = None,
) -> UnifiedLabelSpace:
    """Give unified labels back the names, colours and checks that they had in a reviewed file.

    A unified label keeps name and colour whatever its links have become. ``checked`` says that a
    person looked at its links, so it stays only where they are those that the person saw; links to
    classes that were not there do not count. The others get names and colours that no reviewed one
    has. Typed relations that a person gave stay.

    Args:
        space: of the trained model.
        reviewed: what a person saved, of these datasets or others.
        origin: (N,) int64, row of ``reviewed`` that each unified label was, -1 for none.
        learned: links have been learned since. If not, those that stay keep source and weight.
        held: (N, C) bool, where links were not learned even so.
    """
    rows = origin.tolist()
    kept = {row: old for row, old in enumerate(rows) if old >= 0}
    names = [reviewed.names[old] if old >= 0 else "" for old in rows]
    colors = [reviewed.colors[old] if old >= 0 else space.colors[i] for i, old in enumerate(rows)]
    taken_names = {reviewed.names[old] for old in kept.values()}
    taken_colors = {reviewed.colors[old] for old in kept.values()}
    for row, old in enumerate(rows):
        if old >= 0:
            continue
        name, number = space.names[row], 1
        while name in taken_names:
            number += 1
            name = f"{space.names[row]} ({number})"
        names[row] = name
        taken_names.add(name)
        if colors[row] in taken_colors:
            colors[row] = free_color([*space.colors, *colors])
        taken_colors.add(colors[row])
    place = class_origin(reviewed.label_spaces, space.label_spaces)
    now, seen = space.mapping.stacked(), carried(reviewed.mapping.stacked(), place)
    checked = frozenset(
        row
        for row, old in kept.items()
        if old in reviewed.checked and not bool((now[row] != seen[old])[place >= 0].any())
    )
    links = dict(space.links)
    for row, dataset, column in space.links:
        spot = space.label_spaces.class_offsets[space.label_spaces.dataset_index(dataset)] + column
        if int(place[spot]) < 0 or (learned and (held is None or not bool(held[row, spot]))):
            continue
        before = reviewed.label_spaces.get(dataset).index(
            space.label_spaces.get(dataset).class_names[column]
        )
        link = reviewed.links.get((rows[row], dataset, before))
        if link is not None:
            links[row, dataset, column] = link
    relations = merged_with(space.relations, reviewed.relations, space.label_spaces)
    return replace(
        space,
        names=tuple(names),
        colors=tuple(colors),
        checked=checked,
        links=links,
        relations=relations,
    )


def _rows_with(human: Tensor, label_spaces: LabelSpaceSet) -> Tensor:
    """(N, C) bool: all classes of a dataset in the rows where a person fixed one of them.

    Args:
        human: (N, C) bool links that a person fixed.
        label_spaces: K label spaces.
    """
    blocks = label_spaces.split(human)
    return torch.cat([b.any(1, keepdim=True).expand_as(b) for b in blocks], dim=1)


def with_fixed_links(links: Tensor, human: Tensor | None, label_spaces: LabelSpaceSet) -> Tensor:
    """Put links that a person fixed into others, in place of what they contradict.

    Args:
        links: (N, C), bool links or the weights of a soft mapping.
        human: (N, C) bool, or None if there are none.
        label_spaces: K label spaces.
    """
    if human is None:
        return links
    return torch.where(_rows_with(human, label_spaces), human.to(links), links)
