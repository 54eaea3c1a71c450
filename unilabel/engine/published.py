"""Published weights: the release of the paper's authors, and HRNet weights of ImageNet.

Letters: C_i classes of dataset i, N unified labels, D embedding dim.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from torch import Tensor

from unilabel.config import add_unilabel_config
from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import UNIFIED, LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.segmentor import build_segmentor
from unilabel.modeling.backbone import TimmBackbone
from unilabel.modeling.meta_arch import UniLabelSegmentor
from unilabel.modeling.published_forward import hrnet_features, published_logits
from unilabel.text.label_tables import VARIANT_MARK, load_label_spaces

# Datasets whose last class is class 0 in the release; raw id r of the others is class r there and
# r - 1 here (SUN RGB-D: bag, ADE20K: flag).
LAST_CLASS_FIRST = ("sunrgbd37", "ade20k150")
_DECODER = {"proj.0": "reduce", "proj.1.0": "norm", "proj.2": "project"}


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Named tensors of a foreign checkpoint, without the prefix of data-parallel training.

    Raises:
        UniLabelError: the file is missing or damaged, or holds objects other than tensors and plain
            values (such a file can run code, so it is not opened).
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UniLabelError(f"no such file: {path}.") from None
    except pickle.UnpicklingError as error:
        raise UniLabelError(
            f"{path} holds objects other than tensors and plain values; opening it could run code, "
            "so it is refused. Where you trust its origin, load it with its own program and save "
            f"the tensors alone: torch.save({{'model': state_dict}}, ...). ({error})"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UniLabelError(f"{path} cannot be read ({error}); it is damaged.") from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    state = {
        str(key).removeprefix("module."): value
        for key, value in (content.items() if isinstance(content, Mapping) else ())
        if isinstance(value, Tensor)
    }
    if not state:
        raise UniLabelError(f"{path} holds no named tensors; expected a state dict.")
    return state


@dataclass(frozen=True)
class Release:
    """The parts of a published checkpoint that answers need.

    Attributes:
        state: "backbone.*", "proj.*", "unify_prototype" (N, D) with "bipartite_graphs.{i}" (C_i,
            N), or "unify_prototype.{i}" (C_i, D); float32.
        left_out: beginning of a name -> number of tensors that are not needed.
    """

    state: dict[str, Tensor]
    left_out: dict[str, int]

    @property
    def num_unified(self) -> int | None:
        """N, or None for a model with one head per dataset."""
        prototype = self.state.get("unify_prototype")
        return None if prototype is None else len(prototype)

    @property
    def num_classes(self) -> list[int]:
        """C_i of every dataset, in the order of the file."""
        kind = "unify_prototype" if self.num_unified is None else "bipartite_graphs"
        sizes: list[int] = []
        while (part := self.state.get(f"{kind}.{len(sizes)}")) is not None:
            sizes.append(len(part))
        return sizes


def split_release(state: Mapping[str, Tensor]) -> Release:
    """Pick the parts of a release out of a state dict.

    Raises:
        UniLabelError: a part is missing.
    """
    kept: dict[str, Tensor] = {}
    left_out: Counter[str] = Counter()
    has_unified = "proj_head.unify_prototype" in state
    for key, value in state.items():
        name = re.sub(r"^proj_head\.(proj_head\.)?", "", key)
        wanted = name.startswith("backbone.") and key == name
        if key != name:
            graph = name.startswith("bipartite_graphs.")
            wanted = name.startswith(("proj.", "unify_prototype")) or (graph and has_unified)
        if wanted:
            kept[name] = value.float() if value.is_floating_point() else value
        else:
            left_out[key.split(".")[0]] += 1
    release = Release(kept, dict(left_out))
    expected = [f"{old}.weight" for old in _DECODER] + ["backbone.conv1.weight"]
    missing = [key for key in expected if key not in kept]
    if missing or not release.num_classes:
        what = missing or ["proj_head.unify_prototype with proj_head.bipartite_graphs.0, 1, ..."]
        raise UniLabelError(
            f"this is no model of the authors' release: it lacks {', '.join(what)}; it has "
            f"{len(state)} tensors, the first: {', '.join(list(state)[:3])}. For weights of a "
            "backbone alone use --kind backbone."
        )
    return release


def class_order(dataset: str, classes: int) -> Tensor:
    """(C_i,) position in the release of each of our classes."""
    order = torch.arange(classes)
    return torch.roll(order, -1) if dataset in LAST_CLASS_FIRST else order


def convert_release(
    release: Release, datasets: Sequence[str], backbone: str, source: str
) -> tuple[UniLabelSegmentor, dict[str, Any]]:
    """A model of ours with the weights of a release.

    Args:
        release: parts of the file.
        datasets: names of our label spaces in the order of the file, ``name@variant``.
        backbone: timm name of its HRNet.
        source: the file, for messages and notes.

    Returns:
        the model in eval mode, and the content of the file to save.

    Raises:
        UniLabelError: datasets or backbone are not those of the file, or its links break a rule.
    """
    spaces = load_label_spaces(datasets)
    if spaces.num_classes != release.num_classes:
        raise UniLabelError(
            f"{source} has datasets of {release.num_classes} classes, --datasets names "
            f"{', '.join(spaces.names)} with {spaces.num_classes}."
        )
    cfg = _config(release, datasets, backbone)
    model = build_segmentor(cfg, spaces, release.num_unified)
    state, space = _our_state(release, spaces, source)
    _load(model, state, source)
    model.eval().requires_grad_(False)
    content = {
        "model": model.state_dict(),
        "num_unified": release.num_unified,
        "label_spaces": spaces.to_list(),
        "label_space": None if space is None else space.to_dict(),
        "config": cfg.dump(),
    }
    return model, content


def _config(release: Release, datasets: Sequence[str], backbone: str) -> CfgNode:
    cfg = get_cfg()
    add_unilabel_config(cfg)
    pairs = [d.split(VARIANT_MARK) for d in datasets]
    cfg.DATASETS.NAMES = [p[0] for p in pairs]
    cfg.DATASETS.VARIANTS = [p for p in pairs if len(p) > 1]
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.TIMM.NAME = backbone
    cfg.MODEL.PIXEL_DECODER.HIDDEN_DIM = len(release.state["proj.0.weight"])
    cfg.MODEL.EMBED_DIM = len(release.state["proj.2.weight"])
    cfg.MODEL.NORMALIZE_EMBEDDING = True
    cfg.MODEL.MAPPING_MODE = "logit_sum"
    cfg.MODEL.DATASET_BIAS = False
    cfg.MODEL.ALIGN_CORNERS = True
    cfg.TEST.BATCH_SIZE = 1  # images of any size
    return cfg


def _our_state(
    release: Release, spaces: LabelSpaceSet, source: str
) -> tuple[dict[str, Tensor], UnifiedLabelSpace | None]:
    """Parameters under our names, and the label space."""
    state: dict[str, Tensor] = {}
    for key, value in release.state.items():
        if key.startswith("backbone."):
            state[f"backbone.net.{key.removeprefix('backbone.')}"] = value
        for old, new in _DECODER.items():
            if key.startswith(f"{old}."):
                state[f"pixel_decoder.{new}{key.removeprefix(old)}"] = value
    orders = [class_order(s.name, s.num_classes) for s in spaces]
    if release.num_unified is None:
        for i, order in enumerate(orders):
            state[f"multi_head.weights.{i}"] = release.state[f"unify_prototype.{i}"][order]
        return state, None
    matrices = {}
    for i, (space, order) in enumerate(zip(spaces, orders, strict=True)):
        graph = release.state[f"bipartite_graphs.{i}"][order]
        if not bool(((graph == 0) | (graph == 1)).all()):
            raise UniLabelError(
                f"{source}: bipartite_graphs.{i} ({space.name}) is not 0 or 1 everywhere; the "
                "mapping was not solved yet when this file was written."
            )
        matrices[space.name] = graph.T.bool()
    try:
        mapping = LabelMapping(spaces, matrices)
    except UniLabelError as error:
        raise UniLabelError(f"{source}: {error}") from None
    state["uni_head.label_embedding"] = release.state["unify_prototype"]
    state["uni_head.dataset_bias"] = torch.zeros(len(spaces), mapping.num_unified)
    state["uni_head.mapping"] = mapping.stacked()
    notes = {"converted_from": os.path.basename(source)}
    return state, UnifiedLabelSpace.from_mapping(mapping, provenance=notes)


def _load(model: UniLabelSegmentor, state: dict[str, Tensor], source: str) -> None:
    own = model.state_dict()
    state = {"class_weight": own["class_weight"], **state}
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unknown = [k for k in state if k not in own]
    wrong = [
        f"{k} {tuple(v.shape)} instead of {tuple(own[k].shape)}"
        for k, v in state.items()
        if k in own and v.shape != own[k].shape
    ]
    if missing or unknown or wrong:
        parts = [
            f"{len(keys)} {what} (first: {', '.join(keys[:3])})"
            for keys, what in ((missing, "missing"), (unknown, "unknown"), (wrong, "of wrong size"))
            if keys
        ]
        raise UniLabelError(
            f"{source} does not fit: {'; '.join(parts)}. Is --backbone the one of the file?"
        )
    model.load_state_dict(state, strict=False)


@torch.no_grad()
def verify_release(model: UniLabelSegmentor, release: Release) -> dict[str, float]:
    """Largest |difference| of our scores to the published network, float32 and float64.

    Both get the same random image; scores are compared in every label space, in our class order.

    Returns:
        ``float32``, ``float64`` and ``scale`` (largest |score|).
    """
    image = torch.randint(0, 256, (1, 3, 72, 104), generator=torch.Generator().manual_seed(0))
    found = {"scale": 0.0}
    for dtype in (torch.float32, torch.float64):
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in release.state.items()}
        expected = published_logits(state, image.to(dtype))
        model.to(dtype)
        embedding = model.embed(image.to(dtype))
        worst = 0.0
        for i, space in enumerate(model.label_spaces):
            order = class_order(space.name, space.num_classes)
            difference = model.scores(embedding, space.name)[0] - expected[str(i)][:, order]
            worst = max(worst, float(difference.abs().max()))
            found["scale"] = max(found["scale"], float(expected[str(i)].abs().max()))
        if UNIFIED in expected:
            difference = model.scores(embedding, UNIFIED)[0] - expected[UNIFIED]
            worst = max(worst, float(difference.abs().max()))
        found[str(dtype).removeprefix("torch.")] = worst
    model.float()
    return found


def convert_backbone(
    state: Mapping[str, Tensor], backbone: str, source: str
) -> tuple[dict[str, Tensor], dict[str, int], dict[str, float]]:
    """HRNet weights of an ImageNet classifier as a backbone file.

    Args:
        state: named tensors of the file.
        backbone: timm name.
        source: the file, for messages.

    Returns:
        tensors for a .safetensors file that MODEL.TIMM.PRETRAINED reads; beginning of a name ->
        number of tensors left out; differences as :func:`verify_release` gives them.

    Raises:
        UniLabelError: the tensors are not those of this HRNet.
    """
    network = TimmBackbone(backbone, channels_last=False).eval()
    own = network.net.state_dict()
    state = {k.removeprefix("backbone."): v for k, v in state.items()}
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    wrong = [k for k in own if k in state and state[k].shape != own[k].shape]
    if missing or wrong:
        raise UniLabelError(
            f"{source} does not hold the weights of {backbone}: {len(missing)} tensors are missing "
            f"and {len(wrong)} of another size (first: {', '.join((missing + wrong)[:3])})."
        )
    kept = {k: state.get(k, own[k]).to(own[k].dtype).contiguous() for k in own}
    left_out = Counter(k.split(".")[0] for k in state if k not in own)
    network.net.load_state_dict(kept)
    return kept, dict(left_out), _verify_backbone(network, kept)


@torch.no_grad()
def _verify_backbone(network: TimmBackbone, kept: dict[str, Tensor]) -> dict[str, float]:
    image = torch.randn(1, 3, 72, 104, generator=torch.Generator().manual_seed(0))
    found = {"scale": 0.0}
    for dtype in (torch.float32, torch.float64):
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in kept.items()}
        expected = hrnet_features(state, image.to(dtype))
        actual = network.to(dtype)(image.to(dtype)).values()
        pairs = list(zip(actual, expected, strict=True))
        found["scale"] = max(float(e.abs().max()) for _, e in pairs)
        found[str(dtype).removeprefix("torch.")] = max(float((a - e).abs().max()) for a, e in pairs)
    return found
