"""Segmentation metrics on counts: confusion matrix, per-class IoU, mean IoU.

Letters: C classes (ground truth), R predicted classes, P pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError


def update_confusion(confusion: Tensor, prediction: Tensor, target: Tensor) -> None:
    """Add pixels to a confusion matrix, in place.

    Ground truth outside 0..C-1 (the ignore label) is left out. A prediction outside 0..R-1 on a
    labelled pixel is an error of the caller, except -1 ("no class"), which counts as a miss and
    goes to the last column when the matrix has R = C + 1 columns.

    Args:
        confusion: (C, R) int64, rows ground truth, columns prediction.
        prediction: integer tensor, any shape.
        target: integer tensor of the same shape.

    Raises:
        UniLabelError: the shapes differ or a prediction is out of range.
    """
    if prediction.shape != target.shape:
        raise UniLabelError(
            f"the prediction has shape {tuple(prediction.shape)}, the label map "
            f"{tuple(target.shape)}; both must be equal."
        )
    classes, columns = confusion.shape
    target = target.reshape(-1).long()
    prediction = prediction.reshape(-1).long()
    if columns == classes + 1:
        prediction = torch.where(prediction < 0, classes, prediction)
    # Ignored pixels go to a spare row instead of being masked out: an index is faster than a mask.
    row = torch.where((target >= 0) & (target < classes), target, classes)
    if bool(((prediction < 0) | (prediction >= columns)).logical_and(row < classes).any()):
        raise UniLabelError(
            f"a prediction lies outside 0..{columns - 1}; found {int(prediction.min())}.."
            f"{int(prediction.max())}."
        )
    index = row * columns + prediction.clamp(0, columns - 1)
    counts = torch.bincount(index, minlength=(classes + 1) * columns)
    confusion += counts[: classes * columns].view(classes, columns)


def iou_from_confusion(confusion: Tensor) -> Tensor:
    """Intersection over union of each class.

    Args:
        confusion: (C, R) counts with R >= C; columns beyond C are predictions of no class.

    Returns:
        (C,) float64 in 0..1; NaN for classes that the ground truth does not hold.
    """
    counts = confusion.double()
    classes = counts.shape[0]
    hit = counts[:, :classes].diagonal()
    truth = counts.sum(1)
    union = truth + counts[:, :classes].sum(0) - hit
    return torch.where(truth > 0, hit / union.clamp(min=1), torch.nan)


def mean_iou(confusion: Tensor) -> float:
    """Mean IoU in percent over the classes that the ground truth holds; NaN if it holds none."""
    iou = iou_from_confusion(confusion)
    return float(torch.nanmean(iou)) * 100
