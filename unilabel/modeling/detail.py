"""Tokens of a plain transformer, and the first layers of a small network for what is fine.

A token covers 14 or 16 pixels; poles and signs are thinner. The detail branch gives maps of stride
4 or so, and the tokens are resampled to cells of a stride of it, each to where its centre lies, so
that the two may have strides that do not fit together (7 or 14 and 4).

Letters: B images, H x W image size, t stride of the resampled tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.reading import interpolated

__all__ = ["DetailedBackbone", "photo_tokens"]


class DetailedBackbone(Backbone):
    """Two backbones that see the same image.

    Attributes:
        main: gives tokens.
        detail: gives fine maps.
    """

    shift: Tensor
    gain: Tensor

    def __init__(
        self, main: Backbone, detail: Backbone, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """Join the two.

        Args:
            main: a plain transformer.
            detail: a pyramid.
            mean: of the normalisation of the images that they get, 0..255.
            std: see there.

        Raises:
            UniLabelError: ``main`` is no plain transformer, or ``detail`` is one.
        """
        super().__init__()
        if not main.tokens or detail.tokens:
            raise UniLabelError(
                "MODEL.TIMM.DETAIL is for plain transformers (ViT, DINOv2, EVA, ...), whose maps "
                "are coarse, and takes a small network with maps of stride 4: leave "
                "MODEL.TIMM.DETAIL.NAME empty, or name such networks."
            )
        self.main, self.detail = main, detail
        fine = [shape.stride for shape in detail.output_shape().values()]
        own = next(iter(main.output_shape().values())).stride
        self.token_stride = own
        # the nearest one: of stride 7 that is 8, not 4
        self.stride = min(fine, key=lambda stride: abs(math.log(stride / own)))
        # images come normalised for the tokens; the detail branch was trained with its own values
        for name, value in (
            ("gain", [s / (255 * d) for s, d in zip(std, detail.std, strict=True)]),
            (
                "shift",
                [
                    (m / 255 - own) / d
                    for m, own, d in zip(mean, detail.mean, detail.std, strict=True)
                ],
            ),
        ):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    @property
    def size_divisibility(self) -> int:
        """That of the detail branch; the tokens pad by themselves."""
        return self.detail.size_divisibility

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Maps of the detail branch, then the tokens ("t8", ...); the finest first."""
        tokens = {
            f"t{self.stride}{key[len(f'f{self.token_stride}') :]}": ShapeSpec(
                channels=shape.channels, stride=self.stride
            )
            for key, shape in self.main.output_shape().items()
        }
        return {**self.detail.output_shape(), **tokens}

    def parameter_depths(self) -> dict[str, int]:
        """Those of the transformer; the detail branch learns as the last layer does."""
        return {f"main.{name}": depth for name, depth in self.main.parameter_depths().items()}

    def forward(self, images: Tensor, tokens: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Compute the features of a batch.

        Args:
            images: (B, 3, H, W) normalised images; H and W multiples of the detail's strides.
            tokens: maps of the transformer (B, C, H / t, W / t), where they are known already.

        Returns:
            Feature name -> (B, C_s, H / s, W / s).
        """
        maps = list(self.detail(images * self.gain + self.shift).values())
        if tokens is None:
            size = (images.shape[2] // self.stride, images.shape[3] // self.stride)
            tokens = [self._resampled(x, size) for x in photo_tokens(self, images)]
        return dict(zip(self.output_shape(), [*maps, *tokens], strict=True))

    def _resampled(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        own, new = self.token_stride, self.stride
        if own == new:
            return tokens[..., : size[0], : size[1]]
        # the centre of cell k is pixel (k + 1/2) new - 1/2 and token (k + 1/2) new / own - 1/2
        axis = (2 * new, new - own, 2 * own)
        return interpolated(tokens.permute(0, 2, 3, 1), size, (axis, axis)).permute(0, 3, 1, 2)


def photo_tokens(backbone: DetailedBackbone, images: Tensor) -> list[Tensor]:
    """Maps of the transformer for images of any size: (B, C, ceil(H / s), ceil(W / s)) each."""
    below, right = (-side % backbone.token_stride for side in images.shape[2:])
    return list(backbone.main(F.pad(images, (0, right, 0, below))).values())
