"""A multi-head network with its labelled pixels: what benchmarks/graph_stage.py learns on.

Letters: K datasets, C classes of all datasets, N unified labels, D embedding dim, P pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from kept_pixels import cached, kept, plain, weights_of
from torch import Tensor

import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.core.io import file_digest
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.metrics import iou_from_confusion, update_confusion
from unilabel.core.projection import dataset_logits
from unilabel.core.stages import Segment, Stage, StageSchedule
from unilabel.data.build import build_sources
from unilabel.data.sources import DatasetSource, Sample
from unilabel.engine.checkpoint import load_file
from unilabel.engine.evaluate import relations_file
from unilabel.engine.loading import config_of, load_model
from unilabel.engine.pixel_cache import PixelCache, collect_pixels
from unilabel.modeling.meta_arch import UniLabelSegmentor
from unilabel.text.cache import load_or_encode

ALL = 10**9  # images or pixels: every one
SCORED = 4  # one in so many validation pixels is scored


@dataclass(frozen=True)
class FrozenNetwork:
    """A multi-head network that learns no more, and its pixels.

    Attributes:
        name: of the configuration, ``configs/NAME.yaml``.
        seed: of the network's training, and of what is learned on it.
        cfg: that configuration.
        segment: its first GNN stage.
        sources: the datasets.
        spaces: their K label spaces.
        model: with one head for each dataset.
        text: (C, T) features of the label texts.
        train: those pixels of training images that the stage would see.
        val: labelled cells of all validation images, one in SCORED.
    """

    name: str
    seed: int
    cfg: CfgNode
    segment: Segment
    sources: list[DatasetSource]
    spaces: LabelSpaceSet
    model: UniLabelSegmentor
    text: Tensor
    train: PixelCache
    val: PixelCache


def read_network(name: str, folder: Path, below: Path) -> FrozenNetwork:
    """Load a network of benchmarks/compare.py (``stem_SEED``) and embed its pixels once.

    Args:
        name: of the configuration.
        folder: with a finished model, or ``last_checkpoint.json`` and the checkpoint that it names.
        below: folder of the embedded pixels.

    Raises:
        UniLabelError: no multi-head network, of other datasets than the configuration's, or one
            without true relations or a GNN stage.
    """
    weights = weights_of(folder)
    seed = config_of(load_file(weights)["config"], str(weights)).SEED
    cfg = load_config(f"configs/{name}.yaml", ["SEED", str(seed), "DATALOADER.NUM_WORKERS", "0"])
    stages = [s for s in StageSchedule(cfg.SCHEDULE).segments if s.stage is Stage.GNN]
    model, _ = load_model(weights, cfg.MODEL.DEVICE)
    sources = build_sources(cfg)
    spaces = LabelSpaceSet(s.label_space for s in sources)
    if model.multi_head is None or not stages or not relations_file(cfg):
        raise UniLabelError(
            f"{folder}: expected a multi-head network (stem_SEED of benchmarks/compare.py), and a "
            f"GNN stage and DATASETS.RELATIONS in configs/{name}.yaml."
        )
    if model.label_spaces.label_names() != spaces.label_names():
        raise UniLabelError(
            f"{folder} was trained on {model.label_spaces.names}, configs/{name}.yaml has "
            f"{spaces.names} or other classes; give it as NAME=DIR with the NAME of its own."
        )
    text = load_or_encode(None, spaces, cfg.TEXT.ENCODER, mode=cfg.TEXT.MODE)
    file = below / f"{name}_{seed}_{file_digest(weights)[:12]}.pt"
    train, val = _pixels(file, model, cfg, sources, stages[0].index)
    val = thinned(val, SCORED, seed)
    return FrozenNetwork(name, seed, cfg, stages[0], sources, spaces, model, text, train, val)


def _pixels(
    file: Path, model: UniLabelSegmentor, cfg: CfgNode, sources: list[DatasetSource], salt: int
) -> tuple[PixelCache, PixelCache]:
    """Training and validation pixels, out of a file that an earlier run may have written."""

    def make() -> dict[str, Any]:
        every = cfg.clone()
        every.UNIFY.CACHE_IMAGES = every.UNIFY.CACHE_PIXELS = ALL
        validation = [replace(s, list_samples=partial(_validation, s)) for s in sources]
        return {
            "train": plain(collect_pixels(model, cfg, sources, salt)),
            "val": plain(collect_pixels(model, every, validation, salt)),
        }

    content = kept(file, make)
    return cached(content["train"]), cached(content["val"])


def _validation(source: DatasetSource, split: str) -> list[Sample]:
    """Validation images in place of those of any split."""
    return source.list_samples("val")


def thinned(cache: PixelCache, keep_one_in: int, seed: int) -> PixelCache:
    """A random part of the pixels of every dataset."""
    generator = torch.Generator().manual_seed(seed)
    kept = [
        torch.randperm(len(labels), generator=generator)[: -(-len(labels) // keep_one_in)]
        for labels in cache.labels
    ]
    return parts_of(cache, kept)


def without_classes(cache: PixelCache, spaces: LabelSpaceSet, hidden: Tensor) -> PixelCache:
    """The pixels of classes that are not (C,) hidden."""
    blocks = zip(cache.labels, spaces.split(hidden, dim=0), strict=True)
    return parts_of(cache, [torch.nonzero(~block[labels]).flatten() for labels, block in blocks])


def parts_of(cache: PixelCache, kept: Sequence[Tensor]) -> PixelCache:
    """The pixels with the places in ``kept``, a tensor for each dataset."""
    embeddings = [e[k] for e, k in zip(cache.embeddings, kept, strict=True)]
    return PixelCache(embeddings, [y[k] for y, k in zip(cache.labels, kept, strict=True)])


def class_iou(net: FrozenNetwork, rows: Tensor, mapping: LabelMapping) -> Tensor:
    """(C,) IoU of all classes on validation pixels, read in their datasets' own labels."""
    parts = []
    for space, pixels, labels in zip(net.spaces, net.val.embeddings, net.val.labels, strict=True):
        scores = dataset_logits(pixels @ rows.T, mapping[space.name], net.cfg.MODEL.MAPPING_MODE)
        confusion = torch.zeros(space.num_classes, space.num_classes, dtype=torch.int64)
        update_confusion(confusion, scores.argmax(1), labels)
        parts.append(iou_from_confusion(confusion))
    return torch.cat(parts)


