"""How a network is asked about an image: in windows, at several sizes, or plainly.

The embedding always lies on the grid of the plain image. Evaluation, predictor and submissions ask
through :class:`Asking` alone, so that equal options give equal answers.

Letters: D embedding dim, h x w cells, H x W image size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.grid import CellGrid

TTA_SCALES = (0.75, 1.0, 1.25)
MIN_SIDE = 32  # pixels; smaller images are enlarged before they are scaled for averaging


class Embedder(Protocol):
    """What of a segmentation model is needed here."""

    divisibility: int

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D, h, w)."""

    def grid(self, image: tuple[int, int]) -> CellGrid:
        """Where the cells of an image lie."""


@dataclass(frozen=True)
class Asking:
    """How a network is asked about an image.

    Attributes:
        window: side of overlapping square windows, pixels; 0: the whole image at once.
        scales: of the image, each also mirrored, whose embeddings are averaged; empty: the image.
    """

    window: int = 0
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.window < 0 or 0 < self.window < 2 * MIN_SIDE:
            raise UniLabelError(
                f"window is {self.window}; expected 0 (the whole image) or at least {2 * MIN_SIDE}."
            )
        if any(scale <= 0 for scale in self.scales):
            raise UniLabelError(
                f"scales are {list(self.scales)}; expected positive factors of the image's size."
            )

    @property
    def plain(self) -> bool:
        """Whether the network sees the image as it is, once."""
        return not self.window and not self.scales

    def embed(self, model: Embedder, pixels: Tensor) -> Tensor:
        """(1, 3, H, W) pixels of any type -> (1, D, h, w), with the cells of the whole image."""
        if self.scales:
            return embed_mean(model, pixels.float(), self.scales, self.window)
        return embed_in_windows(model, pixels, self.window)


def resize_pixels(pixels: Tensor, scale: float) -> Tensor:
    """Resize (1, 3, H, W), each side at least to ``MIN_SIDE``."""
    height, width = pixels.shape[2:]
    size = (max(MIN_SIDE, round(height * scale)), max(MIN_SIDE, round(width * scale)))
    if size == (height, width):
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)


