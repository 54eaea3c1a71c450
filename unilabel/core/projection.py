"""Projection of pixel embeddings into label spaces (Section 3.3 of the paper).

Letters: B images, D embedding dim, N unified labels, C_i classes of dataset i, h x w feature size,
"..." any leading axes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError

MappingMode = Literal["probability_sum", "logit_sum"]
MAPPING_MODES: tuple[MappingMode, ...] = ("probability_sum", "logit_sum")
_EPS = 1e-6  # probability that keeps the logarithm of an unreachable class finite


def unified_logits(pixel_embedding: Tensor, label_embedding: Tensor) -> Tensor:
    """Scores of the unified labels, Eq. (4).

    Args:
        pixel_embedding: (B, D, h, w) or (P, D).
        label_embedding: (N, D).

    Returns:
        (B, N, h, w) or (P, N).
    """
    if pixel_embedding.dim() == 2:
        return pixel_embedding @ label_embedding.T
    return torch.einsum("bdhw,nd->bnhw", pixel_embedding, label_embedding)


def dataset_logits(
    unified: Tensor, mapping: Tensor, mode: MappingMode, eps: float = _EPS
) -> Tensor:
    """Map unified logits to the label space of one dataset.

    ``logit_sum`` is Eq. (5): a class gets the sum of the logits of its unified labels.
    ``probability_sum`` marginalises instead: softmax over all N unified labels, then the
    probabilities of a class's unified labels are added; returned as log-probabilities (the class
    axis sums to the probability mass of linked labels, at most 1). Summing logits favours classes
    with many unified labels; summing probabilities does not (see docs/DEVIATIONS.md).

    Args:
        unified: (..., N, h, w) with at least three axes, or (P, N).
        mapping: (N, C_i) bool, or soft values in [0, 1].
        mode: ``"probability_sum"`` or ``"logit_sum"``.
        eps: added to probabilities before the logarithm.

    Returns:
        (..., C_i, h, w) or (P, C_i).

    Raises:
        UniLabelError: the sizes disagree.
    """
    axis = 1 if unified.dim() == 2 else -3
    if unified.shape[axis] != mapping.shape[0]:
        raise UniLabelError(
            f"the mapping has {mapping.shape[0]} unified labels, the logits have "
            f"{unified.shape[axis]}; were weights of another label space loaded?"
        )
    weights = mapping.to(unified.dtype)
    if mode == "probability_sum":
        unified = torch.softmax(unified, dim=axis)
    if axis == 1:
        mapped = unified @ weights
    else:
        mapped = torch.einsum("...nhw,nc->...chw", unified, weights)
    return torch.log(mapped + eps) if mode == "probability_sum" else mapped
