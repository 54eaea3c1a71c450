"""Classifiers on few pixels: where shrinking ends, what stays, what cross-validation takes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from unilabel.adding.choice import Choice, Start, choose, fit, fit_mean, weighted
from unilabel.adding.fit import FitOptions, Pixels, fit_new_rows, fit_reading

DIM, NODES = 5, 6
LINKS = torch.zeros(NODES, 3, dtype=torch.bool)
LINKS[[0, 1, 2, 3], [0, 0, 1, 2]] = True  # two labels of no class


def make_pixels(count: int = 600, seed: int = 0, groups: int = 3) -> tuple[Pixels, torch.Tensor]:
    """Pixels whose classes follow a linear rule, and rows of X_u that follow another one."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, DIM, generator=generator)
    rule = 3 * torch.randn(3, DIM, generator=generator)
    labels = (embeddings @ rule.T).argmax(1)
    rows = torch.randn(NODES, DIM, generator=generator)
    group = torch.arange(count) % groups
    return Pixels(embeddings, labels, torch.ones(count), group), rows


@pytest.mark.parametrize("mode", ["probability_sum", "logit_sum"])
def test_a_large_penalty_keeps_the_rows(mode) -> None:
    pixels, rows = make_pixels()
    held = fit_reading(pixels, rows, LINKS, 1e4, FitOptions(mode))
    assert torch.allclose(held.rows, rows, atol=1e-3)
    free = fit_reading(pixels, rows, LINKS, 1e-5, FitOptions(mode))
    right = (free.answers(pixels, LINKS, mode) == pixels.labels).float().mean()
    assert right > 0.97
    assert torch.equal(free.rows[4:], rows[4:])
    assert free.heard.tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("mode", ["probability_sum", "logit_sum"])
def test_a_class_without_pixels_is_neither_moved_nor_made_rare(mode) -> None:
    """The others are fitted as if it were not there, and it keeps its row without bias."""
    pixels, rows = make_pixels()
    shown = pixels.select(pixels.labels != 2)
    present = shown.counts(3) > 0
    found = fit_reading(shown, rows, LINKS, 0.01, FitOptions(mode), present)
    two = LINKS.clone()
    two[3] = False  # the only label of class 2
    alone = fit_reading(shown, rows, two, 0.01, FitOptions(mode))
    assert torch.equal(found.rows, alone.rows)
    assert torch.equal(found.bias, alone.bias)
    assert torch.equal(found.rows[3], rows[3])
    assert float(found.bias[3]) == 0
    assert bool(found.heard[3])


def test_an_own_head_is_multinomial_regression() -> None:
    """Against the same loss written down plainly and minimised by gradient descent."""
    pixels, rows = make_pixels(200)
    options = FitOptions(power=0.0)
    present = torch.ones(3, dtype=torch.bool)
    base, links = Start(rows, LINKS).of("own", present)
    found = fit_reading(pixels, base, links, 0.01, options)
    weight = torch.zeros(3, DIM, requires_grad=True)
    bias = torch.zeros(3, requires_grad=True)
    scale = 0.01 * pixels.embeddings.square().mean()
    optimizer = torch.optim.Adam([weight, bias], lr=0.05)
    for _ in range(600):
        loss = F.cross_entropy(pixels.embeddings @ weight.T + bias, pixels.labels)
        loss = loss + scale * weight.square().sum() + 1e-3 * bias.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    expected = (pixels.embeddings @ weight.T + bias).softmax(1)
    scores = found.scores(pixels.embeddings, links, "probability_sum")
    assert torch.allclose(scores.exp(), expected, atol=0.02)


def test_classes_without_pixels_keep_what_the_model_knows() -> None:
    pixels, rows = make_pixels()
    some = pixels.select(pixels.labels != 2)
    for kind in ("near", "own"):
        found = fit(some, Start(rows, LINKS), Choice(kind, 0.001), FitOptions())
        assert torch.equal(found.rows[3], rows[3])
        assert found.bias[3] == 0
        assert bool(found.heard[3])


def test_new_rows_win_where_their_class_is() -> None:
    pixels, rows = make_pixels()
    links = torch.cat([LINKS, torch.tensor([[False, False, True]])])
    links[3] = False
    new = torch.tensor([False] * NODES + [True])
    found = fit_new_rows(pixels, torch.cat([rows, rows[3:4]]), new, links, 1e-4, FitOptions())
    assert torch.equal(found[:-1], rows)
    before = ((pixels.embeddings @ rows.T).argmax(1) == 3)[pixels.labels == 2].float().mean()
    wins = (pixels.embeddings @ found.T).argmax(1) == NODES
    assert wins[pixels.labels == 2].float().mean() > before
    assert wins[pixels.labels == 2].float().mean() > 2 * wins[pixels.labels != 2].float().mean()


