"""A unified head with fewer labels: those without links dropped, those with equal links merged.

Letters: K datasets, N unified labels, D embedding dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.pruning import merge_identical
from unilabel.modeling.heads import UniSegHead


@dataclass(frozen=True)
class FewerLabels:
    """What the head becomes.

    Attributes:
        mapping: of the labels that remain.
        embedding: their (n, D) X_u.
        bias: (K, n).
        shift: (K, n, D) or None.
        new_index: (N,) int64, the new row of each unified label, -1 if dropped.
    """

    mapping: LabelMapping
    embedding: Tensor
    bias: Tensor
    shift: Tensor | None
    new_index: Tensor


def linked_only(mapping: LabelMapping, head: UniSegHead) -> FewerLabels | None:
    """Without the labels that have no link; None if every one has some.

    The model answers as it did: in ``logit_sum`` such a label adds to no class, in
    ``probability_sum`` it stands in the denominator that all classes share. Without it every
    unified label that can win stands for something.
    """
    active = mapping.active()
    if bool(active.all()):
        return None
    keep = active.to(head.label_embedding.device)
    shift = None if head.dataset_shift is None else head.dataset_shift[:, keep]
    new_index = torch.where(active, active.cumsum(0) - 1, -1)
    rows = head.label_embedding[keep], head.dataset_bias[:, keep]
    return FewerLabels(mapping.select(active), *rows, shift, new_index)


def merged(
    mapping: LabelMapping, head: UniSegHead, exact: bool, use_bias: bool
) -> FewerLabels | None:
    """Labels with the same links as one, and without those that have none.

    Args:
        mapping: of the head.
        head: without shifts, which come after the last merge.
        exact: logits are added (``logit_sum``): the sum of the rows of X_u and of the dataset bias
            answers as they did. For added probabilities no row does, since e^u1 + e^u2 is not e^u
            for any u linear in the pixel: rows to begin a fit with.
        use_bias: False: there is no bias, and none may begin.

    Returns:
        None if no two labels have the same links.
    """
    fewer, new_index = merge_identical(mapping)
    if fewer.num_unified == int(mapping.active().sum()):
        return None
    embedding, bias = head.label_embedding.detach().cpu(), head.dataset_bias.detach().cpu()
    if exact:
        embedding, bias = summed_rows(embedding, new_index), summed_rows(bias.T, new_index).T
    else:
        embedding, bias = start_of_merged(embedding, bias, new_index, use_bias)
    return FewerLabels(fewer, embedding, bias, None, new_index)


def summed_rows(rows: Tensor, new_index: Tensor) -> Tensor:
    """Sum of what is merged: (N, D) -> (max(new_index) + 1, D); -1 in (N,) ``new_index`` drops."""
    kept = new_index >= 0
    out = rows.new_zeros(int(new_index.max()) + 1, rows.shape[1])
    return out.index_add_(0, new_index[kept], rows[kept])


def start_of_merged(
    embedding: Tensor, bias: Tensor, new_index: Tensor, use_bias: bool
) -> tuple[Tensor, Tensor]:
    """Where a fit of merged unified labels of a sum of probabilities begins.

    The mean of the rows, and log(count) on the bias: k labels of the same logit add up to that.

    Args:
        embedding: (N, D) X_u.
        bias: (K, N) dataset bias.
        new_index: (N,) int64, new row of each unified label, -1 if dropped.
        use_bias: False: there is none, and none may begin.
    """
    count = torch.bincount(new_index[new_index >= 0]).to(embedding)
    bias = summed_rows(bias.T, new_index).T / count
    return summed_rows(embedding, new_index) / count[:, None], bias + count.log() * use_bias
