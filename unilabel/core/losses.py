"""Losses of the paper: Eq. (6), (7) and (9), and the OHEM selection of the authors' code.

Letters: B images, N unified labels, C_i classes, H x W image size, P pixels, D embedding dim.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def reduce_pixel_loss(
    loss: Tensor,
    target: Tensor,
    ignore_label: int,
    class_weight: Tensor | None = None,
    ohem_threshold: float = 0.0,
    ohem_min_share: float = 1 / 16,
) -> Tensor:
    """Mean of a per-pixel loss over labelled pixels, optionally weighted or only over hard ones.

    Args:
        loss: per-pixel loss, any shape.
        target: class ids of the same shape.
        ignore_label: pixels with this id do not count.
        class_weight: (C_i,) weights; the mean is divided by the sum of the weights.
        ohem_threshold: 0 for the plain mean, else a probability p: only pixels with
            loss > -ln p count, at least ``ohem_min_share`` of the labelled ones (the hardest).
        ohem_min_share: see above.

    Returns:
        Scalar. Zero, with a graph, if no pixel is labelled.
    """
    flat, labels = loss.reshape(-1), target.reshape(-1).long()
    valid = labels != ignore_label
    weight = valid.to(flat.dtype)
    if class_weight is not None:
        weight = weight * class_weight.to(flat.dtype)[torch.where(valid, labels, 0)]
    if ohem_threshold > 0:
        keep = valid & (flat.detach() > -math.log(ohem_threshold))
        least = int(valid.sum()) // round(1 / ohem_min_share)
        if int(keep.sum()) < least:
            hardest = torch.where(valid, flat.detach(), -torch.inf).topk(least).indices
            keep = torch.zeros_like(valid).index_fill_(0, hardest, True)
        weight = weight * keep
    # where() instead of a product: an ignored pixel may hold inf, and 0 * inf is NaN.
    total = torch.where(weight > 0, flat * weight, flat.new_zeros(())).sum()
    return total / weight.sum().clamp(min=torch.finfo(flat.dtype).tiny * 1e6)


CLASS_WEIGHT_LIMIT = 8.0  # largest weight over the smallest


def class_weights(counts: Tensor, power: float, limit: float = CLASS_WEIGHT_LIMIT) -> Tensor:
    """Weights that raise rare classes: frequency ** -power, clipped, mean 1 over pixels.

    Args:
        counts: (C_i,) pixels of each class.
        power: 0 gives equal weights, 0.5 one over the square root of the frequency.
        limit: largest weight relative to the smallest.

    Returns:
        (C_i,) float32. Classes without pixels get the largest weight.
    """
    share = counts.double().clamp(min=0) / counts.double().sum().clamp(min=1)
    weight = share.clamp(min=1e-12) ** -power
    weight = weight.clamp(max=float(weight.min()) * limit)
    return (weight / (weight * share).sum().clamp(min=1e-12)).float()


def orthogonality_loss(label_embedding: Tensor, form: str = "diagonal") -> Tensor:
    """Keep the unified labels apart, Eq. (7).

    Args:
        label_embedding: (N, D) X_u.
        form: ``"diagonal"`` is Eq. (7): sum over i of -p_ii log p_ii; ``"entropy"`` is the authors'
            code: mean over all entries of -p log p, X_u X_u^T divided by 0.07.

    Returns:
        Scalar.
    """
    similarity = label_embedding @ label_embedding.T / (0.07 if form == "entropy" else 1.0)
    log_p = F.log_softmax(similarity, dim=1)
    entropy = -(log_p.exp() * log_p)
    if form == "entropy":
        return entropy.mean()
    return entropy.diagonal().sum()
