"""Augmentation: sizes, determinism, the scale, padding, colours."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2")

import cv2

from unilabel.data.augment import TrainAugmentation, Window
from unilabel.data.test_size import TestSize

pytestmark = pytest.mark.d2


def augmentation(**changes) -> TrainAugmentation:
    values = {
        "crop_size": (32, 48),
        "scale_range": (0.5, 2.0),
        "single_class_max_area": 1.0,
        "flip_prob": 0.5,
        "color_jitter": 0.25,
        **changes,
    }
    return TrainAugmentation(**values)


PLAIN = {"scale_range": (1.0, 1.0), "flip_prob": 0.0, "color_jitter": 0.0}


def coordinates(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image that says where its pixels come from: red = row, green = column; label = row."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)
    return image, rows.astype(np.uint8)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("size", [(100, 120), (20, 30), (32, 48), (31, 200), (1, 1)])
@pytest.mark.parametrize("crop", [(32, 48), (33, 47)])
def test_shape_type_and_determinism(size: tuple[int, int], crop: tuple[int, int]) -> None:
    image, label = coordinates(*size)
    augment = augmentation(crop_size=crop, single_class_max_area=0.8)
    for seed in range(10):
        out, ids = augment(image, label, rng(seed))
        assert (out.shape, out.dtype) == ((*crop, 3), np.uint8)
        assert (ids.shape, ids.dtype) == (crop, np.uint8)
        assert out.flags["C_CONTIGUOUS"]
        assert ids.flags["C_CONTIGUOUS"]
        again, ids_again = augment(image.copy(), label.copy(), rng(seed))
        assert (out == again).all()
        assert (ids == ids_again).all()


def test_other_keys_give_other_crops() -> None:
    image, label = coordinates(200, 200)
    results = {augmentation()(image, label, rng(s))[0].tobytes() for s in range(20)}
    assert len(results) == 20


def test_plain_crop_is_a_window_of_the_source() -> None:
    image, label = coordinates(100, 120)
    corners = set()
    for seed in range(60):
        out, ids = augmentation(**PLAIN)(image, label, rng(seed))
        top, left = out[0, 0, :2]
        corners.add((int(top), int(left)))
        assert (out == image[top : top + 32, left : left + 48]).all()
        assert (ids == label[top : top + 32, left : left + 48]).all()
    tops, lefts = zip(*corners, strict=True)
    assert min(tops) < 10
    assert max(tops) > 58  # of 0..68
    assert min(lefts) < 10
    assert max(lefts) > 62  # of 0..72


def test_small_images_are_padded_with_black_and_255() -> None:
    image, label = coordinates(20, 30)
    image += 1  # no black of its own
    out, ids = augmentation(**PLAIN)(image, label, rng(0))
    assert (out[:20, :30] == image).all()
    assert (ids[:20, :30] == label).all()
    padded = np.ones((32, 48), bool)
    padded[:20, :30] = False
    assert (ids[padded] == 255).all()
    assert (out[padded] == 0).all()


@pytest.mark.parametrize("scale", [0.5, 0.77, 1.0, 1.31, 1.9875, 2.0, 3.7])
@pytest.mark.parametrize("crop", [(32, 48), (33, 47), (97, 101)])
def test_large_images_are_never_padded(scale: float, crop: tuple[int, int]) -> None:
    image = np.full((220, 230, 3), 9, np.uint8)
    label = np.zeros((220, 230), np.uint8)
    augment = augmentation(**{**PLAIN, "crop_size": crop, "scale_range": (scale, scale)})
    for seed in range(8):
        out, ids = augment(image, label, rng(seed))
        assert (ids == 0).all()
        assert (out == 9).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_ratio_of_a_fixed_scale(scale: float) -> None:
    image, label = coordinates(200, 200)
    augment = augmentation(**{**PLAIN, "scale_range": (scale, scale)})
    out, ids = augment(image, label, rng(3))
    step = np.diff(out[:, 0, 0].astype(float)).mean()
    assert step == pytest.approx(1 / scale, rel=0.05)
    assert np.diff(ids[:, 0].astype(float)).mean() == pytest.approx(1 / scale, rel=0.05)
    # image and label stay together, up to half a source pixel and rounding
    assert np.abs(out[:, :, 0].astype(float) - ids).max() <= 1.5


def test_scales_are_spread_evenly_on_the_logarithm() -> None:
    image, label = coordinates(140, 140)
    augment = augmentation(**{**PLAIN, "scale_range": (0.5, 2.0)})
    steps = []
    for seed in range(150):
        out, _ = augment(image, label, rng(seed))
        steps.append(np.diff(out[:, 0, 0].astype(float)).mean())
    logs = -np.log2(steps)
    assert -1.1 < logs.min() < -0.85
    assert 0.85 < logs.max() < 1.1
    assert abs(logs.mean()) < 0.1
    assert np.abs(np.quantile(logs, [0.25, 0.75]) - [-0.5, 0.5]).max() < 0.2


def test_base_short_side_is_the_size_at_ratio_one() -> None:
    image, label = coordinates(200, 240)
    augment = augmentation(**PLAIN, base_short_side=100)
    out, _ = augment(image, label, rng(0))
    assert np.diff(out[:, 0, 0].astype(float)).mean() == pytest.approx(2, rel=0.05)
    same, _ = augmentation(**PLAIN, base_short_side=200)(image, label, rng(0))
    plain, _ = augmentation(**PLAIN)(image, label, rng(0))
    assert (same == plain).all()


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_flips(probability: float, share: float) -> None:
    image, label = coordinates(60, 60)
    augment = augmentation(**{**PLAIN, "flip_prob": probability})
    flipped = 0
    for seed in range(200):
        out, ids = augment(image, label, rng(seed))
        flipped += out[0, 0, 1] > out[0, -1, 1]
        assert (ids == out[:, :, 0]).all()  # the label turns with the image
    assert flipped / 200 == pytest.approx(share, abs=0.1)


def test_crops_of_one_class_are_drawn_again() -> None:
    # 90 % of the image is one class; the others lie in a corner.
    image, label = coordinates(200, 200)
    label[:] = 0
    label[:60, :60] = np.arange(60)[None] % 5 + 1
    mixed = {limit: 0 for limit in (0.8, 1.0)}
    for limit in mixed:
        augment = augmentation(**{**PLAIN, "single_class_max_area": limit})
        for seed in range(80):
            _, ids = augment(image, label, rng(seed))
            mixed[limit] += (ids == 0).mean() < 0.8
    assert mixed[0.8] > 2 * mixed[1.0]


def test_void_does_not_count_as_a_class() -> None:
    image, label = coordinates(60, 60)
    label[:] = 255
    label[20:, 20:] = 3
    augment = augmentation(**{**PLAIN, "single_class_max_area": 0.8})
    _, ids = augment(image, label, rng(0))  # nothing better can be found: the last try is taken
    assert set(np.unique(ids)) <= {3, 255}
    label[:] = 255
    assert (augment(image, label, rng(0))[1] == 255).all()


def test_one_class_beside_void_is_drawn_again() -> None:
    """Stripes of one class and void everywhere, of two classes in a corner."""
    image, label = coordinates(200, 200)
    label[:] = np.where(np.arange(200) // 4 % 2, 255, 3)
    label[:60, :60] = np.where(np.arange(60) // 4 % 2, 5, 3)
    found = {}
    for limit in (0.8, 1.0):
        augment = augmentation(**{**PLAIN, "single_class_max_area": limit})
        found[limit] = sum(5 in augment(image, label, rng(seed))[1] for seed in range(80))
    assert found[0.8] > 2 * found[1.0]


def test_colours_change_without_touching_the_label() -> None:
    image = np.full((40, 50, 3), (120, 100, 80), np.uint8)
    label = np.zeros((40, 50), np.uint8)
    augment = augmentation(**{**PLAIN, "color_jitter": 0.25})
    means = np.array([augment(image, label, rng(s))[0][0, 0] for s in range(200)]).astype(float)
    unchanged = (means == (120, 100, 80)).all(1).mean()
    assert 0.04 < unchanged < 0.25  # each of three changes has probability one half
    assert np.abs(means.mean(0) - (120, 100, 80)).max() < 8
    # at most 25 % contrast, 32 brightness, 25 % saturation
    assert np.abs(means - (120, 100, 80)).max() < 0.25 * 120 + 32 + 0.25 * 60 + 1
    strong = augmentation(**{**PLAIN, "color_jitter": 1.0})
    values = [strong(image, label, rng(s))[0] for s in range(50)]
    assert max(v.max() for v in values) > 180


def test_resize_of_the_short_side() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    assert TestSize(0).resize(image) is image
    assert TestSize(40).resize(image) is image
    assert TestSize(20).resize(image).shape == (20, 30, 3)
    assert TestSize(80).resize(image).shape == (80, 120, 3)
    assert TestSize(20).resize(image.transpose(1, 0, 2)).shape == (30, 20, 3)


@pytest.mark.parametrize(
    ("ratio", "reduction"),
    [(2.0, 1), (0.51, 1), (0.5, 2), (0.3, 2), (0.25, 4), (0.1, 8), (0.01, 8)],
)
def test_reduction_never_needs_enlarging(ratio: float, reduction: int) -> None:
    assert Window(ratio, 0, 0).reduction == reduction


@pytest.mark.parametrize("ratio", [0.5, 0.3, 0.2, 0.1])
def test_reduced_images_give_nearly_the_same_crop(ratio: float) -> None:
    y, x = np.mgrid[:600, :800]
    image = np.stack([y / 3, x / 4, (x + y) / 6], axis=2).astype(np.uint8)
    label = (y // 40 + x // 40).astype(np.uint8)
    augment = augmentation(**{**PLAIN, "scale_range": (ratio, ratio)})
    window = augment.choose(label, rng(3))
    size = tuple(-(-side // window.reduction) for side in (800, 600))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    whole = augment.apply(image, label, window, rng(0))
    reduced = augment.apply(small, label, window, rng(0))
    assert small.shape != image.shape
    assert np.abs(whole[0].astype(int) - reduced[0]).max() <= 4
    assert (
        whole[1] == reduced[1]
    ).mean() > 0.7  # the corner moves by less than a pixel of the crop


def test_labels_lie_under_the_pixels_of_the_image() -> None:
    label = np.zeros((64, 96), np.uint8)
    label[:, 48:] = 200
    image = np.repeat(label[..., None], 3, axis=2)
    for ratio in (0.5, 0.6, 0.75, 1.5, 2.0):
        augment = augmentation(**{**PLAIN, "scale_range": (ratio, ratio), "crop_size": (16, 96)})
        out, ids = augment(image, label, rng(0))
        inside = ids < 255
        assert (abs(out[inside][:, 0].astype(int) - ids[inside]) <= 100).all()


def test_a_mirrored_crop_mirrors_its_label() -> None:
    label = np.tile(np.arange(40, dtype=np.uint8), (30, 1))
    image = np.repeat(label[..., None], 3, axis=2)
    turned = 0
    for seed in range(20):
        augment = TrainAugmentation((20, 24), (1.0, 1.0), 1.0, 0.5, 0.0)
        seen, ids = augment(image, label, np.random.default_rng(seed))
        assert np.array_equal(seen[..., 0], ids), f"seed {seed}"
        turned += bool(ids[0, 0] > ids[0, -1])
    assert 0 < turned < 20


def test_labels_are_resized_under_the_centres_of_pixels() -> None:
    label = np.arange(12, dtype=np.uint8)[None].repeat(12, 0)
    image = np.zeros((12, 12, 3), np.uint8)
    augment = TrainAugmentation((4, 4), (1 / 3, 1 / 3), 1.0, 0.0, 0.0)
    _, ids = augment(image, label, np.random.default_rng(0))
    # the middle one of every three columns; plain nearest neighbour takes the left one
    assert ids[0].tolist() == [1, 4, 7, 10]
