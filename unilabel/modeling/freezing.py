"""Layers of a backbone from the first to the last: which are trained, and how fast.

Where nothing in front of a layer is trained, autograd records nothing: a frozen beginning costs a
forward pass and no memory, as under ``torch.no_grad``.
"""

from __future__ import annotations

from collections.abc import Mapping

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from unilabel.core.errors import UniLabelError
from unilabel.modeling.pretrained import plain_key

__all__ = ["freeze_first", "keep_frozen_still", "layer_depths"]


def layer_depths(net: nn.Module, full: nn.Module) -> dict[str, int]:
    """How many layers lie behind every parameter, 0 for the last.

    Layers are those of timm's learning rate decay: the stem, then every block.

    Args:
        net: feature extractor made by timm.
        full: the complete classification network, its weights are not used.

    Returns:
        name in ``net`` -> depth; empty where timm knows no layers of this network.
    """
    matcher = getattr(full, "group_matcher", None)
    if matcher is None:
        return {}
    groups = group_parameters(full, matcher(coarse=False), reverse=True)
    names = {name: groups.get(plain_key(name)) for name, _ in net.named_parameters()}
    if any(layer is None for layer in names.values()):
        return {}
    last = max(names.values(), default=0)
    return {name: last - layer for name, layer in names.items()}


def freeze_first(net: nn.Module, depths: Mapping[str, int], train_layers: int, name: str) -> None:
    """Freeze all parameters but those of the last ``train_layers`` layers (-1: none).

    Raises:
        UniLabelError: timm knows no layers of this network, or it has fewer.
    """
    if train_layers < 0:
        return
    if train_layers and not depths:
        raise UniLabelError(
            f"MODEL.TIMM.TRAIN_LAYERS is {train_layers}, but timm knows no order of the layers of "
            f"{name!r}; set it to 0 (all frozen) or -1 (all trained)."
        )
    count = 1 + max(depths.values(), default=0)
    if train_layers > count:
        raise UniLabelError(
            f"MODEL.TIMM.TRAIN_LAYERS is {train_layers}, but {name!r} has {count} layers; -1 "
            "trains all."
        )
    for key, parameter in net.named_parameters():
        if not train_layers or depths[key] >= train_layers:
            parameter.requires_grad_(False)


def keep_frozen_still(net: nn.Module) -> None:
    """Put frozen parts into evaluation mode: BatchNorm statistics, dropout and drop path."""
    if not net.training:
        return
    if not any(p.requires_grad for p in net.parameters()):
        net.eval()
        return
    for module in net.modules():
        own = list(module.parameters())
        if own and not any(p.requires_grad for p in own):
            module.eval()
        elif isinstance(module, _BatchNorm) and not own and module.track_running_stats:
            module.eval()
