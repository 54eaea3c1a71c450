"""Node selection: the unified labels of a trained multi-head network, a file or a simple rule.

Letters: K datasets, C classes of all datasets, C_i of one, N unified labels, D embedding dim.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core import evidence
from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.merging import cross_score, select_nodes
from unilabel.core.relations import RelationTruth
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.sources import resolve_file
from unilabel.engine.pixel_cache import PixelCache
from unilabel.text.encoders import build_text_encoder
from unilabel.text.taxonomy import cluster_nodes, holding_score, name_nodes

logger = logging.getLogger(__name__)

HELD_LIKENESS = 0.85  # of classes of which texts say that one is the other or holds it
CLUSTER_EPS = 0.4  # DBSCAN radius of text_cluster, cosine distance
# Bytes that a pair of classes takes at the peak of a selection, an upper estimate from
# benchmarks/scaling.py: 29 for the evidence of pixels, up to 90 for that of texts.
BYTES_OF_A_PAIR = 90
MANY_BYTES = 2e9


@dataclass
class NodeProposal:
    """What node selection found.

    Attributes:
        links: (N, C) bool; a unified label may lack a class in a dataset.
        score: (C, C) evidence that two classes share pixels, 0..1, or None where none was measured.
        source: ``learned``, ``text`` or ``human``.
        reviewed: the file that it comes from, whose rows are the first ones of ``links``, or None.
        cross: (C, C) what the heads answer on each other's pixels, or None where it was not asked.
    """

    links: Tensor
    score: Tensor | None
    source: str = "learned"
    reviewed: UnifiedLabelSpace | None = None
    cross: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """Arguments that make this proposal again, without the file."""
        return {
            "links": self.links,
            "score": self.score,
            "source": self.source,
            "cross": self.cross,
        }


def propose_nodes(
    cfg: CfgNode,
    label_spaces: LabelSpaceSet,
    cache: PixelCache | None,
    heads: Sequence[Tensor] | None,
    text_features: Tensor,
) -> NodeProposal:
    """Find the unified labels by the method UNIFY.NODES.

    Args:
        cfg: UNIFY.
        label_spaces: K label spaces.
        cache: pixels of the multi-head network, for the methods that look at pixels.
        heads: K classifiers (C_i, D) of that network.
        text_features: (C, T).

    Raises:
        UniLabelError: the method needs what is not there.
    """
    sizes = label_spaces.num_classes
    u = cfg.UNIFY
    memory = BYTES_OF_A_PAIR * label_spaces.total**2
    if memory > MANY_BYTES:
        logger.warning(
            "node selection looks at all pairs of %d classes, which takes about %.0f GB of memory "
            "and some minutes",
            label_spaces.total,
            memory / 1e9,
        )
    if u.NODES == "file":
        space = read_label_space(cfg, label_spaces)
        return NodeProposal(space.mapping.stacked(), None, "human", space)
    if u.NODES == "concat":
        return NodeProposal(torch.eye(label_spaces.total, dtype=torch.bool), None, "text")
    if u.NODES == "names":
        return NodeProposal(_as_links(name_nodes(label_spaces)), None, "text")
    if u.NODES == "text_cluster":
        nodes = cluster_nodes(label_spaces, text_features, CLUSTER_EPS)
        return NodeProposal(_as_links(nodes), evidence.text_similarity(text_features), "text")
    if u.NODES == "relations":
        truth = RelationTruth.from_json(resolve_file(cfg.DATASETS.RELATIONS), label_spaces)
        links = evidence.label_tuples(truth.related.float(), sizes, 0.5)
        return NodeProposal(links, truth.related.float(), "human")
    if cache is None or heads is None:
        raise UniLabelError(f"UNIFY.NODES {u.NODES} needs a trained multi-head network.")
    if u.NODES == "ilp":
        counts = evidence.confusion_counts(cache.embeddings, cache.labels, heads)
        offsets = label_spaces.class_offsets
        score = cross_score(counts.numpy(), offsets, kind=u.MERGE_SCORE)
        nodes = select_nodes(score, offsets, tau=u.TAU)
        cross = evidence.cross_prediction(cache.embeddings, cache.labels, heads, prior_power=0.0)
        return NodeProposal(_as_links(nodes.matrix), cross)
    text = text_score(cfg, label_spaces, text_features)
    cross = cross_answers(cfg, cache, heads)
    score = fused_evidence(cfg, cache, heads, sizes, text, cross)
    links = evidence.label_tuples(score, sizes, u.SCORE_THRESHOLD)
    return NodeProposal(links, score, cross=cross)


def cross_answers(cfg: CfgNode, cache: PixelCache, heads: Sequence[Tensor]) -> Tensor:
    """(C, C) of :func:`unilabel.core.evidence.cross_prediction`, as this training needs it."""
    # Class weights in the loss have divided a part of the prior out already.
    prior_power = max(0.0, 1.0 - cfg.LOSS.CLASS_WEIGHT_POWER)
    return evidence.cross_prediction(cache.embeddings, cache.labels, heads, prior_power)


def fused_evidence(
    cfg: CfgNode,
    cache: PixelCache,
    heads: Sequence[Tensor],
    sizes: Sequence[int],
    text: Tensor,
    cross: Tensor | None = None,
) -> Tensor:
    """(C, C) symmetric evidence that two classes share pixels, about 0..1: answers, means, texts.

    Args:
        cfg: UNIFY.TEXT_WEIGHT, LOSS.CLASS_WEIGHT_POWER.
        cache: pixels of K datasets.
        heads: K classifiers (C_i, D).
        sizes: C_i.
        text: (C, C) of :func:`text_score`.
        cross: (C, C) of :func:`cross_answers`, if known.
    """
    cross = cross_answers(cfg, cache, heads) if cross is None else cross
    means = evidence.class_mean_similarity(cache.embeddings, cache.labels, sizes, ridge=0.1)
    visual = [means, evidence.two_sided(cross)]
    weight = cfg.UNIFY.TEXT_WEIGHT
    return evidence.fused_score(visual, text if weight > 0 else None, weight)


def text_score(cfg: CfgNode, label_spaces: LabelSpaceSet, text_features: Tensor) -> Tensor:
    """(C, C): likeness of texts, and what names, dictionary and descriptions say outright.

    Likeness of sentences does not know that a cow is an animal, and an animal a living thing.
    """
    likeness = evidence.text_similarity(text_features)
    if cfg.UNIFY.TEXT_WEIGHT == 0:
        return likeness
    if cfg.TEXT.FEATURES:
        logger.info(
            "TEXT.FEATURES holds vectors without their encoder: node selection goes by their "
            "likeness alone, not by what names and descriptions say of each other"
        )
        return likeness
    holding = holding_score(
        texts_of(cfg, label_spaces), build_text_encoder(cfg.TEXT.ENCODER).encode
    )
    return torch.where(holding > 0, likeness.clamp(min=HELD_LIKENESS), likeness)


def texts_of(cfg: CfgNode, label_spaces: LabelSpaceSet) -> LabelSpaceSet:
    """The label spaces with the texts that a run may read: TEXT.MODE name knows no descriptions."""
    if cfg.TEXT.MODE != "name":
        return label_spaces
    return LabelSpaceSet(replace(s, descriptions=()) for s in label_spaces)


def read_label_space(cfg: CfgNode, label_spaces: LabelSpaceSet) -> UnifiedLabelSpace:
    """The file MODEL.LABEL_SPACE.

    Raises:
        UniLabelError: it was made for other datasets.
    """
    space = UnifiedLabelSpace.load(cfg.MODEL.LABEL_SPACE)
    if space.label_spaces.label_names() != label_spaces.label_names():
        raise UniLabelError(
            f"{cfg.MODEL.LABEL_SPACE} was made for the datasets {space.label_spaces.names} or "
            f"other class lists; this run has {label_spaces.names}."
        )
    return space


def _as_links(matrix: np.ndarray | Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(matrix)).bool()


def edge_evidence(proposal: NodeProposal) -> Tensor | None:
    """(N, C) preference of every class for every unified label: mean score with its linked ones."""
    if proposal.score is None:
        return None
    links = proposal.links.float()
    mean = links @ proposal.score.clamp(min=0) / links.sum(1, keepdim=True).clamp(min=1)
    return mean.clamp(min=1e-3)


def ensure_valid(links: Tensor, label_spaces: LabelSpaceSet) -> LabelMapping:
    """The mapping of (N, C) links; a class without unified label gets one of its own."""
    missing = torch.nonzero(~links.any(0)).flatten()
    if len(missing):
        extra = torch.zeros(len(missing), links.shape[1], dtype=torch.bool)
        extra[torch.arange(len(missing)), missing] = True
        links = torch.cat([links, extra])
    return LabelMapping.from_stacked(label_spaces, links)
