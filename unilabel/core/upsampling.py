"""Bilinear upsampling of some image rows at a time, and its transpose for backward passes.

Tensors are channels-last, (B, rows, columns, C): the interpolation is vectorised over channels
then, which is several times faster on CPUs.

Letters: B images, C channels, h x w source size, H x W image size, T rows of a chunk.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["add_transposed_rows", "source_fraction", "upsampled_rows"]


def source_fraction(in_size: int, out_size: int, align_corners: bool) -> tuple[int, int, int]:
    """Source position of an output index k, as max(k * mul + add, 0) / den.

    Integers: the weights have no rounding error before the last division.

    Args:
        in_size: h or w.
        out_size: H or W.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        (mul, add, den).
    """
    if align_corners:
        return in_size - 1, 0, max(out_size - 1, 1)
    return 2 * in_size, in_size - out_size, 2 * out_size


def _taps(
    rows: range, in_size: int, out_size: int, align_corners: bool, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Two source rows of each output row, and the weight of the second: three (T,) tensors."""
    mul, add, den = source_fraction(in_size, out_size, align_corners)
    position = torch.arange(rows.start, rows.stop, device=device).mul_(mul).add_(add).clamp_(min=0)
    first = position // den
    return first, (first + 1).clamp_(max=in_size - 1), (position % den).double() / den


def _touched(rows: range, in_size: int, out_size: int, align_corners: bool) -> tuple[int, int]:
    """First and last source row that output rows are made of."""
    mul, add, den = source_fraction(in_size, out_size, align_corners)
    low = max(rows[0] * mul + add, 0) // den
    high = min(max(rows[-1] * mul + add, 0) // den + 1, in_size - 1)
    return low, high


def _tap_matrix(
    rows: range, in_size: int, out_size: int, align_corners: bool, like: Tensor
) -> tuple[Tensor, int]:
    """Interpolation weights (T, touched source rows), and the first touched source row."""
    low, high = _touched(rows, in_size, out_size, align_corners)
    first, second, weight = _taps(rows, in_size, out_size, align_corners, like.device)
    matrix = torch.zeros(len(rows), high - low + 1, dtype=weight.dtype, device=like.device)
    at = torch.arange(len(rows), device=like.device)
    matrix[at, first - low] = 1 - weight
    matrix[at, second - low] += weight  # not "=": at the border both are the same row
    return matrix.to(like.dtype), low


def upsampled_rows(
    z: Tensor,
    rows: range,
    size: tuple[int, int],
    align_corners: bool,
    channels: Tensor | None = None,
) -> Tensor:
    """Rows of ``interpolate(z, size, "bilinear")``.

    Args:
        z: (B, h, w, C) of any floating type, in any memory layout.
        rows: consecutive rows of the result.
        size: (H, W).
        align_corners: as in ``torch.nn.functional.interpolate``.
        channels: indices of the channels of the result, in this order; None: all.

    Returns:
        (B, T, W, C), at least float32, contiguous.
    """
    dtype = torch.promote_types(z.dtype, torch.float32)
    first, second, weight = _taps(rows, z.shape[1], size[0], align_corners, z.device)
    if channels is not None or z.stride(3) != 1:
        # Only the source rows of this chunk are brought into channels-last order.
        low, high = _touched(rows, z.shape[1], size[0], align_corners)
        z = z[:, low : high + 1]
        z = z.contiguous() if channels is None else z.index_select(3, channels)
        first, second = first - low, second - low
    top, bottom = (z.index_select(1, index).to(dtype) for index in (first, second))
    lines = torch.lerp(top, bottom, weight.to(dtype)[:, None, None])
    wide = F.interpolate(
        lines.permute(0, 3, 1, 2),
        size=(len(rows), size[1]),
        mode="bilinear",
        align_corners=align_corners,
    )
    return wide.permute(0, 2, 3, 1).contiguous()


def add_transposed_rows(
    dz: Tensor, ds: Tensor, rows: range, size: tuple[int, int], align_corners: bool
) -> None:
    """Add the gradient of :func:`upsampled_rows` to ``dz``, in place and deterministically.

    Args:
        dz: (B, h, w, C) gradient of the source, float32 or float64.
        ds: (B, T, W, C) gradient of the rows.
        rows: as in :func:`upsampled_rows`.
        size: (H, W).
        align_corners: see there.
    """
    batch, h, w, channels = dz.shape
    if ds.device.type == "cpu":
        lines = torch.ops.aten.upsample_bilinear2d_backward(
            ds.permute(0, 3, 1, 2),
            [len(rows), size[1]],
            [batch, channels, len(rows), w],
            align_corners,
        ).permute(0, 2, 3, 1)
    else:  # the operator above adds atomically on GPUs, in an order that changes from run to run
        columns, _ = _tap_matrix(range(size[1]), w, size[1], align_corners, ds)
        lines = torch.matmul(columns.T, ds)
    matrix, low = _tap_matrix(rows, h, size[0], align_corners, ds)
    touched = matrix.shape[1]
    sums = torch.matmul(matrix.T, lines.reshape(batch, len(rows), w * channels))
    dz[:, low : low + touched] += sums.view(batch, touched, w, channels)
