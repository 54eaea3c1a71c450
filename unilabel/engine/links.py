"""Links of the running model: solved, confirmed by pixels, kept where a person fixed them, scored.

Letters: C classes of all datasets, C_i of one, N unified labels, D embedding dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.pruning import confirm_changes, usage_counts
from unilabel.core.relations import RelationTruth
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.evaluate import relations_file
from unilabel.engine.pixel_cache import PixelCache
from unilabel.engine.unification import solve_links

if TYPE_CHECKING:
    from unilabel.engine.trainer import UniLabelTrainer


def fixed_links(trainer: UniLabelTrainer) -> Tensor | None:
    """(N, C) bool links of MODEL.LABEL_SPACE whose source is "human", if they are to be fixed.

    Raises:
        UniLabelError: the unified labels do not come from that file.
    """
    cfg = trainer.cfg
    if not cfg.MODEL.FIX_HUMAN_LINKS:
        return None
    if cfg.UNIFY.NODES != "file" or not cfg.MODEL.LABEL_SPACE:
        raise UniLabelError(
            "MODEL.FIX_HUMAN_LINKS needs the unified labels of a reviewed file: set "
            "MODEL.LABEL_SPACE label_space.json and UNIFY.NODES file."
        )
    return UnifiedLabelSpace.load(cfg.MODEL.LABEL_SPACE).human_links()


def solve(trainer: UniLabelTrainer, soft: Tensor) -> Tensor:
    """Links (N, C) of a soft mapping; links fixed by a person stay.

    Raises:
        UniLabelError: the soft mapping is not finite.
    """
    soft = soft.detach().cpu()
    if not bool(torch.isfinite(soft).all()):
        names = trainer.label_spaces.label_names()
        column = int((~torch.isfinite(soft)).any(0).nonzero()[0])
        raise UniLabelError(
            f"the edges of the label graph are not finite at iteration {trainer.iter} (first at "
            f"{names[column]}); lower GRAPH.LR and GRAPH.EDGE_LR or set GRAPH.CLIP_GRADIENT, then "
            "--resume."
        )
    human = trainer.human_links
    if human is not None:
        # The solver then keeps them by itself and finds other unified labels for other classes.
        fixed = _rows_with_human_links(trainer)
        soft = torch.where(fixed, human.to(soft), soft)
    links = solve_links(
        trainer.cfg, trainer.label_spaces, soft, trainer.proposal.links, trainer.marginals
    )
    return with_human_links(trainer, links)


def with_human_links(trainer: UniLabelTrainer, links: Tensor) -> Tensor:
    """Put the links that a person fixed back in (MODEL.FIX_HUMAN_LINKS)."""
    if trainer.human_links is None:
        return links
    return torch.where(_rows_with_human_links(trainer), trainer.human_links, links)


def _rows_with_human_links(trainer: UniLabelTrainer) -> Tensor:
    """(N, C) bool: all classes of a dataset in the rows where a person fixed one of them."""
    blocks = trainer.label_spaces.split(trainer.human_links)
    return torch.cat([b.any(1, keepdim=True).expand_as(b) for b in blocks], dim=1)


def confirmed(
    trainer: UniLabelTrainer, before: LabelMapping, solved: LabelMapping, embedding: Tensor
) -> LabelMapping:
    """The changes of a GNN stage that the cached pixels speak for (UNIFY.CONFIRM_SHARE).

    Args:
        trainer: with the pixels of the stage.
        before: the mapping that the stage began with.
        solved: the one of its edges.
        embedding: (N, D) X_u of its graph.
    """
    min_share = trainer.cfg.UNIFY.CONFIRM_SHARE
    if min_share == 0:
        return solved
    present = trainer.model.uni_head.label_embedding.detach().cpu()
    usages = [label_usage(trainer.label_spaces, trainer.cache, x) for x in (present, embedding)]
    mapping = confirm_changes(before, solved, *usages, min_share)
    links = with_human_links(trainer, mapping.stacked())
    return LabelMapping.from_stacked(trainer.label_spaces, links)


def score_links(trainer: UniLabelTrainer, event: str, mapping: LabelMapping) -> None:
    """Note how well the links agree with known relations, where the run has them (DATASETS)."""
    path = relations_file(trainer.cfg)
    if path:
        truth = RelationTruth.from_json(path, trainer.label_spaces)
        found = truth.score(mapping.links())
        scores = {key: round(found[key], 4) for key in ("precision", "recall", "f1")}
        trainer.link_scores.append({"after": event, **scores})


def label_usage(
    label_spaces: LabelSpaceSet, cache: PixelCache, embedding: Tensor
) -> dict[str, Tensor]:
    """(N, C_i) per dataset: on how many cached pixels of a class each unified label wins."""
    usage = {}
    for space, pixels, labels in zip(label_spaces, cache.embeddings, cache.labels, strict=True):
        winner = (pixels @ embedding.T).argmax(1)
        usage[space.name] = usage_counts(winner, labels, len(embedding), space.num_classes)
    return usage
