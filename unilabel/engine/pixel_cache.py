"""Pixel embeddings of the frozen network, collected once and learned on many times.

Letters: K datasets, P_i pixels of dataset i, D embedding dim.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE
from unilabel.data.build import build_eval_loader
from unilabel.data.sources import DatasetSource
from unilabel.modeling.meta_arch import UniLabelSegmentor

logger = logging.getLogger(__name__)


@dataclass
class PixelCache:
    """Labelled pixel embeddings of every dataset, on the CPU.

    Attributes:
        embeddings: K tensors (P_i, D) float32.
        labels: K tensors (P_i,) int64 without ignored pixels.
    """

    embeddings: list[Tensor]
    labels: list[Tensor]

    def batch(self, count: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
        """``count`` random pixels of every dataset: K pairs (count, D), (count,)."""
        pairs = []
        for pixels, labels in zip(self.embeddings, self.labels, strict=True):
            index = torch.randint(len(labels), (count,), generator=generator)
            pairs.append((pixels[index], labels[index]))
        return pairs

    def class_counts(self, num_classes: Sequence[int]) -> list[Tensor]:
        """K tensors (C_i,) of pixels per class."""
        return [
            torch.bincount(labels, minlength=classes)
            for labels, classes in zip(self.labels, num_classes, strict=True)
        ]


def collect_pixels(
    model: UniLabelSegmentor, cfg: CfgNode, sources: Sequence[DatasetSource], salt: int
) -> PixelCache:
    """Embed training images without augmentation and keep random labelled pixels.

    Every rank embeds its part; all ranks end with the same cache. The result depends only on the
    weights, the seed and ``salt``.

    Args:
        model: put into eval mode for the time.
        cfg: UNIFY.CACHE_PIXELS and UNIFY.CACHE_IMAGES.
        sources: the datasets.
        salt: another number gives other images and pixels.

    Raises:
        UniLabelError: a dataset has no labelled pixel in the images drawn.
    """
    was_training = model.training
    model.eval()
    embeddings, labels = [], []
    world = comm.get_world_size()
    for dataset_id, source in enumerate(sources):
        samples = source.samples("train")
        rng = np.random.default_rng([cfg.SEED, dataset_id, salt])
        chosen = np.sort(rng.permutation(len(samples))[: cfg.UNIFY.CACHE_IMAGES])
        quota = -(-cfg.UNIFY.CACHE_PIXELS // len(chosen))  # pixels of each image, rounded up
        loader = build_eval_loader(
            cfg,
            source,
            dataset_id,
            [samples[i] for i in chosen],
            comm.get_rank(),
            world,
            skip=cfg.DATASETS.ON_BAD_SAMPLE == "skip",
        )
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)) + comm.get_rank())
        found: list[tuple[Tensor, Tensor]] = []
        for batch in loader:
            for item in batch:
                found.append(_pixels_of(model, item, quota, generator))
        gathered = comm.all_gather(found)
        flat = [pair for part in gathered for pair in part]
        pixels = torch.cat([p for p, _ in flat]).float()
        truth = torch.cat([t for _, t in flat])
        if not len(truth):
            raise UniLabelError(
                f"dataset {source.name!r} has no labelled pixel in {len(chosen)} training images; "
                "check its label files (tools/check_dataset.py)."
            )
        embeddings.append(pixels)
        labels.append(truth)
    logger.info(
        "cached pixel embeddings: %s",
        ", ".join(f"{s.name} {len(t)}" for s, t in zip(sources, labels, strict=True)),
    )
    model.train(was_training)
    return PixelCache(embeddings, labels)


@torch.no_grad()
def _pixels_of(
    model: UniLabelSegmentor, item: dict, quota: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Up to ``quota`` random labelled pixels of one image: (P, D) float16, (P,) int64."""
    embedding = model.embed_items([item])[0]  # (D, h, w)
    cells = (embedding.shape[1], embedding.shape[2])
    label = model.grid(tuple(item["image"].shape[1:])).labels(item["sem_seg"], cells).long()
    valid = torch.nonzero(label.reshape(-1) != IGNORE).flatten()
    keep = valid[torch.randperm(len(valid), generator=generator)[:quota]]
    pixels = embedding.flatten(1).T[keep.to(embedding.device)]
    return pixels.cpu().half(), label.reshape(-1)[keep]


@torch.no_grad()
def embed_batch(
    model: UniLabelSegmentor, batch: Sequence[dict[str, Any]]
) -> list[tuple[Tensor, Tensor]]:
    """Labelled pixels of a training batch through the frozen network: K pairs (P, D), (P,)."""
    model.eval()
    embedding = model.embed_items(batch)  # (B, D, h, w)
    cells = (embedding.shape[2], embedding.shape[3])
    labels = torch.stack([item["sem_seg"] for item in batch])
    labels = model.grid(tuple(batch[0]["image"].shape[1:])).labels(labels, cells)
    labels = labels.long().to(model.device)
    pairs = []
    for dataset_id in range(len(model.label_spaces)):
        rows = [i for i, item in enumerate(batch) if item["dataset_id"] == dataset_id]
        features = embedding[rows].permute(0, 2, 3, 1).flatten(0, 2)  # (P, D)
        truth = labels[rows].flatten()
        valid = truth != IGNORE
        pairs.append((features[valid], truth[valid]))
    return pairs
