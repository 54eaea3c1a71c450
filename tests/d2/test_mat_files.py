"""Our reader of MATLAB files against SciPy's, on whole files; damaged ones end with an error."""

from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.io import loadmat, savemat

pytest.importorskip("detectron2")

from unilabel.data.mat_files import read_array

pytestmark = pytest.mark.d2


def written(compressed: bool, **variables: np.ndarray) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 5), (37, 2), (2, 3, 4)])
def test_arrays_come_back(compressed: bool, dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    data = written(compressed, first=np.zeros((7, 3)), LabelMap=values, note="text")
    found = read_array(data, "LabelMap")
    theirs = loadmat(io.BytesIO(data))["LabelMap"]
    assert found.dtype == theirs.dtype == values.dtype
    assert found.shape == theirs.shape
    assert np.array_equal(found, values)


def test_missing_variable_and_other_kinds() -> None:
    data = written(True, a=np.zeros((2, 2)), text="abc", cell=np.array([1, "x"], object))
    with pytest.raises(KeyError):
        read_array(data, "LabelMap")
    for name in ("text", "cell"):
        with pytest.raises(ValueError, match="no array of real numbers"):
            read_array(data, name)
    with pytest.raises(ValueError, match="no array of real numbers"):
        read_array(written(False, z=np.ones((2, 2)) * 1j), "z")
    with pytest.raises(ValueError, match="no MATLAB file"):
        read_array(b"", "a")


@pytest.mark.parametrize("compressed", [False, True])
def test_cut_anywhere(compressed: bool) -> None:
    data = written(compressed, LabelMap=np.arange(600, dtype=np.uint16).reshape(20, 30))
    for cut in range(len(data) - 8):
        with pytest.raises((ValueError, KeyError)):
            read_array(data[:cut], "LabelMap")