def class_auc(net: FrozenNetwork, rows: Tensor, mapping: LabelMapping, wanted: Tensor) -> Tensor:
    """(C,) AUC of the scores of ``wanted`` classes (C,) over their datasets' validation pixels."""
    parts = []
    blocks = net.spaces.split(wanted, dim=0)
    for i, space in enumerate(net.spaces):
        auc = torch.full((space.num_classes,), torch.nan)
        if bool(blocks[i].any()):
            unified = net.val.embeddings[i] @ rows.T
            scores = dataset_logits(unified, mapping[space.name], net.cfg.MODEL.MAPPING_MODE)
            for c in torch.nonzero(blocks[i]).flatten().tolist():
                auc[c] = area(scores[:, c], net.val.labels[i] == c)
        parts.append(auc)
    return torch.cat(parts)


def area(scores: Tensor, positive: Tensor) -> float:
    """Share of pairs in which the positive one (P,) scores higher; equal scores count half."""
    _, place, count = torch.unique(scores, return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[place].double()  # the mean one of equal scores
    hits, others = int(positive.sum()), int((~positive).sum())
    if not hits or not others:
        return float("nan")
    return float((rank[positive].sum() - hits * (hits + 1) / 2) / (hits * others))


def rounded(value: Tensor) -> float | None:
    """Four digits; None where there is nothing to score."""
    return None if torch.isnan(value) else round(float(value), 4)
