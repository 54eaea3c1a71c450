"""The published network of the paper's authors, written out from its parameter names alone.

Nothing of :mod:`unilabel.modeling` is used: this is what converted weights are checked against.
Number of blocks, modules and channels are read from the names, so smaller HRNets work as well.

Shapes: B images, D embedding dim, N unified labels, C_i classes of dataset i, h x w feature size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]
PIXEL_MEAN = (123.675, 116.28, 103.53)  # RGB
PIXEL_STD = (58.395, 57.12, 57.375)


def published_logits(state: State, images: Tensor) -> dict[str, Tensor]:
    """Scores at the resolution of the embedding, in the class order of the file.

    Args:
        state: "backbone.*", "proj.*" and "unify_prototype" with "bipartite_graphs.{i}", or
            "unify_prototype.{i}"; floating point numbers of one type.
        images: (B, 3, H, W) RGB 0..255 of that type.

    Returns:
        dataset position ("0", "1", ...) -> (B, C_i, h, w), and "unified" -> (B, N, h, w) where the
        file has a unified head.
    """
    mean, std = (images.new_tensor(v).view(3, 1, 1) for v in (PIXEL_MEAN, PIXEL_STD))
    features = hrnet_features(_below(state, "backbone."), (images - mean) / std)
    size = features[0].shape[-2:]
    stacked = torch.cat([_resize(x, size) for x in features], dim=1)
    x = F.conv2d(stacked, state["proj.0.weight"], state["proj.0.bias"])
    x = F.relu(_norm(state, "proj.1.0", x))
    x = F.conv2d(x, state["proj.2.weight"], state["proj.2.bias"])
    pixels = F.normalize(x, dim=1)
    if "unify_prototype" not in state:
        heads = _below(state, "unify_prototype.")
        return {i: torch.einsum("bdhw,cd->bchw", pixels, w) for i, w in heads.items()}
    unified = torch.einsum("bdhw,nd->bnhw", pixels, state["unify_prototype"])
    graphs = _below(state, "bipartite_graphs.")
    answers = {i: torch.einsum("bnhw,cn->bchw", unified, graph) for i, graph in graphs.items()}
    return {**answers, "unified": unified}


def hrnet_features(state: State, x: Tensor) -> list[Tensor]:
    """The four branches of an HRNet, finest first.

    Args:
        state: parameters under the names of the official HRNet.
        x: (B, 3, H, W) normalised images.
    """
    x = F.relu(_norm(state, "bn1", F.conv2d(x, state["conv1.weight"], stride=2, padding=1)))
    x = F.relu(_norm(state, "bn2", F.conv2d(x, state["conv2.weight"], stride=2, padding=1)))
    for block in range(_count(state, "layer1.{}.conv1.weight")):
        x = _bottleneck(state, f"layer1.{block}", x)
    fine = F.relu(_conv_norm(state, "transition1.0", x, 1))
    branches = [fine, _transition(state, "transition1.1", x)]
    for stage in (2, 3, 4):
        if stage > 2:
            name = f"transition{stage - 1}.{stage - 1}"
            branches.append(_transition(state, name, branches[-1]))
        for module in range(_count(state, f"stage{stage}.{{}}.branches.0.0.conv1.weight")):
            branches = _exchange(state, f"stage{stage}.{module}", branches)
    return branches


def _exchange(state: State, name: str, branches: list[Tensor]) -> list[Tensor]:
    """One HRNet module: residual blocks in every branch, then every branch into every other."""
    outputs = []
    for i, x in enumerate(branches):
        for block in range(_count(state, f"{name}.branches.{i}.{{}}.conv1.weight")):
            x = _basic_block(state, f"{name}.branches.{i}.{block}", x)
        outputs.append(x)
    fused = []
    for i, target in enumerate(outputs):
        total = target
        for j, source in enumerate(outputs):
            layer = f"{name}.fuse_layers.{i}.{j}"
            if j > i:
                up = _conv_norm(state, layer, source, 1)
                total = total + _resize(up, target.shape[-2:])
            elif j < i:
                down = source
                for k in range(i - j):
                    down = _conv_norm(state, f"{layer}.{k}", down, 2)
                    down = F.relu(down) if k < i - j - 1 else down
                total = total + down
        fused.append(F.relu(total))
    return fused


def _basic_block(state: State, name: str, x: Tensor) -> Tensor:
    y = F.conv2d(x, state[f"{name}.conv1.weight"], padding=1)
    y = F.relu(_norm(state, f"{name}.bn1", y))
    y = _norm(state, f"{name}.bn2", F.conv2d(y, state[f"{name}.conv2.weight"], padding=1))
    return F.relu(y + x)


def _bottleneck(state: State, name: str, x: Tensor) -> Tensor:
    y = F.relu(_norm(state, f"{name}.bn1", F.conv2d(x, state[f"{name}.conv1.weight"])))
    y = F.conv2d(y, state[f"{name}.conv2.weight"], padding=1)
    y = F.relu(_norm(state, f"{name}.bn2", y))
    y = _norm(state, f"{name}.bn3", F.conv2d(y, state[f"{name}.conv3.weight"]))
    if f"{name}.downsample.0.weight" in state:
        x = _conv_norm(state, f"{name}.downsample", x, 1)
    return F.relu(y + x)


def _transition(state: State, name: str, x: Tensor) -> Tensor:
    """A new branch at half the resolution."""
    return F.relu(_conv_norm(state, f"{name}.0", x, 2))


def _conv_norm(state: State, name: str, x: Tensor, stride: int) -> Tensor:
    weight = state[f"{name}.0.weight"]
    y = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
    return _norm(state, f"{name}.1", y)


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _count(state: State, pattern: str) -> int:
    """How many of pattern(0), pattern(1), ... there are."""
    count = 0
    while pattern.format(count) in state:
        count += 1
    return count


def _below(state: State, prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
