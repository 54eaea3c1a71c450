"""Convolutions replaced by ones that compute the same in another way, parameters kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["replace_convs"]


def replace_convs(module: nn.Module, twin_of: Callable[[nn.Module], nn.Conv2d | None]) -> int:
    """Replace convolutions below ``module``, in place.

    Args:
        module: a network.
        twin_of: what takes a layer's place, built without memory; None: the layer stays. It gets
            the layer's own parameters, so optimizers and state dicts go on as before.

    Returns:
        Number of replaced convolutions.
    """
    count = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            with torch.device("meta"):
                twin = twin_of(child)
            if twin is not None:
                twin.weight, twin.bias = child.weight, child.bias
                setattr(parent, name, twin.train(child.training))
                count += 1
    return count
