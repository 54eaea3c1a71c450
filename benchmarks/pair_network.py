"""A learned score of label pairs: a perceptron on a pair's evidence, with messages if wished.

Letters: T labels of K datasets, F features of a pair, W width of the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from simulated_graphs import SAME_SET, TYPES, PairGraph
from torch import Tensor, nn

MIRRORED = [TYPES.index(t) for t in ("equal", "wider", "part", "overlap", "none")]  # from (b, a)
RELATED = [TYPES.index(t) for t in ("equal", "part", "wider")]


def through_third_labels(left: Tensor, right: Tensor, apart: Tensor) -> Tensor:
    """What reaches pair (a, b) from the pairs (a, c) and (c, b), c of a third dataset.

    Args:
        left: (T, T, W) what a pair (a, c) gives.
        right: (T, T, W) what a pair (c, b) lets pass.
        apart: (T, T) bool: labels of different datasets.

    Returns:
        (T, T, W) sums over c of the products.
    """
    left, right = (m * apart[..., None] for m in (left, right))
    return torch.einsum("acw,cbw->abw", left, right)


class MessageRound(nn.Module):
    """One update of every pair by the messages that reach it."""

    def __init__(self, width: int) -> None:
        """``width``: W."""
        super().__init__()
        self.left, self.right = nn.Linear(width, width), nn.Linear(width, width)
        self.join = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, state: Tensor, apart: Tensor, sets: int) -> Tensor:
        """(T, T, W) states of the pairs -> the same, updated."""
        left, right = self.left(state).sigmoid(), self.right(state).sigmoid()
        message = through_third_labels(left, right, apart) / max(1, sets - 2)
        return state + self.join(torch.cat([state, message], -1))


class PairNetwork(nn.Module):
    """Features of all pairs -> logits of their types; the answer does not depend on the order."""

    def __init__(self, inputs: int, rounds: int, width: int = 32) -> None:
        """``inputs``: F; ``rounds`` of messages, 0: the perceptron alone."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.encode = nn.Sequential(
            nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )
        self.rounds = nn.ModuleList(MessageRound(width) for _ in range(rounds))
        self.answer = nn.Linear(width, len(TYPES))

    def forward(self, features: Tensor, apart: Tensor, sets: int) -> Tensor:
        """(T, T, F), (T, T) bool, K -> (T, T, types)."""
        state = self.encode((features - self.mean) / self.scale)
        for step in self.rounds:
            state = step(state, apart, sets)
        logits = self.answer(state)
        return (logits + logits.transpose(0, 1)[..., MIRRORED]) / 2


def inputs_of(graph: PairGraph, text: bool) -> Tensor:
    """(T, T, F) features of a graph, the text score among them or not."""
    return torch.cat([graph.features, graph.text[..., None]], -1) if text else graph.features


def train(
    graphs: Sequence[PairGraph], text: bool, rounds: int, epochs: int, seed: int
) -> PairNetwork:
    """Learn the types of the pairs of graphs with known types, a graph in a step."""
    torch.manual_seed(seed)
    data = [(inputs_of(g, text), g.types, g.apart, len(g.sizes)) for g in graphs]
    known = torch.cat([x[types != SAME_SET] for x, types, _, _ in data])
    network = PairNetwork(known.shape[1], rounds)
    network.mean.copy_(known.mean(0))
    network.scale.copy_(known.std(0).clamp(min=1e-4))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    steps = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(data))
    for _ in range(epochs):
        for place in torch.randperm(len(data)).tolist():
            features, types, apart, sets = data[place]
            logits = network(features, apart, sets)
            loss = F.cross_entropy(logits.flatten(0, 1), types.flatten(), ignore_index=SAME_SET)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps.step()
    return network.eval()


@torch.no_grad()
def learned_score(network: PairNetwork, graph: PairGraph, text: bool) -> Tensor:
    """(T, T) symmetric probability that one of two labels holds the other."""
    logits = network(inputs_of(graph, text), graph.apart, len(graph.sizes))
    return logits.softmax(-1)[..., RELATED].sum(-1)
