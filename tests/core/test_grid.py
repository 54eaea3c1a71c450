"""Where cells lie in an image: labels, interpolation and centres tell one story."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unilabel.core.grid import CellGrid
from unilabel.core.label_space import IGNORE
from unilabel.core.reading import interpolated

sides = st.integers(1, 40)


def cells_of(pixels: int, stride: int, step: int = 1) -> int:
    """Cells along a side that is padded to a multiple of ``stride * step``."""
    return -(-pixels // (stride * step)) * step


@given(sides, sides, st.sampled_from([1, 2, 4, 7, 16]), st.integers(1, 3))
def test_centres_and_positions_are_inverse(h, w, stride, step) -> None:
    grid = CellGrid((h, w), stride)
    for axis, side in enumerate((h, w)):
        cells = cells_of(side, stride, step)
        centres = grid.centres(cells, axis)
        assert centres[0] == (stride - 1) / 2
        assert grid.position(centres, cells, axis).tolist() == list(range(cells))


@given(sides, sides)
def test_corners_are_corners_when_aligned(h, w) -> None:
    grid = CellGrid((h, w), 0)
    for axis, side in enumerate((h, w)):
        for cells in (2, 5):
            centres = grid.centres(cells, axis)
            assert float(centres[0]) == 0
            assert float(centres[-1]) == pytest.approx(side - 1)


@given(sides, sides, st.sampled_from([2, 4, 7]), st.integers(1, 3), sides, sides)
def test_a_ramp_is_read_where_its_pixels_are(h, w, stride, step, out_h, out_w) -> None:
    """Cells that hold their own pixel position give back the position of every pixel."""
    grid = CellGrid((h, w), stride)
    cells = (cells_of(h, stride, step), cells_of(w, stride, step))
    y, x = (grid.centres(c, axis) for axis, c in enumerate(cells))
    ramp = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)[None]  # (1, h, w, 2)
    found = interpolated(ramp, (out_h, out_w), grid.axes(cells, (out_h, out_w)))[0]
    for axis, (side, out) in enumerate(((h, out_h), (w, out_w))):
        pixel = (torch.arange(out, dtype=torch.float64) + 0.5) * side / out - 0.5
        low, high = (stride - 1) / 2, stride * (cells[axis] - 1) + (stride - 1) / 2
        got = found[:, 0, 0] if axis == 0 else found[0, :, 1]
        torch.testing.assert_close(got, pixel.clamp(low, high))


@pytest.mark.parametrize("size", [(16, 24), (13, 21), (3, 50)])
def test_unpadded_multiples_are_plain_half_pixel_interpolation(size) -> None:
    z = torch.randn(2, 4, 6, 3, dtype=torch.float64)
    found = interpolated(z, size, CellGrid((16, 24), 4).axes((4, 6), size))
    expected = F.interpolate(z.permute(0, 3, 1, 2), size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected)


def test_labels_lie_under_the_centres() -> None:
    label = torch.arange(8 * 12).view(8, 12)
    grid = CellGrid((8, 12), 4)
    assert grid.labels(label, (2, 3)).tolist() == [[26, 30, 34], [74, 78, 82]]  # pixels 2, 6, 10
    assert grid.labels(label, (3, 3))[2].tolist() == [IGNORE] * 3  # a padded row of cells
    big = label.repeat_interleave(3, 0).repeat_interleave(3, 1)  # labels at three times the size
    assert grid.labels(big, (2, 3)).tolist() == [[26, 30, 34], [74, 78, 82]]
    assert grid.labels(label.expand(2, 8, 12), (2, 3)).shape == (2, 2, 3)
    assert grid.labels(label.to(torch.uint8), (2, 3)).dtype == torch.uint8
    assert CellGrid((8, 12), 0).labels(label, (2, 2)).tolist() == [[0, 11], [84, 95]]


@given(sides, sides, st.sampled_from([1, 2, 4, 7]), st.integers(1, 3))
def test_labels_agree_with_interpolation_and_padding(h, w, stride, step) -> None:
    grid = CellGrid((h, w), stride)
    cells = (cells_of(h, stride, step), cells_of(w, stride, step))
    rows = torch.arange(h).view(1, -1, 1).expand(1, h, w)
    padded = grid.padded(rows, cells)
    assert padded.shape == (1, cells[0] * stride, cells[1] * stride)
    assert (padded[:, h:] == IGNORE).all()
    assert (padded[:, :, w:] == IGNORE).all()
    found = grid.labels(rows, cells)[0]
    inside = found != IGNORE
    y = grid.centres(cells[0], 0)[:, None].expand(cells)
    assert (found - y)[inside].abs().max() <= 0.5 if inside.any() else True
    beyond = (grid.centres(cells[0], 0)[:, None] > h) | (grid.centres(cells[1], 1) > w)
    assert not (inside & beyond).any()
