"""Convolutions of a folded network as oneDNN runs them fastest, for prediction on a CPU.

PyTorch brings the weights of every convolution into oneDNN's order again with every call, and
passes over the output once more for the activation and for the sum of a residual block. Here the
weights are brought into order once per input size, and activation and sum happen inside the
convolution: the same outputs up to rounding. The operators are those that PyTorch's own compiler
puts into a network.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from unilabel.core.errors import UniLabelError
from unilabel.modeling.folding import fold_batch_norms
from unilabel.modeling.pointwise import PointwiseConv2d

__all__ = ["pack_convolutions", "prepare_for_prediction", "prepare_network"]

logger = logging.getLogger(__name__)


class PackedConv2d(nn.Module):
    """A convolution with packed weights, perhaps a sum with another tensor, perhaps a ReLU."""

    def __init__(self, conv: nn.Conv2d, relu: bool) -> None:
        """Copy the values of ``conv``."""
        super().__init__()
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.relu = relu
        bias = conv.weight.new_zeros(len(conv.weight)) if conv.bias is None else conv.bias
        self.register_buffer("bias", bias.detach().clone())
        # Not buffers: this kind of tensor can be neither saved nor moved.
        self.weight = conv.weight.detach().to_mkldnn()
        self.packed: tuple[torch.Size, Tensor] | None = None

    def _packed_for(self, shape: torch.Size) -> Tensor:
        """Weights in the order that suits an input; other orders are correct, but far slower."""
        packed = self.packed  # one read: several threads may predict
        if packed is None or packed[0] != shape:
            packed = self.packed = (
                shape,
                torch._C._nn.mkldnn_reorder_conv2d_weight(self.weight, *self.geometry, list(shape)),
            )
        return packed[1]

    def forward(self, x: Tensor, residual: Tensor | None = None, overwrite: bool = False) -> Tensor:
        """``relu(conv(x) + residual)``, without what is not there; ``overwrite`` the residual."""
        weight = self._packed_for(x.shape)
        name = "relu" if self.relu else "none"
        run = torch.ops.mkldnn._convolution_pointwise
        if residual is None:
            return run(x, weight, self.bias, *self.geometry, name, [], "")
        unary = "relu" if self.relu else None
        return run.binary(x, residual, weight, self.bias, *self.geometry, "add", 1.0, unary, [], "")


class PackedBlock(nn.Module):
    """A residual block of timm: convolutions with ReLU, the last one with the sum before it."""

    def __init__(
        self, convs: Sequence[nn.Conv2d], downsample: nn.Module | None, owns_input: bool
    ) -> None:
        """Pack a block; ``owns_input``: nobody else reads its input, so the sum may go there."""
        super().__init__()
        self.overwrite = owns_input or downsample is not None
        self.convs = nn.ModuleList(PackedConv2d(conv, relu=True) for conv in convs)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h', w')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        for conv in self.convs[:-1]:
            x = conv(x)
        return self.convs[-1](x, shortcut, self.overwrite)


def _block_convs(block: nn.Module) -> list[nn.Conv2d] | None:
    """Convolutions of a residual block that does nothing but convolve, add and rectify."""
    names = {BasicBlock: ("1", "2"), Bottleneck: ("1", "2", "3")}.get(type(block), ())
    idle = [block.drop_block, block.aa, *(getattr(block, f"bn{i}") for i in names)] if names else []
    plain = (
        bool(names)
        and all(isinstance(module, nn.Identity) for module in idle)
        and all(type(getattr(block, f"act{i}")) is nn.ReLU for i in names)
        and block.se is None
        and block.drop_path is None
    )
    convs = [getattr(block, f"conv{i}") for i in names] if plain else []
    return convs if convs and all(map(_packable, convs)) else None


def _packable(conv: nn.Module) -> bool:
    return (
        type(conv) in (nn.Conv2d, PointwiseConv2d)  # other kinds may pad on their own
        and conv.padding_mode == "zeros"
        and isinstance(conv.padding, tuple)
        and conv.weight.dtype is torch.float32
        and conv.weight.device.type == "cpu"
    )


def _replace(module: nn.Module) -> int:
    count = 0
    for name, child in list(module.named_children()):
        convs = _block_convs(child)
        if convs is not None:
            downsample = child.downsample
            # Inside a sequence only the next module sees an output.
            inside = isinstance(module, nn.Sequential) and module[0] is not child
            block = PackedBlock(convs, downsample, owns_input=inside)
            setattr(module, name, block)
            count += len(convs) + (0 if downsample is None else _replace(downsample))
        elif _packable(child):
            setattr(module, name, PackedConv2d(child, relu=False))
            count += 1
        else:
            count += _replace(child)
    if isinstance(module, nn.Sequential):
        _join_activations(module)
    return count


def _join_activations(sequence: nn.Sequential) -> None:
    """Let packed convolutions do the ReLU that follows them."""
    conv = None
    for index, child in enumerate(sequence):
        if conv is not None and type(child) is nn.ReLU:
            conv.relu = True
            sequence[index] = nn.Identity().eval()
        if not isinstance(child, nn.Identity):  # one stands where a BatchNorm was
            conv = child if isinstance(child, PackedConv2d) else None


@torch.no_grad()
def pack_convolutions(module: nn.Module, example: Any) -> int:
    """Pack the convolutions below ``module``, in place; on a CPU with oneDNN.

    Args:
        module: a model in evaluation mode, its BatchNorms folded; it calls its convolutions and
            does not read their weights.
        example: an input of the model.

    Returns:
        Number of packed convolutions; 0 where PyTorch has no oneDNN.

    Raises:
        UniLabelError: the model is in training mode, or its outputs changed (the model is of no use
            then; build it again).
    """
    if any(child.training for child in module.modules()):
        raise UniLabelError("only a model in evaluation mode can be packed; call model.eval().")
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return 0
    expected = tree_leaves(module(example))
    count = _replace(module)
    for old, new in zip(expected, tree_leaves(module(example)), strict=True):
        if (old - new).abs().max() > 1e-3 * old.abs().max():
            raise UniLabelError(
                "packing its convolutions changed the outputs of this model. Build the model again "
                "and use it as it is."
            )
    logger.info("packed the weights of %d convolutions", count)
    return count


def prepare_for_prediction(module: nn.Module, example: Any) -> nn.Module:
    """Fold BatchNorms into convolutions and, on a CPU, pack these.

    The model can only predict afterwards: it has other keys and cannot be moved to another device.

    Args:
        module: a model in evaluation mode, changed in place.
        example: an input of the model on its device, random if need be.

    Returns:
        The module.
    """
    fold_batch_norms(module, example)
    if all(parameter.device.type == "cpu" for parameter in module.parameters()):
        pack_convolutions(module, example)
    return module


@torch.no_grad()
def prepare_network(backbone: nn.Module, pixel_decoder: nn.Module, example: Tensor) -> None:
    """Prepare both parts of a segmentation network for prediction, in place.

    Args:
        backbone: see :func:`prepare_for_prediction`.
        pixel_decoder: folded only, since it reads the weights of its convolutions.
        example: (B, 3, H, W) images on their device.
    """
    prepare_for_prediction(backbone, example)
    fold_batch_norms(pixel_decoder, list(backbone(example).values()))
