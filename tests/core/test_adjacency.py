"""Edge weights, adjacency and the soft start of the edges."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_cases import links

from unilabel.core.adjacency import adjacency, initial_edge_logits, soft_mapping


def test_softmax_runs_over_the_classes_of_each_dataset() -> None:
    logits = torch.tensor([[0.0, math.log(3), 5.0], [1.0, 1.0, -5.0]])
    mapping = soft_mapping(logits, [2, 1], temperature=1.0)
    assert torch.allclose(mapping, torch.tensor([[0.25, 0.75, 1.0], [0.5, 0.5, 1.0]]))
    cold = soft_mapping(logits, [2, 1], temperature=0.5)
    assert cold[0, :2].tolist() == pytest.approx([0.1, 0.9])


def test_no_class_takes_its_share() -> None:
    logits = torch.tensor([[0.0, math.log(3), 0.0]])
    mapping = soft_mapping(
        logits, [2, 1], temperature=1.0, null_logits=torch.tensor([[math.log(4)] * 2])
    )
    assert mapping[0].tolist() == pytest.approx([1 / 8, 3 / 8, 1 / 5])


def test_adjacency_worked_by_hand() -> None:
    # two classes, two unified labels; nodes: class 0, class 1, label 0, label 1
    square = adjacency(torch.tensor([[0.75, 0.25], [0.75, 0.0]]))
    expected = [
        [0, 0, 0.5, 0.5],
        [0, 0, 1, 0],
        [0.75, 0.25, 0, 0],
        [1, 0, 0, 0],
    ]
    assert torch.allclose(square, torch.tensor(expected))


def test_node_without_edges_has_an_empty_row() -> None:
    square = adjacency(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert square.sum(1).tolist() == [1, 0, 1, 0]


@given(st.integers(1, 5), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 99))
def test_adjacency_is_bipartite_and_row_normalised(unified: int, sizes, seed: int) -> None:
    logits = torch.randn(unified, sum(sizes), generator=torch.Generator().manual_seed(seed))
    mapping = soft_mapping(logits, sizes, temperature=0.5)
    for block in mapping.split(sizes, dim=1):
        assert torch.allclose(block.sum(1), torch.ones(unified), atol=1e-5)
    square = adjacency(mapping)
    classes = sum(sizes)
    assert square.shape == (classes + unified, classes + unified)
    assert torch.allclose(square.sum(1), torch.ones(classes + unified), atol=1e-4)
    assert not square[:classes, :classes].any()
    assert not square[classes:, classes:].any()
    assert torch.equal(square > 0, square.T > 0)


def test_gradients_flow_through_the_adjacency() -> None:
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: adjacency(soft_mapping(x, [2, 2], 0.3, null_logits=x[:, :2] - 0.1)), logits
    )


# --- the soft start ---

LINKS = links(["100 10", "010 00"])


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_start_gives_linked_classes_nine_tenths(temperature: float) -> None:
    edges, nulls = initial_edge_logits(LINKS, None, [3, 2], temperature)
    mapping = soft_mapping(edges, [3, 2], temperature, nulls)
    third = 0.05 / 3
    expected = [[0.9 + third, third, third, 0.925, 0.025], [third, 0.9 + third, third, 0.15, 0.15]]
    assert torch.allclose(mapping, torch.tensor(expected), atol=1e-4)
    assert float(edges.max()) == pytest.approx(0)  # the best option of every block stands at zero
    assert float(nulls[1, 1]) == pytest.approx(0)


def test_start_follows_the_evidence_where_no_link_is() -> None:
    evidence = torch.tensor([[0.2, 0.2, 0.1, 0.0, 1.0], [0.5, 0.5, 0.0, 0.6, 0.2]])
    edges, nulls = initial_edge_logits(LINKS, evidence, [3, 2], 0.07)
    mapping = soft_mapping(edges, [3, 2], 0.07, nulls)
    assert mapping[1, 3:].tolist() == pytest.approx([0.225, 0.075], abs=1e-4)
    assert mapping[0, :3].tolist() == pytest.approx([0.92, 0.02, 0.01], abs=1e-4)
    assert float(mapping[0, 3]) == pytest.approx(0.9, abs=1e-3)


def test_start_can_still_be_learned() -> None:
    edges, nulls = initial_edge_logits(LINKS, None, [3, 2], 0.07)
    edges.requires_grad_(True)
    soft_mapping(edges, [3, 2], 0.07, nulls)[0, 0].backward()
    assert float(edges.grad[0].abs().max()) > 0.1
    hard = LINKS.float().requires_grad_(True)  # the 0/1 start of the authors' code is saturated
    soft_mapping(hard, [3, 2], 0.07)[0, 0].backward()
    assert float(hard.grad[0].abs().max()) < 1e-4
