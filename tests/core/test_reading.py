"""Label maps from low-resolution scores: against upsampling everything, then the arg max."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unilabel.core import reading
from unilabel.core.errors import UniLabelError
from unilabel.core.grid import CellGrid
from unilabel.core.projection import dataset_logits
from unilabel.core.reading import class_rows, interpolated, read_labels

SIZES = [(13, 17), (1, 5), (40, 1), (3, 4), (64, 48)]


def random_scores(*shape: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_mapping(nodes: int, classes: int, linked: int, seed: int = 0) -> torch.Tensor:
    """Each class has a unified label, ``linked`` of them have a class."""
    generator = torch.Generator().manual_seed(seed)
    mapping = torch.zeros(nodes, classes, dtype=torch.bool)
    extra = torch.randint(classes, (linked - classes,), generator=generator)
    column = torch.cat([torch.arange(classes), extra])
    mapping[torch.randperm(nodes, generator=generator)[:linked], column] = True
    return mapping


ALIGNED = CellGrid((1, 1), 0)  # the image's size does not matter for aligned corners


def upsampled_labels(scores, size, mapping=None) -> torch.Tensor:
    return read_labels(scores, ALIGNED, size, mapping).labels


def upsampled(scores: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(scores.double(), size, mode="bilinear", align_corners=True)


def assert_best(labels: torch.Tensor, scores: torch.Tensor) -> None:
    """Every label has the largest score of its pixel, up to rounding."""
    assert labels.dtype == torch.int16
    assert labels.shape == (scores.shape[0], *scores.shape[2:])
    chosen = scores.gather(1, labels.long()[:, None])[:, 0]
    assert (scores.amax(1) - chosen).max() < 1e-4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_plain_arg_max(size: tuple[int, int], layout: torch.memory_format, dtype) -> None:
    scores = random_scores(2, 7, 5, 6).to(dtype).contiguous(memory_format=layout)
    assert_best(upsampled_labels(scores, size), upsampled(scores, size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("nodes", "classes", "linked"), [(12, 5, 12), (12, 5, 8), (6, 6, 6)])
def test_sums_of_probabilities(size, nodes: int, classes: int, linked: int) -> None:
    scores = random_scores(2, nodes, 5, 6)
    mapping = random_mapping(nodes, classes, linked)
    labels = upsampled_labels(scores, size, mapping)
    # eps keeps unreachable classes finite in training; for the order of classes it must be nothing
    expected = dataset_logits(upsampled(scores, size), mapping, "probability_sum", eps=0.0)
    assert_best(labels, expected)


def test_many_weak_unified_labels_beat_one_strong_label() -> None:
    # exp(1) + exp(1) > exp(1.5): class 1 wins by its two unified labels
    scores = torch.tensor([1.0, 1.5, 1.0]).view(1, 3, 1, 1)
    mapping = torch.tensor([[False, True], [True, False], [False, True]])
    assert upsampled_labels(scores, (2, 2), mapping).tolist() == [[[1, 1], [1, 1]]]
    assert upsampled_labels(scores, (1, 1)).tolist() == [[[1]]]


def test_extreme_scores_stay_finite() -> None:
    scores = torch.tensor([1e4, -1e4, 0.0, -3e3]).view(1, 4, 1, 1)
    mapping = torch.tensor([[True, False], [False, True], [True, False], [False, True]])
    assert upsampled_labels(scores, (1, 1), mapping).item() == 0
    assert upsampled_labels(-scores, (1, 1), mapping).item() == 1


def test_class_without_unified_label_never_wins() -> None:
    mapping = torch.zeros(4, 3, dtype=torch.bool)
    mapping[[0, 1, 2], [0, 2, 2]] = True
    labels = upsampled_labels(random_scores(1, 4, 6, 6), (24, 24), mapping)
    assert set(labels.unique().tolist()) == {0, 2}


def test_the_height_of_chunks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = random_scores(1, 9, 8, 8)
    mapping = random_mapping(9, 4, 9)
    expected = [upsampled_labels(scores, (31, 33), m) for m in (None, mapping)]
    monkeypatch.setitem(reading._CHUNK_ELEMENTS, "cpu", 1)
    for rows in (1, 3, 31):
        monkeypatch.setattr(reading, "_MIN_ROWS", rows)
        for before, m in zip(expected, (None, mapping), strict=True):
            assert torch.equal(upsampled_labels(scores, (31, 33), m), before)


def test_no_gradient_is_recorded() -> None:
    scores = random_scores(1, 3, 4, 4).requires_grad_()
    labels = upsampled_labels(scores, (8, 8), torch.eye(3, dtype=torch.bool))
    assert not labels.requires_grad


def test_wrong_mappings_are_refused() -> None:
    scores = random_scores(1, 3, 4, 4)
    with pytest.raises(UniLabelError, match="4 unified labels, the logits have 3"):
        upsampled_labels(scores, (8, 8), torch.ones(4, 1, dtype=torch.bool))
    with pytest.raises(UniLabelError, match="no class has a unified label"):
        upsampled_labels(scores, (8, 8), torch.zeros(3, 2, dtype=torch.bool))


# --- confidence, class by class, and the form for graphs ---


def plain_probabilities(scores, grid, size, mapping) -> torch.Tensor:
    """(B, C, H, W): every step written out at full resolution in double precision."""
    source = scores.double().permute(0, 2, 3, 1)
    full = interpolated(source, size, grid.axes(scores.shape[2:], size))
    p = full.softmax(-1)
    return (p if mapping is None else p @ mapping.double()).permute(0, 3, 1, 2)


GRIDS = [CellGrid((18, 22), 4), CellGrid((20, 24), 4), ALIGNED, CellGrid((9, 11), 2)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("linked", [None, 9, 6])
def test_confidence_is_the_probability_of_the_label(grid, linked) -> None:
    scores = random_scores(2, 9, 5, 6)
    mapping = None if linked is None else random_mapping(9, 4, linked)
    found = read_labels(scores, grid, (31, 45), mapping, confidence=True)
    expected = plain_probabilities(scores, grid, (31, 45), mapping)
    chosen = expected.gather(1, found.labels.long()[:, None])[:, 0]
    assert (expected.amax(1) - chosen).max() < 1e-5
    torch.testing.assert_close(found.confidence.double(), chosen, atol=1e-3, rtol=1e-3)
    assert torch.equal(found.labels, read_labels(scores, grid, (31, 45), mapping).labels)


@pytest.mark.parametrize("grid", GRIDS)
def test_all_classes_of_a_few_rows(grid) -> None:
    scores = random_scores(2, 9, 5, 6)
    mapping = torch.cat([random_mapping(9, 3, 7), torch.zeros(9, 1, dtype=torch.bool)], 1)
    rows = torch.cat([part for _, part in class_rows(scores, grid, (31, 45), mapping)], 1)
    expected = plain_probabilities(scores, grid, (31, 45), mapping).permute(0, 2, 3, 1)
    torch.testing.assert_close(rows.exp().double(), expected, atol=1e-5, rtol=1e-4)
    assert torch.isneginf(rows[..., 3]).all()  # no unified label


def test_a_foreign_label_that_leads_by_far_decides_nothing() -> None:
    """An epsilon inside the logarithm would make all classes equal here, and the first one win."""
    scores = torch.tensor([300.0, 0.0, 5.0, 4.9]).view(1, 4, 1, 1)
    mapping = torch.tensor([[False] * 2, [True, False], [False, True], [True, False]])
    assert upsampled_labels(scores, (1, 1), mapping).item() == 1
    assert read_labels(scores, ALIGNED, (1, 1), mapping, confidence=True).labels.item() == 1
    (_, rows), *_ = class_rows(scores, ALIGNED, (1, 1), mapping)
    assert rows.argmax(-1).item() == 1
