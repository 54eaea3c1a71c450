"""Triton kernels of the fused upsampling + cross-entropy, for CUDA.

``fused_loss.py`` chooses them; the meaning of all values is described there. One launch per pass
serves all images of a batch, whatever their datasets.

Forward: a program owns a run of output pixels and walks over the channels with a running softmax.
Backward: a program owns a tile of *source* pixels and some channels and gathers from the output
pixels that touch them, so nothing is added atomically and results are deterministic. It walks down
the source rows; each row is interpolated horizontally once, and each softmax value is computed
once per tile (tiles overlap by one source row and column).

Positions are fractions of integers (see ``source_axis``), exact at any size.

Letters: B images, C channels, h x w feature size, H x W image size.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton  # type: ignore[import-untyped, import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, import-not-found, unused-ignore]
from torch import Tensor
from torch.autograd.function import once_differentiable

from unilabel.core.errors import UniLabelError
from unilabel.core.upsampling import source_axis

__all__ = ["supports", "triton_loss"]

_FORWARD_PIXELS = 32  # output pixels of a forward program
_FORWARD_CHANNELS = 64  # channels that it handles at a time
_TILE_PIXELS = 64  # output columns of a backward tile
_TILE_COLUMNS = 16  # its source columns at most: the smallest side of a matrix product in Triton
_TILE_ROWS = 8  # source rows that a backward program walks down
_TILE_CHANNELS = 32  # its channels
_TILE_WARPS = 8


@triton.jit
def _tap(out, mul, add, den, size):  # type: ignore[no-untyped-def]
    """First and second source index of an output index, and the weight of the second."""
    numerator = tl.maximum(out * mul + add, 0)
    first = numerator // den
    weight = (numerator - first * den).to(tl.float32) / den
    return first, tl.minimum(first + 1, size - 1), weight


@triton.jit
def _line(z, row, left, right, weight, channel, mask, width, stride):  # type: ignore[no-untyped-def]
    """Source row interpolated at some output columns: (pixels, channels) float32."""
    row_z = z + row * width * stride
    a = tl.load(row_z + left[:, None] * stride + channel[None, :], mask, 0.0).to(tl.float32)
    b = tl.load(row_z + right[:, None] * stride + channel[None, :], mask, 0.0).to(tl.float32)
    return a + weight[:, None] * (b - a)


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(  # type: ignore[no-untyped-def]
    z, labels, node_class, group, limits, loss, lse,
    channels, stride, h, w, height, width,
    y_mul, y_add, y_den, x_mul, x_add, x_den, ignore,
    MARGINAL: tl.constexpr, PIXELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1)
    image = tl.program_id(2).to(tl.int64)
    top, bottom, wy = _tap(row, y_mul, y_add, y_den, h)
    x = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = x < width
    left, right, wx = _tap(x, x_mul, x_add, x_den, w)
    at = (image * height + row) * width + x
    label = tl.load(labels + at, inside, 0).to(tl.int32)
    z += image * h * w * stride
    limit = tl.load(limits + image).to(tl.int32)
    count = limit
    if MARGINAL:
        count = channels
        node_class += tl.load(group + image) * channels
    top_s = tl.full([PIXELS], float("-inf"), tl.float32)  # largest logit, and sum relative to it
    total = tl.zeros([PIXELS], tl.float32)
    top_t = tl.full([PIXELS], float("-inf"), tl.float32)  # the same over the target's channels
    target = tl.zeros([PIXELS], tl.float32)
    for start in range(0, count, BLOCK):
        channel = start + tl.arange(0, BLOCK)
        known = channel < count
        mask = inside[:, None] & (channel < stride)[None, :]
        upper = _line(z, top, left, right, wx, channel, mask, w, stride)
        lower = _line(z, bottom, left, right, wx, channel, mask, w, stride)
        s = tl.where(known[None, :], upper + wy * (lower - upper), float("-inf"))
        new = tl.maximum(top_s, tl.max(s, 1))
        total = total * tl.exp(top_s - new) + tl.sum(tl.exp(s - new[:, None]), 1)
        top_s = new
        if MARGINAL:
            own = tl.load(node_class + channel, known, -1)
            t = tl.where(own[None, :] == label[:, None], s, float("-inf"))
            new = tl.maximum(top_t, tl.max(t, 1))
            # No linked channel so far: any finite reference keeps exp(-inf - reference) at zero.
            reference = tl.where(new == float("-inf"), 0.0, new)
            target = target * tl.exp(top_t - reference) + tl.sum(tl.exp(t - reference[:, None]), 1)
            top_t = new
        else:
            target += tl.sum(tl.where(channel[None, :] == label[:, None], s, 0.0), 1)
    all_lse = top_s + tl.log(total)
    if MARGINAL:
        target_lse = top_t + tl.log(target)
    else:
        target_lse = target
    value = tl.where((label >= 0) & (label < limit), all_lse - target_lse, float("inf"))
    tl.store(lse + at, all_lse, inside)
    tl.store(loss + at, tl.where(label == ignore, 0.0, value), inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(  # type: ignore[no-untyped-def]
    z, labels, node_class, group, limits, loss, lse, grad, dz, row_start, column_start,
    channels, stride, h, w, height, width,
    y_mul, y_add, y_den, x_mul, x_add, x_den, ignore, blocks, columns,
    MARGINAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    PIXELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = (tl.program_id(2) // blocks).to(tl.int64)
    first_channel = (tl.program_id(2) % blocks) * BLOCK
    channel = first_channel + tl.arange(0, BLOCK)
    count = tl.load(limits + image).to(tl.int32)
    if MARGINAL:
        count = channels
    known = channel < count
    first_column = tl.program_id(0) * columns
    x_start = tl.load(column_start + tl.maximum(first_column - 1, 0))
    x_stop = tl.load(column_start + tl.minimum(first_column + columns, w))
    x = x_start + tl.arange(0, PIXELS)
    inside = x < x_stop
    left, right, wx = _tap(x, x_mul, x_add, x_den, w)
    mask = inside[:, None] & (channel < stride)[None, :]
    # Transpose of the horizontal interpolation, (source columns, output columns).
    step = tl.arange(0, COLUMNS)
    column = first_column + step
    spread = tl.where(left[None, :] == column[:, None], 1.0 - wx[None, :], 0.0)
    spread += tl.where(right[None, :] == column[:, None], wx[None, :], 0.0)
    spread = tl.where(inside[None, :], spread, 0.0)
    keep = (step < columns) & (column < w)
    if MARGINAL:
        own = tl.load(node_class + tl.load(group + image) * channels + channel, known, -1)
    else:
        own = channel
    z += image * h * w * stride
    dz += image * h * w * stride
    start = tl.program_id(1) * ROWS
    upper = _line(z, tl.maximum(start - 1, 0), left, right, wx, channel, mask, w, stride)
    here = tl.zeros([PIXELS, BLOCK], tl.float32)  # gradient of source row i, not yet gathered
    below = tl.zeros([PIXELS, BLOCK], tl.float32)  # of source row i + 1
    # Output rows between source rows i and i + 1, starting one pair above the tile.
    for i in range(start - 1, tl.minimum(start + ROWS, h)):
        lower = _line(z, tl.minimum(i + 1, h - 1), left, right, wx, channel, mask, w, stride)
        row_begin = tl.load(row_start + tl.maximum(i, 0))
        # Channels beyond the image's classes have no gradient: nothing to do but to store zeros.
        row_stop = tl.where(first_channel < count, tl.load(row_start + i + 1), row_begin)
        for row in range(row_begin, row_stop):
            _, second, wy = _tap(row, y_mul, y_add, y_den, h)
            at = (image * height + row) * width + x
            label = tl.load(labels + at, inside, 0).to(tl.int32)
            pixel_lse = tl.load(lse + at, inside, 0.0)
            g = tl.load(grad + at, inside & (label != ignore), 0.0)
            s = upper + wy * (lower - upper)
            linked = own[None, :] == label[:, None]
            if MARGINAL:
                # One exponential serves both softmaxes: exp(s - lse) of a linked channel is
                # exp(s - target lse) * exp(-loss), which cannot overflow.
                pixel_loss = tl.load(loss + at, inside, 0.0)
                reference = tl.where(linked, (pixel_lse - pixel_loss)[:, None], pixel_lse[:, None])
                e = tl.exp(s - reference)
                d = tl.where(linked, e * (tl.exp(-pixel_loss) - 1.0)[:, None], e)
            else:
                d = tl.exp(s - pixel_lse[:, None]) - tl.where(linked, 1.0, 0.0)
            d = tl.where(known[None, :], d * g[:, None], 0.0)
            weight = tl.where(second > i, wy, 0.0)
            here += (1.0 - weight) * d
            below += weight * d
        if i >= start:
            gathered = tl.dot(spread, here, input_precision="ieee")
            to = dz + (i * w + column[:, None]) * stride + channel[None, :]
            into = keep[:, None] & (channel < stride)[None, :]
            tl.store(to, gathered.to(dz.dtype.element_ty), into)
        here = below
        below = tl.zeros([PIXELS, BLOCK], tl.float32)
        upper = lower


@functools.lru_cache(maxsize=256)
def _starts(in_size: int, out_size: int, align_corners: bool) -> tuple[int, ...]:
    """For each source index the first output index at or after it; ends with ``out_size``."""
    mul, add, den = source_axis(in_size, out_size, align_corners)
    sources = [max(out * mul + add, 0) // den for out in range(out_size)]
    starts, out = [], 0
    for source in range(in_size):
        while out < out_size and sources[out] < source:
            out += 1
        starts.append(out)
    return (*starts, out_size)


@functools.lru_cache(maxsize=256)
def _start_tensor(in_size: int, out_size: int, align_corners: bool, device: torch.device) -> Tensor:
    return torch.tensor(_starts(in_size, out_size, align_corners), dtype=torch.int32, device=device)


@functools.lru_cache(maxsize=256)
def _tile_columns(in_width: int, out_width: int, align_corners: bool) -> int:
    """Source columns of a backward tile: as many as its output columns allow, 0 if none."""
    starts = _starts(in_width, out_width, align_corners)
    for columns in range(_TILE_COLUMNS, 0, -1):
        spans = (
            starts[min(first + columns, in_width)] - starts[max(first - 1, 0)]
            for first in range(0, in_width, columns)
        )
        if max(spans) <= _TILE_PIXELS:
            return columns
    return 0


def supports(in_width: int, out_width: int, align_corners: bool) -> bool:
    """Whether the kernels can upsample by this factor (up to about 20)."""
    return _tile_columns(in_width, out_width, align_corners) > 0


def _padded_channels_last(logits: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h, w, C rounded up to 16): lets the kernels read whole vectors."""
    last = logits.permute(0, 2, 3, 1)
    channels = last.shape[-1]
    if channels % 16 == 0:
        return last.contiguous()
    z = last.new_empty(*last.shape[:-1], channels + -channels % 16)
    z[..., :channels] = last
    z[..., channels:] = 0
    return z


