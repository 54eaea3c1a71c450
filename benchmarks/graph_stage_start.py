"""Where the variants of a GNN stage begin, for benchmarks/graph_stage.py.

Letters: C classes of all datasets, N unified labels, T text dim.
"""

from __future__ import annotations

import copy
from typing import Any

import torch.nn.functional as F
from frozen_pixels import FrozenNetwork
from torch import Tensor

from unilabel.core.label_graph import LabelGraph
from unilabel.engine.node_selection import NodeProposal
from unilabel.engine.pixel_cache import PixelCache
from unilabel.engine.unifier import Unifier

VARIANTS = ("messages", "alone")  # and "text", for labels known by text only


class StageUnifier(Unifier):
    """A unifier whose pixels are given."""

    pixels: PixelCache

    def _stage_cache(self, segment: Any) -> PixelCache:
        self.cache = self.pixels
        return self.pixels


class Start:
    """A network whose unified labels have just been found: where every variant begins."""

    def __init__(self, net: FrozenNetwork) -> None:
        """Find the unified labels by all cached pixels."""
        self.net = net
        unifier = self.fresh(net.train)
        unifier.propose(net.segment, net.segment.start)
        self.proposal: NodeProposal = unifier.proposal
        self._state, self._head = unifier.state_dict(), net.model.uni_head

    def fresh(self, pixels: PixelCache) -> StageUnifier:
        """The unifier of a run that has just ended its MULTI_HEAD stage."""
        net = self.net
        net.model.uni_head = None
        unifier = StageUnifier(net.cfg, net.spaces, net.sources, net.model, lambda line: None)
        unifier.text_features, unifier.pixels = net.text, pixels
        return unifier

    def learned(self, variant: str, pixels: PixelCache, keep_links: bool = False) -> StageUnifier:
        """A unifier at the end of its first GNN stage on ``pixels``, before it leaves it.

        Args:
            variant: see :func:`set_variant`.
            pixels: of the frozen network.
            keep_links: learn X_u for the links of node selection, whatever the edges say.
        """
        segment, unifier = self.net.segment, self.fresh(pixels)
        if keep_links:
            unifier.cfg = self.net.cfg.clone()
            unifier.cfg.UNIFY.SOLVER = "links"
        unifier.load_state_dict(copy.deepcopy(self._state))
        self.net.model.uni_head = copy.deepcopy(self._head)
        unifier.enter(segment, segment.start, fresh=True)
        set_variant(unifier.graph, variant, self.proposal.links)
        for iteration in range(segment.start, segment.stop):
            unifier.learn(segment, iteration)
        return unifier


def set_variant(graph: LabelGraph, variant: str, links: Tensor) -> None:
    """Turn a fresh label graph over (N, C) links into a variant: see benchmarks/graph_stage.py."""
    graph.messages = variant == "messages"
    if variant == "text":
        graph.unified_features.data.copy_(mean_text(graph.text_features, links))
        graph.unified_features.requires_grad_(False)


def mean_text(text: Tensor, links: Tensor) -> Tensor:
    """(N, T) mean features of the classes of every unified label, of length 1."""
    return F.normalize(links.float() @ text.float(), dim=1)
