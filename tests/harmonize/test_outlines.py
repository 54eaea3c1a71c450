from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from unilabel.harmonize.outlines import Region, panoptic, regions


def filled(found: list[Region], shape: tuple[int, int], holes: bool) -> np.ndarray:
    """Paint the regions in their order, testing the centre of every pixel (Matplotlib)."""
    centres = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape[::-1])), -1).reshape(-1, 2)
    painted = np.full(shape, -1)
    for region in found:
        inside = Outline(region.outline).contains_points(centres)
        for hole in region.holes if holes else ():
            inside &= ~Outline(hole).contains_points(centres)
        painted[inside.reshape(shape)] = region.label
    return painted


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 9), st.integers(1, 4))
def test_outlines_hold_exactly_their_pixels(seed: int, height: int, width: int, count: int) -> None:
    labels = np.random.default_rng(seed).integers(-1, count, (height, width))
    found = regions(labels)
    assert (filled(found, labels.shape, holes=True) == labels).all()


def test_a_region_in_a_hole_of_its_own_label_is_kept() -> None:
    labels = np.zeros((9, 9), int)
    labels[2:7, 2:7] = 1
    labels[4, 4] = 0  # an island of 0 in the lake of 1
    found = regions(labels)
    assert [(region.label, len(region.holes)) for region in found] == [(0, 1), (1, 1), (0, 0)]
    assert (filled(found, labels.shape, holes=False) == labels).all()


def test_segments_of_a_case_done_by_hand() -> None:
    values = np.array([[0, 0, -1], [300, 300, 0]], np.int32)
    rgb, segments = panoptic(values)
    assert rgb[0, 0].tolist() == [1, 0, 0]
    assert rgb[0, 2].tolist() == [0, 0, 0]  # void
    assert rgb[1, 0].tolist() == [301 - 256, 1, 0]
    assert [(s["id"], s["area"], s["bbox"]) for s in segments] == [
        (1, 3, [0, 0, 3, 2]),
        (301, 2, [0, 1, 2, 1]),
    ]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5)])
def test_all_void(shape: tuple[int, int]) -> None:
    empty = np.full(shape, -1, np.int32)
    assert regions(empty) == []
    assert panoptic(empty)[1] == []