class _TritonLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        node_class: Tensor | None,
        group: Tensor,
        limits: Tensor,
        ignore_label: int,
        align_corners: bool,
    ) -> Tensor:
        z = _padded_channels_last(logits)
        batch, channels, h, w = logits.shape
        height, width = labels.shape[1:]
        loss = torch.empty(labels.shape, dtype=torch.float32, device=z.device)
        lse = torch.empty_like(loss)
        y_axis = source_axis(h, height, align_corners)
        x_axis = source_axis(w, width, align_corners)
        ctx.sizes = (channels, z.shape[-1], h, w, height, width, *y_axis, *x_axis, ignore_label)
        ctx.options = (channels, align_corners)
        grid = (triton.cdiv(width, _FORWARD_PIXELS), height, batch)
        _forward_kernel[grid](
            z, labels, node_class, group, limits, loss, lse, *ctx.sizes,
            MARGINAL=node_class is not None, PIXELS=_FORWARD_PIXELS, BLOCK=_FORWARD_CHANNELS,
        )  # fmt: skip
        saved_loss = loss if node_class is not None else None
        ctx.save_for_backward(z, labels, node_class, group, limits, saved_loss, lse)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, labels, node_class, group, limits, loss, lse = ctx.saved_tensors
        channels, align_corners = ctx.options
        batch, h, w, stride = z.shape
        height, width = labels.shape[1:]
        dz = torch.empty_like(z)
        columns = _tile_columns(w, width, align_corners)
        blocks = triton.cdiv(stride, _TILE_CHANNELS)
        grid = (triton.cdiv(w, columns), triton.cdiv(h, _TILE_ROWS), batch * blocks)
        _backward_kernel[grid](
            z, labels, node_class, group, limits, loss, lse, grad.contiguous(), dz,
            _start_tensor(h, height, align_corners, z.device),
            _start_tensor(w, width, align_corners, z.device),
            *ctx.sizes, blocks, columns,
            MARGINAL=node_class is not None, ROWS=_TILE_ROWS, COLUMNS=_TILE_COLUMNS,
            PIXELS=_TILE_PIXELS, BLOCK=_TILE_CHANNELS, num_warps=_TILE_WARPS,
        )  # fmt: skip
        return dz[..., :channels].permute(0, 3, 1, 2), *([None] * 6)


def triton_loss(
    logits: Tensor,
    labels: Tensor,
    node_class: Tensor | None,
    group: Tensor,
    limits: Tensor,
    ignore_label: int,
    align_corners: bool,
) -> Tensor:
    """Per-pixel loss; arguments as ``fused_loss.py`` prepares them.

    Args:
        logits: (B, C, h, w) float32, bfloat16 or float16.
        labels: (B, H, W) uint8 or int16, contiguous.
        node_class: (K, C) int32 for the marginal loss, None for the plain one.
        group: (B,) int64, row of ``node_class`` for each image.
        limits: (B,) int64, classes of each image.
        ignore_label: id of ignored pixels in ``labels``.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        (B, H, W) float32.

    Raises:
        UniLabelError: the upsampling factor is too large for the kernels.
    """
    if not supports(logits.shape[-1], labels.shape[-1], align_corners):
        raise UniLabelError(
            f"the Triton loss cannot upsample from width {logits.shape[-1]} to {labels.shape[-1]}; "
            "use backend='torch'."
        )
    loss: Tensor = _TritonLoss.apply(
        logits, labels, node_class, group, limits, ignore_label, align_corners
    )
    return loss
