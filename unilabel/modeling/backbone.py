"""Any timm model as a Detectron2 backbone.

``TimmBackbone`` wraps timm's feature extractors and names each feature map by its stride ("f4",
"f8", ...). Some networks need corrections, all made here: HRNet's features (see
:mod:`unilabel.modeling.hrnet`); plain transformers (ViT, DINOv2, DINOv3, EVA, SigLIP), whose blocks
give normalised maps without their class and register tokens, at any image size; and Swin, which
takes other sizes than that of its pretraining.

Shapes: B images, H x W image size, C_s channels at stride s.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from unilabel.core.errors import UniLabelError
from unilabel.modeling.detail import DetailedBackbone
from unilabel.modeling.freezing import freeze_first, keep_frozen_still, layer_depths
from unilabel.modeling.hrnet import SizeExactFuse, replace_fuse_modules
from unilabel.modeling.pointwise import use_pointwise_convs
from unilabel.modeling.pretrained import load_pretrained_file, weights_by_hand

__all__ = ["TimmBackbone", "build_timm_backbone"]

_RESERVED_ARGS = ("features_only", "out_indices", "pretrained", "in_chans")
# A configuration, which comes with every model file, must not name other files to be loaded.
_FILE_ARGS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
# Arguments of timm with which a network takes images of any size.
_ANY_SIZE = {"dynamic_img_size": True, "strict_img_size": False}
_PLAIN_ARG = "dynamic_img_size"  # which all plain transformers have


def _create(name: str, args: Mapping[str, Any], pretrained: bool = False) -> nn.Module:
    if ":" not in name and not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise UniLabelError(
            f"MODEL.TIMM.NAME: timm {timm.__version__} has no model {name!r}; nearest names: "
            f"{', '.join(near) or 'none'}. List all with timm.list_models()."
        )
    try:
        return timm.create_model(name, pretrained=pretrained, **args)
    except TypeError as error:
        raise UniLabelError(
            f"MODEL.TIMM.ARGS: timm model {name!r} rejects the arguments {dict(args)}: {error}"
        ) from error
    except (AssertionError, IndexError, KeyError, ValueError) as error:
        chosen = args.get("out_indices")
        raise UniLabelError(
            f"MODEL.TIMM.OUT_INDICES {list(chosen) if chosen else 'empty'} or MODEL.TIMM.ARGS do "
            f"not fit timm model {name!r}: {error or type(error).__name__}. Its feature maps are "
            "numbered from 0; empty OUT_INDICES take all."
        ) from error
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise UniLabelError(
            f"MODEL.TIMM.PRETRAINED: timm could not get its weights of {name!r} ({error}). Without "
            f"network access {weights_by_hand(name)}, or '' for random weights."
        ) from error


def _maps_of_blocks(
    name: str, args: Mapping[str, Any], out_indices: Sequence[int], pretrained: bool
) -> nn.Module:
    """A plain transformer that gives normalised maps of its blocks, by default of the last one."""
    model = _create(name, args, pretrained)
    try:
        return FeatureGetterNet(model, out_indices=list(out_indices) or 1, norm=True)
    except (AssertionError, IndexError, ValueError) as error:
        raise UniLabelError(
            f"MODEL.TIMM.OUT_INDICES {list(out_indices)} do not fit timm model {name!r}: "
            f"{error or type(error).__name__}. Its blocks are numbered from 0."
        ) from error


class TimmBackbone(Backbone):
    """Feature pyramid of a timm model, as a Detectron2 ``Backbone``.

    Attributes:
        tokens: whether this is a plain transformer, whose maps are made of tokens.
        patch: pixels of a token, as the network sees them; 0 for other networks.
        mean: of the normalisation in its pretraining, 0..1 (timm's word for it).
        std: see there.

    Example:
        >>> backbone = TimmBackbone("hrnet_w18_small")
        >>> {name: (s.channels, s.stride) for name, s in backbone.output_shape().items()}
        {'f4': (16, 4), 'f8': (32, 8), 'f16': (64, 16), 'f32': (128, 32)}
    """

    def __init__(
        self,
        name: str,
        *,
        out_indices: Sequence[int] | None = None,
        pretrained_file: str = "",
        timm_args: Mapping[str, Any] | None = None,
        fuse_upsampling: str = "bilinear",
        in_channels: int = 3,
        channels_last: bool = True,
        token_stride: int = 0,
        train_layers: int = -1,
        cut: bool = False,
    ) -> None:
        """Build the network.

        Args:
            name: timm model name.
            out_indices: timm feature indices; None or empty takes the four branches of an HRNet,
                the last block of a plain transformer, else the last feature of each stride >= 4.
            pretrained_file: "" (random), "timm" (timm downloads), "package:<name>", or a file path;
                see :func:`unilabel.modeling.pretrained.load_pretrained_file`.
            timm_args: further keyword arguments of ``timm.create_model``.
            fuse_upsampling: "bilinear" (aligned corners, as HRNet for segmentation) or "nearest"
                (as HRNet for classification); only HRNet has such layers.
            in_channels: channels of the input image.
            channels_last: run in the channels-last memory format (same values up to rounding).
            token_stride: pixels of the image in a token of a plain transformer, which then sees
                the image enlarged (a patch of 14 pixels and 7: twice); 0: its patch.
            train_layers: the last so many layers are trained, 0 none, -1 all; see
                :func:`unilabel.modeling.freezing.layer_depths`.
            cut: leave out what lies behind the last feature (an EfficientNet computes it in vain).

        Raises:
            UniLabelError: unknown model, argument, feature index or unfitting weights.
        """
        super().__init__()
        if fuse_upsampling not in ("bilinear", "nearest"):
            raise UniLabelError(f"fuse_upsampling is {fuse_upsampling!r}; use bilinear or nearest.")
        args = dict(timm_args or {})
        if reserved := [key for key in _RESERVED_ARGS + _FILE_ARGS if key in args]:
            raise UniLabelError(
                f"MODEL.TIMM.ARGS must not hold {reserved}: the backbone sets them."
            )
        with torch.device("meta"):
            plain_args = {k: v for k, v in args.items() if k != "feature_location"}
            full = _create(name, {**plain_args, "in_chans": in_channels})
        taken = {
            name
            for kind in type(full).__mro__
            for name in inspect.signature(kind.__init__).parameters  # type: ignore[misc]
        }
        if not any(key in args for key in _ANY_SIZE):
            args.update({k: v for k, v in _ANY_SIZE.items() if k in taken})
        strides = {info["reduction"] for info in full.feature_info}
        self.tokens = _PLAIN_ARG in taken and len(strides) == 1
        args["in_chans"] = in_channels
        timm_weights = pretrained_file == "timm"
        if self.tokens:
            self.net = _maps_of_blocks(name, args, out_indices or (), timm_weights)
        else:
            self.net = self._pyramid(name, args, out_indices, timm_weights)
        replace_fuse_modules(self.net, fuse_upsampling)
        if pretrained_file not in ("", "timm"):
            shapes = {k: v.shape for k, v in full.state_dict().items()}
            load_pretrained_file(self.net, pretrained_file, shapes)
        if cut:
            _cut_behind(self.net)
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net.to(memory_format=self._memory_format)
        if channels_last:
            use_pointwise_convs(self.net)
        self._depths = layer_depths(self.net, full)
        freeze_first(self.net, self._depths, train_layers, name)
        self.patch = self.net.feature_info.reduction()[0] if self.tokens else 0
        self._select_features(bool(out_indices), self._check_stride(name, token_stride))
        self.mean, self.std = (tuple(full.default_cfg[key]) for key in ("mean", "std"))

    def _pyramid(
        self, name: str, args: dict[str, Any], out_indices: Sequence[int] | None, pretrained: bool
    ) -> nn.Module:
        if name.startswith("hrnet"):
            args.setdefault("feature_location", "")
            out_indices = tuple(out_indices or (1, 2, 3, 4))
        args["features_only"] = True
        if out_indices:
            args["out_indices"] = tuple(out_indices)
        return _create(name, args, pretrained)

    def _check_stride(self, name: str, token_stride: int) -> int:
        if token_stride and not self.tokens:
            raise UniLabelError(
                f"MODEL.TIMM.TOKEN_STRIDE is {token_stride}, but {name!r} is no plain transformer "
                "(ViT, DINOv2, EVA, ...) and has no tokens; set it to 0."
            )
        if not 0 <= token_stride <= max(self.patch, 0):
            raise UniLabelError(
                f"MODEL.TIMM.TOKEN_STRIDE is {token_stride}, expected 0 to {self.patch}, the "
                f"pixels of a token of {name!r}."
            )
        return token_stride or self.patch

    def _select_features(self, keep_all: bool, token_stride: int) -> None:
        """Name the returned features; without ``keep_all`` the last of each stride >= 4."""
        info = self.net.feature_info
        self._positions: dict[str, int] = {}
        self._shapes: dict[str, ShapeSpec] = {}
        strides = info.reduction()
        if self.tokens:
            strides = [token_stride for _ in strides]
        keep_all = keep_all or self.tokens
        for i, (channels, stride) in enumerate(zip(info.channels(), strides, strict=True)):
            if not keep_all and (stride < 4 or stride in strides[i + 1 :]):
                continue
            name = f"f{stride}"
            if name in self._positions:
                name = f"f{stride}_{strides[:i].count(stride)}"
            self._positions[name] = i
            self._shapes[name] = ShapeSpec(channels=channels, stride=stride)
        self._channels_at_end = str(getattr(self.net, "output_fmt", "")).endswith("NHWC")

    @property
    def size_divisibility(self) -> int:
        """Divisor of the input size: 0 (any size) for HRNet, else the largest stride."""
        if any(isinstance(module, SizeExactFuse) for module in self.net.modules()):
            return 0
        return max(shape.stride for shape in self._shapes.values())

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature, finest first."""
        return dict(self._shapes)

    def parameter_depths(self) -> dict[str, int]:
        """Parameter -> how many layers lie behind it, 0 for the last; empty where timm is silent.

        Names are those of this module.
        """
        return {f"net.{name}": depth for name, depth in self._depths.items()}

    def train(self, mode: bool = True) -> TimmBackbone:
        """As for every module, but frozen layers stay as in prediction."""
        super().train(mode)
        keep_frozen_still(self.net)
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the features of a batch.

        Args:
            images: (B, in_channels, H, W) normalised images.

        Returns:
            Feature name -> (B, C_s, ceil(H / s), ceil(W / s)).
        """
        if self.tokens:
            images = self._enlarged(images)
        features = self.net(images.contiguous(memory_format=self._memory_format))
        if self._channels_at_end:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return {name: features[i] for name, i in self._positions.items()}

    def _enlarged(self, images: Tensor) -> Tensor:
        """So that a token covers as many pixels of the image as was asked for."""
        stride = next(iter(self._shapes.values())).stride
        if stride == self.patch:
            return images
        size = [side // stride * self.patch for side in images.shape[2:]]
        return F.interpolate(images, size, mode="bilinear", align_corners=False)


def _cut_behind(net: nn.Module) -> None:
    last = max(getattr(net, "_stage_out_idx", {}), default=None)
    if last is not None and isinstance(getattr(net, "blocks", None), nn.Sequential):
        net.blocks = net.blocks[:last]


def _parse_args(text: str) -> dict[str, Any]:
    try:
        args = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UniLabelError(f"MODEL.TIMM.ARGS is {text!r}, not valid JSON: {error}") from error
    if not isinstance(args, dict):
        raise UniLabelError(f"MODEL.TIMM.ARGS is {text!r}; expected a JSON object of arguments.")
    return args


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """Build the backbone that ``MODEL.TIMM`` describes; called by Detectron2."""
    options = cfg.MODEL.TIMM
    shared = {"in_channels": input_shape.channels, "channels_last": cfg.MODEL.CHANNELS_LAST}
    backbone = TimmBackbone(
        options.NAME,
        out_indices=tuple(options.OUT_INDICES),
        pretrained_file=options.PRETRAINED,
        timm_args=_parse_args(options.ARGS),
        token_stride=options.TOKEN_STRIDE,
        train_layers=options.TRAIN_LAYERS,
        **shared,
    )
    fine = cfg.MODEL.TIMM.DETAIL
    if not fine.NAME:
        return backbone
    detail = TimmBackbone(
        fine.NAME,
        out_indices=tuple(fine.OUT_INDICES),
        pretrained_file=fine.PRETRAINED,
        cut=True,
        **shared,
    )
    return DetailedBackbone(backbone, detail, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
