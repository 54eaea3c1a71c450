"""What happens between stages: node selection, graph, solved mapping, fitted X_u, pruning.

Letters: K datasets, C classes of all datasets, N unified labels, D embedding dim.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_graph import LabelGraph
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import IGNORE
from unilabel.core.pruning import merge_identical, prune_mapping
from unilabel.core.relations import RelationTruth
from unilabel.core.stages import Segment, Stage
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine import distributed
from unilabel.engine.evaluate import relations_file
from unilabel.engine.graph_stage import GraphLearner, Pixels, build_label_graph
from unilabel.engine.links import (
    confirmed,
    fixed_links,
    label_usage,
    score_links,
    solve,
    with_human_links,
)
from unilabel.engine.pixel_cache import PixelCache, collect_pixels
from unilabel.engine.unification import (
    ensure_valid,
    fit_heads,
    fit_label_embedding,
    initial_embedding,
    propose_nodes,
    read_label_space,
)
from unilabel.modeling.meta_arch import build_uni_head

if TYPE_CHECKING:
    from unilabel.engine.trainer import UniLabelTrainer

logger = logging.getLogger(__name__)

PRUNE_SALT = 1_000  # pixel draws of the pruning differ from those of the stages
REFIT_SALT = 2_000
PLAIN_WEIGHT = 0.5  # of answers without dataset bias, in the last fit


def check_inputs(trainer: UniLabelTrainer) -> None:
    """Read whatever later stages and the evaluation need, before hours of training begin.

    Raises:
        UniLabelError: a file is missing or wrong, or the datasets lack what TEXT.MODE needs.
    """
    cfg, spaces = trainer.cfg, trainer.label_spaces
    if any(s.stage is not Stage.MULTI_HEAD for s in trainer.schedule.segments):
        trainer.features()
        if cfg.UNIFY.NODES == "file":
            read_label_space(cfg, spaces)
    relations = relations_file(cfg)
    if relations:
        RelationTruth.from_json(relations, spaces)


def prepare_label_space(trainer: UniLabelTrainer, segment: Segment) -> None:
    """Before the first stage with unified labels: find them and replace the multi-heads.

    Before a stage that trains the network without a GNN stage in front, X_u is fitted as well.
    """
    model, cfg = trainer.model, trainer.cfg
    if model.uni_head is None:
        cache = stage_cache(trainer, segment)
        heads = [w.detach().cpu() for w in model.multi_head.weights]
        proposal = propose_nodes(cfg, trainer.label_spaces, cache, heads, trainer.features())
        mapping = ensure_valid(proposal.links, trainer.label_spaces)
        proposal.links = mapping.stacked()
        trainer.proposal = proposal
        trainer.human_links = fixed_links(trainer)
        trainer.edge_weights = proposal.links.float()
        model.uni_head = build_uni_head(cfg, trainer.label_spaces, mapping.num_unified).to(
            model.device
        )
        start = initial_embedding(proposal.links, heads)
        model.uni_head.set_label_space(start, proposal.links)
        distributed.assert_equal_on_all_ranks(mapping.checksum(), "label mapping")
        merged = int((proposal.links.sum(1) > 1).sum())
        trainer.note(
            f"node selection ({cfg.UNIFY.NODES}): {trainer.label_spaces.total} labels -> "
            f"{mapping.num_unified} unified labels, {merged} of them shared by several datasets, "
            f"mapping {mapping.checksum()}"
        )
        score_links(trainer, "node selection", mapping)
        if segment.stage is not Stage.GNN:
            install_mapping(trainer, mapping, start, cache)
    if segment.stage is Stage.FINAL:
        simplify(trainer)


def stage_cache(trainer: UniLabelTrainer, segment: Segment) -> PixelCache:
    """Pixels of the present network, collected once per stage."""
    if trainer.cache is None:
        trainer.cache = collect_pixels(trainer.model, trainer.cfg, trainer.sources, segment.index)
    return trainer.cache


def new_graph(trainer: UniLabelTrainer) -> LabelGraph:
    """The label graph over the present proposal, on the model's device."""
    graph = build_label_graph(
        trainer.cfg, trainer.label_spaces, trainer.features(), trainer.proposal
    )
    return graph.to(trainer.model.device)


def prepare_graph(trainer: UniLabelTrainer, segment: Segment) -> None:
    """Freeze the network and set up the graph, its optimizer and its pixels."""
    trainer.cache = None if segment.cycle > 1 else trainer.cache
    cache = stage_cache(trainer, segment)
    if trainer.graph is None:
        torch.manual_seed(trainer.cfg.SEED)
        trainer.graph = new_graph(trainer)
    counts = cache.class_counts(trainer.label_spaces.num_classes)
    trainer.learner = GraphLearner(
        trainer.cfg,
        trainer.label_spaces,
        trainer.graph,
        segment.length,
        lambda soft: solve(trainer, soft),
        counts,
    )


