"""Backbone features to pixel embeddings (the projection head of Section 3.3).

Shapes: B images, C_s channels of branch s, h x w size of the finest branch, D embedding dim.

Published checkpoints of the paper's authors hold the same layers under other names:

=====================  ==================
their key              key here
=====================  ==================
``proj.0.*``           ``reduce.*``
``proj.1.0.*``         ``norm.*``
``proj.2.*``           ``project.*``
=====================  ==================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from detectron2.layers import get_norm
from torch import Tensor, nn

from unilabel.core.errors import UniLabelError
from unilabel.modeling.pointwise import PointwiseConv2d, pointwise_conv

__all__ = ["PixelDecoder"]

_NORMS = ("BN", "SyncBN", "FrozenBN")

# To upsample one channel costs as much as this many multiply-adds of the convolution, per pixel.
# Between a CPU core (about 200) and a GPU (about 400); near the limit the choice hardly matters.
_UPSAMPLING_COST = 250


def _conv_block(channels: int, norm: str) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, get_norm(norm, channels), nn.ReLU(inplace=True))


class PixelDecoder(nn.Module):
    """Upsample all branches to the finest one, concatenate, and project to embeddings.

    conv1x1 - norm - ReLU - [3x3 blocks] - conv1x1 - [L2 normalisation].

    The first convolution is linear and the bilinear weights of a pixel sum to 1, so
    ``conv(cat(x_1, up(x_2), ...)) = conv_1(x_1) + up(conv_2(x_2)) + ...`` exactly. A branch that is
    wide enough is therefore convolved before it is upsampled: the convolution runs at the coarse
    size, and its upsampled input is never stored.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        hidden_dim: int,
        embed_dim: int,
        normalize: bool,
        norm: str = "BN",
        context: int = 0,
        align_corners: bool = False,
    ) -> None:
        """Build the layers.

        Args:
            in_channels: channels of the branches, finest branch first.
            hidden_dim: width between the two 1x1 convolutions; 0 takes the sum of ``in_channels``.
            embed_dim: D.
            normalize: whether embeddings get unit length.
            norm: "BN", "SyncBN" or "FrozenBN".
            context: number of 3x3 convolution blocks at the finest stride before the projection.
            align_corners: how branches are upsampled, see :mod:`unilabel.core.grid`.

        Raises:
            UniLabelError: an argument is out of range.
        """
        super().__init__()
        if not in_channels or min(in_channels) < 1:
            raise UniLabelError(
                f"in_channels is {list(in_channels)}; expected a positive channel count per branch."
            )
        if hidden_dim < 0 or embed_dim < 1 or context < 0:
            raise UniLabelError(
                f"hidden_dim {hidden_dim}, embed_dim {embed_dim}, context {context}: expected "
                ">= 0, >= 1 and >= 0."
            )
        if norm not in _NORMS:
            raise UniLabelError(f"norm is {norm!r}; use one of {', '.join(_NORMS)}.")
        self.in_channels = tuple(in_channels)
        self.embed_dim = embed_dim
        self.normalize = normalize
        self.align_corners = align_corners
        hidden_dim = hidden_dim or sum(self.in_channels)
        self.fold_branches = tuple(
            i > 0 and (hidden_dim - channels) * _UPSAMPLING_COST < channels * hidden_dim
            for i, channels in enumerate(self.in_channels)
        )
        self.reduce = PointwiseConv2d(sum(self.in_channels), hidden_dim, kernel_size=1)
        self.norm = get_norm(norm, hidden_dim)
        self.context = nn.Sequential(*(_conv_block(hidden_dim, norm) for _ in range(context)))
        self.project = PointwiseConv2d(hidden_dim, embed_dim, kernel_size=1)
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.reduce.bias)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def extra_repr(self) -> str:
        """Options shown when the module is printed."""
        return f"in_channels={self.in_channels}, normalize={self.normalize}"

    def _upsample(self, x: Tensor, size: torch.Size) -> Tensor:
        if x.shape[-2:] == size:
            return x
        return F.interpolate(x, size=size, mode="bilinear", align_corners=self.align_corners)

    def _reduce(self, features: Sequence[Tensor]) -> Tensor:
        """First convolution on the upsampled concatenation, (B, hidden_dim, h, w)."""
        size = features[0].shape[-2:]
        weights = self.reduce.weight.split(self.in_channels, dim=1)
        fine, fine_weights, coarse = [], [], []
        for x, weight, fold in zip(features, weights, self.fold_branches, strict=True):
            if fold:
                coarse.append(self._upsample(pointwise_conv(x, weight), size))
            else:
                fine.append(self._upsample(x, size))
                fine_weights.append(weight)
        if not coarse:
            return self.reduce(torch.cat(fine, dim=1))
        weight = torch.cat(fine_weights, dim=1)
        out = pointwise_conv(torch.cat(fine, dim=1), weight, self.reduce.bias)
        for term in coarse:
            out = out + term
        return out

    def forward(self, features: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Compute pixel embeddings.

        Args:
            features: one (B, C_s, h_s, w_s) map per branch, finest first; a mapping in that order
                (the output of a backbone) is fine.

        Returns:
            (B, D, h, w) pixel embeddings at the size of the finest branch.

        Raises:
            UniLabelError: number or channels of the branches are not those of ``in_channels``.
        """
        maps = list(features.values()) if isinstance(features, Mapping) else list(features)
        if (channels := tuple(x.shape[1] for x in maps)) != self.in_channels:
            raise UniLabelError(
                f"pixel decoder got branches of {channels} channels, expected {self.in_channels}, "
                "finest branch first."
            )
        x = F.relu(self.norm(self._reduce(maps)), inplace=True)
        x = self.project(self.context(x))
        return F.normalize(x, dim=1) if self.normalize else x
