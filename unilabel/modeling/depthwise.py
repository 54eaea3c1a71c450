"""Depthwise convolutions in bfloat16 on a CPU, whose backward pass PyTorch leaves slow.

oneDNN has no fast bfloat16 kernel for two gradients of a depthwise convolution, and falls back to a
plain loop that takes ten times what it takes in float32: that of the input when the stride is above
1, and that of the weight from a 5 x 5 kernel on. The former is, by its definition, a forward
pass of stride 1 with the mirrored kernel over the gradient with zeros in between; the latter is
computed in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

from unilabel.modeling.conv_twins import replace_convs

__all__ = ["DepthwiseConv2d", "use_depthwise_convs"]

_FLOAT32_KERNEL = 5  # side of a kernel from which on its gradient is faster in float32


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution (B, C, H, W), (C, 1, k, k) -> (B, C, h, w) with stride and padding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            of_input = _gradient_of_input(grad, x, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            exact = torch.float32 if weight.shape[-1] >= _FLOAT32_KERNEL else weight.dtype
            tensors = (t.to(exact) for t in (grad, x, weight))
            of_weight = _gradient(*tensors, ctx.stride, ctx.padding, 1).to(weight.dtype)
        return of_input, of_weight, None, None


def _gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, which: int
) -> Tensor:
    """Gradient of the input (``which`` 0) or the weight (1), by PyTorch's own kernel."""
    return torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        None,
        [stride] * 2,
        [padding] * 2,
        [1, 1],
        False,
        [0, 0],
        x.shape[1],
        [which == 0, which == 1, False],
    )[which]


def _gradient_of_input(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    """(B, C, H, W): every output pixel gives its gradient to the inputs below its kernel."""
    if stride == 1:
        return _gradient(grad, x, weight, stride, padding, 0)
    kernel = weight.shape[-1]
    batch, channels, height, width = x.shape
    sides = (height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1)
    spread = torch.empty(
        (batch, channels, *sides), dtype=grad.dtype, memory_format=torch.channels_last
    )
    spread.zero_()[:, :, ::stride, ::stride] = grad
    mirrored = weight.flip(2, 3).contiguous(memory_format=torch.channels_last)
    return F.conv2d(spread, mirrored, None, 1, kernel - 1 - padding, groups=channels)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with the backward pass above, where it is the faster one.

    It has the parameters and keys of the convolution that it replaces, and its outputs.
    """

    same_padding = False  # pad as TensorFlow does (timm's Conv2dSame)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, h, w)."""
        padding = self.padding
        if self.same_padding:
            x, padding = pad_same(x, self.kernel_size, self.stride, self.dilation), (0, 0)
        half = (
            x.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") is torch.bfloat16
            and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
        )
        if not half:
            return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        low, weight = x.to(torch.bfloat16), self.weight.to(torch.bfloat16)
        y = _Depthwise.apply(low, weight, self.stride[0], padding[0])
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]


def use_depthwise_convs(module: nn.Module) -> int:
    """Replace the depthwise convolutions below ``module``, in place; parameters are kept.

    Returns:
        Number of replaced convolutions.
    """
    return replace_convs(module, _twin)


def _twin(layer: nn.Module) -> DepthwiseConv2d | None:
    if type(layer) not in (nn.Conv2d, Conv2dSame) or not _is_depthwise(layer):
        return None
    twin = DepthwiseConv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    twin.same_padding = type(layer) is Conv2dSame
    return twin


def _is_depthwise(conv: nn.Conv2d) -> bool:
    square = len(set(conv.kernel_size)) == len(set(conv.stride)) == 1
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and square
        and isinstance(conv.padding, tuple)
        and conv.padding[0] == conv.padding[1] < conv.kernel_size[0]
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
    )
