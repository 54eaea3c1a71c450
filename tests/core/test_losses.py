"""Losses: against torch's cross-entropy, and Eq. (7) and OHEM worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unilabel.core.losses import class_weights, orthogonality_loss, reduce_pixel_loss


def example(seed: int, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 6, 7, generator=generator, dtype=torch.float64)
    target = torch.randint(0, classes, (2, 6, 7), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.3] = 255
    return logits.requires_grad_(True), target


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_mean_is_that_of_torch(seed: int, weighted: bool) -> None:
    logits, target = example(seed)
    weight = torch.rand(5, dtype=torch.float64) + 0.1 if weighted else None
    expected = F.cross_entropy(logits, target, weight, ignore_index=255)
    (wanted,) = torch.autograd.grad(expected, logits)
    per_pixel = F.cross_entropy(logits, target, ignore_index=255, reduction="none")
    loss = reduce_pixel_loss(per_pixel, target, 255, weight)
    (found,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(expected.item())
    assert torch.allclose(found, wanted)


@pytest.mark.parametrize("options", [{}, {"ohem_threshold": 0.7}, {"class_weight": torch.ones(3)}])
def test_nothing_labelled_gives_zero_with_a_graph(options: dict) -> None:
    loss = torch.tensor([1.0, math.inf, math.nan], requires_grad=True)
    total = reduce_pixel_loss(loss, torch.full((3,), 255), 255, **options)
    assert total == 0
    total.backward()
    assert loss.grad.tolist() == [0, 0, 0]


def test_ignored_pixels_cannot_poison_the_mean() -> None:
    loss = torch.tensor([2.0, math.inf, 4.0], requires_grad=True)
    total = reduce_pixel_loss(loss, torch.tensor([0, 255, 1]), 255)
    total.backward()
    assert total == 3
    assert loss.grad.tolist() == [0.5, 0, 0.5]


def test_ohem_keeps_pixels_under_the_probability() -> None:
    # probabilities 0.9, 0.5, 0.2 and an ignored pixel; threshold 0.7 keeps the two harder ones
    loss = -torch.tensor([0.9, 0.5, 0.2, 0.01]).log()
    target = torch.tensor([0, 0, 1, 255])
    total = reduce_pixel_loss(loss, target, 255, ohem_threshold=0.7)
    assert float(total) == pytest.approx(-(math.log(0.5) + math.log(0.2)) / 2)
    weighted = reduce_pixel_loss(
        loss, target, 255, class_weight=torch.tensor([1.0, 3.0]), ohem_threshold=0.7
    )
    assert float(weighted) == pytest.approx(-(math.log(0.5) + 3 * math.log(0.2)) / 4)


def test_ohem_keeps_the_hardest_share_of_easy_pixels() -> None:
    # All 32 labelled pixels are easy: a sixteenth, the two hardest, stay. Ignored ones never count.
    loss = torch.cat([torch.linspace(0.001, 0.032, 32), torch.full((8,), 9.0)])
    target = torch.cat([torch.zeros(32), torch.full((8,), 255.0)]).long()
    total = reduce_pixel_loss(loss, target, 255, ohem_threshold=0.7)
    assert float(total) == pytest.approx((0.031 + 0.032) / 2)
    quarter = reduce_pixel_loss(loss, target, 255, ohem_threshold=0.7, ohem_min_share=1 / 4)
    assert float(quarter) == pytest.approx(float(loss[24:32].mean()))


def test_class_weights_worked_by_hand() -> None:
    # shares 0.64, 0.32, 0.04 -> share ** -0.5 = 1.25, 1.768, 5; mean over pixels 1
    counts = torch.tensor([64, 32, 4])
    raw = [0.64**-0.5, 0.32**-0.5, 0.04**-0.5]
    mean = 0.64 * raw[0] + 0.32 * raw[1] + 0.04 * raw[2]
    weight = class_weights(counts, 0.5, 100.0)
    assert weight.dtype == torch.float32
    assert weight.tolist() == pytest.approx([r / mean for r in raw])
    limited = class_weights(counts, 0.5, 2.0)
    assert float(limited[2] / limited[0]) == pytest.approx(2)
    assert float(limited[1] / limited[0]) == pytest.approx(raw[1] / raw[0])


@given(
    counts=st.lists(st.integers(0, 10**7), min_size=1, max_size=12).filter(any),
    power=st.floats(0, 1),
    limit=st.floats(1, 50),
)
def test_class_weights_keep_order_limit_and_mean(counts, power: float, limit: float) -> None:
    weight = class_weights(torch.tensor(counts), power, limit).double()
    share = torch.tensor(counts).double() / sum(counts)
    assert float((weight * share).sum()) == pytest.approx(1, rel=1e-4)
    assert float(weight.max() / weight.min()) <= limit * (1 + 1e-4)
    assert weight[int(share.argmin())] == weight.max()  # also a class without pixels
    assert weight[int(share.argmax())] == weight.min()


def test_unseen_classes_get_the_largest_weight() -> None:
    # shares 0.9 and 0.1 -> share ** -0.5 = 1.0541, 3.1623; a class without pixels ends at the
    # limit, 4 x 1.0541; the mean over pixels is 0.9 x 1.0541 + 0.1 x 3.1623 = 1.2649
    weight = class_weights(torch.tensor([90, 0, 10, 0]), 0.5, 4.0)
    assert weight.tolist() == pytest.approx([0.83333, 3.33333, 2.5, 3.33333], abs=1e-4)
    # also where every class with pixels weighs 1
    assert class_weights(torch.tensor([7, 0]), 0.5, 4.0).tolist() == pytest.approx([1, 4])


def test_power_zero_weighs_all_alike() -> None:
    assert class_weights(torch.tensor([0, 5, 1000]), 0.0, 8.0).tolist() == [1, 1, 1]


def test_orthogonality_worked_by_hand() -> None:
    # X X^T = [[4, 2], [2, 1]]; rows of the softmax: p_11 = e^4 / (e^4 + e^2), p_22 = e / (e^2 + e)
    embedding = torch.tensor([[2.0], [1.0]])
    p1 = math.exp(4) / (math.exp(4) + math.exp(2))
    p2 = math.exp(1) / (math.exp(2) + math.exp(1))
    expected = -p1 * math.log(p1) - p2 * math.log(p2)
    assert float(orthogonality_loss(embedding)) == pytest.approx(expected, rel=1e-5)
    entries = [p1, 1 - p1, p2, 1 - p2]
    entropy = sum(-p * math.log(p) for p in entries) / 4
    cooled = math.sqrt(0.07) * embedding  # the authors' code divides X X^T by 0.07
    assert float(orthogonality_loss(cooled, form="entropy")) == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("form", ["diagonal", "entropy"])
def test_orthogonality_vanishes_for_distant_labels(form: str) -> None:
    embedding = (100 * torch.eye(5)).requires_grad_(True)
    loss = orthogonality_loss(embedding, form=form)
    loss.backward()
    assert abs(loss.item()) < 1e-6
    assert torch.isfinite(embedding.grad).all()
    assert float(orthogonality_loss(torch.zeros(5, 5), form=form)) > 0.1
