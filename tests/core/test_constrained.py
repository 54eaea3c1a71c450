"""Answers inside drawn classes: by hand, and against masking everything at full resolution."""

from __future__ import annotations

import pytest
import torch
from test_reading import ALIGNED, GRIDS, plain_probabilities, random_mapping, random_scores

from unilabel.core import reading
from unilabel.core.constrained import Voice, read_constrained, read_constrained_mean
from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE


def test_the_drawn_class_decides_which_unified_labels_may_win() -> None:
    """One cell, three pixels. Class 0 may be 0 or 1, class 1 only 2, the rest nothing."""
    scores = torch.tensor([0.0, 1.0, 9.0]).view(1, 3, 1, 1)
    allowed = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)
    labels = torch.tensor([[0, 1, IGNORE]])
    found = read_constrained(scores, ALIGNED, (1, 3), labels, allowed)
    assert found.labels.tolist() == [[[1, 2, -1]]]  # 2 wins nowhere but in its own class
    e = torch.tensor(1.0).exp()
    expected = torch.tensor([[[e / (1 + e), 1.0, 0.0]]])
    torch.testing.assert_close(found.confidence.float(), expected, atol=1e-3, rtol=0)


def test_pixels_without_a_class_are_filled_from_the_last_row() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1)
    allowed = torch.tensor([[1, 0, 0], [1, 1, 1]], dtype=torch.bool)
    found = read_constrained(scores, ALIGNED, (1, 2), torch.tensor([[0, 7]]), allowed)
    assert found.labels.tolist() == [[[0, 2]]]
    assert found.confidence[0, 0, 0] == 1


