"""The last fit: X_u for all datasets, and how far their own classifiers go from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

import tiny_model as tiny

from unilabel.config import load_config
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.engine.pixel_cache import PixelCache
from unilabel.engine.readouts import Readouts, begin_beside, fit_readouts, looseness
from unilabel.modeling.heads import SILENT, MultiSegHead
from unilabel.modeling.meta_arch import UniLabelSegmentor

pytestmark = pytest.mark.d2

QUICK = Path(__file__).parents[2] / "configs/quick/toy.yaml"
BLACK = ((0, 0, 0),) * 3
SPACES = LabelSpaceSet(
    [LabelSpace("day", ("a", "b", "c"), BLACK), LabelSpace("night", ("a", "b", "c"), BLACK)]
)
SHARED = torch.eye(3).repeat(1, 2).bool()  # three unified labels, each in both datasets
DIM = 3


def classes(turn: float, count: int = 600, noise: float = 0.3, seed: int = 0) -> tuple:
    """(count, D) pixels of three classes whose places are turned in the plane, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    angle = labels * 2 * torch.pi / 3 + turn
    places = torch.stack([angle.cos(), angle.sin(), torch.ones(count)], 1)
    return places + noise * torch.randn(count, DIM, generator=generator), labels


def fitted(
    *sets: tuple,
    mode: str = "probability_sum",
    iterations: int = 150,
    photos: int = 1000,
    shift: torch.Tensor | None = None,
) -> Readouts:
    values = ["UNIFY.FIT_ITERATIONS", str(iterations), "UNIFY.FIT_LR", "0.05"]
    values += ["UNIFY.FIT_PIXELS", "256", "MODEL.MAPPING_MODE", mode]
    cfg = load_config(QUICK, values)
    cache = PixelCache([s[0] for s in sets], [s[1] for s in sets])
    mapping = LabelMapping.from_stacked(SPACES, SHARED)
    start, bias = torch.zeros(3, DIM), torch.zeros(2, 3)
    return fit_readouts(cfg, SPACES, cache, mapping, start, bias, [photos] * 2, 0, shift)


def accuracy(found: Readouts, dataset: int, pixels: torch.Tensor, labels: torch.Tensor) -> float:
    rows = found.embedding + found.shift[dataset]
    return float(((pixels @ rows.T + found.bias[dataset]).argmax(1) == labels).float().mean())


@pytest.mark.parametrize("mode", ["probability_sum", "logit_sum"])
def test_datasets_that_look_different_read_by_classifiers_of_their_own(mode: str) -> None:
    day, night = classes(0.0), classes(1.2, seed=1)
    found = fitted(day, night, mode=mode)
    for dataset, turn in enumerate((0.0, 1.2)):
        fresh = classes(turn, seed=7 + dataset)
        plain = float(((fresh[0] @ found.embedding.T).argmax(1) == fresh[1]).float().mean())
        assert accuracy(found, dataset, *fresh) > max(0.9, plain + 0.05)


def test_few_photos_stay_with_the_unified_classifiers() -> None:
    sets = classes(0.0), classes(1.2, seed=1)
    few, some, many = (fitted(*sets, iterations=40, photos=p).shift[1] for p in (2, 60, 5000))
    assert float(few.norm()) < 0.01 * float(many.norm())
    assert float(some.norm()) == pytest.approx(0.5 * float(many.norm()), rel=1e-3)


def test_looseness_grows_with_the_photos() -> None:
    values = [looseness(p) for p in (0, 1, 10, 60, 200, 10_000)]
    assert values == sorted(values)
    assert (values[0], values[3]) == (0.0, 0.5)
    assert values[-1] == pytest.approx(1.0, abs=1e-4)


def test_labels_that_a_dataset_has_no_class_for_keep_their_classifier() -> None:
    links = SHARED.clone()
    links = torch.cat([links, torch.zeros(1, 6).bool()])
    links[3, 0] = True  # a second "a" by day
    cfg = load_config(QUICK, ["UNIFY.FIT_ITERATIONS", "5"])
    sets = classes(0.0), classes(1.2, seed=1)
    cache = PixelCache([s[0] for s in sets], [s[1] for s in sets])
    mapping = LabelMapping.from_stacked(SPACES, links)
    bias = torch.ones(2, 4)
    found = fit_readouts(cfg, SPACES, cache, mapping, torch.zeros(4, DIM), bias, [99] * 2, seed=0)
    assert not found.shift[1, 3].any()
    assert float(found.bias[1, 3]) == 1.0


