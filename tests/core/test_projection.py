"""Projection into label spaces: Eq. (4), Eq. (5) and the marginalisation, written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from label_cases import links, mappings

from unilabel.core.errors import UniLabelError
from unilabel.core.projection import (
    MAPPING_MODES,
    dataset_logits,
    unified_logits,
)

# Class 0 has the unified labels 0 and 2, class 1 has label 1; label 3 has no class here.
MAPPING = links(["10", "01", "10", "00"])


def test_unified_logits_are_dot_products() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, 4, 5, generator=generator)
    labels = torch.randn(6, 3, generator=generator)
    logits = unified_logits(pixels, labels)
    assert logits.shape == (2, 6, 4, 5)
    expected = sum(pixels[1, d, 2, 3] * labels[4, d] for d in range(3))
    assert float(logits[1, 4, 2, 3]) == pytest.approx(float(expected), abs=1e-6)
    flat = unified_logits(pixels.permute(0, 2, 3, 1).reshape(-1, 3), labels)
    assert torch.allclose(flat.view(2, 4, 5, 6).permute(0, 3, 1, 2), logits, atol=1e-6)


def test_logit_sum_worked_by_hand() -> None:
    unified = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    assert dataset_logits(unified, MAPPING, "logit_sum").tolist() == [[5.0, 2.0]]
    soft = torch.tensor([[0.5, 0.5], [0, 1], [1, 0], [0, 0]])
    assert dataset_logits(unified, soft, "logit_sum").tolist() == [[4.5, 2.5]]


def test_probabilities_are_marginalised() -> None:
    unified = torch.tensor([[1.0, 2.0, 4.0, 8.0], [0.0, 0.0, 0.0, -100.0]], dtype=torch.float64)
    result = dataset_logits(unified, MAPPING, "probability_sum", eps=0)
    for row, answer in zip(unified.tolist(), result, strict=True):
        odds = [math.exp(u) for u in row]
        expected = [(odds[0] + odds[2]) / sum(odds), odds[1] / sum(odds)]
        assert answer.exp().tolist() == pytest.approx(expected)
    # the unified label without class keeps its share of the probability
    assert float(result[0].exp().sum()) < 0.1
    assert float(result[1].exp().sum()) == pytest.approx(1)


def test_unreachable_class_stays_finite() -> None:
    unified = torch.tensor([[0.0, -1e4, 0.0, 0.0]])
    result = dataset_logits(unified, MAPPING, "probability_sum")
    assert float(result[0, 1]) == pytest.approx(math.log(1e-6))


@pytest.mark.parametrize("mode", MAPPING_MODES)
@given(mapping=mappings(max_datasets=1), seed=st.integers(0, 99))
def test_maps_of_pixels_and_lists_of_pixels_agree(mapping, seed: int, mode) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = mapping.stacked()
    maps = torch.randn(2, len(matrix), 3, 2, generator=generator)
    answer = dataset_logits(maps, matrix, mode)
    assert answer.shape == (2, matrix.shape[1], 3, 2)
    flat = maps.permute(0, 2, 3, 1).reshape(-1, len(matrix))
    again = dataset_logits(flat, matrix, mode).view(2, 3, 2, -1).permute(0, 3, 1, 2)
    assert torch.allclose(answer, again, atol=1e-5)
    single = dataset_logits(maps[0], matrix, mode)  # (N, h, w) has three axes: also a map
    assert torch.allclose(single, answer[0], atol=1e-6)


@given(mappings(max_datasets=1), st.integers(0, 99))
def test_one_label_for_each_class_is_a_plain_softmax(mapping, seed: int) -> None:
    classes = mapping.label_spaces.total
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
    matrix = torch.eye(classes, dtype=torch.bool)[order]
    logits = torch.randn(5, classes, generator=torch.Generator().manual_seed(seed + 1))
    expected = F.log_softmax(logits, 1)[:, order.argsort()]
    result = dataset_logits(logits, matrix, "probability_sum", eps=0)
    assert torch.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4, 4), (3, 4, 4)])
def test_other_number_of_unified_labels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        UniLabelError, match="mapping has 4 unified labels, the logits have 3; were"
    ):
        dataset_logits(torch.zeros(shape), MAPPING, "logit_sum")


@pytest.mark.parametrize("mode", MAPPING_MODES)
def test_gradients_reach_logits_and_soft_mapping(mode) -> None:
    unified = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    soft = torch.rand(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u, m: dataset_logits(u, m, mode), (unified, soft))
