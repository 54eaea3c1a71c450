"""Fold BatchNorm into convolutions, for prediction.

With stored statistics a BatchNorm after a convolution is a factor and an offset per channel, which
the convolution can apply itself: the same outputs up to rounding, without a pass over every feature
map. A folded model cannot be trained and its state dict has other keys: fold after loading.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._pytree import tree_leaves

from unilabel.core.errors import UniLabelError

__all__ = ["fold_batch_norms"]

logger = logging.getLogger(__name__)


def _conv_norm_pairs(
    module: nn.Module, example: Any
) -> tuple[list[tuple[nn.Conv2d, nn.BatchNorm2d]], Any]:
    """BatchNorms that directly follow a convolution, each used once; and the model's output."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensor is kept: its id stays its own
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    calls: dict[nn.Module, int] = {}

    def after_conv(conv: nn.Conv2d, _: tuple[Tensor], output: Tensor) -> None:
        outputs[id(output)] = (conv, output)
        calls[conv] = calls.get(conv, 0) + 1

    def before_norm(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        calls[norm] = calls.get(norm, 0) + 1
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], norm))

    handles = []
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            handles.append(child.register_forward_hook(after_conv))
        elif isinstance(child, nn.BatchNorm2d) and child.track_running_stats:
            handles.append(child.register_forward_pre_hook(before_norm))
    try:
        output = module(example)
    finally:
        for handle in handles:
            handle.remove()
    return [(conv, norm) for conv, norm in pairs if calls[conv] == calls[norm] == 1], output


def _without_norm(norm: nn.BatchNorm2d) -> nn.Module:
    """What remains of a BatchNorm: timm has a kind that also holds dropout and activation."""
    if hasattr(norm, "act"):
        return nn.Sequential(norm.drop, norm.act).eval()
    return nn.Identity().eval()


@contextmanager
def _full_precision() -> Iterator[None]:
    """Convolutions of a GPU in float32 proper: TF32 keeps 10 bits, too few to compare outputs."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@torch.no_grad()
@_full_precision()
def fold_batch_norms(module: nn.Module, example: Any) -> int:
    """Fold every BatchNorm that directly follows a convolution into it, in place.

    Args:
        module: a model in evaluation mode.
        example: an input of the model, random if need be.

    Returns:
        Number of folded BatchNorms.

    Raises:
        UniLabelError: the model is in training mode, or a convolution feeds other layers besides
            its BatchNorm (the model is of no use then; build it again).
    """
    if any(child.training for child in module.modules()):
        raise UniLabelError("only a model in evaluation mode can be folded; call model.eval().")
    pairs, expected = _conv_norm_pairs(module, example)
    if len({conv for conv, _ in pairs}) < len(pairs):
        raise UniLabelError(
            "a convolution of this model feeds two BatchNorms; it cannot be folded."
        )
    replacement = {}
    for conv, norm in pairs:
        layout = torch.channels_last if _is_channels_last(conv.weight) else torch.contiguous_format
        weight, bias = fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        conv.weight = nn.Parameter(weight.contiguous(memory_format=layout), requires_grad=False)
        conv.bias = nn.Parameter(bias.detach(), requires_grad=False)
        replacement[norm] = _without_norm(norm)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if child in replacement:
                setattr(parent, name, replacement[child])
    for old, new in zip(tree_leaves(expected), tree_leaves(module(example)), strict=True):
        if (old - new).abs().max() > 1e-3 * old.abs().max():
            raise UniLabelError(
                "a convolution of this model feeds other layers besides its BatchNorm; it cannot "
                "be folded. Build the model again and use it as it is."
            )
    logger.info("folded %d BatchNorm layers into their convolutions", len(pairs))
    return len(pairs)


def _is_channels_last(weight: Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