def test_a_silent_label_takes_no_part_in_own_answers() -> None:
    links = torch.cat([SHARED, torch.zeros(1, 6).bool()])
    links[3, 0] = links[3, 3] = True  # a second "a", silent by night
    cfg = load_config(QUICK, ["UNIFY.FIT_ITERATIONS", "30"])
    sets = classes(0.0), classes(1.2, seed=1)
    cache = PixelCache([s[0] for s in sets], [s[1] for s in sets])
    mapping = LabelMapping.from_stacked(SPACES, links)
    bias = torch.zeros(2, 4)
    bias[1, 3] = SILENT
    start = torch.randn(4, DIM, generator=torch.Generator().manual_seed(3))
    found = fit_readouts(cfg, SPACES, cache, mapping, start, bias, [99] * 2, seed=0)
    assert float(found.bias[1, 3]) == SILENT
    assert not found.shift[1, 3].any()
    assert bool(found.shift[1, :3].any(1).all())
    assert bool(found.shift[0].any(1).all())
    assert not torch.equal(found.embedding[3], start[3])  # X_u is fitted for all its links


def test_the_same_seed_gives_the_same_readouts() -> None:
    first, second = (fitted(classes(0.0), classes(0.5, seed=1), iterations=10) for _ in range(2))
    assert torch.equal(first.embedding, second.embedding)
    assert torch.equal(first.shift, second.shift)
    assert torch.equal(first.bias, second.bias)


def beside_heads(silent: bool = False) -> UniLabelSegmentor:
    """A model of unified labels whose road of city has two of them, and trained heads beside."""
    model = tiny.tiny_model()
    model.multi_head = MultiSegHead(model.label_spaces.num_classes, tiny.DIM)
    if silent:
        with torch.no_grad():
            model.uni_head.dataset_bias[0, 1] = SILENT
    return model


@pytest.mark.parametrize("silent", [False, True])
def test_classifiers_begin_with_the_answers_of_the_heads(silent: bool) -> None:
    model = beside_heads(silent)
    before = model.uni_head.label_embedding.detach().clone()
    begin_beside(model, trained=True)
    pixels = torch.randn(50, tiny.DIM, generator=torch.Generator().manual_seed(0))
    head = model.uni_head
    for i in range(2):
        bias, links = head.reading(i)
        scores = torch.softmax(pixels @ head.rows(i).T + bias, 1) @ links.float()
        expected = torch.softmax(pixels @ model.multi_head.weights[i].T, 1)
        assert torch.allclose(scores / scores.sum(1, keepdim=True), expected, atol=1e-5)
        unlinked = ~head.dataset_mapping(i).any(1)
        assert not head.dataset_shift[i][unlinked].any()
    assert bool(head.dataset_bias[0, 1] == SILENT) == silent
    assert torch.equal(head.label_embedding, before)
    begun = head.dataset_shift.detach().clone()
    with torch.no_grad():
        model.multi_head.weights[0].zero_()
    begin_beside(model, trained=True)  # of an interrupted stage: as they are
    assert torch.equal(head.dataset_shift, begun)


@pytest.mark.parametrize("case", ["no heads", "random heads", "no bias"])
def test_without_heads_to_begin_from_they_are_x_u(case: str) -> None:
    model = beside_heads()
    if case == "no heads":
        model.multi_head = None
    if case == "no bias":
        model.uni_head.use_dataset_bias = False
    bias = model.uni_head.dataset_bias.detach().clone()
    begin_beside(model, trained=case != "random heads")
    assert not model.uni_head.dataset_shift.any()
    assert torch.equal(model.uni_head.dataset_bias, bias)
    assert model.uni_head.dataset_shift.requires_grad


def test_free_classifiers_begin_from_those_that_learned_beside() -> None:
    shift = torch.randn(2, 3, DIM, generator=torch.Generator().manual_seed(1))
    day, night = classes(0.0, 50), classes(1.2, 50, seed=1)
    found = fitted(day, night, iterations=1, photos=10**6, shift=shift)
    without = fitted(day, night, iterations=1, photos=10**6)
    # one step of Adam is at most the learning rate; X_u begins at 0
    for i in range(2):
        rows = found.embedding + found.shift[i]
        assert (rows - shift[i]).abs().max() < 0.06
        assert (without.embedding + without.shift[i]).abs().max() < 0.11
    assert torch.equal(found.embedding, without.embedding)
    few = fitted(day, night, iterations=1, photos=1, shift=shift)  # read as X_u says
    assert few.shift.abs().max() < 0.01
