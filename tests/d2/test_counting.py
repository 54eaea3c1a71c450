"""Fast counting of pixels: equal to the plain counts in every case, errors included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("cv2")

from unilabel.core.errors import UniLabelError
from unilabel.core.metrics import update_confusion
from unilabel.evaluation import counting
from unilabel.evaluation.counting import count_pixels

pytestmark = pytest.mark.d2


def both(prediction, target, classes: int, columns: int) -> tuple[object, object]:
    """Matrix (or error message) of the fast and of the plain way."""
    answers = []
    for function in (count_pixels, update_confusion):
        confusion = torch.ones(classes, columns, dtype=torch.int64)
        try:
            function(confusion, prediction, target)
        except UniLabelError as error:
            answers.append(str(error))
            assert (confusion == 1).all()
        else:
            answers.append(confusion.tolist())
    return answers[0], answers[1]


@pytest.mark.parametrize(
    ("classes", "columns"), [(1, 1), (19, 19), (19, 20), (150, 217), (150, 448), (254, 255)]
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_random_maps(classes: int, columns: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    most = min(columns, 256) if dtype == torch.uint8 else columns
    prediction = torch.randint(0, most, (90, 110), generator=generator).to(dtype)
    target = torch.randint(0, classes, (90, 110), generator=generator).to(torch.uint8)
    target[:20] = 255
    if dtype != torch.uint8 and columns == classes + 1:
        prediction[::7] = -1
    ours, plain = both(prediction, target, classes, columns)
    assert ours == plain
    assert sum(map(sum, ours)) == classes * columns + 70 * 110


@given(st.data())
def test_any_values(data) -> None:
    dtype, values = data.draw(
        st.sampled_from([(torch.uint8, st.integers(0, 255)), (torch.int16, st.integers(-3, 600))])
    )
    pixels = data.draw(st.integers(0, 12))
    usual = st.sampled_from([-1, 0, 1, 2] if dtype == torch.int16 else [0, 1, 2])
    draw = st.lists(usual | values, min_size=pixels, max_size=pixels)
    prediction = torch.tensor(data.draw(draw), dtype=dtype)
    ids = st.lists(st.sampled_from([0, 1, 2, 254, 255]), min_size=pixels, max_size=pixels)
    target = torch.tensor(data.draw(ids), dtype=torch.uint8)
    ours, plain = both(prediction, target, 3, data.draw(st.sampled_from([3, 4, 300])))
    assert ours == plain


def test_label_255_is_no_miss() -> None:
    """As a byte -1 is 255; of more than 255 classes that is one of them."""
    prediction = torch.tensor([-1, 255, 255, 0], dtype=torch.int16)
    target = torch.tensor([0, 0, 1, 1], dtype=torch.uint8)
    ours, plain = both(prediction, target, 256, 257)
    assert ours == plain
    assert (ours[0][255], ours[0][256], ours[1][255]) == (2, 2, 2)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(UniLabelError, match=r"has shape \(2, 3\), the label map \(3, 2\)"):
        count_pixels(
            torch.zeros(2, 2, dtype=torch.int64),
            torch.zeros(2, 3, dtype=torch.uint8),
            torch.zeros(3, 2, dtype=torch.uint8),
        )


def test_maps_that_are_not_contiguous() -> None:
    generator = torch.Generator().manual_seed(1)
    prediction = torch.randint(0, 500, (60, 70), generator=generator).to(torch.int16)[::2, ::3]
    target = torch.randint(0, 9, (70, 60), generator=generator).to(torch.uint8).T[::2, ::3]
    ours, plain = both(prediction, target, 9, 500)
    assert ours == plain


def test_counts_beyond_the_precision_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2^24 + 2 equal pixels: as float32 that count would be rounded
    pixels = 2**24 + 2
    confusion = torch.zeros(2, 2, dtype=torch.int64)
    ones = torch.ones(pixels, dtype=torch.uint8)
    count_pixels(confusion, ones, ones)
    count_pixels(confusion, ones, ones)
    assert confusion.tolist() == [[0, 0], [0, 2 * pixels]]
    monkeypatch.setattr(counting, "_EXACT", 7)
    numbers = torch.arange(20, dtype=torch.uint8)
    ours, plain = both(numbers % 3, numbers % 4, 3, 3)
    assert ours == plain
