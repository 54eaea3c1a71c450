"""The unifier by itself: what becomes of unified labels before FINAL and at the end of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

pytest.importorskip("detectron2")

import made_up_world as world
from tiny_model import TinyBackbone, TinyDecoder
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.projection import MAPPING_MODES
from unilabel.core.stages import StageSchedule
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.fitting import mapped_cross_entropy
from unilabel.engine.kept_labels import KeptLabels
from unilabel.engine.node_selection import NodeProposal
from unilabel.engine.unifier import Unifier
from unilabel.modeling.heads import UniSegHead
from unilabel.modeling.meta_arch import UniLabelSegmentor

pytestmark = pytest.mark.d2

FINAL = StageSchedule([["FINAL", 1]]).segments[0]
SEEDS = range(5)


def untidy_links(seed: int) -> Tensor:
    """(N, C): the true links in any order, each up to three times, and rows without any link."""
    generator = torch.Generator().manual_seed(seed)
    truth = world.atom_links()
    times = torch.randint(1, 4, (len(truth),), generator=generator)
    rows = torch.cat([truth.repeat_interleave(times, 0), truth.new_zeros(2, truth.shape[1])])
    return rows[torch.randperm(len(rows), generator=generator)]


def unifier_of(links: Tensor, mode: str, seed: int = 0, **values) -> Unifier:
    """With a head of random weights, in the middle of a run; a person has fixed the first link."""
    cfg = world.config(MODEL__MAPPING_MODE=mode, **values)
    spaces = world.spaces()
    torch.manual_seed(seed)
    bias = values.get("MODEL__DATASET_BIAS", True)
    head = UniSegHead(spaces.num_classes, len(links), world.DIM, mode, bias)
    head.set_label_space(
        torch.randn(len(links), world.DIM), links, torch.randn(len(spaces), len(links)) * bias
    )
    model = UniLabelSegmentor(
        backbone=TinyBackbone(),
        pixel_decoder=TinyDecoder(),
        multi_head=None,
        uni_head=head,
        label_spaces=spaces,
        pixel_mean=[0, 0, 0],
        pixel_std=[1, 1, 1],
    )
    unifier = Unifier(cfg, spaces, [], model, [].append)
    unifier.proposal = NodeProposal(links, None)
    unifier.rows.begin(links, None, fix_human_links=False)
    unifier.rows.edge_weights = torch.rand(links.shape)
    human = torch.zeros_like(links)
    human[tuple(links.nonzero()[0])] = True
    unifier.rows.human_links = human
    unifier.rows.learned = True
    return unifier


def scores(unifier: Unifier) -> list[Tensor]:
    """Class scores of every dataset on 200 pixels; log-sum-exp where probabilities add up."""
    head = unifier.model.uni_head
    pixels = torch.randn(1, world.DIM, 200, 1, generator=torch.Generator().manual_seed(9))
    found = []
    for i in range(len(unifier.label_spaces)):
        if head.mode == "logit_sum":
            found.append(head.summed_logits(pixels, i)[0, :, :, 0].T)
            continue
        unified = head.unified_logits(pixels, i)[0, :, :, 0].T[:, :, None]  # (P, N, 1)
        own = unified.masked_fill(~head.dataset_mapping(i), -torch.inf)
        found.append(own.logsumexp(1))
    return found


def assert_same_scores(before: list[Tensor], after: list[Tensor]) -> None:
    for one, two in zip(before, after, strict=True):
        assert torch.allclose(one, two, atol=1e-5, rtol=1e-6)
        assert torch.equal(one.argmax(1), two.argmax(1))


def assert_rows_follow(unifier: Unifier, before: dict[str, Tensor]) -> None:
    """Every row now has the weights and fixed links of the rows of before with its links."""
    for row, links in enumerate(unifier.mapping().stacked()):
        same = (before["links"] == links).all(1)
        weights, human = before["weights"][same], before["human"][same]
        if len(unifier.mapping().stacked().unique(dim=0)) == unifier.mapping().num_unified:
            assert torch.equal(unifier.rows.edge_weights[row], weights.amax(0))
            assert torch.equal(unifier.rows.human_links[row], human.any(0))
        else:  # not merged: one of them
            assert any(torch.equal(unifier.rows.edge_weights[row], w) for w in weights)
    assert int(unifier.rows.human_links.sum()) == int(before["human"].sum())


def rows_of(unifier: Unifier) -> dict[str, Tensor]:
    rows = unifier.rows
    return {
        "links": unifier.mapping().stacked(),
        "weights": rows.edge_weights.clone(),
        "human": rows.human_links.clone(),
    }


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mode", MAPPING_MODES)
def test_the_finished_model_is_the_trained_one(mode: str, seed: int) -> None:
    unifier = unifier_of(untidy_links(seed), mode, seed)
    before, rows = scores(unifier), rows_of(unifier)
    space = unifier.finish()
    assert space.mapping.active().all()
    assert space.mapping.num_unified == len(rows["links"]) - 2  # equal ones stay apart
    assert torch.equal(space.mapping.stacked(), unifier.model.uni_head.mapping)
    assert_same_scores(before, scores(unifier))
    assert_rows_follow(unifier, rows)
    assert len([k for k, link in space.links.items() if link.source == "human"]) == 1
    again = unifier.model.uni_head.label_embedding
    assert unifier.finish() == space
    assert unifier.model.uni_head.label_embedding is again


@pytest.mark.parametrize("mode", MAPPING_MODES)
def test_a_last_stage_that_goes_on_leaves_the_labels_as_they_are(mode: str) -> None:
    """Links that pruning made equal in it stay apart, also when it is entered a second time."""
    unifier = unifier_of(untidy_links(0), mode)
    labels = unifier.mapping().num_unified
    unifier.enter(replace(FINAL, length=8), iteration=5, fresh=True)
    assert unifier.mapping().num_unified == labels
    unifier.enter(FINAL, iteration=0, fresh=False)
    assert unifier.mapping().num_unified == labels


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bias", [True, False])
def test_merging_before_the_last_stage_is_exact_for_logit_sums(seed: int, bias: bool) -> None:
    unifier = unifier_of(untidy_links(seed), "logit_sum", seed, MODEL__DATASET_BIAS=bias)
    before, rows = scores(unifier), rows_of(unifier)
    unifier.simplify(FINAL)
    assert unifier.mapping().num_unified == 5
    assert_same_scores(before, scores(unifier))
    assert_rows_follow(unifier, rows)
    assert unifier.model.uni_head.dataset_bias.requires_grad is bias
    assert bool(unifier.model.uni_head.dataset_bias.any()) is bias


@pytest.mark.parametrize("seed", SEEDS)
def test_probability_sums_stay_apart_where_nothing_is_fitted(seed: int) -> None:
    unifier = unifier_of(untidy_links(seed), "probability_sum", seed, UNIFY__FIT_ITERATIONS=0)
    before, rows = scores(unifier), rows_of(unifier)
    unifier.simplify(FINAL)
    assert unifier.mapping().num_unified == len(rows["links"]) - 2
    assert_same_scores(before, scores(unifier))
    assert_rows_follow(unifier, rows)


@pytest.mark.parametrize("mode", MAPPING_MODES)
def test_what_was_fitted_is_what_the_head_answers_with(mode: str) -> None:
    values = {"UNIFY__FIT_ITERATIONS": 20, "UNIFY__FIT_PIXELS": 64, "UNIFY__COMPLETE_PURITY": 2.0}
    unifier = unifier_of(world.atom_links(), mode, 0, **values)
    unifier.cache, fitted = world.pixels(), []
    fit = unifier._fit
    unifier._fit = lambda *arguments: fitted.append(fit(*arguments)) or fitted[-1]
    unifier.install(unifier.mapping(), torch.zeros(5, world.DIM), iteration=0)
    head, (embedding, bias) = unifier.model.uni_head, fitted[-1]
    assert torch.equal(head.label_embedding, embedding)
    assert bool(bias.any())
    assert torch.equal(head.dataset_bias, bias)


@pytest.mark.parametrize("bias", [True, False])
def test_probability_sums_are_fitted_anew_when_they_merge(bias: bool) -> None:
    values = {"UNIFY__FIT_ITERATIONS": 60, "UNIFY__FIT_LR": 0.05, "UNIFY__FIT_PIXELS": 64}
    unifier = unifier_of(untidy_links(0), "probability_sum", 0, MODEL__DATASET_BIAS=bias, **values)
    unifier.cache = cache = world.pixels()
    rows = rows_of(unifier)

    @torch.no_grad()
    def loss() -> float:
        head = unifier.model.uni_head
        return sum(
            float(
                mapped_cross_entropy(
                    x @ head.label_embedding.T + head.dataset_bias[i],
                    y,
                    head.dataset_mapping(i).float(),
                    "probability_sum",
                )
            )
            for i, (x, y) in enumerate(zip(cache.embeddings, cache.labels, strict=True))
        )

    before = loss()
    unifier.simplify(FINAL)
    assert unifier.mapping().num_unified == 5
    assert loss() < 0.5 * before
    assert_rows_follow(unifier, rows)
    assert bool(unifier.model.uni_head.dataset_bias.any()) is bias


def test_nothing_changes_where_nothing_is_to_do() -> None:
    unifier = unifier_of(world.atom_links(), "probability_sum")
    head = unifier.model.uni_head
    before = head.label_embedding
    unifier.simplify(FINAL)
    unifier.finish()
    assert head.label_embedding is before


@pytest.mark.parametrize("mode", MAPPING_MODES)
def test_a_person_keeps_the_names_of_what_is_left(mode: str) -> None:
    links = untidy_links(1)
    notes: list[str] = []
    unifier = unifier_of(links, mode, UNIFY__FIT_ITERATIONS=5, UNIFY__FIT_PIXELS=16)
    unifier.note, unifier.cache = notes.append, world.pixels()
    mapping = LabelMapping.from_stacked(world.spaces(), links)
    count = len(links)
    file = replace(
        UnifiedLabelSpace.from_mapping(mapping, source="human"),
        names=tuple(f"mine {i}" for i in range(count)),
        colors=tuple((i, 200, 7) for i in range(count)),
        checked=frozenset(range(count)),
    )
    unifier.rows.begin(links, file, fix_human_links=False)
    unifier.simplify(FINAL)
    space = unifier.finish()
    first = {tuple(row): i for i, row in reversed(list(enumerate(links.tolist())))}
    kept = [first[tuple(row)] for row in space.mapping.stacked().tolist()]
    assert space.names == tuple(f"mine {i}" for i in kept)
    assert space.colors == tuple((i, 200, 7) for i in kept)
    assert space.checked == set(range(5))
    gone = {f"mine {i}" for i in range(count)} - set(space.names)
    assert set(notes[-1].split(": ")[1].split(", ")) == gone


def test_rows_behind_a_reviewed_file_are_nobody_s() -> None:
    links = world.atom_links()
    file = UnifiedLabelSpace.from_mapping(
        LabelMapping.from_stacked(world.spaces(), links), source="human"
    )
    unifier = unifier_of(links, "logit_sum")
    more = torch.cat([links, links[:1]])
    unifier.rows.begin(more, file, fix_human_links=True)
    assert unifier.rows.origin.tolist() == [0, 1, 2, 3, 4, -1]
    assert unifier.rows.human_links.shape == more.shape
    assert not unifier.rows.human_links[5].any()
    state = unifier.rows.state_dict()
    other = unifier_of(links, "logit_sum").rows
    other.load_state_dict(state)
    assert other.reviewed == file
    assert torch.equal(other.origin, unifier.rows.origin)


def kept_labels() -> KeptLabels:
    """The true unified labels, as of an older model; the last one is part of the first."""
    spaces, truth = world.spaces(), world.atom_links()
    mapping = LabelMapping.from_stacked(spaces, truth)
    bias = torch.rand(len(spaces), len(truth))
    space = UnifiedLabelSpace.from_mapping(mapping)
    kept = KeptLabels(space, torch.rand(len(truth), world.DIM), bias, spaces, same_reading=False)
    kept.parent = torch.tensor([*range(len(truth)), 0])
    return kept


def test_labels_of_an_older_model_are_neither_merged_nor_change() -> None:
    """Before FINAL equal ones stay apart, and what is held returns whatever is put in."""
    links = untidy_links(3)
    unifier = unifier_of(links, "logit_sum")
    unifier.rows.human_links = None
    held = torch.zeros_like(links)
    held[0] = True
    unifier.rows.held, unifier.rows.held_links = held, links & held
    fixed = unifier.rows.fix(~links)
    assert torch.equal(fixed[0], links[0])
    assert torch.equal(fixed[1:], ~links[1:])
    unifier.simplify(FINAL)
    used = links.any(1)
    assert torch.equal(unifier.mapping().stacked(), links[used])
    assert torch.equal(unifier.rows.held, held[used])
    assert torch.equal(unifier.rows.held_links, (links & held)[used])


def test_all_of_the_state_comes_back() -> None:
    """What a run knows at an interruption is what the resumed one knows, part for part."""
    links = untidy_links(2)
    unifier = unifier_of(links, "logit_sum")
    unifier.text_features = world.random_text()
    unifier.proposal = NodeProposal(links, torch.rand(11, 11), "human")
    unifier.marginals = {name: torch.rand(3) for name in world.DATASETS}
    unifier.link_scores = [{"after": "GNN", "f1": 0.5}]
    unifier.kept = kept_labels()
    held = torch.rand(links.shape) < 0.5
    unifier.rows.held, unifier.rows.held_links = held, links & held
    unifier.cache = world.pixels()
    segment = StageSchedule([["MULTI_HEAD", 1], ["GNN", 4], ["SEG", 1]]).segments[1]
    unifier._begin_graph(segment)
    unifier.learn(segment, 0)
    state = unifier.state_dict()
    assert all(value is not None and value != {} and value != [] for value in state.values())
    other = unifier_of(links, "logit_sum", seed=1)
    other.load_state_dict(state)
    assert other._resumed is not None
    other.cache = world.pixels()
    other._begin_graph(segment)
    assert_equal_trees(other.state_dict(), state, "state")


def assert_equal_trees(one: Any, two: Any, where: str) -> None:
    assert type(one) is type(two), where
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key, value in one.items():
            assert_equal_trees(value, two[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), where
        for i, (value, other) in enumerate(zip(one, two, strict=True)):
            assert_equal_trees(value, other, f"{where}.{i}")
    elif isinstance(one, Tensor):
        assert torch.equal(one, two), where
    else:
        assert one == two, where
