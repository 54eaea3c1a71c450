"""Bilinear upsampling of some image rows at a time, and its transpose for backward passes.

Tensors are channels-last, (B, rows, columns, C): the interpolation is vectorised over channels
then, which is several times faster on CPUs.

Letters: B images, C channels, h x w source size, H x W image size, T rows of a chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "Axes",
    "Axis",
    "add_transposed_rows",
    "source_axes",
    "source_axis",
    "taps",
    "upsampled_rows",
]

Axis = tuple[int, int, int]  # (mul, add, den): output index k looks at source (k mul + add) / den
Axes = tuple[Axis, Axis]  # vertically, horizontally


def source_axis(in_size: int, out_size: int, align_corners: bool) -> Axis:
    """Source position of an output index, as in ``torch.nn.functional.interpolate``.

    Integers: the weights have no rounding error before the last division.

    Args:
        in_size: h or w.
        out_size: H or W.
        align_corners: as in ``torch.nn.functional.interpolate``.
    """
    if align_corners:
        return in_size - 1, 0, max(out_size - 1, 1)
    return 2 * in_size, in_size - out_size, 2 * out_size


def source_axes(source: Tensor, size: tuple[int, int], align_corners: bool) -> Axes:
    """Both axes of ``interpolate(source, size)`` for a channels-last source (B, h, w, C)."""
    down, across = (
        source_axis(s, out, align_corners) for s, out in zip(source.shape[1:3], size, strict=True)
    )
    return down, across


def taps(index: Tensor, axis: Axis, in_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two source indices of each output index, and the weight of the second.

    Args:
        index: (T,) int64 output indices.
        axis: their position; outside of the source it is moved to the border.
        in_size: h or w.

    Returns:
        first (T,) and second (T,) int64, weight (T,) float64.
    """
    mul, add, den = axis
    position = (index * mul + add).clamp(min=0)
    first = position // den
    weight = (position % den).double() / den
    # behind the last source row both are that row, whatever the weight
    return first.clamp(max=in_size - 1), (first + 1).clamp(max=in_size - 1), weight


def _touched(rows: range, in_size: int, axis: Axis) -> tuple[int, int]:
    """First and last source row that output rows are made of."""
    mul, add, den = axis
    low = min(max(rows[0] * mul + add, 0) // den, in_size - 1)
    high = min(max(rows[-1] * mul + add, 0) // den + 1, in_size - 1)
    return low, high


def _tap_matrix(rows: range, in_size: int, axis: Axis, like: Tensor) -> tuple[Tensor, int]:
    """Interpolation weights (T, touched source rows), and the first touched source row."""
    low, high = _touched(rows, in_size, axis)
    index = torch.arange(rows.start, rows.stop, device=like.device)
    first, second, weight = taps(index, axis, in_size)
    matrix = torch.zeros(len(rows), high - low + 1, dtype=weight.dtype, device=like.device)
    at = torch.arange(len(rows), device=like.device)
    matrix[at, first - low] = 1 - weight
    matrix[at, second - low] += weight  # not "=": at the border both are the same row
    return matrix.to(like.dtype), low


def _torch_scale(axis: Axis) -> tuple[bool, float]:
    """``align_corners`` and ``scale`` with which torch's own operator has these positions."""
    mul, add, den = axis
    return 2 * add != mul - den, den / mul if mul else 1.0


def upsampled_rows(
    z: Tensor,
    rows: range,
    size: tuple[int, int],
    axes: Axes,
    channels: Tensor | None = None,
) -> Tensor:
    """Rows of a bilinear interpolation.

    Args:
        z: (B, h, w, C) of any floating type, in any memory layout.
        rows: consecutive rows of the result.
        size: (H, W).
        axes: where its pixels lie in the source.
        channels: indices of the channels of the result, in this order; None: all.

    Returns:
        (B, T, W, C), at least float32, contiguous.
    """
    dtype = torch.promote_types(z.dtype, torch.float32)
    index = torch.arange(rows.start, rows.stop, device=z.device)
    first, second, weight = taps(index, axes[0], z.shape[1])
    if channels is not None or z.stride(3) != 1:
        # Only the source rows of this chunk are brought into channels-last order.
        low, high = _touched(rows, z.shape[1], axes[0])
        z = z[:, low : high + 1]
        z = z.contiguous() if channels is None else z.index_select(3, channels)
        first, second = first - low, second - low
    top, bottom = (z.index_select(1, index).to(dtype) for index in (first, second))
    lines = torch.lerp(top, bottom, weight.to(dtype)[:, None, None])
    aligned, scale = _torch_scale(axes[1])
    wide: Tensor = torch.ops.aten.upsample_bilinear2d(
        lines.permute(0, 3, 1, 2), [len(rows), size[1]], aligned, 1.0, scale
    )
    return wide.permute(0, 2, 3, 1).contiguous()


def add_transposed_rows(
    dz: Tensor, ds: Tensor, rows: range, size: tuple[int, int], axes: Axes
) -> None:
    """Add the gradient of :func:`upsampled_rows` to ``dz``, in place and deterministically.

    Args:
        dz: (B, h, w, C) gradient of the source, float32 or float64.
        ds: (B, T, W, C) gradient of the rows.
        rows: as in :func:`upsampled_rows`.
        size: (H, W).
        axes: see there.
    """
    batch, h, w, channels = dz.shape
    if ds.device.type == "cpu":
        aligned, scale = _torch_scale(axes[1])
        lines = torch.ops.aten.upsample_bilinear2d_backward(
            ds.permute(0, 3, 1, 2),
            [len(rows), size[1]],
            [batch, channels, len(rows), w],
            aligned,
            1.0,
            scale,
        ).permute(0, 2, 3, 1)
    else:  # the operator above adds atomically on GPUs, in an order that changes from run to run
        columns, left = _tap_matrix(range(size[1]), w, axes[1], ds)
        lines = ds.new_zeros(batch, len(rows), w, channels)
        lines[:, :, left : left + columns.shape[1]] = torch.matmul(columns.T, ds)
    matrix, low = _tap_matrix(rows, h, axes[0], ds)
    touched = matrix.shape[1]
    sums = torch.matmul(matrix.T, lines.reshape(batch, len(rows), w * channels))
    dz[:, low : low + touched] += sums.view(batch, touched, w, channels)
