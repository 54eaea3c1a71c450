"""Counting pixels fast: OpenCV's joint histogram of two 8-bit maps.

Letters: C classes of the ground truth, R predicted labels, P pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from unilabel.core.metrics import update_confusion

__all__ = ["count_pixels"]

_EXACT = 2**24  # OpenCV returns counts as float32, which holds every integer up to here
_MISS = 255  # "no class", -1, as an unsigned byte


def count_pixels(confusion: Tensor, prediction: Tensor, target: Tensor) -> None:
    """Add pixels to a confusion matrix, in place; :func:`update_confusion` does the same.

    On the CPU, 8-bit ground truth and 8- or 16-bit predictions are counted without any copy in
    64 bits, which is several times faster; everything else goes to :func:`update_confusion`.

    Args:
        confusion: (C, R) int64, rows ground truth, columns prediction.
        prediction: integer tensor, any shape; -1 is a miss where R = C + 1.
        target: integer tensor of the same shape; values outside 0..C-1 are left out.

    Raises:
        UniLabelError: the shapes differ or a prediction on a labelled pixel is out of range.
    """
    counts = None
    if _countable(confusion, prediction, target):
        counts = _joint_counts(prediction.numpy().reshape(1, -1), target.numpy().reshape(1, -1))
    if counts is None:
        update_confusion(confusion, prediction, target)
        return
    classes, columns = confusion.shape
    counts, misses = counts
    counts, misses = counts[:classes], misses[:classes]
    rows = len(counts)
    if counts[:, columns:].any() or (misses.any() and columns != classes + 1):
        update_confusion(confusion, prediction, target)  # names the wrong prediction
        return
    inside = torch.from_numpy(counts[:, :columns])
    confusion[:rows, : inside.shape[1]] += inside
    if misses.any():
        confusion[:rows, -1] += torch.from_numpy(misses)


def _countable(confusion: Tensor, prediction: Tensor, target: Tensor) -> bool:
    on_cpu = all(t.device.type == "cpu" for t in (confusion, prediction, target))
    small = target.dtype == torch.uint8 and prediction.dtype in (torch.uint8, torch.int16)
    return on_cpu and small and prediction.shape == target.shape and prediction.numel() > 0


def _joint_counts(
    prediction: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Counts (256, labels) and misses (256,) of two (1, P) maps; None where bytes do not do."""
    misses = np.zeros(256, np.int64)
    if prediction.dtype == np.uint8:
        return _histogram([target, prediction], [256, 256]), misses
    if int(prediction.view(np.uint16).max()) < _MISS:  # one look at the data in the usual case
        return _histogram([target, prediction.astype(np.uint8)], [256, 256]), misses
    low, high = int(prediction.min()), int(prediction.max())
    if low >= -1 and high < _MISS:
        counts = _histogram([target, prediction.astype(np.uint8)], [256, 256])
        if low < 0:
            misses += counts[:, _MISS]
            counts[:, _MISS] = 0
        return counts, misses
    if low < 0:
        return None
    # More than 255 labels: low and high byte are two axes of the histogram.
    pairs = np.ascontiguousarray(prediction, "<i2").view(np.uint8).reshape(1, -1, 2)
    counts = _histogram([target, pairs], [256, 256, high // 256 + 1])
    return counts.transpose(0, 2, 1).reshape(256, -1), misses


def _histogram(maps: list[np.ndarray], bins: list[int]) -> np.ndarray:
    """Exact joint histogram (int64) of the channels of byte maps of equal size."""
    total = np.zeros(bins, np.int64)
    ranges = [bound for count in bins for bound in (0, count)]
    for start in range(0, maps[0].shape[1], _EXACT):
        part = [m[:, start : start + _EXACT] for m in maps]
        found = cv2.calcHist(part, list(range(len(bins))), None, bins, ranges)
        total += found.reshape(bins).astype(np.int64)
    return total
