"""Confusion counts and IoU: by hand, and against torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unilabel.core.errors import UniLabelError
from unilabel.core.metrics import iou_from_confusion, mean_iou, update_confusion


def counted(prediction, target, classes: int, columns: int | None = None) -> torch.Tensor:
    confusion = torch.zeros(classes, columns or classes, dtype=torch.int64)
    update_confusion(confusion, torch.as_tensor(prediction), torch.as_tensor(target))
    return confusion


def test_worked_by_hand() -> None:
    # class 0: 2 hits, 1 lost to 1; class 1: 1 hit, 1 lost to 0; class 2 absent, but predicted once
    # on an ignored pixel, which does not count.
    target = torch.tensor([[0, 0, 0], [1, 1, 255]], dtype=torch.uint8)
    prediction = torch.tensor([[0, 0, 1], [1, 0, 2]], dtype=torch.int16)
    confusion = counted(prediction, target, 3)
    assert confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    iou = iou_from_confusion(confusion)
    assert iou[:2].tolist() == [2 / 4, 1 / 3]
    assert math.isnan(iou[2])
    assert mean_iou(confusion) == pytest.approx(100 * (1 / 2 + 1 / 3) / 2)


def test_class_that_is_only_predicted_is_left_out_but_hurts_others() -> None:
    confusion = counted([0, 1], [0, 0], 2)
    assert iou_from_confusion(confusion)[0] == 0.5
    assert math.isnan(iou_from_confusion(confusion)[1])
    assert mean_iou(confusion) == 50


def test_no_class_is_a_miss() -> None:
    confusion = counted([0, -1, -1], [0, 0, 1], 2, columns=3)
    assert confusion.tolist() == [[1, 0, 1], [0, 0, 1]]
    assert iou_from_confusion(confusion).tolist() == [0.5, 0]


def test_more_predicted_labels_than_classes() -> None:
    confusion = counted([4, 0, 2], [0, 1, 1], 2, columns=5)
    assert confusion.tolist() == [[0, 0, 0, 0, 1], [1, 0, 1, 0, 0]]


def test_nothing_labelled_gives_nan() -> None:
    confusion = counted([0, 1], [255, 255], 2)
    assert confusion.sum() == 0
    assert math.isnan(mean_iou(confusion))


def test_counts_add_up_over_calls() -> None:
    confusion = torch.zeros(2, 2, dtype=torch.int64)
    for prediction, target in ((0, 0), (1, 0), (1, 0)):
        update_confusion(confusion, torch.tensor([prediction]), torch.tensor([target]))
    assert confusion.tolist() == [[1, 2], [0, 0]]


def test_bad_predictions_are_refused_and_not_counted() -> None:
    confusion = torch.zeros(2, 2, dtype=torch.int64)
    with pytest.raises(UniLabelError, match=r"has shape \(2,\), the label map \(3,\)"):
        update_confusion(confusion, torch.zeros(2), torch.zeros(3))
    for wrong in (2, -1):
        with pytest.raises(UniLabelError, match=r"a prediction lies outside 0\.\.1; found"):
            update_confusion(confusion, torch.tensor([0, wrong]), torch.tensor([0, 1]))
    assert confusion.sum() == 0
    # on an ignored pixel any prediction may stand
    update_confusion(confusion, torch.tensor([0, 7]), torch.tensor([0, 255]))
    assert confusion.sum() == 1


@given(st.data(), st.integers(1, 6))
def test_against_a_loop(data, classes: int) -> None:
    pixels = data.draw(st.integers(0, 30))
    ids = st.sampled_from([*range(classes), 255])
    target = data.draw(st.lists(ids, min_size=pixels, max_size=pixels))
    answers = st.integers(0, classes - 1)
    prediction = data.draw(st.lists(answers, min_size=pixels, max_size=pixels))
    confusion = counted(
        torch.tensor(prediction, dtype=torch.int64),
        torch.tensor(target, dtype=torch.int64),
        classes,
    )
    pairs = [(t, p) for t, p in zip(target, prediction, strict=True) if t != 255]
    for t in range(classes):
        for p in range(classes):
            assert confusion[t, p] == pairs.count((t, p))


@pytest.mark.parametrize("seed", range(5))
def test_against_torchmetrics(seed: int) -> None:
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(seed)
    classes = 7
    target = torch.randint(0, classes, (3, 20, 30), generator=generator)
    noise = torch.randint(0, classes, target.shape, generator=generator)
    keep = torch.rand(target.shape, generator=generator) < 0.6
    prediction = torch.where(keep, target, noise)
    target[torch.rand(target.shape, generator=generator) < 0.2] = 255
    expected = torchmetrics.multiclass_jaccard_index(
        prediction, target, num_classes=classes, average="none", ignore_index=255
    )
    confusion = counted(prediction, target, classes)
    assert iou_from_confusion(confusion).numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    assert mean_iou(confusion) == pytest.approx(100 * float(expected.mean()), abs=1e-4)