def test_the_nearest_choice_is_taken_where_the_model_is_right() -> None:
    """Pixels that X_u already reads: nothing is gained by a head of its own."""
    pixels, rows = make_pixels(90)
    links = LINKS.clone()
    scores = pixels.embeddings @ (4 * rows[:4]).T
    answer = links[:4].int().argmax(1)[scores.argmax(1)]
    known = Pixels(pixels.embeddings, answer, pixels.weights, pixels.groups)
    choices = choose(known, 3, lambda _: Start(4 * rows, links), FitOptions(), 0)
    assert choices[0].kind == "near"
    assert len(choices) == 10
    assert all(choice.score is not None for choice in choices)
    assert sum(choice.weight for choice in choices) == pytest.approx(1)
    assert choices[0].weight == max(choice.weight for choice in choices)


def test_what_begins_a_fold_has_not_seen_what_is_left_out() -> None:
    pixels, rows = make_pixels(300, groups=6)
    seen: list[set[int]] = []

    def start_of(part: Pixels) -> Start:
        seen.append(set(part.groups.tolist()))
        return Start(rows, LINKS)

    choose(pixels, 3, start_of, FitOptions(), 0)
    assert len(seen) == 5
    assert all(len(groups) in (4, 5) for groups in seen)
    assert set.intersection(*seen) == set()


def test_one_group_leaves_nothing_to_compare() -> None:
    pixels, rows = make_pixels(50, groups=1)
    choices = choose(pixels, 3, lambda _: Start(rows, LINKS), FitOptions(), 0)
    assert all(choice.score is None for choice in choices)
    assert [choice.weight for choice in choices] == [1.0] + [0.0] * 9


@pytest.mark.parametrize("mode", ["probability_sum", "logit_sum"])
def test_own_rows_read_the_same_as_rows_of_unified_labels(mode) -> None:
    """Classes of one and of several unified labels, and one without pixels."""
    pixels, rows = make_pixels(300, groups=6)
    pixels = pixels.select(pixels.labels != 2)
    own = Choice("own", 0.01)
    start = Start(rows, LINKS)
    alone = fit(pixels, start, own, FitOptions(mode))
    mean = fit_mean(pixels, start, [own], FitOptions(mode))
    first = start.of("own", pixels.counts(3) > 0)[1]
    expected = alone.scores(pixels.embeddings, first, mode)
    found = mean.scores(pixels.embeddings, start.links, mode)
    torch.testing.assert_close(found[:, :2], expected[:, :2])
    assert torch.equal(found.argmax(1), expected.argmax(1))


def test_the_mean_lies_between_the_choices() -> None:
    pixels, rows = make_pixels(300, groups=6)
    start = Start(rows, LINKS)
    choices = choose(pixels, 3, lambda _: start, FitOptions(), 0)
    near = [replace(c, weight=0.5) for c in choices if c.kind == "near"][:2]
    one, two = (fit(pixels, start, choice, FitOptions()) for choice in near)
    mean = fit_mean(pixels, start, near, FitOptions())
    torch.testing.assert_close(mean.rows, (one.rows + two.rows) / 2)
    torch.testing.assert_close(mean.bias, (one.bias + two.bias) / 2)
    assert torch.equal(mean.heard, one.heard)


def test_weights_fade_with_the_score() -> None:
    scores = {("near", 0.1): 50.0, ("near", 0.01): 48.15, ("own", 0.001): 30.0}
    found = weighted([Choice(kind, p, score) for (kind, p), score in scores.items()])
    assert [c.penalty for c in found] == [0.1, 0.01, 0.001]
    # .15 of the .3 points of CLEAR lie between the first two: e times less, and nothing is left
    assert found[0].weight / found[1].weight == pytest.approx(math.e)
    assert found[2].weight == 0


def test_thinning_keeps_rare_classes_and_sums() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.where(torch.arange(5000) < 30, 1, 0)
    pixels = Pixels(
        torch.randn(5000, 2, generator=generator),
        labels,
        torch.ones(5000),
        torch.randint(0, 4, (5000,), generator=generator),
    )
    thin = pixels.thinned(400, 0)
    assert 200 < len(thin.labels) <= 400
    assert int((thin.labels == 1).sum()) == 30
    assert torch.allclose(thin.counts(2), pixels.counts(2))
    assert pixels.thinned(5000, 0) is pixels
    again = pixels.thinned(400, 0)
    assert torch.equal(again.embeddings, thin.embeddings)
