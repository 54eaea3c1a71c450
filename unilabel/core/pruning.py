"""Removing links and unified labels that the trained model does not use (Appendix A).

Letters: K datasets, C_i classes of dataset i, N unified labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping


def usage_counts(
    unified_prediction: Tensor, labels: Tensor, num_unified: int, classes: int
) -> Tensor:
    """How often each unified label wins on the pixels of each class.

    Args:
        unified_prediction: (P,) arg max over unified labels.
        labels: (P,) class ids, without ignored pixels.
        num_unified: N.
        classes: C_i.

    Returns:
        (N, C_i) int64.
    """
    index = unified_prediction * classes + labels
    return torch.bincount(index, minlength=num_unified * classes).view(num_unified, classes)


def prune_mapping(
    mapping: LabelMapping, usage: Mapping[str, Tensor], min_share: float
) -> LabelMapping:
    """Drop links that carry less than ``min_share`` of their class's pixels.

    A class never loses its last unified label: the one that it uses most stays, so that rare
    classes, which a short training predicts nowhere, remain reachable.

    Args:
        mapping: the mapping in use.
        usage: (N, C_i) counts per dataset, see :func:`usage_counts`.
        min_share: threshold on usage / (usage of all linked labels of the class).
    """
    matrices = {}
    for name, matrix in mapping.matrices.items():
        linked = usage[name].double() * matrix
        share = linked / linked.sum(0, keepdim=True).clamp(min=1)
        keep = matrix & (share >= min_share)
        lost = ~keep.any(0)
        best = torch.where(matrix, linked + 1.0, 0.0).argmax(0)  # + 1: a linked label beats others
        keep[best[lost], torch.nonzero(lost).flatten()] = True
        matrices[name] = keep
    return LabelMapping(mapping.label_spaces, matrices)


def merge_identical(mapping: LabelMapping) -> tuple[LabelMapping, Tensor]:
    """Keep one of each group of unified labels with the same links, and drop those without links.

    Returns:
        the smaller mapping and (N,) int64: the new index of every old unified label, -1 if dropped.
    """
    rows = mapping.stacked()
    seen: dict[tuple[bool, ...], int] = {}
    new_index = torch.full((len(rows),), -1, dtype=torch.int64)
    keep: list[int] = []
    for i, row in enumerate(rows.tolist()):
        if not any(row):
            continue
        key = tuple(row)
        if key not in seen:
            seen[key] = len(keep)
            keep.append(i)
        new_index[i] = seen[key]
    return mapping.select(torch.tensor(keep)), new_index
