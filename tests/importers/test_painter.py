"""Outlines and run lengths, worked by hand and against pycocotools and OpenCV."""

from __future__ import annotations

import contextlib

import cv2
import export_makers as makers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from unilabel.core.errors import UniLabelError
from unilabel.importers import rle
from unilabel.importers.painter import FEW_POINTS, OUTSIDE, Shape, Sketch, ellipse, outline, paint


def painted(*shapes: Shape, size: tuple[int, int] = (8, 6), **options) -> np.ndarray:
    return paint(Sketch(None, list(shapes)), *size, **options).ids


def square(class_id: int, x0: float, y0: float, x1: float, y1: float, **more) -> Shape:
    points = outline([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "square")
    return Shape(class_id, "square", [points], **more)


def test_whole_coordinates_go_through_pixel_centres() -> None:
    ids = painted(square(0, 1, 1, 4, 3))
    assert (ids[1:4, 1:5] == 0).all()
    assert (ids == 0).sum() == 12


def test_edge_coordinates_cover_pixels() -> None:
    ids = painted(square(0, 0, 0, 8, 6))
    assert (ids == 0).all()
    ids = painted(square(1, 4, 0, 8, 6))  # x = 8 is the photo's edge: pixels 4 to 7
    assert (ids[:, 4:] == 1).all()
    assert (ids[:, :4] == 255).all()


@pytest.mark.parametrize(("right", "columns"), [(3.3, 2), (3.5, 3), (3.7, 3), (4.2, 3), (4.7, 4)])
def test_half_of_a_pixel_and_more_counts(right: float, columns: int) -> None:
    assert (painted(square(0, 1, 1, right, 4.999)) == 0)[2].sum() == columns


def test_holes_and_even_odd() -> None:
    outer, inner = square(0, 0.5, 0.5, 7.5, 5.5), square(0, 2, 2, 6, 4)
    hole = Shape(0, "s", outer.parts, holes=inner.parts)
    twice = Shape(0, "s", [*outer.parts, *inner.parts], even_odd=True)
    both = Shape(0, "s", [*outer.parts, *inner.parts])
    assert (painted(hole) == painted(twice)).all()
    assert (painted(hole)[2:4, 2:6] == 255).all()
    assert (painted(both)[2:4, 2:6] == 0).all()


def test_holes_of_whole_outlines_keep_their_border() -> None:
    ring = np.zeros((20, 20), np.uint8)
    ring[2:18, 2:18] = 1
    ring[6:12, 6:12] = 0
    contours, tree = cv2.findContours(ring, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [c.reshape(-1, 2).astype(float) for c in contours]
    parts = [p for p, t in zip(outlines, tree[0], strict=True) if t[3] < 0]
    holes = [p for p, t in zip(outlines, tree[0], strict=True) if t[3] >= 0]
    ids = painted(Shape(1, "ring", parts, holes), size=(20, 20), fill=0)
    np.testing.assert_array_equal(ids, ring)


def test_later_shapes_lie_on_top_or_smaller_ones() -> None:
    small, large = square(0, 2, 2, 4, 4), square(1, 0, 0, 7, 5)
    result = paint(Sketch(None, [small, large]), 8, 6)
    assert (result.ids == 1).all()
    assert result.buried == 9
    result = paint(Sketch(None, [small, large]), 8, 6, smaller_on_top=True)
    assert (result.ids == 0).sum() == 9
    assert result.buried == 0
    assert paint(Sketch(None, [large, small]), 8, 6).buried == 0


def test_what_is_no_area_is_counted() -> None:
    line = Shape(0, "line", [outline([[1, 1], [3, 3]], "line")])
    result = paint(Sketch(None, [line, square(0, 20, 20, 30, 30)]), 8, 6)
    assert result.left_out == {FEW_POINTS: 1, OUTSIDE: 1}


def test_ignored_areas_stay_ignored_on_a_background() -> None:
    ids = painted(square(0, 0, 0, 7, 5), square(255, 2, 2, 3, 3), fill=7)
    assert (ids[2:4, 2:4] == 255).all()


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([[0, 0], [float("nan"), 1], [2, 2]], "no finite number"),
        ([[0, 0], [float("inf"), 1], [2, 2]], "no finite number"),
        ([[0, 0], [1e9, 1], [2, 2]], "far outside"),
        ([0, 0, 1], "no list of x, y pairs"),
        ([["a", "b"]], "no list of x, y pairs"),
        ([[0, 0, 1]], "shape"),
        ([[0, 0], [1]], "no list of x, y pairs"),
    ],
)
def test_outlines_that_are_none(points: list[object], said: str) -> None:
    with pytest.raises(UniLabelError, match=f"here: .*{said}"):
        outline(points, "here")


