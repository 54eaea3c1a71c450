"""From pixels to unified labels, on a made-up world whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("detectron2")

import made_up_world as world

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.projection import MAPPING_MODES
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.fitting import (
    fit_heads,
    fit_label_embedding,
    initial_embedding,
    mapped_cross_entropy,
)
from unilabel.engine.links import solve_links
from unilabel.engine.node_selection import (
    NodeProposal,
    edge_evidence,
    ensure_valid,
    propose_nodes,
)
from unilabel.engine.pixel_cache import PixelCache

pytestmark = pytest.mark.d2

TRUTH = world.named(world.atom_links())


def propose(**values) -> NodeProposal:
    cfg = world.config(**{"UNIFY__TEXT_WEIGHT": 0.0, **values})
    return propose_nodes(cfg, world.spaces(), world.pixels(), world.heads(), world.random_text())


# --- node selection ---


def test_pixels_show_the_atoms() -> None:
    proposal = propose(UNIFY__NODES="fused")
    assert world.named(proposal.links) == TRUTH
    assert proposal.source == "learned"
    total = world.spaces().total
    assert proposal.score.shape == (total, total)


def test_merging_alone_cannot_tell_parts_of_a_class_apart() -> None:
    proposal = propose(UNIFY__NODES="ilp")
    assert proposal.links.sum(0).tolist() == [1] * 11  # every label in one merge
    found = world.named(proposal.links)
    assert {"city:car idd:car ade:car", "idd:sky ade:sky"} <= found
    assert "idd:marking" in " ".join(found)
    assert found != TRUTH


def test_text_methods() -> None:
    assert propose(UNIFY__NODES="concat").links.equal(torch.eye(11, dtype=torch.bool))
    names = propose(UNIFY__NODES="names")
    assert names.source == "text"
    assert names.score is None
    assert world.named(names.links) == {
        "city:road idd:road", "idd:marking", "city:sidewalk idd:sidewalk",
        "city:car idd:car ade:car", "ade:ground", "idd:sky ade:sky",
    }  # fmt: skip


def test_clusters_of_texts_follow_the_features() -> None:
    atoms = {"road": 0, "marking": 1, "sidewalk": 2, "car": 3, "sky": 4, "ground": 5}
    classes = [label.split(":")[1] for label in world.spaces().label_names()]
    features = F.one_hot(torch.tensor([atoms[c] for c in classes]), 6).float()
    cfg = world.config(UNIFY__NODES="text_cluster")
    proposal = propose_nodes(cfg, world.spaces(), None, None, features)
    assert world.named(proposal.links) == world.named(propose(UNIFY__NODES="names").links)
    assert proposal.score.shape == (11, 11)


def test_true_relations_give_the_atoms(tmp_path: Path) -> None:
    spaces = world.spaces()
    links = LabelMapping.from_stacked(spaces, world.atom_links()).links()
    labels = [tuple(n.split(":")) for n in spaces.label_names()]
    relations = [
        {"a": {"dataset": labels[a][0], "label": labels[a][1]},
         "b": {"dataset": labels[b][0], "label": labels[b][1]}}
        for a, b in links.triu().nonzero().tolist()
    ]  # fmt: skip
    path = tmp_path / "relations.json"
    path.write_text(json.dumps({"relations": relations}))
    proposal = propose(UNIFY__NODES="relations", DATASETS__RELATIONS=str(path))
    assert world.named(proposal.links) == TRUTH
    assert proposal.source == "human"


def test_label_space_of_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    mapping = LabelMapping.from_stacked(world.spaces(), world.atom_links())
    path = tmp_path / "label_space.json"
    UnifiedLabelSpace.from_mapping(mapping).save(path)
    values = {"UNIFY__NODES": "file", "MODEL__LABEL_SPACE": str(path)}
    assert torch.equal(propose(**values).links, world.atom_links())
    data = json.loads(path.read_text())
    data["datasets"][0]["classes"][2]["name"] = "cars"
    for label in data["labels"]:
        if label["links"]["city"] and label["links"]["city"]["class"] == "car":
            label["links"]["city"]["class"] = "cars"
    path.write_text(json.dumps(data))
    with pytest.raises(UniLabelError, match=r"was made for the datasets .* or other class lists"):
        propose(**values)


def test_text_can_forbid_what_pixels_allow() -> None:
    # texts that all contradict each other lower every score to half
    cfg = world.config(
        UNIFY__NODES="fused", UNIFY__TEXT_WEIGHT=0.5, UNIFY__SCORE_THRESHOLD=0.75
    )  # fmt: skip
    cfg.TEXT.FEATURES = "vectors.pt"  # which are given: names that are equal say nothing
    features = torch.eye(11)
    proposal = propose_nodes(cfg, world.spaces(), world.pixels(), world.heads(), features)
    assert len(proposal.links) == 11
    cfg.UNIFY.TEXT_WEIGHT = 0.0
    proposal = propose_nodes(cfg, world.spaces(), world.pixels(), world.heads(), features)
    assert len(proposal.links) < 11


def test_the_threshold_decides_what_shares_a_label() -> None:
    cache, counts = world.pixels(noise=1.5), []
    for threshold in (0.05, 0.3, 0.6, 0.95):
        cfg = world.config(
            UNIFY__NODES="fused", UNIFY__TEXT_WEIGHT=0.0, UNIFY__SCORE_THRESHOLD=threshold
        )
        found = propose_nodes(cfg, world.spaces(), cache, world.heads(), world.random_text())
        for row in found.links:
            members = row.nonzero().flatten()
            pairs = found.score[members][:, members] + torch.eye(len(members))
            assert pairs.min() >= threshold
        counts.append(int(found.links.sum(1).max()))
    assert counts[0] == 3  # one class of every dataset
    assert counts[-1] == 1


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_the_prior_is_divided_out_once(power: float) -> None:
    """A loss of weighted classes has divided share ** power out of the heads already."""
    cache = rare_class(world.pixels(noise=1.0))
    ones = [torch.cat([x, torch.ones(len(x), 1)], 1) for x in cache.embeddings]
    cache = PixelCache(ones, cache.labels)
    scores = []
    for weighted in (0.0, power):
        heads = []
        for head, labels in zip(world.heads(), cache.labels, strict=True):
            count = torch.bincount(labels, minlength=len(head)) + 1  # as the evidence counts
            prior = (count / count.sum()).log()[:, None]
            heads.append(torch.cat([head, (1 - weighted) * prior], 1))
        cfg = world.config(
            UNIFY__NODES="fused", UNIFY__TEXT_WEIGHT=0.0, LOSS__CLASS_WEIGHT_POWER=weighted
        )
        found = propose_nodes(cfg, world.spaces(), cache, heads, world.random_text())
        scores.append(found.score)
    assert torch.allclose(scores[0], scores[1], atol=1e-5)


def rare_class(cache: PixelCache) -> PixelCache:
    """Every tenth pixel of the last class of each dataset."""
    kept = [(y < y.max()) | (torch.arange(len(y)) % 10 == 0) for y in cache.labels]
    return PixelCache(
        [x[k] for x, k in zip(cache.embeddings, kept, strict=True)],
        [y[k] for y, k in zip(cache.labels, kept, strict=True)],
    )


@pytest.mark.parametrize("nodes", ["fused", "ilp"])
def test_methods_that_look_at_pixels_need_them(nodes: str) -> None:
    cfg = world.config(UNIFY__NODES=nodes)
    with pytest.raises(UniLabelError, match=f"UNIFY.NODES {nodes} needs a trained multi-head"):
        propose_nodes(cfg, world.spaces(), None, None, world.random_text())


# --- what node selection hands on ---


def test_evidence_of_edges_is_the_mean_over_linked_classes() -> None:
    score = torch.tensor([[1.0, 0.2, 0.6], [0.2, 1.0, -0.4], [0.6, -0.4, 1.0]])
    links = torch.tensor([[1, 0, 1], [0, 1, 0]], dtype=torch.bool)
    mean = edge_evidence(NodeProposal(links, score))
    assert mean[0].tolist() == pytest.approx([0.8, 0.1, 0.8])
    assert mean[1].tolist() == pytest.approx([0.2, 1.0, 1e-3])
    assert edge_evidence(NodeProposal(links, None)) is None


def test_first_embedding_sums_centred_classifiers() -> None:
    heads = [torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([[5.0, 5.0]])]
    links = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    start = initial_embedding(links, heads)
    # the second head has one class: centred it is zero
    assert start.tolist() == [
        pytest.approx([0.5**0.5, -(0.5**0.5)]),
        pytest.approx([-1.0, 1.0]),
        [0.0, 0.0],
    ]


def test_uncovered_classes_get_a_label_of_their_own() -> None:
    links = world.atom_links()
    broken = links[:3]  # nobody stands for car and sky
    mapping = ensure_valid(broken, world.spaces())
    assert mapping.num_unified == 3 + 5
    assert torch.equal(mapping.stacked()[:3], broken)
    assert mapping.stacked()[3:].sum(1).tolist() == [1] * 5
    assert ensure_valid(links, world.spaces()).num_unified == 5


# --- solving ---


def soft_atoms() -> torch.Tensor:
    """Softened truth: 0.8 on the links, the rest spread."""
    blocks = []
    for block in world.spaces().split(world.atom_links().float()):
        blocks.append(0.8 * block + 0.2 / block.shape[1])
    return torch.cat(blocks, 1)


@pytest.mark.parametrize("solver", ["exact", "uot", "links"])
def test_solvers_find_the_links_of_a_clear_mapping(solver: str) -> None:
    marginals: dict = {}
    cfg = world.config(UNIFY__SOLVER=solver)
    links = solve_links(cfg, world.spaces(), soft_atoms(), world.atom_links(), marginals)
    mapping = LabelMapping.from_stacked(world.spaces(), links)
    assert mapping.num_unified == 5
    sky, city = 4, slice(0, 3)
    if solver != "uot":  # transport may give the sky some class of city
        assert torch.equal(links, world.atom_links())
        assert not links[sky, city].any()
    assert set(marginals) == ({"city", "idd", "ade"} if solver == "uot" else set())


def test_marginals_move_with_momentum() -> None:
    cfg = world.config(UNIFY__SOLVER="uot")
    marginals: dict = {}
    solve_links(cfg, world.spaces(), soft_atoms(), world.atom_links(), marginals)
    first = {k: v.clone() for k, v in marginals.items()}
    solve_links(cfg, world.spaces(), soft_atoms(), world.atom_links(), marginals)
    for name, value in marginals.items():
        assert value.shape == (len(world.DATASETS[name]),)
        assert float(value.sum()) == pytest.approx(1, abs=1e-6)
    assert any(not torch.equal(first[n], marginals[n]) for n in first)


@pytest.mark.parametrize("solver", ["exact", "uot"])
def test_too_few_unified_labels_are_refused(solver: str) -> None:
    soft = soft_atoms()[:4]
    with pytest.raises(UniLabelError, match=r"'idd' .*5 classes.*4 unified"):
        solve_links(
            world.config(UNIFY__SOLVER=solver), world.spaces(), soft, world.atom_links()[:4], {}
        )


# --- fitting ---


def fitted(mode: str = "probability_sum", seed: int = 0, **values):
    cfg = world.config(**{"UNIFY__FIT_ITERATIONS": 60, "UNIFY__FIT_PIXELS": 64,
                          "UNIFY__FIT_LR": 0.05, **values})  # fmt: skip
    mapping = LabelMapping.from_stacked(world.spaces(), world.atom_links())
    start = torch.zeros(5, world.DIM)
    return fit_label_embedding(
        cfg, world.spaces(), world.pixels(), mapping, start, mode, seed
    ), start  # fmt: skip


@pytest.mark.parametrize("mode", MAPPING_MODES)
def test_fit_classifies_the_pixels(mode: str) -> None:
    (embedding, bias), start = fitted(mode)
    assert not start.any()  # the start is copied
    assert embedding.shape == (5, world.DIM)
    assert bias.shape == (3, 5)
    assert not embedding.requires_grad
    cache = world.pixels()
    mapping = LabelMapping.from_stacked(world.spaces(), world.atom_links())
    for i, name in enumerate(world.DATASETS):
        scores = cache.embeddings[i] @ embedding.T + bias[i]
        block = mapping[name].float()
        mapped = torch.softmax(scores, 1) @ block if mode == "probability_sum" else scores @ block
        assert (mapped.argmax(1) == cache.labels[i]).float().mean() > 0.95


def test_fit_repeats_itself() -> None:
    (one, bias_one), _ = fitted()
    (two, bias_two), _ = fitted()
    assert torch.equal(one, two)
    assert torch.equal(bias_one, bias_two)
    (other, _), _ = fitted(seed=1)
    assert not torch.equal(one, other)


def test_fit_without_bias_or_without_steps() -> None:
    (_, bias), _ = fitted(MODEL__DATASET_BIAS=False)
    assert not bias.any()
    (embedding, bias), start = fitted(UNIFY__FIT_ITERATIONS=0)
    assert torch.equal(embedding, start)
    assert not bias.any()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mode", MAPPING_MODES)
def test_cross_entropy_through_a_mapping_written_out(mode: str, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(20, 5, generator=generator)
    soft = torch.rand(5, 3, generator=generator)
    labels = torch.randint(3, (20,), generator=generator)
    weight = torch.tensor([1.0, 2.0, 0.5]) if weighted else None
    total = mass = 0.0
    for row, label in zip(scores, labels.tolist(), strict=True):
        if mode == "logit_sum":
            loss = -torch.log_softmax(row @ soft, 0)[label]
        else:
            loss = -torch.log(torch.softmax(row, 0) @ soft[:, label] + 1e-6)
        share = float(weight[label]) if weighted else 1.0
        total, mass = total + share * float(loss), mass + share
    found = mapped_cross_entropy(scores, labels, soft, mode, weight)
    assert float(found) == pytest.approx(total / mass, rel=1e-4)


def test_fit_goes_on_from_a_bias() -> None:
    cfg = world.config(UNIFY__FIT_ITERATIONS=0)
    mapping = LabelMapping.from_stacked(world.spaces(), world.atom_links())
    start, bias = torch.randn(5, world.DIM), torch.randn(3, 5)
    found = fit_label_embedding(
        cfg, world.spaces(), world.pixels(), mapping, start, "probability_sum", 0, bias
    )
    assert torch.equal(found[0], start)
    assert torch.equal(found[1], bias)


def test_every_dataset_learns_a_bias_of_its_own() -> None:
    """Fitted where X_u cannot tell anything, a bias holds how frequent the classes are."""
    cache = PixelCache(
        [torch.zeros(60, world.DIM)] * 3,
        [torch.arange(60) % 10 // 9, torch.arange(60) % 10 // 3, torch.arange(60) % 3],
    )
    cfg = world.config(
        **{"UNIFY__FIT_ITERATIONS": 300, "UNIFY__FIT_PIXELS": 600, "UNIFY__FIT_LR": 0.05},
        LOSS__CLASS_WEIGHT_POWER=0.0,
    )
    mapping = LabelMapping.from_stacked(world.spaces(), world.atom_links())
    start = torch.zeros(5, world.DIM)
    _, bias = fit_label_embedding(cfg, world.spaces(), cache, mapping, start, "probability_sum", 0)
    for i, (name, labels) in enumerate(zip(world.DATASETS, cache.labels, strict=True)):
        found = bias[i].softmax(0) @ mapping[name].float()  # of a dataset without sky: of the rest
        share = torch.bincount(labels, minlength=len(found)) / 60
        assert torch.allclose(found / found.sum(), share, atol=0.05), name


def test_heads_fit_like_separate_classifiers() -> None:
    cfg = world.config(UNIFY__FIT_ITERATIONS=60, UNIFY__FIT_PIXELS=64, UNIFY__FIT_LR=0.05)
    cache = world.pixels()
    start = [torch.zeros(len(names), world.DIM) for names in world.DATASETS.values()]
    heads = fit_heads(cfg, world.spaces(), cache, start, 0)
    assert [h.shape for h in heads] == [h.shape for h in start]
    assert not any(h.any() for h in start)
    for head, pixels, labels in zip(heads, cache.embeddings, cache.labels, strict=True):
        assert ((pixels @ head.T).argmax(1) == labels).float().mean() > 0.95


def test_plain_answers_gain_by_their_share_of_the_loss() -> None:
    cfg = world.config(UNIFY__FIT_ITERATIONS=60, UNIFY__FIT_PIXELS=64, UNIFY__FIT_LR=0.05)
    mapping = LabelMapping.from_stacked(world.spaces(), world.atom_links())
    cache, start = world.pixels(), torch.zeros(5, world.DIM)
    start_bias = 6 * torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    losses = []
    for weight in (0.0, 1.0):
        embedding, _ = fit_label_embedding(
            cfg, world.spaces(), cache, mapping, start, "probability_sum", 0, start_bias, weight
        )
        pairs = zip(world.DATASETS, cache.embeddings, cache.labels, strict=True)
        losses.append(
            sum(
                mapped_cross_entropy(x @ embedding.T, y, mapping[name].float(), "probability_sum")
                for name, x, y in pairs
            )
        )
    assert losses[1] < 0.5 * losses[0]
