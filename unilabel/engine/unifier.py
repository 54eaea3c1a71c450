"""The unifier: owner of everything that a run knows about its unified labels.

Letters: K datasets, C classes of all datasets, N unified labels, D embedding dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.label_graph import LabelGraph
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.related_links import related_links
from unilabel.core.stages import Segment, Stage
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.sources import DatasetSource
from unilabel.engine import distributed
from unilabel.engine.fewer_labels import FewerLabels, linked_only, merged
from unilabel.engine.fitting import fit_label_embedding, initial_embedding
from unilabel.engine.graph_stage import GraphLearner, build_label_graph, draw_pixels
from unilabel.engine.kept_labels import KeptLabels
from unilabel.engine.label_rows import LabelRows
from unilabel.engine.links import (
    check_finite,
    check_finite_embedding,
    completed_links,
    confirmed_links,
    pruned_links,
    relation_scores,
    solve_links,
)
from unilabel.engine.node_selection import NodeProposal, ensure_valid, propose_nodes
from unilabel.engine.pixel_cache import PixelCache, collect_pixels, embed_batch
from unilabel.engine.readouts import begin_beside, learn_beside
from unilabel.engine.typed_relations import links_relations, with_typed_relations
from unilabel.modeling.meta_arch import UniLabelSegmentor, build_uni_head
from unilabel.text.cache import load_or_encode

PRUNE_SALT = 1_000  # pixel draws of the pruning differ from those of the stages


class Unifier:
    """Finds, learns, installs and prunes the unified labels of a segmentation model.

    It changes the heads of ``model`` and nothing else. A run calls :meth:`enter` and :meth:`leave`
    around a stage, :meth:`learn` in a GNN stage, :meth:`prune` in FINAL, :meth:`finish` at the end.

    Attributes:
        kept: unified labels of an older model, as long as the model has heads beside; or None.
        proposal: what node selection found, once it has run.
        graph: the label graph, from the first GNN stage to FINAL.
        learner: learns the graph, within a GNN stage.
        cache: pixels of the frozen network, within a stage that needs them.
        rows: edge weights, fixed links and a person's word, unified label for unified label.
        marginals: class marginals of the transport solver per dataset.
        text_features: (C, T), once encoded.
        link_scores: agreement with known relations after each event that changed the links.
    """

    def __init__(
        self,
        cfg: CfgNode,
        label_spaces: LabelSpaceSet,
        sources: Sequence[DatasetSource],
        model: UniLabelSegmentor,
        note: Callable[[str], None],
    ) -> None:
        """Begin without unified labels; ``note`` takes one line per event for a person to read."""
        self.cfg = cfg
        self.label_spaces = label_spaces
        self.sources = sources
        self.model = model
        self.note = note
        self.kept: KeptLabels | None = None
        self.proposal: NodeProposal | None = None
        self.graph: LabelGraph | None = None
        self.learner: GraphLearner | None = None
        self.cache: PixelCache | None = None
        self.rows = LabelRows(label_spaces)
        self.marginals: dict[str, Tensor] = {}
        self.text_features: Tensor | None = None
        self.link_scores: list[dict[str, Any]] = []
        self._resumed: dict[str, Any] | None = None  # of the learner

    def features(self) -> Tensor:
        """(C, T) text features, encoded at first use."""
        if self.text_features is None:
            text = self.cfg.TEXT
            self.text_features = load_or_encode(
                text.FEATURES or None, self.label_spaces, text.ENCODER, mode=text.MODE
            )
        return self.text_features

    def mapping(self) -> LabelMapping | None:
        """The links in use, or None before there are unified labels."""
        if self.model.uni_head is None:
            return None
        return LabelMapping.from_stacked(self.label_spaces, self.model.uni_head.mapping.cpu())

    # --- stages --------------------------------------------------------------------------------

    def enter(self, segment: Segment, iteration: int, fresh: bool) -> None:
        """What a stage needs before its first step, or (``fresh`` False) after an interruption."""
        stage = segment.stage
        self.cache = None  # of the stage before: an interrupted run does not have it either
        if fresh and stage is not Stage.MULTI_HEAD and self.model.uni_head is None:
            self.propose(segment, iteration)
        if stage is Stage.GNN:
            self._begin_graph(segment)
            return
        if fresh and stage is Stage.FINAL and iteration == segment.start:
            self.simplify(segment)
        self.cache = None
        self.graph = self.graph if stage is Stage.SEG else None
        if self.model.uni_head is not None:
            final = stage is Stage.FINAL
            if final and learn_beside(self.cfg):
                begin_beside(self.model, trained=iteration > 0)
            self.model.multi_head = self.kept = None
            self.model.uni_head.label_embedding.requires_grad_(final)

    def propose(self, segment: Segment, iteration: int) -> None:
        """Find the unified labels and give the model a head for them.

        Before a stage that trains the network without a GNN stage in front, X_u is fitted as well.
        """
        model, spaces, kept = self.model, self.label_spaces, self.kept
        heads = [w.detach().cpu() for w in model.multi_head.weights]
        look, text = partial(self._stage_cache, segment), self.features()
        if kept is None:
            proposal = propose_nodes(self.cfg, spaces, look(), heads, text)
        else:
            proposal = kept.propose(self.cfg, look, heads, text, iteration > 0)
        mapping = ensure_valid(proposal.links, spaces)
        proposal.links = mapping.stacked()
        self.proposal = proposal
        fix, held = self.cfg.MODEL.FIX_HUMAN_LINKS, kept and kept.held
        self.rows.begin(proposal.links, proposal.reviewed, fix, held)
        model.uni_head = build_uni_head(self.cfg, spaces, mapping.num_unified).to(model.device)
        start, bias = initial_embedding(proposal.links, heads), None
        if kept is not None:
            start, bias = kept.start(proposal.links, heads)
        model.uni_head.set_label_space(start, proposal.links, bias)
        distributed.assert_equal_on_all_ranks(mapping.checksum(), "label mapping")
        merged = int((proposal.links.sum(1) > 1).sum())
        how = f"{len(kept.links)} of MODEL.WEIGHTS" if kept else self.cfg.UNIFY.NODES
        self.note(
            f"node selection ({how}): {spaces.total} labels -> {mapping.num_unified} unified "
            f"labels, {merged} of them shared by several datasets, mapping {mapping.checksum()}"
        )
        self._score("node selection", mapping)
        if segment.stage is not Stage.GNN and not (kept and kept.complete and iteration == 0):
            look()  # what the fit needs; nobody may have looked yet
            self.install(mapping, start, iteration)

    def _stage_cache(self, segment: Segment) -> PixelCache:
        """Pixels of the present network, collected once per stage."""
        if self.cache is None:
            self.cache = collect_pixels(self.model, self.cfg, self.sources, segment.index)
        return self.cache

    # --- the label graph -----------------------------------------------------------------------

    def _new_graph(self) -> LabelGraph:
        graph = build_label_graph(self.cfg, self.label_spaces, self.features(), self.proposal)
        return graph.to(self.model.device)

    def _begin_graph(self, segment: Segment) -> None:
        counts = self._stage_cache(segment).class_counts(self.label_spaces.num_classes)
        if self.graph is None:
            torch.manual_seed(self.cfg.SEED)
            self.graph = self._new_graph()
        self.learner = GraphLearner(
            self.cfg,
            self.label_spaces,
            self.graph,
            segment.length,
            lambda soft, within: self.solve(soft, segment.start + within),
            counts,
        )
        if self._resumed is not None:
            self.learner.load_state_dict(self._resumed)
            self._resumed = None

    def learn(
        self, segment: Segment, iteration: int, batch: list[dict[str, Any]] | None = None
    ) -> dict[str, Tensor]:
        """One step of the label graph, on a training batch or (None) on cached pixels: losses."""
        if batch is None:
            pixels = draw_pixels(self.cfg, self.cache, iteration, self.model.device)
        else:
            pixels = embed_batch(self.model, batch)
        return self.learner.step(iteration - segment.start, pixels)

    def leave(self, segment: Segment, iteration: int) -> None:
        """After a GNN stage: solve the mapping, confirm its changes, install it with its X_u."""
        if segment.stage is not Stage.GNN:
            return
        embedding, soft = self.learner.result()
        distributed.broadcast([embedding, soft])
        embedding, soft = embedding.cpu(), soft.cpu()
        self.rows.edge_weights, self.rows.learned = soft, True
        before = self.mapping()
        solved = LabelMapping.from_stacked(self.label_spaces, self.solve(soft, iteration))
        present, share = self.model.uni_head.label_embedding, self.cfg.UNIFY.CONFIRM_SHARE
        links = confirmed_links(before, solved, self.cache, present, embedding, share)
        mapping = LabelMapping.from_stacked(self.label_spaces, self.rows.fix(links))
        changed, proposed = (
            int((m.stacked() != before.stacked()).sum()) for m in (mapping, solved)
        )
        self.install(mapping, embedding, iteration)
        self.learner, mapping = None, self.mapping()
        self._score("GNN", mapping)
        self.note(
            f"mapping solve ({self.cfg.UNIFY.SOLVER}): {int(mapping.active().sum())} of "
            f"{mapping.num_unified} unified labels in use, {int(mapping.stacked().sum())} links, "
            f"{changed} changed (of {proposed} proposed), mapping {mapping.checksum()}"
        )

    # --- links ---------------------------------------------------------------------------------

    def solve(self, soft: Tensor, iteration: int) -> Tensor:
        """Links (N, C) of a soft mapping; links fixed by a person stay.

        Raises:
            UniLabelError: the soft mapping is not finite.
        """
        soft = soft.detach().cpu()
        check_finite(soft, self.label_spaces, iteration)
        # Put in before as well: the solver then finds other unified labels for other classes.
        soft = self.rows.fix(soft)
        links = solve_links(self.cfg, self.label_spaces, soft, self.proposal.links, self.marginals)
        return self.rows.fix(links)

    def install(self, mapping: LabelMapping, start: Tensor, iteration: int) -> None:
        """Give the unified head a mapping and X_u, fitted on cached pixels where configured.

        The fit starts from an older model's X_u, or the linked classifiers of the heads, where the
        run has them: they were learned from changing images, the graph's X_u from cached pixels.
        """
        cfg, heads = self.cfg, self.model.multi_head
        embedding, bias = start, None
        if self.kept is not None:
            embedding, bias = self.kept.start(mapping.stacked(), list(heads.weights))
        # Before the first iteration the heads are random: nothing to start from.
        elif cfg.UNIFY.FIT_ITERATIONS > 0 and heads is not None and iteration > 0:
            embedding = initial_embedding(mapping.stacked(), list(heads.weights))
        if cfg.UNIFY.FIT_ITERATIONS > 0:
            embedding, bias = self._fit(mapping, embedding, bias)
            fitted = mapping
            if self.kept is None:  # what labels of an older model mean stays
                score = self.proposal.score
                mapping = completed_links(cfg, fitted, self.cache, embedding, score)
            if mapping != fitted:
                embedding, bias = self._fit(mapping, embedding, bias)
                added = int((mapping.stacked() & ~fitted.stacked()).sum())
                self.note(f"{added} more links that the pixels of unified labels speak for")
        check_finite_embedding(embedding, iteration)
        distributed.assert_equal_on_all_ranks(mapping.checksum(), "label mapping")
        self.model.uni_head.set_label_space(embedding, mapping.stacked(), bias)

    def _fit(
        self, mapping: LabelMapping, start: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """X_u (N, D) and bias (K, N), fitted on the present cache; equal on all ranks."""
        cfg, mode = self.cfg, self.cfg.MODEL.MAPPING_MODE
        fitted = fit_label_embedding(
            cfg, self.label_spaces, self.cache, mapping, start, mode, cfg.SEED, bias
        )
        distributed.broadcast(fitted)
        return fitted

    # --- fewer links and labels ----------------------------------------------------------------

    def simplify(self, segment: Segment) -> None:
        """Before FINAL: drop unified labels without links and merge those with the same links.

        Without a fit (UNIFY.FIT_ITERATIONS 0) those of ``probability_sum``, which would need it,
        and labels beside those of an older model stay apart.
        """
        cfg, head = self.cfg, self.model.uni_head
        exact = cfg.MODEL.MAPPING_MODE == "logit_sum"
        apart = self.rows.held is not None or (not exact and cfg.UNIFY.FIT_ITERATIONS == 0)
        fewer = None if apart else merged(self.mapping(), head, exact, cfg.MODEL.DATASET_BIAS)
        if fewer is None:
            self._drop_unlinked()
            return
        if not exact:
            self._stage_cache(segment)
            fitted = self._fit(fewer.mapping, fewer.embedding, fewer.bias)
            fewer = replace(fewer, embedding=fitted[0], bias=fitted[1])
        self._install_fewer(fewer, "equal ones merged")

    def _drop_unlinked(self) -> None:
        fewer = linked_only(self.mapping(), self.model.uni_head)
        if fewer is not None:
            self._install_fewer(fewer, "")

    def _install_fewer(self, fewer: FewerLabels, how: str) -> None:
        before, mapping = self.model.uni_head.num_unified, fewer.mapping
        self.model.uni_head.set_label_space(
            fewer.embedding, mapping.stacked(), fewer.bias, fewer.shift
        )
        done = ["unused ones dropped", how] if bool((fewer.new_index < 0).any()) else [how]
        self.note(
            f"label space simplified: {before} -> {mapping.num_unified} unified labels "
            f"({', '.join(filter(None, done))}), mapping {mapping.checksum()}"
        )
        gone = ", ".join(self.rows.regroup(fewer.new_index))
        if gone:
            self.note(f"labels of before that have no links or became part of another: {gone}")

    def relate(self) -> None:
        """After the last iteration: what texts tell, as relations and (LINK_RELATIONS) as links."""
        if self.model.uni_head is None:
            return
        space = with_typed_relations(self.cfg, self.label_space(), self.proposal.cross)
        self.rows.relations = space.relations
        if not links_relations(self.cfg) or self.rows.keep_meaning(self.note):
            return
        weights = related_links(space.mapping, space.relations)
        self.rows.relate(weights)
        self.model.uni_head.add_silent_links(weights > 0)
        mapping, count = self.mapping(), int((weights > 0).sum())
        distributed.assert_equal_on_all_ranks(mapping.checksum(), "label mapping")
        self._score("typed relations", mapping)
        self.note(f"{count} more links that texts speak for, mapping {mapping.checksum()}")

    def prune(self) -> None:
        """Drop links that neither the network uses (Appendix A) nor evidence speaks for."""
        cache = collect_pixels(self.model, self.cfg, self.sources, PRUNE_SALT)
        embedding = self.model.uni_head.label_embedding.detach().cpu()
        before, share = self.mapping(), self.cfg.UNIFY.PRUNE_SHARE
        links = pruned_links(self.cfg, before, cache, embedding, self.proposal.score)
        links = self.rows.fix(links)
        mapping = LabelMapping.from_stacked(self.label_spaces, links)
        self.model.uni_head.set_mapping(links)
        self._score("pruning", mapping)
        total = int(before.stacked().sum())
        self.note(
            f"pruning: {total - int(links.sum())} of {total} links removed (under {share:.0%} of "
            f"their class), {int(mapping.active().sum())} unified labels in use, mapping "
            f"{mapping.checksum()}"
        )
        distributed.assert_equal_on_all_ranks(mapping.checksum(), "label mapping")

    def finish(self) -> UnifiedLabelSpace | None:
        """The artefact of a finished run; unified labels without any link are dropped."""
        if self.model.uni_head is not None:
            self._drop_unlinked()
        return self.label_space()

    def label_space(self) -> UnifiedLabelSpace | None:
        """The unified labels as they are at this moment, unused ones included."""
        if self.model.uni_head is None:
            return None
        provenance = {"nodes": self.cfg.UNIFY.NODES, "seed": self.cfg.SEED}
        return self.rows.label_space(self.mapping(), self.proposal.source, provenance)

    def _score(self, event: str, mapping: LabelMapping) -> None:
        scores = relation_scores(self.cfg, mapping)
        if scores is not None:
            self.link_scores.append({"after": event, **scores})

    # --- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs besides the model (tensors and plain values only)."""
        return {
            "kept": None if self.kept is None else self.kept.state_dict(),
            "proposal": None if self.proposal is None else self.proposal.state_dict(),
            "graph": None if self.graph is None else self.graph.state_dict(),
            "learner": None if self.learner is None else self.learner.state_dict(),
            "rows": self.rows.state_dict(),
            "marginals": self.marginals,
            "text_features": self.text_features,
            "link_scores": self.link_scores,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; the model has its heads and weights already."""
        self.rows.load_state_dict(state["rows"])
        self.marginals = state["marginals"]
        self.text_features = state["text_features"]
        self.link_scores = state["link_scores"]
        self._resumed = state["learner"]
        if state.get("kept") is not None:
            self.kept = KeptLabels.from_state(state["kept"], self.label_spaces)
        if state["proposal"] is not None:
            self.proposal = NodeProposal(**state["proposal"])
        if state["graph"] is not None:
            self.graph = self._new_graph()
            self.graph.load_state_dict(state["graph"])
