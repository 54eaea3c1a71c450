"""HRNet's fusion of branches, exact at any image size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.models.hrnet import HighResolutionModule
from torch import Tensor, nn

__all__ = ["SizeExactFuse", "replace_fuse_modules"]


class SizeExactFuse(nn.Module):
    """HRNet fusion of parallel branches that resizes to the size of the target branch.

    Takes over the layers of a timm ``HighResolutionModule``, so the state-dict keys stay those of
    the official HRNet. The fixed-factor upsampling of timm fails when the input size is not
    divisible by 32; the target's own size always fits.
    """

    def __init__(self, source: HighResolutionModule, mode: str) -> None:
        super().__init__()
        self.branches = source.branches
        self.fuse_layers = source.fuse_layers
        self.fuse_act = nn.ReLU(inplace=True)
        self.mode = mode
        for row in self.fuse_layers:
            for layer in row:
                if isinstance(layer, nn.Sequential) and isinstance(layer[-1], nn.Upsample):
                    layer[-1] = nn.Identity()

    def extra_repr(self) -> str:
        """Options shown when the module is printed."""
        return f"mode={self.mode}"

    def _resize(self, x: Tensor, size: torch.Size) -> Tensor:
        if x.shape[-2:] == size:
            return x
        if self.mode == "nearest":
            return F.interpolate(x, size=size, mode="nearest")
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_s, h_s, w_s) maps, finest first -> maps of the same sizes."""
        xs = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        fused = []
        for x, row in zip(xs, self.fuse_layers, strict=False):
            terms = (self._resize(layer(y), x.shape[-2:]) for layer, y in zip(row, xs, strict=True))
            total = next(terms) + next(terms)  # a new tensor: the rest may be added in place
            for term in terms:
                total += term
            fused.append(self.fuse_act(total))
        return fused


def replace_fuse_modules(net: nn.Module, mode: str) -> None:
    """Put :class:`SizeExactFuse` in the place of timm's fusion, below ``net``."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, HighResolutionModule) and child.num_branches > 1:
                setattr(parent, name, SizeExactFuse(child, mode))
