"""Images at the size of a network: resized, or large ones in overlapping windows.

Letters: D embedding dim, h x w feature size, H x W image size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MIN_SIDE = 32  # pixels; backbones reduce images by this factor


def resize_pixels(pixels: Tensor, scale: float) -> Tensor:
    """Resize (1, 3, H, W), at least to the smallest size that a backbone takes."""
    height, width = pixels.shape[2:]
    size = (max(MIN_SIDE, round(height * scale)), max(MIN_SIDE, round(width * scale)))
    if size == (height, width):
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)


def resample(embedding: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, D, h, w) -> (1, D, *size), corner to corner."""
    return F.interpolate(embedding, size, mode="bilinear", align_corners=True)


def embed_in_windows(embed: Callable[[Tensor], Tensor], pixels: Tensor, window: int) -> Tensor:
    """Embed an image, in overlapping windows if it is larger than one.

    Args:
        embed: (1, 3, H, W) -> (1, D, h, w).
        pixels: (1, 3, H, W).
        window: side of the windows, pixels; 0: the whole image at once.
    """
    height, width = pixels.shape[2:]
    if window == 0 or max(height, width) <= window:
        return embed(pixels)
    probe = embed(pixels[:, :, :MIN_SIDE, :MIN_SIDE])
    stride = MIN_SIDE // probe.shape[2]
    size = (-(-height // stride), -(-width // stride))
    total = probe.new_zeros(1, probe.shape[1], *size)
    weight = probe.new_zeros(1, 1, *size)
    for top, tall in _tiles(height, window):
        for left, wide in _tiles(width, window):
            part = embed(pixels[:, :, top : top + tall, left : left + wide])
            rows, y = _nodes(top, tall, height, size[0], part.device)
            columns, x = _nodes(left, wide, width, size[1], part.device)
            grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
            sampled = F.grid_sample(part, grid, align_corners=True, padding_mode="border")
            # nodes near the border of a window count less: they see less of the image
            share = (1.05 - y.abs())[:, None] * (1.05 - x.abs())[None]
            total[:, :, rows, columns] += sampled * share
            weight[:, :, rows, columns] += share
    return total / weight


def _tiles(length: int, window: int) -> list[tuple[int, int]]:
    """Start and length of windows that overlap by a third or more and cover ``length``."""
    if length <= window:
        return [(0, length)]
    count = -(-(length - window) // (window * 2 // 3)) + 1
    starts = np.linspace(0, length - window, count)
    return [(round(float(start)), window) for start in starts]


def _nodes(
    start: int, length: int, total: int, nodes: int, device: torch.device
) -> tuple[slice, Tensor]:
    """Nodes of the whole feature grid inside a window, and where they lie in it (-1..1).

    With aligned corners node i of n lies at pixel ``i (total - 1) / (n - 1)``.
    """
    step = (total - 1) / max(nodes - 1, 1)
    first = int(np.ceil(start / step - 1e-6)) if step else 0
    last = int(np.floor((start + length - 1) / step + 1e-6)) if step else 0
    last = min(last, nodes - 1)
    pixels = torch.arange(first, last + 1, device=device, dtype=torch.float32) * step - start
    return slice(first, last + 1), pixels * (2 / max(length - 1, 1)) - 1
