"""The GNN stage on made-up pixels: the loss falls, the mapping turns hard, the edges freeze."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("detectron2")

import made_up_world as world

from unilabel.core.label_mapping import LabelMapping
from unilabel.engine.graph_stage import GraphLearner, build_label_graph
from unilabel.engine.links import solve_links
from unilabel.engine.node_selection import NodeProposal, propose_nodes

pytestmark = pytest.mark.d2

LENGTH = 40
QUICK = {
    "GRAPH__HIDDEN_DIM": 32,
    "GRAPH__LR": 0.01,
    "GRAPH__SOLVE_PERIOD": 7,
    "GRAPH__PIXELS": 64,
    "UNIFY__TEXT_WEIGHT": 0.0,
}


class Stage:
    """A learner with what it needs, and the calls of its solver."""

    def __init__(self, length: int = LENGTH, **values) -> None:
        self.cfg = world.config(**{**QUICK, **values})
        spaces = world.spaces()
        self.cache = world.pixels()
        proposal = propose_nodes(
            self.cfg, spaces, self.cache, world.heads(), world.random_text()
        )  # fmt: skip
        torch.manual_seed(0)
        self.graph = build_label_graph(self.cfg, spaces, world.random_text(), proposal)
        self.solved: list[torch.Tensor] = []

        def solve(soft: torch.Tensor, within: int) -> torch.Tensor:
            self.solved.append(soft.detach())
            return solve_links(self.cfg, spaces, soft, proposal.links, {})

        counts = self.cache.class_counts(spaces.num_classes)
        self.learner = GraphLearner(self.cfg, spaces, self.graph, length, solve, counts)

    def step(self, iteration: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(iteration)
        torch.manual_seed(iteration)  # dropout
        batch = self.cache.batch(self.cfg.GRAPH.PIXELS, generator)
        return self.learner.step(iteration, batch)

    def run(self, start: int = 0, stop: int = LENGTH) -> list[float]:
        return [float(sum(self.step(i).values())) for i in range(start, stop)]


# --- the graph of a proposal ---


def proposal() -> NodeProposal:
    cfg = world.config(**QUICK)
    return propose_nodes(cfg, world.spaces(), world.pixels(), world.heads(), world.random_text())


def test_edges_start_at_the_links_of_node_selection() -> None:
    found = proposal()
    graph = build_label_graph(world.config(**QUICK), world.spaces(), world.random_text(), found)
    mapping = graph.mapping()
    for weights, links in zip(
        world.spaces().split(mapping), world.spaces().split(found.links), strict=True
    ):
        linked = links.any(1)
        assert torch.equal(weights[linked].argmax(1), links[linked].int().argmax(1))
        assert weights[linked].max(1).values.min() > 0.85
        assert (weights[~linked].sum(1) < 0.5).all()  # "no class" is likeliest


def test_start_of_the_authors() -> None:
    found = proposal()
    cfg = world.config(**QUICK, GRAPH__SOFT_START=False, GRAPH__ALLOW_NULL=False)
    graph = build_label_graph(cfg, world.spaces(), world.random_text(), found)
    assert torch.equal(graph.edge_logits, found.links.float())
    assert graph.null_logits is None
    for weights in world.spaces().split(graph.mapping()):
        assert torch.allclose(weights.sum(1), torch.ones(len(weights)))


def test_graph_follows_the_configuration() -> None:
    cfg = world.config(**QUICK, GRAPH__DROPOUT=0.3, GRAPH__DATASET_EMBEDDING=False)
    graph = build_label_graph(cfg, world.spaces(), world.random_text(), proposal())
    assert graph.dropout == 0.3
    assert graph.dataset_embedding is None
    assert graph()[0].shape == (len(graph.edge_logits), world.DIM)


# --- learning ---


def test_loss_falls_and_pixels_are_told_apart() -> None:
    stage = Stage(length=120)
    losses = stage.run(stop=120)
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
    embedding, soft = stage.learner.result()
    links = stage.learner.links
    mapping = LabelMapping.from_stacked(world.spaces(), links)
    assert world.named(links) == world.named(world.atom_links())
    for i, name in enumerate(world.DATASETS):
        scores = torch.softmax(stage.cache.embeddings[i] @ embedding.T, 1) @ mapping[name].float()
        assert (scores.argmax(1) == stage.cache.labels[i]).float().mean() > 0.9
    assert soft.shape == (5, 11)
    assert not soft.requires_grad


def test_mapping_is_solved_on_the_way_and_edges_freeze() -> None:
    stage = Stage()  # turns until 30 of 40
    edges = []
    for iteration in range(LENGTH):
        stage.step(iteration)
        edges.append([p.detach().clone() for p in stage.learner.edges])
    assert len(stage.learner.edges) == 2  # edge and "no class" logits
    assert len(stage.solved) == len([0, 7, 14, 21, 28, 30])
    for before, after in zip(edges[29], edges[39], strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(edges[0][0], edges[29][0])
    # what is not an edge goes on learning
    other = stage.graph.output.weight.detach().clone()
    stage.step(LENGTH - 1)
    assert not torch.equal(other, stage.graph.output.weight)


def test_loss_turns_from_the_soft_to_the_solved_mapping() -> None:
    stage = Stage(LOSS__CLASS_WEIGHT_POWER=0.0)
    stage.step(0)
    pixels = stage.cache.batch(64, torch.Generator().manual_seed(5))
    embedding, soft = stage.graph()
    learner = stage.learner
    parts = [float(learner._mapped_loss(embedding, soft, hard, pixels)) for hard in (0, 0.25, 1)]
    assert parts[1] == pytest.approx(0.75 * parts[0] + 0.25 * parts[2], rel=1e-5)
    assert parts[0] != parts[2]


def test_soft_stage_never_solves() -> None:
    stage = Stage(GRAPH__HARD_SHARE=0.0)
    stage.run()
    assert stage.solved == []
    assert stage.learner.links is None
    before = stage.graph.edge_logits.detach().clone()
    stage.step(LENGTH - 1)
    assert not torch.equal(before, stage.graph.edge_logits)  # never frozen


def test_orthogonality_loss_is_weighted_and_optional() -> None:
    assert set(Stage().step(0)) == {"loss_ce/graph"}
    one = Stage(LOSS__ORTH_WEIGHT=1.0).step(0)
    three = Stage(LOSS__ORTH_WEIGHT=3.0).step(0)
    assert float(three["loss_orth"]) == pytest.approx(3 * float(one["loss_orth"]), rel=1e-5)
    assert not one["loss_orth"].requires_grad


def test_dataset_without_labelled_pixels_adds_nothing() -> None:
    stage = Stage(GRAPH__HARD_SHARE=0.0)
    batch = stage.cache.batch(16, torch.Generator().manual_seed(0))
    empty = [(x[:0], y[:0]) for x, y in batch]
    whole = float(stage.learner.step(0, batch)["loss_ce/graph"])
    parts = [
        float(Stage(GRAPH__HARD_SHARE=0.0).learner.step(0, [*empty[:i], batch[i], *empty[i + 1 :]])[
            "loss_ce/graph"
        ])
        for i in range(3)
    ]  # fmt: skip
    assert sum(parts) == pytest.approx(whole, rel=1e-5)
    assert float(stage.learner.step(1, empty)["loss_ce/graph"]) == 0
    assert torch.isfinite(stage.graph.edge_logits).all()


@pytest.mark.parametrize("stop", [5, 30, 35])
def test_interrupted_stage_ends_like_a_whole_one(stop: int) -> None:
    whole = Stage(GRAPH__DROPOUT=0.2)
    whole.run()
    first = Stage(GRAPH__DROPOUT=0.2)
    first.run(0, stop)
    second = Stage(GRAPH__DROPOUT=0.2)
    second.graph.load_state_dict(first.graph.state_dict())
    second.learner.load_state_dict(first.learner.state_dict())
    second.run(stop)
    for name, value in whole.graph.state_dict().items():
        assert torch.equal(value, second.graph.state_dict()[name]), name
    assert torch.equal(whole.learner.links, second.learner.links)
    assert torch.equal(whole.learner.result()[0], second.learner.result()[0])


def test_result_is_taken_without_dropout() -> None:
    stage = Stage(GRAPH__DROPOUT=0.5)
    stage.run(0, 3)
    assert torch.equal(stage.learner.result()[0], stage.learner.result()[0])
