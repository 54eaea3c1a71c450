"""What goes into fits, solvers and draws: class weights, fixed links, seed and iteration."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("detectron2")

import made_up_world as world
from test_unifier import unifier_of
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.losses import class_weights
from unilabel.core.projection import MAPPING_MODES
from unilabel.engine.fewer_labels import start_of_merged
from unilabel.engine.fitting import fit_label_embedding, mapped_cross_entropy
from unilabel.engine.graph_stage import draw_pixels
from unilabel.engine.pixel_cache import PixelCache

pytestmark = pytest.mark.d2


def rare_and_blurred() -> PixelCache:
    """Pixels of the made-up world that overlap; the last class of each dataset is rare."""
    cache = world.pixels(count=2000, noise=2.0)
    embeddings, labels = [], []
    for pixels, truth in zip(cache.embeddings, cache.labels, strict=True):
        keep = (truth < truth.max()) | (torch.arange(len(truth)) % 20 == 0)
        embeddings.append(pixels[keep])
        labels.append(truth[keep])
    return PixelCache(embeddings, labels)


@pytest.mark.parametrize("mode", MAPPING_MODES)
def test_fit_minimises_the_weighted_loss(mode: str) -> None:
    """Fitted for a loss, X_u is better at that loss than X_u fitted for the other one."""
    cache, spaces = rare_and_blurred(), world.spaces()
    mapping = LabelMapping.from_stacked(spaces, world.atom_links())
    start = torch.zeros(5, world.DIM)
    fitted = {}
    for power in (0.0, 0.5):
        cfg = world.config(
            **{"UNIFY__FIT_ITERATIONS": 150, "UNIFY__FIT_PIXELS": 256, "UNIFY__FIT_LR": 0.05},
            LOSS__CLASS_WEIGHT_POWER=power,
        )
        fitted[power] = fit_label_embedding(cfg, spaces, cache, mapping, start, mode, 0)

    def loss(of: float, measured_with: float) -> float:
        embedding, bias = fitted[of]
        counts = cache.class_counts(spaces.num_classes)
        total = 0.0
        for i, name in enumerate(spaces.names):
            scores = cache.embeddings[i] @ embedding.T + bias[i]
            weight = class_weights(counts[i], measured_with)
            matrix = mapping[name].float()
            total += float(mapped_cross_entropy(scores, cache.labels[i], matrix, mode, weight))
        return total

    assert loss(of=0.5, measured_with=0.5) < loss(of=0.0, measured_with=0.5) - 0.02
    assert loss(of=0.0, measured_with=0.0) < loss(of=0.5, measured_with=0.0) - 0.02


@pytest.mark.parametrize("solver", ["exact", "uot"])
def test_solver_makes_room_for_what_a_person_fixed(solver: str) -> None:
    """The person says: the first unified label, by all evidence the only "marking", is "road".

    Put in only behind the solver, the link would take the last unified label from "marking".
    """
    unifier = unifier_of(world.atom_links(), "probability_sum", UNIFY__SOLVER=solver)
    soft = 0.02 + 0.9 * world.atom_links().float()
    idd = slice(3, 8)  # its classes are the five atoms
    road, marking = 3, 4
    soft[0, idd] = torch.tensor([0.01, 0.96, 0.01, 0.01, 0.01])
    soft[1, idd] = torch.tensor([0.96, 0.01, 0.01, 0.01, 0.01])
    human = torch.zeros_like(world.atom_links())
    human[0, road] = True
    unifier.rows.human_links = human
    links = unifier.solve(soft, 0)
    assert links[0, idd].tolist() == [True, False, False, False, False]
    assert links[:, idd].any(0).all()  # every class keeps a unified label, "marking" as well
    assert not links[0, marking]
    LabelMapping.from_stacked(world.spaces(), links)  # is a mapping
    without = unifier_of(world.atom_links(), "probability_sum", UNIFY__SOLVER=solver)
    without.rows.human_links = None
    assert without.solve(soft, 0)[0, marking]


def test_pixels_of_the_graph_follow_seed_and_iteration() -> None:
    cache = world.pixels()

    def drawn(seed: int, iteration: int) -> Tensor:
        cfg = world.config(SEED=seed, GRAPH__PIXELS=64)
        pairs = draw_pixels(cfg, cache, iteration, torch.device("cpu"))
        return torch.cat([pixels.flatten() for pixels, _ in pairs])

    first = drawn(0, 0)
    assert torch.equal(first, drawn(0, 0))
    others = [drawn(0, 1), drawn(0, 2), drawn(1, 0), drawn(1, 1)]
    for i, one in enumerate([first, *others]):
        for two in others[i:]:
            assert not torch.equal(one, two)


@pytest.mark.parametrize("use_bias", [True, False])
def test_fit_of_merged_labels_begins_where_equal_ones_were(use_bias: bool) -> None:
    """The probabilities of k labels of one logit add up to that of a logit log k larger."""
    random = torch.Generator().manual_seed(3)
    new_index = torch.tensor([0, 1, -1, 1, 2, 1])  # one dropped, three merged
    kept, count = new_index >= 0, torch.tensor([1.0, 3.0, 1.0])
    embedding = torch.randn(3, 8, generator=random)[new_index]
    bias = use_bias * torch.randn(2, 3, generator=random)[:, new_index]
    start, start_bias = start_of_merged(embedding, bias, new_index, use_bias)
    pixels = torch.randn(50, 8, generator=random)
    for dataset in range(2):
        answers = (pixels @ embedding.T + bias[dataset]).exp()
        wanted = torch.zeros(50, 3).index_add_(1, new_index[kept], answers[:, kept]).log()
        if not use_bias:  # nothing but a bias could hold log k, and none may begin
            wanted = wanted - count.log()
        assert torch.allclose(pixels @ start.T + start_bias[dataset], wanted, atol=1e-4)
