"""Fitting classifiers on cached pixels, network frozen: X_u and dataset biases, or the heads.

Letters: K datasets, C classes of all datasets, C_i of one, N unified labels, D embedding dim.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.losses import class_weights
from unilabel.core.projection import MappingMode, dataset_logits
from unilabel.engine.pixel_cache import PixelCache

logger = logging.getLogger(__name__)


def initial_embedding(links: Tensor, heads: Sequence[Tensor]) -> Tensor:
    """(N, D) start of X_u: sum of the linked centred classifiers over sqrt(count).

    Softmax scores ignore what all classes of a head share, so each head is centred first; the sum
    of classifiers multiplies the heads' odds.
    """
    centred = torch.cat([h.detach().cpu() - h.detach().cpu().mean(0) for h in heads])  # (C, D)
    weights = links.float()
    return weights @ centred / weights.sum(1, keepdim=True).clamp(min=1).sqrt()


def fit_label_embedding(
    cfg: CfgNode,
    label_spaces: LabelSpaceSet,
    cache: PixelCache,
    mapping: LabelMapping,
    start: Tensor,
    mode: MappingMode,
    seed: int,
    start_bias: Tensor | None = None,
    plain_weight: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Fit X_u and the dataset biases on cached pixels, network frozen (seconds).

    A change of label space leaves the classifier badly initialised; a short fit before the network
    trains on is worth more than many iterations afterwards.

    Args:
        cfg: UNIFY.FIT_*, LOSS.CLASS_WEIGHT_*, MODEL.DATASET_BIAS.
        label_spaces: K label spaces.
        cache: pixels of the present network.
        mapping: links to fit for.
        start: (N, D) first X_u.
        mode: how classes collect their unified labels.
        seed: of the pixel draws.
        start_bias: (K, N) first dataset bias; None: zero.
        plain_weight: weight of the same loss without bias. The unified label space answers without
            it, and X_u alone should not rely on it.

    Returns:
        (N, D) X_u and (K, N) dataset bias.
    """
    u = cfg.UNIFY
    embedding = start.clone().requires_grad_(True)
    bias = torch.zeros(len(label_spaces), len(start)) if start_bias is None else start_bias.clone()
    bias.requires_grad_(cfg.MODEL.DATASET_BIAS)
    parameters = [embedding, bias] if cfg.MODEL.DATASET_BIAS else [embedding]
    optimizer = torch.optim.Adam(parameters, lr=u.FIT_LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, u.FIT_ITERATIONS))
    generator = torch.Generator().manual_seed(seed)
    weights = [
        class_weights(count, cfg.LOSS.CLASS_WEIGHT_POWER)
        for count in cache.class_counts(label_spaces.num_classes)
    ]
    matrices = [mapping[name].float() for name in label_spaces.names]
    first = last = 0.0
    for step in range(u.FIT_ITERATIONS):
        loss = embedding.new_zeros(())
        for i, (pixels, labels) in enumerate(cache.batch(u.FIT_PIXELS, generator)):
            plain = pixels @ embedding.T  # (P, N)
            arguments = (labels, matrices[i], mode, weights[i])
            loss = loss + mapped_cross_entropy(plain + bias[i], *arguments)
            if plain_weight > 0:
                loss = loss + plain_weight * mapped_cross_entropy(plain, *arguments)
        loss = loss / len(matrices)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        last = float(loss.detach())
        first = first if step else last
    if u.FIT_ITERATIONS:
        logger.info(
            "fitted X_u on cached pixels: loss %.3f -> %.3f in %d steps",
            first,
            last,
            u.FIT_ITERATIONS,
        )
    return embedding.detach(), bias.detach()


def fit_heads(
    cfg: CfgNode,
    label_spaces: LabelSpaceSet,
    cache: PixelCache,
    heads: Sequence[Tensor],
    seed: int,
) -> list[Tensor]:
    """The same for multi-heads: K classifiers (C_i, D), each fitted on its dataset's pixels."""
    every_class = LabelMapping.from_stacked(label_spaces, torch.eye(label_spaces.total).bool())
    start = torch.cat([h.detach().cpu() for h in heads])  # (C, D)
    plain = cfg.clone()
    plain.defrost()
    plain.MODEL.DATASET_BIAS = False
    # Summed logits of single classes are the logits of the heads.
    fitted, _ = fit_label_embedding(
        plain, label_spaces, cache, every_class, start, "logit_sum", seed
    )
    return list(fitted.split(label_spaces.num_classes))


def mapped_cross_entropy(
    scores: Tensor,
    labels: Tensor,
    mapping: Tensor,
    mode: MappingMode,
    class_weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of pixels through a mapping, soft or solved.

    Args:
        scores: (P, N) unified logits.
        labels: (P,) class ids.
        mapping: (N, C_i) values in [0, 1].
        mode: see :func:`unilabel.core.projection.dataset_logits`.
        class_weight: (C_i,) or None.
    """
    mapped = dataset_logits(scores, mapping, mode)
    if mode == "logit_sum":
        return F.cross_entropy(mapped, labels, class_weight)
    return F.nll_loss(mapped, labels, class_weight)
