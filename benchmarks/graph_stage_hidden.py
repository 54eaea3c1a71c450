"""Labels known by text only: what a GNN stage says of classes whose pixels it never saw.

Letters: C classes of all datasets, N unified labels, D embedding dim, T text dim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from frozen_pixels import (
    FrozenNetwork,
    class_auc,
    class_iou,
    rounded,
    without_classes,
)
from graph_stage_start import VARIANTS, Start, mean_text, set_variant
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping
from unilabel.engine.fitting import fit_label_embedding, initial_embedding
from unilabel.engine.graph_stage import GraphLearner, build_label_graph, draw_pixels
from unilabel.engine.node_selection import NodeProposal, text_score
from unilabel.engine.pixel_cache import PixelCache

FOLDS = 5
NEAREST = 3  # rows that stand in for a label known by its text


@dataclass(frozen=True)
class Fold:
    """What is hidden.

    Attributes:
        hidden: (C,) bool, classes without training pixels.
        rows: (N,) bool, unified labels of which no class is seen.
        scored: (C,) bool, classes of which no unified label is seen.
    """

    hidden: Tensor
    rows: Tensor
    scored: Tensor


def deal_folds(links: Tensor, count: int, seed: int) -> list[Fold]:
    """Deal (N, C) unified labels into folds; with a label, all classes linked to it are hidden."""
    order = torch.randperm(len(links), generator=torch.Generator().manual_seed(seed))
    found = []
    for part in (order[i::count] for i in range(count)):
        hidden = links[part].any(0)
        rows = ~(links & ~hidden).any(1)
        scored = ~(links & ~rows[:, None]).any(0)
        found.append(Fold(hidden, rows, scored))
    return found


class SeenLearner(GraphLearner):
    """Learns as if unified labels that have no pixels did not exist, so none is pushed away."""

    seen: Tensor  # (N,) bool

    def _mapped_loss(self, embedding: Tensor, soft: Tensor, *others: Any) -> Tensor:
        return super()._mapped_loss(embedding[self.seen], soft[self.seen], *others)


def text_only_rows(
    net: FrozenNetwork, proposal: NodeProposal, pixels: PixelCache, fold: Fold, variant: str
) -> Tensor:
    """(N, D) X_u of a stage on pixels without the hidden classes, their links given."""
    torch.manual_seed(net.cfg.SEED)
    graph = build_label_graph(net.cfg, net.spaces, net.text, proposal)
    set_variant(graph, variant, proposal.links)
    counts = pixels.class_counts(net.spaces.num_classes)
    links = proposal.links[~fold.rows]
    learner = SeenLearner(
        net.cfg, net.spaces, graph, net.segment.length, lambda soft, within: links, counts
    )
    learner.seen = ~fold.rows
    for within in range(net.segment.length):
        batch = draw_pixels(net.cfg, pixels, net.segment.start + within, torch.device("cpu"))
        learner.step(within, batch)
    return learner.result()[0]


def nearest_rows(rows: Tensor, text: Tensor, unknown: Tensor) -> Tensor:
    """(N, D) rows, the unknown ones by the mean of the NEAREST known ones by (N, T) text."""
    likeness = text[unknown] @ text[~unknown].T
    best = likeness.topk(min(NEAREST, likeness.shape[1])).indices
    result = rows.clone()
    result[unknown] = rows[~unknown][best].mean(1)
    return result


def text_only_cell(begin: Start, folds: int) -> dict[str, Any]:
    """IoU and AUC of classes that are known by their texts, fold for fold."""
    net, proposal = begin.net, begin.proposal
    heads, links = list(net.model.multi_head.weights), proposal.links
    mapping, text = LabelMapping.from_stacked(net.spaces, links), mean_text(net.text, links)
    start, mode = initial_embedding(links, heads), net.cfg.MODEL.MAPPING_MODE
    fit = partial(fit_label_embedding, net.cfg, net.spaces, mapping=mapping, mode=mode)
    seen, _ = fit(cache=net.train, start=start, seed=net.cfg.SEED)
    by_text = text_score(net.cfg, net.spaces, net.text)
    classes = []
    for number, fold in enumerate(deal_folds(links, FOLDS, net.seed)[:folds]):
        pixels = without_classes(net.train, net.spaces, fold.hidden)
        told = fold.hidden[:, None] | fold.hidden[None]
        known = replace(proposal, score=torch.where(told, by_text, proposal.score))
        found = {v: text_only_rows(net, known, pixels, fold, v) for v in (*VARIANTS, "text")}
        found["nearest, graph"] = nearest_rows(found["messages"], text, fold.rows)
        guess = nearest_rows(start, text, fold.rows)
        fitted, _ = fit(cache=pixels, start=guess, seed=net.cfg.SEED)
        found["nearest, fitted"] = nearest_rows(fitted, text, fold.rows)
        found["all pixels seen"] = seen
        iou = {way: class_iou(net, rows, mapping) for way, rows in found.items()}
        auc = {way: class_auc(net, rows, mapping, fold.scored) for way, rows in found.items()}
        classes += [
            {"class": name, "fold": number,
             "iou": {way: rounded(value[i]) for way, value in iou.items()},
             "auc": {way: rounded(value[i]) for way, value in auc.items()}}
            for i, name in enumerate(net.spaces.label_names())
            if fold.scored[i] and not torch.isnan(iou["messages"][i])
        ]  # fmt: skip
    return {"folds": folds, "classes": classes}
