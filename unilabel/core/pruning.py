"""Which links and unified labels are used: changes confirmed, unused ones removed (Appendix A).

Letters: K datasets, C_i classes of dataset i, N unified labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
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
    mapping: LabelMapping,
    usage: Mapping[str, Tensor],
    min_share: float,
    held: Tensor | None = None,
) -> LabelMapping:
    """Drop links that carry less than ``min_share`` of their class's pixels.

    A class never loses its last unified label: the one that it uses most stays, so that rare
    classes, which a short training predicts nowhere, remain reachable.

    Args:
        mapping: the mapping in use.
        usage: (N, C_i) counts per dataset, see :func:`usage_counts`.
        min_share: threshold on usage / (usage of all linked labels of the class).
        held: (N, C) bool, links that stay however few pixels they carry; None: none.
    """
    matrices = {}
    blocks = dict.fromkeys(mapping.matrices)
    if held is not None:
        names = mapping.label_spaces.names
        blocks = dict(zip(names, mapping.label_spaces.split(held), strict=True))
    for name, matrix in mapping.matrices.items():
        linked = usage[name].double() * matrix
        share = linked / linked.sum(0, keepdim=True).clamp(min=1)
        keep = matrix & (share >= min_share)
        block = blocks[name]
        if block is not None:
            keep |= matrix & block
        lost = ~keep.any(0)
        best = torch.where(matrix, linked + 1.0, 0.0).argmax(0)  # + 1: a linked label beats others
        keep[best[lost], torch.nonzero(lost).flatten()] = True
        matrices[name] = keep
    return LabelMapping(mapping.label_spaces, matrices)


def confirm_changes(
    before: LabelMapping,
    after: LabelMapping,
    usage_before: Mapping[str, Tensor],
    usage_after: Mapping[str, Tensor],
    min_share: float,
) -> LabelMapping:
    """Take the changes of ``after`` against ``before`` that the pixels speak for clearly.

    Edge weights near the threshold go either way by chance, and the X_u that was learned with them
    has adapted to what they became. So a new link has to carry ``min_share`` of its class's pixels
    by that X_u and already by the X_u of before, and a link is given up only if it carries less by
    both. What a unified label means in a dataset changes as a whole or not at all; a class that
    would be left without unified label gets those back that it had.

    Args:
        before: a valid mapping, such as that of node selection.
        after: the solved mapping, over the same N unified labels.
        usage_before: (N, C_i) counts per dataset, see :func:`usage_counts`, by the X_u of before.
        usage_after: the same by the X_u that was learned.
        min_share: of the pixels of a class.
    """
    matrices = {}
    for name, old in before.matrices.items():
        new = after[name]
        first, last = (_shares(usage[name]) for usage in (usage_before, usage_after))
        weak = (new & ~old & (torch.minimum(first, last) < min_share)).any(1)
        used = (old & ~new & (torch.maximum(first, last) >= min_share)).any(1)
        keep = weak | used
        while True:
            links = torch.where(keep[:, None], old, new)
            lost = ~links.any(0)
            if not bool(lost.any()):
                break
            keep = keep | old[:, lost].any(1)  # ends at ``before``, where every class has one
        matrices[name] = links
    return LabelMapping(before.label_spaces, matrices)


def _shares(usage: Tensor) -> Tensor:
    """(N, C_i) shares of the pixels of each class."""
    count = usage.double()
    return count / count.sum(0, keepdim=True).clamp(min=1)


def merge_identical(mapping: LabelMapping) -> tuple[LabelMapping, Tensor]:
    """Keep one of each group of unified labels with the same links, and drop those without links.

    Returns:
        the smaller mapping and (N,) int64: the new index of every old unified label, -1 if dropped.
    """
    packed = np.packbits(mapping.stacked().numpy(), axis=1)
    seen: dict[bytes, int] = {}
    new_index = torch.full((len(packed),), -1, dtype=torch.int64)
    keep: list[int] = []
    for i, row in enumerate(packed):
        if not row.any():
            continue
        key = row.tobytes()
        if key not in seen:
            seen[key] = len(keep)
            keep.append(i)
        new_index[i] = seen[key]
    return mapping.select(torch.tensor(keep)), new_index