def sampled(embedding: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(1, D, h, w) at fractional rows (T,) and columns (U,): (1, D, T, U), border beyond."""
    height, width = embedding.shape[2:]
    y = rows * (2 / max(height - 1, 1)) - 1
    x = columns * (2 / max(width - 1, 1)) - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
    grid = grid.to(embedding.device, embedding.dtype)
    return F.grid_sample(embedding, grid, align_corners=True, padding_mode="border")


def embed_mean(model: Embedder, pixels: Tensor, scales: tuple[float, ...], window: int) -> Tensor:
    """Mean of the embeddings of resized and mirrored images, on the grid of the plain one.

    The heads are linear: their mean over the variants is the answer to the mean embedding.

    Args:
        model: the network.
        pixels: (1, 3, H, W).
        scales: of the image; each is also mirrored.
        window: see :func:`embed_in_windows`.
    """
    size = (pixels.shape[2], pixels.shape[3])
    plain = embed_in_windows(model, pixels, window)
    cells = (plain.shape[2], plain.shape[3])
    centres = [model.grid(size).centres(c, axis) for axis, c in enumerate(cells)]
    total = torch.zeros_like(plain)
    for scale in scales:
        scaled = resize_pixels(pixels, scale)
        there = (scaled.shape[2], scaled.shape[3])
        grid = model.grid(there)
        y, x = (
            # pixel p of S looks at pixel (p + 1/2) S' / S - 1/2 of S', corners at corners
            (p + 0.5) * (b / a) - 0.5 if grid.stride else p * ((b - 1) / max(a - 1, 1))
            for p, a, b in zip(centres, size, there, strict=True)
        )
        for mirrored in (False, True):
            variant = scaled.flip(3) if mirrored else scaled
            part = plain
            if scale != 1 or mirrored or there != size:
                part = embed_in_windows(model, variant, window)
            rows = grid.position(y, part.shape[2], 0)
            columns = grid.position(there[1] - 1 - x if mirrored else x, part.shape[3], 1)
            total += sampled(part, rows, columns)
    return total / (2 * len(scales))


def embed_in_windows(model: Embedder, pixels: Tensor, window: int) -> Tensor:
    """Embed an image, in overlapping windows if it is larger than one.

    Args:
        model: the network.
        pixels: (1, 3, H, W).
        window: side of the windows, pixels; 0: the whole image at once.

    Returns:
        (1, D, h, w), with the cells of the whole image.
    """
    result = None
    for band in embed_bands(model, pixels, window):
        if band.embedding.shape[2] == band.height:
            return band.embedding
        if result is None:
            _, channels, _, width = band.embedding.shape
            result = band.embedding.new_empty(1, channels, band.height, width)
        result[:, :, band.first : band.first + band.embedding.shape[2]] = band.embedding
    assert result is not None
    return result


class Band(NamedTuple):
    """Rows of the embedding of an image.

    Attributes:
        first: row of the first cells.
        embedding: (1, D, rows, w).
        height: h, of the whole image.
    """

    first: int
    embedding: Tensor
    height: int


def embed_bands(model: Embedder, pixels: Tensor, window: int) -> Iterator[Band]:
    """The same band after band, as soon as no further window changes it.

    Memory is taken for a row of windows, not for the image.
    """
    height, width = pixels.shape[2:]
    if window == 0 or max(height, width) <= window:
        whole = model.embed(pixels)
        yield Band(0, whole, whole.shape[2])
        return
    grid = model.grid((height, width))
    step = model.divisibility
    side = max(step, window // step * step)  # cells of windows are then cells of the image
    tiles = _tiles(height, side, step)
    total = weight = pixels.new_zeros(())
    cells, first = (0, 0), 0
    for number, (top, tall) in enumerate(tiles):
        for left, wide in _tiles(width, side, step):
            part = model.embed(pixels[:, :, top : top + tall, left : left + wide])
            if not cells[0]:
                cells = _cells(model, part, (tall, wide), (height, width))
                total = part.new_zeros(1, part.shape[1], 0, cells[1])
                weight = part.new_zeros(1, 1, 0, cells[1])
            own = model.grid((tall, wide))
            rows = _Place.of(grid, own, top, cells[0], part, 0)
            columns = _Place.of(grid, own, left, cells[1], part, 1)
            more = rows.cells.stop - first - total.shape[2]
            if more > 0:
                total, weight = (F.pad(t, (0, 0, 0, more)) for t in (total, weight))
            at = slice(rows.cells.start - first, rows.cells.stop - first)
            share = rows.share[:, None] * columns.share[None]
            found = sampled(part, rows.position, columns.position)
            total[:, :, at, columns.cells] += found * share
            weight[:, :, at, columns.cells] += share
        stop = cells[0]
        if number + 1 < len(tiles):
            stop = int((grid.centres(cells[0], 0) < tiles[number + 1][0] - 1e-6).sum())
        done = stop - first
        yield Band(first, total[:, :, :done].div_(weight[:, :, :done]), cells[0])
        total, weight, first = total[:, :, done:].clone(), weight[:, :, done:].clone(), stop


class _Place(NamedTuple):
    """Where a window lies on one axis of the image.

    Attributes:
        cells: of the image, n of them.
        position: (n,) of the window at each, as fractions.
        share: (n,) by which the window counts: cells near its border see less of the image.
    """

    cells: slice
    position: Tensor
    share: Tensor

    @classmethod
    def of(
        cls, grid: CellGrid, own: CellGrid, start: int, count: int, part: Tensor, axis: int
    ) -> _Place:
        at = grid.centres(count, axis) - start
        index = own.position(at, part.shape[2 + axis], axis)
        found = ((index > -1e-6) & (index < part.shape[2 + axis] - 1 + 1e-6)).nonzero()
        cells = slice(int(found[0]), int(found[-1]) + 1)
        middle = (at[cells] * (2 / max(own.image[axis] - 1, 1)) - 1).abs()
        return cls(cells, index[cells], (1.05 - middle.clamp(max=1)).to(part))


def _cells(
    model: Embedder, part: Tensor, window: tuple[int, int], image: tuple[int, int]
) -> tuple[int, int]:
    """(h, w) of an image, told from a window of it and its embedding."""
    stride = model.grid(window).stride
    if not stride:  # rounded up, without padding
        return tuple(
            -(-i // -(-w // c)) for i, w, c in zip(image, window, part.shape[2:], strict=True)
        )
    step = model.divisibility
    return tuple(-(-i // step) * step // stride for i in image)


def _tiles(length: int, window: int, step: int) -> list[tuple[int, int]]:
    """Start and length of windows that overlap by a third or more and cover ``length``.

    Starts are multiples of ``step``; the last window may be shorter by less than that.
    """
    if length <= window:
        return [(0, length)]
    count = -(-(length - window) // (window * 2 // 3)) + 1
    starts = np.linspace(0, -(-(length - window) // step), count).round().astype(int) * step
    return [(int(s), min(window, length - int(s))) for s in dict.fromkeys(starts.tolist())]
