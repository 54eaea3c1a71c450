"""Pretrained weights of a backbone: files, and packages that carry them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unilabel.core.errors import UniLabelError
from unilabel.modeling.weight_packages import read_package

__all__ = ["load_pretrained_file", "plain_key", "weights_by_hand"]


def weights_by_hand(name: str) -> str:
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


def plain_key(key: str) -> str:
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
        tensors = read_package(source.removeprefix("package:"), full_keys)
    else:
        tensors = _read_tensors(Path(source))
    state = {}
    missing, wrong = [], []
    for key, old in net.state_dict().items():
        name = key if key in tensors else plain_key(key)
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
