from __future__ import annotations

import numpy as np
import pytest

from unilabel.core.errors import UniLabelError
from unilabel.visual.overlay import color_map, overlay, with_legend

COLORS = [(255, 0, 0), (0, 255, 0)]


def test_color_map_by_hand() -> None:
    picture = color_map(np.array([[0, 1], [255, -1]], np.int16), COLORS)
    assert picture.tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 0], [0, 0, 0]]]


def test_overlay_mixes_labelled_pixels_only() -> None:
    image = np.full((600, 2, 3), 100, np.uint8)  # higher than one block of rows
    labels = np.zeros((600, 2), np.int16)
    labels[:, 1] = 255
    mixed = overlay(image, labels, COLORS, 0.6)
    assert (mixed[:, 0] == [193, 40, 40]).all()  # 0.4 * 100 + 0.6 * 255, 0.4 * 100
    assert (mixed[:, 1] == 100).all()


def test_overlay_limits() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    labels = np.ones((5, 4), np.uint8)
    assert (overlay(image, labels, COLORS, 0.0) == image).all()
    assert (overlay(image, labels, COLORS, 1.0) == [0, 255, 0]).all()


def test_overlay_refuses_other_sizes() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(UniLabelError, match="label map"):
        overlay(image, np.zeros((4, 5), np.int16), COLORS)
    with pytest.raises(UniLabelError, match="opacity"):
        overlay(image, np.zeros((4, 4), np.int16), COLORS, 1.5)


def test_legend_keeps_the_image_and_shows_every_colour() -> None:
    image = np.full((96, 128, 3), 7, np.uint8)
    entries = [(f"label {i}", (i, 200, 3), 1 / 9) for i in range(9)]
    picture = with_legend(image, entries)
    assert picture.shape[0] > 96
    assert (picture == 7).all(-1).sum() >= 96 * 128
    for _, color, _ in entries:
        assert (picture == color).all(-1).sum() > 50


def test_legend_of_nothing() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    assert (with_legend(image, []) == image).all()


def test_legend_columns_fit_a_wide_image() -> None:
    entries = [("road", (1, 2, 3), 0.5), ("sky", (4, 5, 6), 0.5)]
    wide, narrow = (
        with_legend(np.zeros((50, width, 3), np.uint8), entries).shape[0] for width in (1200, 60)
    )
    assert wide - 50 <= 80  # side by side
    assert narrow > 50
