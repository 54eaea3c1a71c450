"""From a trained multi-head network to unified labels: node selection, solving, fitting.

Letters: K datasets, C classes of all datasets, C_i of one, N unified labels, D embedding dim.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core import evidence
from unilabel.core.assignment import solve_exact
from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.losses import class_weights
from unilabel.core.merging import cross_score, select_nodes
from unilabel.core.projection import MappingMode, dataset_logits
from unilabel.core.relations import RelationTruth
from unilabel.core.transport import solve_mapping
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.sources import resolve_file
from unilabel.engine.pixel_cache import PixelCache
from unilabel.text.taxonomy import cluster_nodes, name_nodes

logger = logging.getLogger(__name__)


@dataclass
class NodeProposal:
    """What node selection found.

    Attributes:
        links: (N, C) bool; a unified label may lack a class in a dataset.
        score: (C, C) evidence that two classes share pixels, 0..1, or None where none was measured.
        source: ``learned``, ``text`` or ``human``.
    """

    links: Tensor
    score: Tensor | None
    source: str = "learned"


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
    if u.NODES == "file":
        space = read_label_space(cfg, label_spaces)
        return NodeProposal(space.mapping.stacked(), None, "human")
    if u.NODES == "concat":
        return NodeProposal(torch.eye(label_spaces.total, dtype=torch.bool), None, "text")
    if u.NODES == "names":
        return NodeProposal(_as_links(name_nodes(label_spaces)), None, "text")
    if u.NODES == "text_cluster":
        nodes = cluster_nodes(label_spaces, text_features, u.CLUSTER_EPS)
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
        nodes = select_nodes(score, offsets, node_penalty=u.NODE_PENALTY, tau=u.TAU)
        cross = evidence.cross_prediction(cache.embeddings, cache.labels, heads, prior_power=0.0)
        return NodeProposal(_as_links(nodes.matrix), cross)
    # Class weights in the loss have divided a part of the prior out already.
    prior_power = max(0.0, 1.0 - cfg.LOSS.CLASS_WEIGHT_POWER)
    cross = evidence.cross_prediction(cache.embeddings, cache.labels, heads, prior_power)
    means = evidence.class_mean_similarity(cache.embeddings, cache.labels, sizes, ridge=0.1)
    visual = [means, evidence.two_sided(cross)]
    text = evidence.text_similarity(text_features) if u.TEXT_WEIGHT > 0 else None
    score = evidence.fused_score(visual, text, u.TEXT_WEIGHT)
    if u.NODES == "signature":
        allowed = score >= u.SCORE_THRESHOLD
        links = evidence.signature_tuples(
            cache.embeddings, cache.labels, heads, allowed, u.SIGNATURE_SHARE
        )
    else:
        links = evidence.label_tuples(score, sizes, u.SCORE_THRESHOLD)
    return NodeProposal(links, score)


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


def initial_embedding(links: Tensor, heads: Sequence[Tensor]) -> Tensor:
    """(N, D) start of X_u: sum of the linked centred classifiers over sqrt(count).

    Softmax scores ignore what all classes of a head share, so each head is centred first; the sum
    of classifiers multiplies the heads' odds.
    """
    centred = torch.cat([h.detach().cpu() - h.detach().cpu().mean(0) for h in heads])  # (C, D)
    weights = links.float()
    return weights @ centred / weights.sum(1, keepdim=True).clamp(min=1).sqrt()


def solve_links(
    cfg: CfgNode,
    label_spaces: LabelSpaceSet,
    soft: Tensor,
    selected: Tensor,
    marginals: dict[str, Tensor],
) -> Tensor:
    """Turn a soft mapping into links, per dataset.

    Args:
        cfg: UNIFY.SOLVER and its parameters.
        label_spaces: K label spaces.
        soft: (N, C) soft mapping.
        selected: (N, C) bool links of node selection, for the solver ``links``.
        marginals: class marginals beta of Algorithm 2 per dataset, updated in place.

    Returns:
        (N, C) bool: every class has a unified label, each unified label at most one class.

    Raises:
        UniLabelError: fewer unified labels than a dataset has classes.
    """
    u = cfg.UNIFY
    blocks = []
    weights = soft.detach().cpu().double()
    for space, block, links in zip(
        label_spaces,
        label_spaces.split(weights),
        label_spaces.split(selected),
        strict=True,
    ):
        if u.SOLVER == "uot":
            old = marginals.get(space.name)
            solution = solve_mapping(
                block.numpy(),
                class_marginal=None if old is None else old.numpy(),
                reg=u.UOT_REG,
                reg_m=u.UOT_REG_M,
                prune_ratio=u.UOT_PRUNE_RATIO,
                marginal_momentum=u.UOT_MOMENTUM,
                descending=not u.UOT_ASCENDING,
                dataset=space.name,
            )
            marginals[space.name] = torch.from_numpy(np.array(solution.class_marginal))
            blocks.append(torch.from_numpy(np.array(solution.matrix)))
        elif u.SOLVER == "exact":
            matrix = solve_exact(block.numpy(), True, u.UNLINKED_BELOW, dataset=space.name)
            blocks.append(torch.from_numpy(np.array(matrix)))
        else:
            blocks.append(links)
    return torch.cat(blocks, dim=1).bool()


def ensure_valid(links: Tensor, label_spaces: LabelSpaceSet) -> LabelMapping:
    """The mapping of (N, C) links; a class without unified label gets one of its own."""
    missing = torch.nonzero(~links.any(0)).flatten()
    if len(missing):
        extra = torch.zeros(len(missing), links.shape[1], dtype=torch.bool)
        extra[torch.arange(len(missing)), missing] = True
        links = torch.cat([links, extra])
    return LabelMapping.from_stacked(label_spaces, links)


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
    anchor: float = 0.0,
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
        anchor: holds X_u near its start: weight of the mean over rows of the squared distance.
            Cached pixels are those of training images, which the network knows too well; without
            a hold X_u grows until they are answered with certainty, and other images get worse.

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
        class_weights(count, cfg.LOSS.CLASS_WEIGHT_POWER, cfg.LOSS.CLASS_WEIGHT_LIMIT)
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
        loss = loss + anchor * (embedding - start).square().sum(1).mean()
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
        plain,
        label_spaces,
        cache,
        every_class,
        start,
        "logit_sum",
        seed,
        anchor=cfg.UNIFY.FIT_ANCHOR,
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