def finish_graph(trainer: UniLabelTrainer) -> None:
    """After a GNN stage: solve the mapping, install it with the graph's X_u or a fitted one."""
    embedding, soft = trainer.learner.result()
    distributed.broadcast([embedding, soft])
    embedding, soft = embedding.cpu(), soft.cpu()
    trainer.edge_weights = soft
    before = trainer.mapping()
    solved = LabelMapping.from_stacked(trainer.label_spaces, solve(trainer, soft))
    mapping = confirmed(trainer, before, solved, embedding)
    changed, proposed = (int((m.stacked() != before.stacked()).sum()) for m in (mapping, solved))
    install_mapping(trainer, mapping, embedding, trainer.cache)
    score_links(trainer, "GNN", mapping)
    trainer.note(
        f"mapping solve ({trainer.cfg.UNIFY.SOLVER}): {int(mapping.active().sum())} of "
        f"{mapping.num_unified} unified labels in use, {int(mapping.stacked().sum())} links, "
        f"{changed} changed (of {proposed} proposed), mapping {mapping.checksum()}"
    )


def install_mapping(
    trainer: UniLabelTrainer, mapping: LabelMapping, start: Tensor, cache: PixelCache
) -> None:
    """Give the unified head a mapping and X_u, fitted on cached pixels where configured.

    The fit starts from the linked classifiers of the heads where the model still has them, and
    stays near: they were learned from changing images, the graph's X_u from cached pixels.
    """
    distributed.assert_equal_on_all_ranks(mapping.checksum(), "label mapping")
    embedding, bias, anchor = start, None, 0.0
    if trainer.cfg.UNIFY.FIT_ITERATIONS > 0:
        # Before the first iteration the heads are random: nothing to stay near to.
        if trainer.model.multi_head is not None and trainer.iter > 0:
            anchor = trainer.cfg.UNIFY.FIT_ANCHOR
            start = initial_embedding(mapping.stacked(), list(trainer.model.multi_head.weights))
        embedding, bias = fit_label_embedding(
            trainer.cfg,
            trainer.label_spaces,
            cache,
            mapping,
            start,
            trainer.cfg.MODEL.MAPPING_MODE,
            trainer.cfg.SEED,
            anchor=anchor,
        )
        distributed.broadcast([embedding, bias])
    if not bool(torch.isfinite(embedding).all()):
        raise UniLabelError(
            f"the label embedding is not finite at iteration {trainer.iter}; lower UNIFY.FIT_LR or "
            "set UNIFY.FIT_ITERATIONS 0, then --resume."
        )
    trainer.model.uni_head.set_label_space(embedding, mapping.stacked(), bias)


def drop_heads(trainer: UniLabelTrainer) -> None:
    """After the last stage: leave out the heads that were only trained beside (HEADS_WEIGHT)."""
    if trainer.model.uni_head is not None:
        trainer.model.multi_head = None


def refit(trainer: UniLabelTrainer) -> None:
    """Fit the classifiers of the trained network once more, on images as they are (SOLVER.REFIT).

    Training sees changed colours and sizes. Where it is short, its classifiers are not the best
    ones for the images that the model will be asked about.
    """
    cfg, model, spaces = trainer.cfg, trainer.model, trainer.label_spaces
    started = time.monotonic()
    cache = collect_pixels(model, cfg, trainer.sources, REFIT_SALT)
    if model.uni_head is None:
        heads = fit_heads(cfg, spaces, cache, list(model.multi_head.weights), cfg.SEED)
        distributed.broadcast(heads)
        with torch.no_grad():
            for old, new in zip(model.multi_head.weights, heads, strict=True):
                old.copy_(new)
    else:
        head = model.uni_head
        embedding, bias = fit_label_embedding(
            cfg,
            spaces,
            cache,
            trainer.mapping(),
            head.label_embedding.detach().cpu(),
            cfg.MODEL.MAPPING_MODE,
            cfg.SEED,
            head.dataset_bias.detach().cpu(),
            PLAIN_WEIGHT if cfg.MODEL.DATASET_BIAS else 0.0,
            cfg.UNIFY.FIT_ANCHOR,
        )
        distributed.broadcast([embedding, bias])
        head.set_label_space(embedding, head.mapping, bias)
    seconds = round(time.monotonic() - started, 2)
    trainer.records.append(
        {"name": "REFIT", "iterations": cfg.UNIFY.FIT_ITERATIONS, "seconds": seconds}
    )


