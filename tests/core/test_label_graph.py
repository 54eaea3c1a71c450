"""The label graph: its layers against PyG's sparse GraphConv and a plain loop."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch_geometric.nn import GraphConv

from unilabel.core.adjacency import adjacency, soft_mapping
from unilabel.core.errors import UniLabelError
from unilabel.core.label_graph import LabelGraph

SIZES = [3, 2]
UNIFIED, TEXT, HIDDEN, EMBED = 4, 6, 8, 5


def make_graph(**more) -> LabelGraph:
    torch.manual_seed(0)
    arguments = {
        "text_features": torch.randn(5, TEXT),
        "num_classes": SIZES,
        "edge_logits": 0.1 * torch.randn(UNIFIED, 5),
        "embed_dim": EMBED,
        "hidden_dim": HIDDEN,
        **more,
    }
    return LabelGraph(**arguments).eval()


def node_features(graph: LabelGraph) -> torch.Tensor:
    """Eq. (1), one dataset label after the other."""
    rows = []
    for dataset, size in enumerate(SIZES):
        for _ in range(size):
            text = graph.text_features[len(rows)]
            rows.append(text + graph.dataset_embedding[dataset])
    return torch.cat([torch.stack(rows), graph.unified_features])


def test_layers_equal_the_sparse_operator() -> None:
    graph = make_graph()
    square = adjacency(graph.mapping())
    target, source = square.nonzero(as_tuple=True)  # row: receives; column: sends
    edge_index, weight = torch.stack([source, target]), square[target, source]
    x = F.relu(graph.input(node_features(graph)))
    for layer in graph.layers:
        sparse = GraphConv(HIDDEN, HIDDEN, aggr="add")
        sparse.load_state_dict(layer.state_dict())
        x = torch.tanh(sparse(x, edge_index, weight))
    expected = graph.output(x[5:])
    embedding, mapping = graph()
    assert torch.allclose(embedding, expected, atol=1e-5)
    assert torch.equal(mapping, graph.mapping())


def test_layers_equal_a_loop() -> None:
    graph = make_graph(num_layers=1)
    square = adjacency(graph.mapping()).tolist()
    x = F.relu(graph.input(node_features(graph)))
    layer = graph.layers[0]
    rows = []
    for node in range(9):
        message = sum(square[node][other] * x[other] for other in range(9))  # Eq. (3): M_a X
        rows.append(torch.tanh(layer.lin_rel(message) + layer.lin_root(x[node])))
    expected = graph.output(torch.stack(rows)[5:])
    assert torch.allclose(graph()[0], expected, atol=1e-5)


@pytest.mark.parametrize("unified", [2, 4, 9])  # fewer than the dataset labels, and more
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("dataset_embedding", [True, False])
def test_blocks_equal_the_square_form(unified: int, layers: int, dataset_embedding: bool) -> None:
    graph = make_graph(
        edge_logits=torch.randn(unified, 5),
        num_layers=layers,
        use_dataset_embedding=dataset_embedding,
    ).double()
    labels = graph.text_features
    if dataset_embedding:
        labels = labels + graph.dataset_embedding[graph.dataset_of]
    square = adjacency(graph.mapping())
    x = F.relu(graph.input(torch.cat([labels, graph.unified_features])))
    for layer in graph.layers:
        x = torch.tanh(layer(x, square)[0])
    expected = graph.output(x[5:])
    embedding, _ = graph()
    assert torch.allclose(embedding, expected, rtol=0, atol=1e-12)
    ours, plain = (
        torch.autograd.grad(result.square().sum(), list(graph.parameters()))
        for result in (embedding, expected)
    )
    for name, a, b in zip(dict(graph.named_parameters()), ours, plain, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12), name


def test_parameters_are_those_of_the_square_form() -> None:
    names = [name for name in make_graph(num_layers=1).state_dict() if name.startswith("layers")]
    assert names == [
        "layers.0.lin_rel.weight",
        "layers.0.lin_rel.bias",
        "layers.0.lin_root.weight",
    ]


def test_shapes_and_options() -> None:
    nulls = torch.full((UNIFIED, len(SIZES)), -0.2)
    graph = make_graph(
        num_layers=2, temperature=0.5, null_logits=nulls, use_dataset_embedding=False
    )
    embedding, mapping = graph()
    assert embedding.shape == (UNIFIED, EMBED)
    assert torch.equal(mapping, soft_mapping(graph.edge_logits, SIZES, 0.5, nulls))
    assert graph.dataset_embedding is None
    assert len(graph.layers) == 2
    assert len(make_graph().layers) == 3


def test_without_dataset_embedding_equal_texts_of_two_datasets_are_one_node() -> None:
    text = torch.randn(5, TEXT)
    text[3] = text[0]
    edges = torch.zeros(UNIFIED, 5)
    plain = make_graph(text_features=text, edge_logits=edges, use_dataset_embedding=False)
    assert torch.equal(plain.text_features[0], plain.text_features[3])
    told_apart = make_graph(text_features=text, edge_logits=edges)
    rows = node_features(told_apart)
    assert not torch.allclose(rows[0], rows[3])


def test_all_learned_parts_get_a_gradient() -> None:
    graph = make_graph().train()
    embedding, mapping = graph()
    (embedding.square().sum() + mapping[:, 0].sum()).backward()
    for name, parameter in graph.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert "text_features" not in dict(graph.named_parameters())


def test_without_messages_a_row_knows_nothing_but_its_own_features() -> None:
    graph = make_graph(num_layers=2)
    told = graph()[0]
    graph.messages = False
    alone, mapping = graph()
    assert not torch.allclose(alone, told)
    x = F.relu(graph.input(graph.unified_features))
    for layer in graph.layers:
        x = torch.tanh(layer.lin_root(x) + layer.lin_rel.bias)
    assert torch.allclose(alone, graph.output(x), atol=1e-6)
    with torch.no_grad():
        graph.text_features.mul_(-3)
        graph.edge_logits.add_(torch.randn(UNIFIED, 5))
        graph.unified_features[2] += 1
    others, edges = graph()
    assert torch.equal(others[[0, 1, 3]], alone[[0, 1, 3]])
    assert not torch.allclose(others[2], alone[2])
    assert not torch.equal(edges, mapping)  # the edges are still there to be learned


def test_dropout_only_in_training() -> None:
    graph = make_graph(dropout=0.5)
    assert torch.equal(graph()[0], graph()[0])
    graph.train()
    assert not torch.equal(graph()[0], graph()[0])


def test_state_comes_back() -> None:
    graph, other = make_graph(), make_graph(text_features=torch.zeros(5, TEXT))
    assert not torch.allclose(graph()[0], other()[0])
    other.load_state_dict(graph.state_dict())
    assert torch.equal(graph()[0], other()[0])


def test_other_number_of_labels_is_refused() -> None:
    message = "has 5 dataset labels, but there are 4 text features and 5 edge columns; encode"
    with pytest.raises(UniLabelError, match=message):
        make_graph(text_features=torch.zeros(4, TEXT))
    with pytest.raises(UniLabelError, match="5 text features and 6 edge columns"):
        make_graph(edge_logits=torch.zeros(UNIFIED, 6))
