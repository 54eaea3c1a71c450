"""Row-wise upsampling equals interpolate, and its transpose is the transpose."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unilabel.core.upsampling import (
    _tap_matrix,
    add_transposed_rows,
    source_axes,
    upsampled_rows,
)

SIZES = [
    ((5, 7), (20, 28)),
    ((4, 5), (13, 11)),
    ((1, 1), (3, 4)),
    ((6, 5), (4, 3)),
    ((3, 1), (7, 1)),
]


def interpolate(z: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    up = F.interpolate(z.permute(0, 3, 1, 2), size, mode="bilinear", align_corners=align_corners)
    return up.permute(0, 2, 3, 1)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_rows_are_those_of_interpolate(small, large, align_corners: bool) -> None:
    torch.manual_seed(0)
    z = torch.randn(2, *small, 3, dtype=torch.float64)
    expected = interpolate(z, large, align_corners)
    axes = source_axes(z, large, align_corners)
    for rows in (range(large[0]), range(1, 3)):
        rows_of_z = upsampled_rows(z, rows, large, axes)
        torch.testing.assert_close(rows_of_z, expected[:, rows.start : rows.stop])


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_transpose(small, large, align_corners: bool) -> None:
    """The scalar products <up(z), s> and <z, transpose(s)> are equal, chunk by chunk."""
    torch.manual_seed(1)
    z = torch.randn(2, *small, 3, dtype=torch.float64)
    axes = source_axes(z, large, align_corners)
    for rows in (range(large[0]), range(large[0] - 1, large[0]), range(0, 2)):
        s = torch.randn(2, len(rows), large[1], 3, dtype=torch.float64)
        dz = torch.ones_like(z)
        add_transposed_rows(dz, s, rows, large, axes)
        left = (upsampled_rows(z, rows, large, axes) * s).sum()
        torch.testing.assert_close(left, (z * (dz - 1)).sum())


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_matrix_of_the_other_devices_is_the_same_map(small, large, align_corners: bool) -> None:
    torch.manual_seed(2)
    z = torch.randn(1, 1, small[1], 2, dtype=torch.float64)
    axis = source_axes(z, (1, large[1]), align_corners)[1]
    matrix, low = _tap_matrix(range(large[1]), small[1], axis, z)
    expected = interpolate(z, (1, large[1]), align_corners)
    torch.testing.assert_close(matrix @ z[:, :, low:][:, :, : matrix.shape[1]], expected)


def test_half_precision_is_interpolated_in_single() -> None:
    z = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).bfloat16()
    up = upsampled_rows(z, range(4), (4, 1), source_axes(z, (4, 1), True))
    torch.testing.assert_close(up.flatten(), torch.tensor([0.0, 1 / 3, 2 / 3, 1.0]))
