"""Learning the label graph with a frozen network (Alternating GNNs Training Stage, Appendix A).

Letters: K datasets, C classes of all datasets, N unified labels, P pixels, D embedding dim.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.adjacency import TEMPERATURE, initial_edge_logits
from unilabel.core.label_graph import LabelGraph
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.losses import class_weights, orthogonality_loss
from unilabel.engine.distributed import average_gradients
from unilabel.engine.fitting import mapped_cross_entropy
from unilabel.engine.guards import clip_gradient
from unilabel.engine.node_selection import NodeProposal, edge_evidence
from unilabel.engine.pixel_cache import PixelCache

Pixels = list[tuple[Tensor, Tensor]]  # K pairs (P, D) embeddings, (P,) class ids


def build_label_graph(
    cfg: CfgNode, label_spaces: LabelSpaceSet, text_features: Tensor, proposal: NodeProposal
) -> LabelGraph:
    """The graph over all labels, its edges started at the links of node selection."""
    g = cfg.GRAPH
    edges, nulls = initial_edge_logits(
        proposal.links, edge_evidence(proposal), label_spaces.num_classes, TEMPERATURE
    )
    if not g.SOFT_START:
        edges = proposal.links.float()  # the authors' start: 0/1, saturated at small temperature
    return LabelGraph(
        text_features=text_features,
        num_classes=label_spaces.num_classes,
        edge_logits=edges,
        embed_dim=cfg.MODEL.EMBED_DIM,
        hidden_dim=g.HIDDEN_DIM,
        dropout=g.DROPOUT,
        null_logits=nulls if g.ALLOW_NULL and g.SOFT_START else None,
        use_dataset_embedding=g.DATASET_EMBEDDING,
    )


def draw_pixels(cfg: CfgNode, cache: PixelCache, iteration: int, device: torch.device) -> Pixels:
    """GRAPH.PIXELS cached pixels of every dataset: a function of the seed and the iteration."""
    generator = torch.Generator().manual_seed(cfg.SEED * 1_000_003 + iteration)
    return [(e.to(device), y.to(device)) for e, y in cache.batch(cfg.GRAPH.PIXELS, generator)]


class GraphLearner:
    """One GNN stage: the loss turns from the soft to the solved mapping, then the edges freeze."""

    def __init__(
        self,
        cfg: CfgNode,
        label_spaces: LabelSpaceSet,
        graph: LabelGraph,
        length: int,
        solve: Callable[[Tensor, int], Tensor],
        counts: list[Tensor],
    ) -> None:
        """Prepare optimizer and class weights.

        Args:
            cfg: GRAPH, LOSS.
            label_spaces: K label spaces.
            graph: learned in place.
            length: iterations of the stage.
            solve: (N, C) soft mapping and iteration within the stage -> (N, C) bool links.
            counts: K tensors (C_i,) of pixels per class.
        """
        self.cfg = cfg
        self.label_spaces = label_spaces
        self.graph = graph
        self.turn = round(length * cfg.GRAPH.HARD_SHARE)
        self.solve = solve
        self.links: Tensor | None = None
        self.gradient_norm = torch.zeros(())  # of the last step
        self.weights = [class_weights(c, cfg.LOSS.CLASS_WEIGHT_POWER) for c in counts]
        edges = {"edge_logits", "null_logits"}
        self.edges = [p for n, p in graph.named_parameters() if n in edges]
        others = [p for n, p in graph.named_parameters() if n not in edges]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": others, "lr": cfg.GRAPH.LR, "weight_decay": 0.0},
                {"params": self.edges, "lr": cfg.GRAPH.EDGE_LR, "weight_decay": 0.0},
            ]
        )

    def step(self, iteration: int, pixels: Pixels) -> dict[str, Tensor]:
        """One optimisation step, Eq. (8).

        Args:
            iteration: 0-based, within the stage.
            pixels: K pairs of embeddings (P, D) and class ids (P,).

        Returns:
            Scalars for the log.
        """
        self.graph.train()
        embedding, soft = self.graph()
        hard = min(1.0, iteration / self.turn) if self.turn else 0.0
        frozen = bool(self.turn) and iteration >= self.turn
        if self.turn and (
            self.links is None
            or iteration == self.turn
            or (iteration < self.turn and iteration % self.cfg.GRAPH.SOLVE_PERIOD == 0)
        ):
            self.links = self.solve(soft, iteration)
        loss = self._mapped_loss(embedding, soft, hard, pixels)
        losses = {"loss_ce/graph": loss}
        if self.cfg.LOSS.ORTH_WEIGHT > 0:
            orth = orthogonality_loss(embedding, self.cfg.LOSS.ORTH_FORM)
            losses["loss_orth"] = self.cfg.LOSS.ORTH_WEIGHT * orth
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        if frozen:
            for edges in self.edges:
                edges.grad = None
        average_gradients(self.graph.parameters())
        self.gradient_norm = clip_gradient(self.graph.parameters(), limit=0.0)
        if bool(torch.isfinite(self.gradient_norm)):  # else the trainer's guard has the word
            self.optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

    def _mapped_loss(self, embedding: Tensor, soft: Tensor, hard: float, pixels: Pixels) -> Tensor:
        """(1 - hard) x loss through the soft mapping + hard x loss through the solved one."""
        mode = self.cfg.MODEL.MAPPING_MODE
        total = 0.0 * embedding.sum()  # zero with a graph, also if no pixel is labelled
        soft_blocks = self.label_spaces.split(soft)
        link_blocks = None if self.links is None else self.label_spaces.split(self.links.to(soft))
        for i, (features, labels) in enumerate(pixels):
            if not len(labels):  # images without a labelled pixel: a mean over none is NaN
                continue
            scores = features @ embedding.T  # (P, N)
            weight = self.weights[i].to(scores)
            if hard < 1:
                part = mapped_cross_entropy(scores, labels, soft_blocks[i], mode, weight)
                total = total + (1 - hard) * part
            if hard > 0 and link_blocks is not None:
                part = mapped_cross_entropy(scores, labels, link_blocks[i], mode, weight)
                total = total + hard * part
        return total / len(pixels)

    @torch.no_grad()
    def result(self) -> tuple[Tensor, Tensor]:
        """Label embedding (N, D) and soft mapping (N, C), without dropout."""
        self.graph.eval()
        embedding, soft = self.graph()
        return embedding.detach(), soft.detach()

    def state_dict(self) -> dict:
        """What a resumed stage needs besides the graph."""
        return {"optimizer": self.optimizer.state_dict(), "links": self.links}

    def load_state_dict(self, state: dict) -> None:
        """Inverse of :meth:`state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.links = state["links"]