def simplify(trainer: UniLabelTrainer) -> None:
    """Drop unified labels without links and merge those with the same links (mean X_u)."""
    head = trainer.model.uni_head
    mapping, new_index = merge_identical(trainer.mapping())
    if mapping.num_unified == head.num_unified:
        return
    kept = new_index >= 0
    target = new_index[kept].to(head.label_embedding.device)
    count = torch.bincount(target, minlength=mapping.num_unified).to(head.label_embedding)

    def merged(rows: Tensor) -> Tensor:
        rows = rows.detach()[kept.to(rows.device)]
        total = rows.new_zeros(mapping.num_unified, rows.shape[1])
        return total.index_add_(0, target, rows) / count[:, None].to(rows)

    before = head.num_unified
    embedding, bias = merged(head.label_embedding), merged(head.dataset_bias.T).T
    weights = torch.zeros(mapping.num_unified, trainer.label_spaces.total)
    trainer.edge_weights = weights.index_reduce_(
        0, target.cpu(), trainer.edge_weights[kept], "amax"
    )
    if trainer.human_links is not None:
        human = torch.zeros(mapping.num_unified, trainer.label_spaces.total)
        human.index_add_(0, target.cpu(), trainer.human_links[kept].float())
        trainer.human_links = human > 0
    head.set_label_space(embedding, mapping.stacked(), bias)
    trainer.note(
        f"label space simplified: {before} -> {mapping.num_unified} unified labels (unused ones "
        f"dropped, equal ones merged), mapping {mapping.checksum()}"
    )


def prune_links(trainer: UniLabelTrainer) -> None:
    """Drop links that the trained network does not use (Appendix A)."""
    cache = collect_pixels(trainer.model, trainer.cfg, trainer.sources, PRUNE_SALT)
    embedding = trainer.model.uni_head.label_embedding.detach().cpu()
    usage = label_usage(trainer.label_spaces, cache, embedding)
    before = trainer.mapping()
    pruned = prune_mapping(before, usage, trainer.cfg.UNIFY.PRUNE_SHARE)
    links = with_human_links(trainer, pruned.stacked())
    mapping = LabelMapping.from_stacked(trainer.label_spaces, links)
    trainer.model.uni_head.set_mapping(links)
    score_links(trainer, "pruning", mapping)
    removed = int(before.stacked().sum() - links.sum())
    trainer.note(
        f"pruning: {removed} of {int(before.stacked().sum())} links removed (under "
        f"{trainer.cfg.UNIFY.PRUNE_SHARE:.0%} of their class), {int(mapping.active().sum())} "
        f"unified "
        f"labels in use, mapping {mapping.checksum()}"
    )
    distributed.assert_equal_on_all_ranks(mapping.checksum(), "label mapping")


@torch.no_grad()
def embed_batch(trainer: UniLabelTrainer, batch: list[dict[str, Any]]) -> Pixels:
    """Pixels of a training batch through the frozen network: K pairs (P, D), (P,)."""
    model = trainer.model
    model.eval()
    images = torch.stack([item["image"] for item in batch]).to(model.device)
    embedding = model.embed(images)  # (B, D, h, w)
    grid = model.grid((images.shape[2], images.shape[3]))
    labels = torch.stack([item["sem_seg"] for item in batch])
    labels = grid.labels(labels, (embedding.shape[2], embedding.shape[3])).long().to(model.device)
    pixels: Pixels = []
    for dataset_id in range(len(trainer.label_spaces)):
        rows = [i for i, item in enumerate(batch) if item["dataset_id"] == dataset_id]
        features = embedding[rows].permute(0, 2, 3, 1).flatten(0, 2)  # (P, D)
        truth = labels[rows].flatten()
        valid = truth != IGNORE
        pixels.append((features[valid], truth[valid]))
    return pixels


def final_label_space(trainer: UniLabelTrainer) -> UnifiedLabelSpace | None:
    """The artefact of a finished run: inactive unified labels removed."""
    if trainer.model.uni_head is None:
        return None
    simplify(trainer)
    return present_label_space(trainer)


def present_label_space(trainer: UniLabelTrainer) -> UnifiedLabelSpace | None:
    """The unified labels as they are at this moment, unused ones included."""
    if trainer.model.uni_head is None:
        return None
    learned = any(s.stage is Stage.GNN for s in trainer.schedule.segments)
    return UnifiedLabelSpace.from_mapping(
        trainer.mapping(),
        trainer.edge_weights,
        source="learned" if learned else trainer.proposal.source,
        provenance={"nodes": trainer.cfg.UNIFY.NODES, "seed": trainer.cfg.SEED},
        human_links=trainer.human_links,
    )
