"""The last fit of unified labels: X_u for the unified arg max, and classifiers of every dataset.

One row of X_u answers for all datasets that share a unified label. Where their photos look
different or their annotators drew differently, that costs answers in a dataset's own labels. So
each dataset reads its own answers from X_u plus a shift of its own: the two are related in the
label space, apart in the head. Few photos speak for no shift, they are read best with what other
datasets have taught; the more there are, the looser it is.

Letters: K datasets, C_i classes of dataset i, N unified labels, D embedding dim, P pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.losses import class_weights
from unilabel.engine.fitting import mapped_cross_entropy
from unilabel.engine.pixel_cache import PixelCache
from unilabel.modeling.heads import SILENT
from unilabel.modeling.meta_arch import UniLabelSegmentor

logger = logging.getLogger(__name__)

# Photos of a dataset at which its classifiers go half the way from unified ones to free ones.
# Chosen on cuts of the four sets of configs/mini.yaml to 5, 10, 20 and 50 photos (docs/LOG.md).
HALF_WAY = 60


@dataclass(frozen=True)
class Readouts:
    """How pixels are read.

    Attributes:
        embedding: (N, D) X_u, of the unified label space.
        bias: (K, N) of the datasets' own answers.
        shift: (K, N, D) of the datasets' own classifiers from X_u.
    """

    embedding: Tensor
    bias: Tensor
    shift: Tensor


def learn_beside(cfg: CfgNode) -> bool:
    """Whether classifiers of the datasets learn beside X_u in FINAL, until the last fit.

    So the network sees what every dataset tells apart, not only what they have in common.
    """
    summed = cfg.MODEL.MAPPING_MODE == "logit_sum"
    return cfg.MODEL.DATASET_SHIFT and cfg.SOLVER.REFIT and not summed


def begin_beside(model: UniLabelSegmentor, trained: bool) -> None:
    """Let classifiers of the datasets begin beside X_u, from heads where there are trained ones.

    With the row of a class for each of its n unified labels, less log n, a dataset's own answer is
    that of its head: the network goes on with what it was trained for.

    Args:
        model: with unified labels, and maybe heads beside; unchanged if it has such classifiers.
            Without dataset bias (MODEL.DATASET_BIAS False) nothing can hold log n: from X_u.
        trained: whether the heads have been; else from X_u.
    """
    head = model.uni_head
    if head.dataset_shift is not None:
        return
    embedding = head.label_embedding.detach()
    shift = embedding.new_zeros(len(head.num_classes), *embedding.shape)  # (K, N, D)
    if model.multi_head is not None and trained and head.use_dataset_bias:
        bias = head.dataset_bias.detach().clone()
        for i, weights in enumerate(model.multi_head.weights):
            asked = head.dataset_mapping(i) & (bias[i] > SILENT / 2)[:, None]  # (N, C_i)
            linked = asked.any(1)
            of_class = asked.int().argmax(1)[linked]
            row = weights.detach() - weights.detach().mean(0)
            shift[i, linked] = row[of_class] - embedding[linked]
            bias[i, linked] = -asked.sum(0).log()[of_class]
        with torch.no_grad():
            head.dataset_bias.copy_(bias)
    head.set_shift(shift)


def looseness(photos: int) -> float:
    """How far classifiers of a dataset go from the unified ones (0) to free ones (1)."""
    return photos**2 / (photos**2 + HALF_WAY**2)


def fit_readouts(
    cfg: CfgNode,
    label_spaces: LabelSpaceSet,
    cache: PixelCache,
    mapping: LabelMapping,
    embedding: Tensor,
    bias: Tensor,
    photos: Sequence[int],
    seed: int,
    shift: Tensor | None = None,
) -> Readouts:
    """Fit X_u by the answers of all unified labels, then every dataset's own classifiers.

    Args:
        cfg: UNIFY.FIT_*, LOSS.CLASS_WEIGHT_*, MODEL.MAPPING_MODE.
        label_spaces: K label spaces.
        cache: pixels of the trained network; those of an image beside each other.
        mapping: links.
        embedding: (N, D) X_u to begin with.
        bias: (K, N) to begin with; a silent label takes no part in a dataset's own answers.
        photos: training photos of every dataset.
        seed: of the pixel draws.
        shift: (K, N, D) of classifiers that learned beside ``embedding``, where free ones begin;
            None: from X_u.
    """
    learned = None if shift is None else embedding + shift  # (K, N, D)
    embedding = _fit_shared(cfg, label_spaces, cache, mapping, embedding, seed)
    shift = embedding.new_zeros(len(label_spaces), *embedding.shape)
    bias = bias.clone()
    free = [looseness(count) for count in photos]
    for i, space in enumerate(label_spaces):
        asked = mapping[space.name] & (bias[i] > SILENT / 2)[:, None]  # (N, C_i)
        reader = _OwnReader(cfg, asked, cache.embeddings[i], cache.labels[i], seed)
        own = embedding if learned is None else learned[i]
        bias[i], shift[i] = reader.fit(embedding, own, bias[i], free[i])
    logger.info(
        "own classifiers of the datasets (0: the unified ones, 1: free): %s",
        ", ".join(f"{s.name} {value:.2f}" for s, value in zip(label_spaces, free, strict=True)),
    )
    return Readouts(embedding, bias, shift)


def _fit_shared(
    cfg: CfgNode,
    label_spaces: LabelSpaceSet,
    cache: PixelCache,
    mapping: LabelMapping,
    start: Tensor,
    seed: int,
) -> Tensor:
    """(N, D) X_u that answers without knowing the dataset: every unified label may win."""
    embedding = start.clone().requires_grad_(True)
    optimizer, schedule = _optimizer(cfg, [embedding])
    generator = torch.Generator().manual_seed(seed)
    counts = cache.class_counts(label_spaces.num_classes)
    power = cfg.LOSS.CLASS_WEIGHT_POWER
    weights = [class_weights(count, power) for count in counts]
    matrices = [mapping[name].float() for name in label_spaces.names]
    for _ in range(cfg.UNIFY.FIT_ITERATIONS):
        loss = embedding.new_zeros(())
        for i, (pixels, labels) in enumerate(cache.batch(cfg.UNIFY.FIT_PIXELS, generator)):
            scores = pixels @ embedding.T  # (P, N)
            loss = loss + mapped_cross_entropy(
                scores, labels, matrices[i], cfg.MODEL.MAPPING_MODE, weights[i]
            )
        optimizer.zero_grad()
        (loss / len(matrices)).backward()
        optimizer.step()
        schedule.step()
    return embedding.detach()


class _OwnReader:
    """Fits the classifiers of one dataset, out of the unified labels that it is linked to."""

    def __init__(
        self, cfg: CfgNode, mapping: Tensor, pixels: Tensor, labels: Tensor, seed: int
    ) -> None:
        """Keep the pixels (P, D), their labels (P,) and the links (N, C_i) bool."""
        self.cfg, self.seed = cfg, seed
        self.linked = mapping.any(1)  # (N,)
        self.links = mapping[self.linked].float()  # (n, C_i)
        self.pixels, self.labels = pixels, labels
        count = torch.bincount(labels, minlength=mapping.shape[1])
        power = cfg.LOSS.CLASS_WEIGHT_POWER
        self.weight = class_weights(count, power)

    def fit(
        self, embedding: Tensor, own: Tensor, bias: Tensor, looseness: float
    ) -> tuple[Tensor, Tensor]:
        """(N,) bias and (N, D) shift, on all pixels; zero shift where nothing is linked.

        Args:
            embedding: (N, D) X_u.
            own: (N, D) rows that free classifiers begin from.
            bias: (N,) to begin with.
            looseness: see :func:`looseness`.
        """
        tied = self._learn(embedding, bias, free=False)
        free = self._learn(own, bias, free=True)
        rows, node_bias = (torch.lerp(a, b, looseness) for a, b in zip(tied, free, strict=True))
        shift = torch.zeros_like(embedding)
        shift[self.linked] = rows - embedding[self.linked]
        bias = bias.clone()
        bias[self.linked] = node_bias
        return bias, shift

    def _learn(self, embedding: Tensor, bias: Tensor, free: bool) -> tuple[Tensor, Tensor]:
        """(n, D) rows and (n,) bias of the linked labels; only the bias is fitted, or both."""
        rows = embedding[self.linked].clone().requires_grad_(free)
        node_bias = bias[self.linked].clone().requires_grad_(True)
        optimizer, schedule = _optimizer(self.cfg, [rows, node_bias] if free else [node_bias])
        generator = torch.Generator().manual_seed(self.seed)
        count = len(self.labels)
        for _ in range(self.cfg.UNIFY.FIT_ITERATIONS):
            index = torch.randint(count, (self.cfg.UNIFY.FIT_PIXELS,), generator=generator)
            loss = self._loss(self.pixels[index], self.labels[index], rows, node_bias)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return rows.detach(), node_bias.detach()

    def _loss(self, pixels: Tensor, labels: Tensor, rows: Tensor, bias: Tensor) -> Tensor:
        scores = pixels @ rows.T + bias  # (P, n)
        mode = self.cfg.MODEL.MAPPING_MODE
        return mapped_cross_entropy(scores, labels, self.links, mode, self.weight)


def _optimizer(
    cfg: CfgNode, parameters: list[Tensor]
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.Adam(parameters, lr=cfg.UNIFY.FIT_LR)
    steps = max(1, cfg.UNIFY.FIT_ITERATIONS)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