def test_classes_of_a_target_get_the_sum_of_their_allowed_labels() -> None:
    """Weights 1, 1.5, 1, 3: column 0 has 1 + 1, column 1 has 1.5, the label 3 has no column."""
    scores = torch.tensor([1.0, 1.5, 1.0, 3.0]).log().view(1, 4, 1, 1)
    mapping = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 0]], dtype=torch.bool)
    allowed = torch.tensor(
        [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1], [1, 0, 1, 0]], dtype=torch.bool
    )
    labels = torch.tensor([[0, 1, 2, 3, IGNORE]])
    found = read_constrained(scores, ALIGNED, (1, 5), labels, allowed, mapping)
    assert found.labels.tolist() == [[[0, 1, -1, -1, 0]]]
    expected = torch.tensor([[[2 / 3.5, 1.5 / 2.5, 3 / 6.5, 0.0, 1.0]]])
    torch.testing.assert_close(found.confidence.float(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_constrained_answers_are_the_best_of_the_allowed(grid, rows, monkeypatch) -> None:
    """Against masking all of it at full resolution, and whatever the height of a chunk."""
    monkeypatch.setitem(reading._CHUNK_ELEMENTS, "cpu", 1)
    monkeypatch.setattr(reading, "_MIN_ROWS", rows)
    generator = torch.Generator().manual_seed(3)
    scores, size, mapping = random_scores(1, 9, 5, 6), (31, 45), random_mapping(9, 4, 7)
    allowed = torch.rand(6, 9, generator=generator) < 0.5
    labels = torch.randint(0, 9, size, generator=generator)  # ids 5 to 8 have no class
    p = plain_probabilities(scores, grid, size, None)[0].permute(1, 2, 0)  # (H, W, N)
    p = p * allowed[labels.clamp(max=5)]
    none = (~mapping.any(1))[:, None]
    for links, columns in ((None, p), (mapping, p @ torch.cat([mapping, none], 1).double())):
        found = read_constrained(scores, grid, size, labels, allowed, links)
        total = columns.sum(-1)
        assert torch.equal(found.labels[0] < 0, (total == 0) | (columns.argmax(-1) == 4)) or (
            links is None
        )
        answer = torch.where(found.labels[0] < 0, columns.shape[-1] - 1, found.labels[0]).long()
        chosen = columns.gather(-1, answer[..., None])[..., 0]
        assert (columns.amax(-1) - chosen).max() < 1e-5
        some = (total > 0) & (chosen > 0)
        share = (chosen / total)[some]
        torch.testing.assert_close(
            found.confidence[0].double()[some & (found.labels[0] >= 0)],
            share[(found.labels[0] >= 0)[some]],
            atol=1e-3,
            rtol=1e-3,
        )


def test_labels_of_another_size_are_refused() -> None:
    scores, allowed = random_scores(1, 3, 4, 4), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(UniLabelError, match="do not fit"):
        read_constrained(scores, ALIGNED, (8, 8), torch.zeros(8, 7), allowed)
    with pytest.raises(UniLabelError, match="do not fit"):
        read_constrained(scores, ALIGNED, (8, 8), torch.zeros(8, 8), allowed[:, :2])


# --- the mean of several models ---

EYE = torch.eye(3, dtype=torch.bool)
ALL = torch.ones(2, 3, dtype=torch.bool)


def voice(weights: list[float], allowed=ALL, mapping=EYE) -> Voice:
    scores = torch.tensor(weights).log().view(1, -1, 1, 1)
    return Voice(scores, ALIGNED, allowed, mapping)


def test_the_mean_of_two_models_by_hand() -> None:
    """Class 0 may be 0 or 1. (.6, .4) and (.1, .9) give (.35, .65); the label 2 has no say."""
    allowed = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.bool)
    voices = [voice([6.0, 4.0, 90.0], allowed), voice([1.0, 9.0, 50.0], allowed)]
    found = read_constrained_mean(voices, (1, 2), torch.tensor([[0, IGNORE]]))
    assert found.labels.tolist() == [[[1, -1]]]
    torch.testing.assert_close(
        found.confidence.float(), torch.tensor([[[0.65, 0.0]]]), atol=1e-3, rtol=0
    )


def test_the_links_of_the_first_model_decide_what_is_allowed() -> None:
    """The second one knows other labels of the class; outside of the first one's none may win."""
    first = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.bool)
    second = torch.tensor([[0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    voices = [voice([8.0, 2.0, 1.0], first), voice([1.0, 1.0, 98.0], second)]
    found = read_constrained_mean(voices, (1, 1), torch.zeros(1, 1))
    assert found.labels.item() == 1  # (.8, .2) and, of what both know, (0, 1)
    assert found.confidence.item() == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize("others", [[], [2]])
def test_a_model_that_knows_none_of_the_answers_has_no_say(others: list[int]) -> None:
    first = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.bool)
    second = torch.zeros(2, 3, dtype=torch.bool)
    second[0, others] = True
    voices = [voice([8.0, 2.0, 1.0], first), voice([1.0, 1.0, 98.0], second)]
    found = read_constrained_mean(voices, (1, 1), torch.zeros(1, 1))
    assert found.labels.item() == 0
    assert found.confidence.item() == pytest.approx(0.8, abs=1e-3)


def test_a_model_with_one_answer_says_it_for_sure() -> None:
    second = torch.tensor([[0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    voices = [voice([7.0, 2.0, 1.0]), voice([9.0, 1.0, 1.0], second)]
    found = read_constrained_mean(voices, (1, 1), torch.zeros(1, 1))
    assert found.labels.item() == 1  # (.7, .2, .1) and (0, 1, 0)
    assert found.confidence.item() == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize("rows", [1, 64])
def test_models_of_other_sizes_and_labels_meet_in_the_columns(rows: int, monkeypatch) -> None:
    """Against the means of the probabilities at full resolution."""
    monkeypatch.setitem(reading._CHUNK_ELEMENTS, "cpu", 1)
    monkeypatch.setattr(reading, "_MIN_ROWS", rows)
    size, generator = (31, 45), torch.Generator().manual_seed(5)
    labels = torch.randint(0, 5, size, generator=generator)
    voices, expected = [], torch.zeros(*size, 5, dtype=torch.float64)
    for number, (nodes, cells, grid) in enumerate([(9, (5, 6), GRIDS[0]), (7, (6, 7), GRIDS[3])]):
        scores = random_scores(1, nodes, *cells, seed=number)
        mapping = random_mapping(nodes, 4, nodes - 2, seed=number)
        allowed = torch.ones(6, nodes, dtype=torch.bool)
        voices.append(Voice(scores, grid, allowed, mapping))
        p = plain_probabilities(scores, grid, size, None)[0].permute(1, 2, 0)
        none = (~mapping.any(1))[:, None]
        expected += p @ torch.cat([mapping, none], 1).double() / 2
    found = read_constrained_mean(voices, size, labels)
    answer = torch.where(found.labels[0] < 0, 4, found.labels[0]).long()
    chosen = expected.gather(-1, answer[..., None])[..., 0]
    assert (expected.amax(-1) - chosen).max() < 1e-5
    torch.testing.assert_close(found.confidence[0].double(), chosen, atol=1e-3, rtol=1e-3)


def test_one_model_is_its_own_mean() -> None:
    scores, size = random_scores(1, 9, 5, 6), (31, 45)
    generator = torch.Generator().manual_seed(3)
    allowed = torch.rand(6, 9, generator=generator) < 0.5
    labels = torch.randint(0, 9, size, generator=generator)
    mapping = random_mapping(9, 4, 7)
    alone = read_constrained(scores, GRIDS[1], size, labels, allowed, mapping)
    voices = [Voice(scores, GRIDS[1], allowed, mapping)] * 2
    both = read_constrained_mean(voices, size, labels)
    assert (alone.labels != both.labels).float().mean() < 1e-3  # ties by rounding
    torch.testing.assert_close(alone.confidence.float(), both.confidence.float(), atol=2e-3, rtol=0)