@given(st.integers(0, 2**32 - 1))
def test_fractional_outlines_agree_with_dense_samples(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = outline(ellipse(*rng.uniform(8, 24, 2), *rng.uniform(3, 7, 2), rng.uniform(0, 90)), "")
    ids = painted(Shape(0, "", [points]), size=(32, 32))
    dense = np.zeros((32 * 16, 32 * 16), np.uint8)
    cv2.fillPoly(dense, [np.rint(points * 16 - 0.5).astype(np.int32)], 1)
    share = dense.reshape(32, 16, 32, 16).mean((1, 3))
    sure = np.abs(share - 0.5) > 0.1
    np.testing.assert_array_equal((ids == 0)[sure], (share > 0.5)[sure])


masks = st.integers(0, 2**32 - 1).map(
    lambda seed: np.kron(np.random.default_rng(seed).random((4, 5)) > 0.5, np.ones((3, 7), bool))
)


@given(masks)
def test_coco_run_lengths(mask: np.ndarray) -> None:
    height, width = mask.shape
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = {"size": [height, width], "counts": packed["counts"].decode()}
    np.testing.assert_array_equal(rle.coco_rle(text, width, height, "here"), mask)
    flat = mask.T.reshape(-1).astype(int)
    ends = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    runs = np.diff(ends).tolist()
    listed = {"size": [height, width], "counts": [0, *runs] if flat[0] else runs}
    np.testing.assert_array_equal(rle.coco_rle(listed, width, height, "here"), mask)


@given(masks)
def test_brush_strokes(mask: np.ndarray) -> None:
    height, width = mask.shape
    np.testing.assert_array_equal(rle.brush_alpha(makers.brush(mask), width, height, "here"), mask)


def test_brush_strokes_of_single_values() -> None:
    """The other kind of block: each of its values is written."""
    values = [1, 2, 3, 255, 4, 5, 6, 0]  # two pixels, the alpha of the first is 255
    bits = f"{8:032b}{7:05b}" + "".join(f"{s - 1:04b}" for s in (3, 6, 11, 16))
    bits += f"0{0:02b}{7:03b}" + "".join(f"{v:08b}" for v in values)
    bits += "0" * (-len(bits) % 8)
    stream = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    np.testing.assert_array_equal(rle.brush_alpha(stream, 2, 1, "here"), [[True, False]])


@pytest.mark.parametrize(
    "counts",
    [
        "5",
        "ABC\x7f",
        "oooooooooooooooooooooooooooooooooooo",
        "PPPPPPPPPPPPPPPPPP",
        [3, 4],
        [-3, 15],
        [3.5, 8.5],
        [2**62, 2**62],
        ["a"],
        None,
    ],
)
def test_run_lengths_that_do_not_fit(counts: object) -> None:
    with pytest.raises(UniLabelError, match=r"^here: "):
        rle.coco_rle({"size": [3, 4], "counts": counts}, 4, 3, "here")


@given(st.binary(max_size=40))
def test_noise_as_run_lengths_is_refused_or_fits(noise: bytes) -> None:
    for read in (
        lambda: rle.coco_rle({"size": [3, 4], "counts": noise}, 4, 3, "here"),
        lambda: rle.brush_alpha(list(noise), 4, 3, "here"),
        lambda: rle.packed_picture(noise, "here", compressed=True),
    ):
        with contextlib.suppress(UniLabelError):
            assert read().dtype == bool
