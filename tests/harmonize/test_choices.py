"""What a pixel may become, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unilabel.core.label_space import IGNORE, LabelSpace, default_color
from unilabel.harmonize.choices import Choices
from unilabel.harmonize.label_png import decode, encode
from unilabel.harmonize.target import IGNORE_WIDE, Target

# unified labels: 0 road, 1 marking, 2 car, 3 sky, 4 what only others have
LINKS = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)
COLUMNS = torch.tensor([[1, 0], [0, 1], [0, 0], [0, 0], [0, 0]], dtype=torch.bool)


def target(columns: torch.Tensor | None, count: int) -> Target:
    names = tuple(f"label {i}" for i in range(count))
    return Target("t", names, tuple(map(default_color, range(count))), (), columns)


def space(*names: str) -> LabelSpace:
    return LabelSpace("d", names, tuple(map(default_color, range(len(names)))))


UNIFIED = target(None, 5)
OTHERS = target(COLUMNS, 2)  # has road and marking, no car and no sky
CLASSES = space("road", "car", "background")


def test_in_the_unified_labels() -> None:
    choices = Choices.of(LINKS, CLASSES, UNIFIED)
    assert choices.allowed.int().tolist() == [
        [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0],
    ]  # fmt: skip
    assert choices.certain.tolist() == [False, True, True, True]
    assert choices.always.all()


def test_background_may_be_what_no_named_class_claims() -> None:
    choices = Choices.of(LINKS, CLASSES, UNIFIED, open_background=True)
    assert choices.allowed[2].int().tolist() == [0, 0, 0, 1, 1]
    assert choices.fits[2].tolist() == [False, False, False, True, True]
    named = Choices.of(LINKS, space("road", "car", "sky"), UNIFIED, open_background=True)
    assert named.allowed[2].int().tolist() == [0, 0, 0, 1, 0]


def test_unlabelled_pixels_are_filled_only_on_demand() -> None:
    filled = Choices.of(LINKS, CLASSES, UNIFIED, fill=True)
    assert filled.allowed[3].all()
    assert not filled.certain[3]


def test_a_class_without_link_to_the_target_gets_no_label() -> None:
    choices = Choices.of(LINKS, CLASSES, OTHERS)
    assert choices.fits.tolist() == [[True, True], [False, False], [False, False]]
    assert choices.certain.tolist() == [False, True, True, True]
    assert choices.always.tolist() == [True, False, False]


def test_a_label_without_class_in_the_target_competes() -> None:
    """Road is 0 and 1, the target knows 0 only: not every road pixel is its class."""
    choices = Choices.of(LINKS, CLASSES, target(COLUMNS[:, :1], 1))
    assert not choices.certain[0]
    assert choices.always.tolist() == [False, False, False]


@pytest.mark.parametrize(
    ("drawn", "asked"), [([1, 2], False), ([1, 0], True), ([IGNORE], False), ([2, IGNORE], False)]
)
def test_the_network_is_asked_only_for_open_questions(drawn: list[int], asked: bool) -> None:
    choices = Choices.of(LINKS, CLASSES, UNIFIED)
    assert choices.asks(np.array([drawn], np.uint8)) == asked


def test_violations_are_counted_pixel_by_pixel() -> None:
    choices = Choices.of(LINKS, CLASSES, UNIFIED)
    drawn = np.array([[0, 0, 1, 2, IGNORE, IGNORE]], np.uint8)
    count = lambda *values, void=0.0: choices.violations(drawn, np.array([values]), void)  # noqa: E731
    assert count(0, 1, 2, 3, -1, 4) == 0
    assert count(2, 1, 2, 3, -1, -1) == 1
    assert count(0, 1, 3, 2, -1, -1) == 2
    assert count(0, 1, 2, 9, -1, -1) == 1  # no label at all
    assert count(-1, 1, 2, 3, -1, -1) == 1  # a labelled pixel was dropped,
    assert count(-1, 1, 2, 3, -1, -1, void=0.5) == 0  # which uncertainty may do
    assert count(0, 1, -1, 3, -1, -1, void=0.5) == 1  # to decided pixels only
    assert (
        Choices.of(LINKS, CLASSES, OTHERS).violations(drawn, np.array([[0, 1, -1, -1, 0, 1]]), 0)
        == 0
    )


@pytest.mark.parametrize(("labels", "ignore"), [(5, IGNORE), (254, IGNORE), (255, IGNORE_WIDE)])
def test_label_maps_come_back_as_written(labels: int, ignore: int) -> None:
    space = target(None, labels)
    values = np.arange(-1, labels).reshape(1, -1)
    data = encode(values, space)
    assert data == encode(values.copy(), space)
    assert space.ignore == ignore
    assert (decode(data, ignore) == values).all()
