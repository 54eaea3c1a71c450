"""Unified labels of one set of datasets carried over to another set, and joined by new classes.

A class is known by the name of its dataset and its own. Letters: U unified labels of before, K
datasets now, C_i classes of dataset i, C their sum, N unified labels now, of which the first U are
those of before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unilabel.core.evidence import label_tuples
from unilabel.core.label_space import LabelSpaceSet


def class_origin(before: LabelSpaceSet, now: LabelSpaceSet) -> Tensor:
    """(C,) int64: where each class of ``now`` stands in ``before``, -1 for new ones."""
    place = {}
    for space, offset in zip(before, before.class_offsets, strict=False):
        for column, name in enumerate(space.class_names):
            place[space.name, name] = offset + column
    return torch.tensor([place.get((s.name, name), -1) for s in now for name in s.class_names])


def carried(matrix: Tensor, origin: Tensor) -> Tensor:
    """Columns of before in the order of now: (U, C of before) -> (U, C), zero for new classes."""
    return torch.where(origin >= 0, matrix[:, origin.clamp(min=0)], 0).to(matrix.dtype)


def held_blocks(links: Tensor, origin: Tensor, label_spaces: LabelSpaceSet) -> Tensor:
    """(U, C) bool: what is settled, because new classes cannot change it.

    A unified label has at most one class of a dataset. So where it has a known one, or the dataset
    brings no new class, all of its columns of that dataset are settled.

    Args:
        links: (U, C) bool, see :func:`carried`.
        origin: (C,), see :func:`class_origin`.
        label_spaces: K label spaces.
    """
    blocks = []
    for block, place in zip(label_spaces.split(links), label_spaces.split(origin), strict=True):
        settled = block.any(1, keepdim=True) | bool((place >= 0).all())
        blocks.append(settled.expand_as(block))
    return torch.cat(blocks, dim=1)


@dataclass
class Extension:
    """Unified labels of before and what joined them.

    Attributes:
        links: (N, C) bool; the first U rows have their links of before and may have new ones.
        parent: (N,) int64: the row of before that a row is or is a finer part of, -1 for new ones.
    """

    links: Tensor
    parent: Tensor


def extend_links(
    links: Tensor,
    origin: Tensor,
    score: Tensor,
    opened: Sequence[int],
    label_spaces: LabelSpaceSet,
    threshold: float,
) -> Extension:
    """Join new classes to unified labels, by the tuples that node selection makes of classes.

    The unified labels stand in the place of one more dataset. A tuple of a unified label and new
    classes is this label with these classes; a second tuple of the same one is a finer part of it,
    a unified label of its own with the same links to known classes; a tuple of new classes alone is
    new.

    Args:
        links: (U, C) bool, see :func:`carried`.
        origin: (C,), see :func:`class_origin`.
        score: (U + C', U + C') symmetric evidence that two share pixels: unified labels first, then
            the classes of the datasets in ``opened``.
        opened: indices of the datasets that bring a new class, ascending.
        label_spaces: K label spaces.
        threshold: least score of a pair.
    """
    count = len(links)
    offsets = label_spaces.class_offsets
    columns = [c for i in opened for c in range(offsets[i], offsets[i + 1])]
    score = score.clone()
    held = held_blocks(links, origin, label_spaces)[:, columns]
    settled = links[:, columns].to(score) * 4 - 2  # a link of before always wins
    between = torch.where(held, settled, score[:count, count:])
    # A class that is known has its unified labels; no other one may come to it.
    between = torch.where(origin[columns] >= 0, settled, between)
    score[:count, count:], score[count:, :count] = between, between.T
    sizes = [count, *(label_spaces[i].num_classes for i in opened)]
    tuples = label_tuples(score, sizes, threshold)
    rows, parent = links.clone(), list(range(count))
    strength = (tuples[:, count:].to(score) * score[tuples[:, :count].int().argmax(1), count:]).sum(
        1
    )
    added: list[Tensor] = []
    taken: set[int] = set()
    for index in strength.argsort(descending=True, stable=True).tolist():
        row = torch.zeros(links.shape[1], dtype=torch.bool)
        row[columns] = tuples[index, count:]
        label = int(tuples[index, :count].int().argmax()) if tuples[index, :count].any() else -1
        if label >= 0:
            row |= links[label]
        if label >= 0 and label not in taken:
            taken.add(label)
            rows[label] = row
            continue
        if bool((row & (origin < 0)).any()):
            added.append(row)
            parent.append(label)
    return Extension(torch.stack([*rows, *added]), torch.tensor(parent))
