"""Where the cells of a feature map lie in its image.

A network of stride 4 answers with one cell for every 4 x 4 pixels. The image is padded at the right
and at the bottom to a multiple of the network's strides (as Detectron2 does), so cell k covers the
pixels 4 k to 4 k + 3 at any size and its centre lies at 4 k + 1.5. Published networks of the
paper's authors were trained with aligned corners instead: no padding, and cell k of s cells at
pixel k (S - 1) / (s - 1). That drifts against what convolutions see by up to half a cell, another
way at every image size (docs/DEVIATIONS.md).

Letters: S pixels and s cells along an axis, H x W size of an answer or label map, h x w cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unilabel.core.label_space import IGNORE
from unilabel.core.upsampling import Axes, Axis, source_axis

__all__ = ["CellGrid"]


@dataclass(frozen=True)
class CellGrid:
    """The cells of a feature map and the image that they were computed from.

    Attributes:
        image: (height, width) of that image, pixels, without padding.
        stride: pixels of a cell; 0 means aligned corners.
    """

    image: tuple[int, int]
    stride: int

    def axes(self, cells: tuple[int, int], size: tuple[int, int]) -> Axes:
        """Positions in cells of the pixels of an answer, vertically and horizontally.

        Args:
            cells: (h, w) of the feature map.
            size: (H, W) of the answer; the image resized to it.
        """
        down, across = (
            _axis(s, pixels, out, self.stride)
            for s, pixels, out in zip(cells, self.image, size, strict=True)
        )
        return down, across

    def centres(self, cells: int, axis: int) -> Tensor:
        """(s,) float64: pixel of the image at which the centre of each cell lies.

        Args:
            cells: s.
            axis: 0 vertical, 1 horizontal.
        """
        index = torch.arange(cells, dtype=torch.float64)
        if self.stride:
            return index * self.stride + (self.stride - 1) / 2
        return index * ((self.image[axis] - 1) / max(cells - 1, 1))

    def position(self, pixel: Tensor, cells: int, axis: int) -> Tensor:
        """Cell, as a fraction, at which pixels of the image lie: the inverse of :meth:`centres`."""
        if self.stride:
            return (pixel - (self.stride - 1) / 2) / self.stride
        return pixel * ((cells - 1) / max(self.image[axis] - 1, 1))

    def labels(self, label: Tensor, cells: tuple[int, int]) -> Tensor:
        """Labels under the centres of the cells; IGNORE where a cell lies in the padding.

        Args:
            label: (..., H, W) class ids of the image at any size.
            cells: (h, w).

        Returns:
            (..., h, w).
        """
        size = (label.shape[-2], label.shape[-1])
        if not self.stride:
            rows, columns = (
                torch.linspace(0, full - 1, s, device=label.device).round().long()
                for full, s in zip(size, cells, strict=True)
            )
            return label[..., rows[:, None], columns]
        rows, columns = (
            torch.arange(s, device=label.device).mul_(2).add_(1).mul_(self.stride * full)
            // (2 * pixels)
            for s, full, pixels in zip(cells, size, self.image, strict=True)
        )
        found = label[..., rows.clamp(max=size[0] - 1)[:, None], columns.clamp(max=size[1] - 1)]
        outside = (rows >= size[0])[:, None] | (columns >= size[1])
        return found.masked_fill(outside, IGNORE)

    def padded(self, label: Tensor, cells: tuple[int, int]) -> Tensor:
        """The label map of the image (B, H, W) on the padded canvas, IGNORE outside the image."""
        if not self.stride:
            return label
        below = cells[0] * self.stride - label.shape[1]
        right = cells[1] * self.stride - label.shape[2]
        return F.pad(label, (0, right, 0, below), value=IGNORE) if below or right else label


def _axis(cells: int, pixels: int, out: int, stride: int) -> Axis:
    if not stride:
        return source_axis(cells, out, align_corners=True)
    # ((k + 1/2) pixels / out) / stride - 1/2
    return 2 * pixels, pixels - out * stride, 2 * out * stride
