"""1x1 convolutions as matrix products.

In channels-last memory a 1x1 convolution of stride 1 is the product of a (pixels, C_in) matrix and
the weight. On one thread of a CPU, PyTorch does not give such convolutions of small batches to
oneDNN but copies the input and the output; the product needs no copy, forward or backward.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unilabel.modeling.conv_twins import replace_convs

__all__ = ["PointwiseConv2d", "pointwise_conv", "use_pointwise_convs"]

_ONEDNN_BATCH = 16  # images from which on PyTorch uses oneDNN, which is faster than the product


def pointwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1 convolution of stride 1, by the faster of two equal ways.

    Args:
        x: (B, C_in, h, w).
        weight: (C_out, C_in, 1, 1).
        bias: (C_out,) or None.

    Returns:
        (B, C_out, h, w), in the memory format of ``x``.
    """
    as_product = (
        x.device.type == "cpu"
        and x.shape[0] < _ONEDNN_BATCH
        and torch.get_num_threads() == 1
        and x.is_contiguous(memory_format=torch.channels_last)
        # compilers and exporters know convolutions better
        and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
    )
    if not as_product:
        return F.conv2d(x, weight, bias)
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution of stride 1 that calls :func:`pointwise_conv`; same parameters and keys."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w) -> (B, C_out, h, w)."""
        return pointwise_conv(x, self.weight, self.bias)


def use_pointwise_convs(module: nn.Module) -> int:
    """Replace the 1x1 convolutions of stride 1 below ``module``, in place; parameters are kept.

    Returns:
        Number of replaced convolutions.
    """
    return replace_convs(module, _twin)


def _twin(layer: nn.Module) -> PointwiseConv2d | None:
    if type(layer) is not nn.Conv2d or not _is_pointwise(layer):
        return None
    return PointwiseConv2d(layer.in_channels, layer.out_channels, 1, bias=layer.bias is not None)


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (1, 1)
        and conv.stride == (1, 1)
        and conv.padding == (0, 0)
        and conv.groups == 1
    )
