"""Links out of soft mappings and pixels: solved, counted, confirmed, scored.

Letters: C classes of all datasets, C_i of one, N unified labels, D embedding dim.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.assignment import solve_exact
from unilabel.core.completion import complete_links
from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.pruning import confirm_changes, prune_mapping, usage_counts
from unilabel.core.relations import RelationTruth
from unilabel.core.transport import solve_mapping
from unilabel.engine.evaluate import relations_file
from unilabel.engine.pixel_cache import PixelCache

UNLINKED_BELOW = 0.5  # a weaker best weight leaves a unified label without class


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
                reg_m=u.UOT_REG_M,
                prune_ratio=u.UOT_PRUNE_RATIO,
                descending=not u.UOT_ASCENDING,
                dataset=space.name,
            )
            marginals[space.name] = torch.from_numpy(np.array(solution.class_marginal))
            blocks.append(torch.from_numpy(np.array(solution.matrix)))
        elif u.SOLVER == "exact":
            matrix = solve_exact(block.numpy(), True, UNLINKED_BELOW, dataset=space.name)
            blocks.append(torch.from_numpy(np.array(matrix)))
        else:
            blocks.append(links)
    return torch.cat(blocks, dim=1).bool()


def confirmed_links(
    before: LabelMapping,
    solved: LabelMapping,
    cache: PixelCache,
    present: Tensor,
    learned: Tensor,
    min_share: float,
) -> Tensor:
    """(N, C) bool: the changes of a GNN stage that cached pixels speak for (UNIFY.CONFIRM_SHARE).

    Args:
        before: the mapping that the stage began with.
        solved: the one of its edges.
        cache: pixels of the network.
        present: (N, D) X_u that the stage began with.
        learned: (N, D) X_u of its graph.
        min_share: of the pixels of a class; 0: the solved mapping as it is.
    """
    if min_share == 0:
        return solved.stacked()
    both = (present.detach().cpu(), learned)
    usages = [label_usage(before.label_spaces, cache, x) for x in both]
    return confirm_changes(before, solved, *usages, min_share).stacked()


def completed_links(
    cfg: CfgNode, mapping: LabelMapping, cache: PixelCache, embedding: Tensor, score: Tensor | None
) -> LabelMapping:
    """With links that pixels speak for where a unified label has none (UNIFY.COMPLETE_PURITY).

    Args:
        cfg: UNIFY.
        mapping: links.
        cache: pixels of the network.
        embedding: (N, D) X_u that was fitted for the links.
        score: (C, C) evidence of node selection. Links that are not made from it (UNIFY.NODES other
            than ``fused``) stay as they are.
    """
    if score is None or cfg.UNIFY.NODES != "fused" or cfg.UNIFY.COMPLETE_PURITY > 1:
        return mapping
    usage = label_usage(mapping.label_spaces, cache, embedding)
    purity, threshold = cfg.UNIFY.COMPLETE_PURITY, cfg.UNIFY.SCORE_THRESHOLD
    return complete_links(mapping, usage, score, purity, threshold)


def held_links(cfg: CfgNode, mapping: LabelMapping, score: Tensor | None) -> Tensor | None:
    """(N, C) bool: links that the evidence of node selection speaks for, whatever they carry.

    A relation can be true and rarely of use: shirts are persons, but few persons' pixels answer as
    shirts. A link without use changes no answer, so it is kept as what is known of the labels.

    Args:
        cfg: UNIFY.
        mapping: links.
        score: (C, C) evidence of node selection. None is held of links that are not made from it.
    """
    if score is None or cfg.UNIFY.NODES != "fused":
        return None
    links = mapping.stacked()
    low = (score < cfg.UNIFY.SCORE_THRESHOLD) & ~torch.eye(len(score), dtype=torch.bool)
    against = links.float() @ low.float() > 0  # (N, C): another class of the label is unlike it
    return links & ~against & (links.sum(1, keepdim=True) > 1)


def pruned_links(
    cfg: CfgNode,
    mapping: LabelMapping,
    cache: PixelCache,
    embedding: Tensor,
    score: Tensor | None,
) -> Tensor:
    """(N, C) bool: links that the network uses (UNIFY.PRUNE_SHARE) or that evidence speaks for.

    Args:
        cfg: UNIFY.
        mapping: links in use.
        cache: pixels of the network.
        embedding: (N, D) X_u.
        score: see :func:`held_links`.
    """
    usage = label_usage(mapping.label_spaces, cache, embedding)
    held = held_links(cfg, mapping, score)
    return prune_mapping(mapping, usage, cfg.UNIFY.PRUNE_SHARE, held).stacked()


def check_finite(soft: Tensor, label_spaces: LabelSpaceSet, iteration: int) -> None:
    """Refuse to solve an (N, C) soft mapping that is not finite.

    Raises:
        UniLabelError: names the class and what to lower.
    """
    if bool(torch.isfinite(soft).all()):
        return
    column = int((~torch.isfinite(soft)).any(0).nonzero()[0])
    raise UniLabelError(
        f"the edges of the label graph are not finite at iteration {iteration} (first at "
        f"{label_spaces.label_names()[column]}); lower GRAPH.LR and GRAPH.EDGE_LR, then "
        "--resume."
    )


def check_finite_embedding(embedding: Tensor, iteration: int) -> None:
    """Refuse an (N, D) X_u that is not finite.

    Raises:
        UniLabelError: says what to lower.
    """
    if not bool(torch.isfinite(embedding).all()):
        raise UniLabelError(
            f"the label embedding is not finite at iteration {iteration}; lower UNIFY.FIT_LR or "
            "set UNIFY.FIT_ITERATIONS 0, then --resume."
        )


def relation_scores(cfg: CfgNode, mapping: LabelMapping) -> dict[str, Any] | None:
    """How well links agree with known relations; None where the run has none (DATASETS)."""
    path = relations_file(cfg)
    if not path:
        return None
    found = RelationTruth.from_json(path, mapping.label_spaces).score(mapping.links())
    return {key: round(found[key], 4) for key in ("precision", "recall", "f1")}


def label_usage(
    label_spaces: LabelSpaceSet, cache: PixelCache, embedding: Tensor
) -> dict[str, Tensor]:
    """(N, C_i) per dataset: on how many cached pixels of a class each unified label wins."""
    usage = {}
    for space, pixels, labels in zip(label_spaces, cache.embeddings, cache.labels, strict=True):
        winner = (pixels @ embedding.T).argmax(1)
        usage[space.name] = usage_counts(winner, labels, len(embedding), space.num_classes)
    return usage
