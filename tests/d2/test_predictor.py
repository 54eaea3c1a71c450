from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.core.grid import CellGrid
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.synthetic import render_scene
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.test_size import TestSize
from unilabel.modeling.windows import _tiles, embed_in_windows, embed_mean, sampled
from unilabel.predictor import (
    UniLabelPredictor,
    build_predictor,
    check_label_space,
)

pytestmark = pytest.mark.d2
DATASETS = ["toy_fine", "toy_city", "toy_idd", "toy_coarse"]


@pytest.fixture(scope="module")
def predictor(toy_weights: Path) -> UniLabelPredictor:
    return build_predictor(toy_weights)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return render_scene(np.random.default_rng(1), "toy_fine")[0]


def moved(space: UnifiedLabelSpace, label: str, dataset: str, class_name: str) -> UnifiedLabelSpace:
    """The label space with one unified label linked to another class of a dataset."""
    row = space.names.index(label)
    matrices = {n: m.clone() for n, m in space.mapping.matrices.items()}
    matrices[dataset][row] = False
    matrices[dataset][row, space.label_spaces.get(dataset).index(class_name)] = True
    return space.with_mapping(LabelMapping(space.label_spaces, matrices), source="human")


@pytest.mark.parametrize("weights", ["toy_weights", "logit_sum_weights", "multi_head_weights"])
def test_labels_equal_the_models_own_inference(
    weights: str, image: np.ndarray, request: pytest.FixtureRequest
) -> None:
    predictor = build_predictor(request.getfixturevalue(weights))
    large = np.kron(image, np.ones((9, 9, 1), np.uint8))[:803, :1101]  # several chunks of rows
    tensor = torch.from_numpy(large.copy()).permute(2, 0, 1)
    answers = predictor.model([{"image": tensor, "spaces": predictor.spaces}])[0]
    encoded = predictor.encode(large, short_side=0)
    assert predictor.spaces[:4] == DATASETS
    for space in predictor.spaces:
        prediction = predictor.predict(encoded, space)
        assert prediction.labels.dtype == np.int16
        assert np.array_equal(prediction.labels, answers[space].numpy())


@pytest.mark.parametrize("weights", ["toy_weights", "multi_head_weights"])
def test_the_optimized_network_answers_the_same(
    weights: str, image: np.ndarray, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(weights)
    optimized, plain = (build_predictor(path, optimize=choice) for choice in (True, False))
    ours, expected = (p.encode(image).embedding for p in (optimized, plain))
    assert (ours - expected).abs().max() <= 1e-4 * expected.abs().max()
    for space in plain.spaces:
        labels = [p.predict(image, space).labels for p in (optimized, plain)]
        assert (labels[0] == labels[1]).mean() > 0.9999


@pytest.mark.parametrize("weights", ["toy_weights", "logit_sum_weights", "multi_head_weights"])
def test_confidence_and_shares(
    weights: str, image: np.ndarray, request: pytest.FixtureRequest
) -> None:
    predictor = build_predictor(request.getfixturevalue(weights))
    for space in predictor.spaces:
        prediction = predictor.predict(image, space)
        assert prediction.confidence is not None
        assert prediction.confidence.dtype == np.float16
        # the best of R probabilities is at least 1 / R
        assert (prediction.confidence >= 1 / (len(prediction.names) + 1)).all()
        assert (prediction.confidence <= 1).all()
        assert prediction.shares.sum() == pytest.approx(1)
        counted = [(prediction.labels == i).mean() for i in range(len(prediction.names))]
        assert prediction.shares == pytest.approx(counted)
        shares = [share for _, _, share in prediction.legend()]
        assert shares == sorted(shares, reverse=True)


def test_without_confidence(predictor: UniLabelPredictor, image: np.ndarray) -> None:
    assert predictor.predict(image, confidence=False).confidence is None


def test_model_without_unified_labels_says_so(multi_head_weights: Path, image: np.ndarray) -> None:
    predictor = build_predictor(multi_head_weights)
    assert predictor.spaces == DATASETS
    with pytest.raises(UniLabelError, match="unified"):
        predictor.predict(image)


def test_edited_links_change_the_answer_and_leave_the_model_alone(
    predictor: UniLabelPredictor, image: np.ndarray, tmp_path: Path
) -> None:
    space = predictor.label_space
    assert space is not None
    before = predictor.predict(image, "toy_coarse").labels
    row = int(predictor.predict(image).shares.argmax())
    edited = moved(space, space.names[row], "toy_idd", "pole")
    edited.save(tmp_path / "edited.json")
    answer = predictor.predict(image, f"{tmp_path / 'edited.json'}:toy_idd")
    assert answer.space == "toy_idd"
    assert (answer.labels != predictor.predict(image, "toy_idd").labels).any()
    again = predictor.with_label_space(edited).predict(image, "toy_idd")
    assert (again.labels == answer.labels).all()
    assert (predictor.predict(image, "toy_coarse").labels == before).all()


def test_edited_space_equals_a_model_that_holds_these_links(
    toy_weights: Path, image: np.ndarray, toy_space: UnifiedLabelSpace
) -> None:
    edited = moved(toy_space, "manhole", "toy_coarse", "sidewalk")
    ours = build_predictor(toy_weights, label_space=edited)
    other = build_predictor(toy_weights)
    other.model.uni_head.set_mapping(edited.mapping.stacked())
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    expected = other.model([{"image": tensor, "spaces": ["toy_coarse"]}])[0]["toy_coarse"]
    assert (ours.predict(image, "toy_coarse").labels == expected.numpy()).all()


def test_names_and_colours_of_an_edited_space(
    predictor: UniLabelPredictor, image: np.ndarray
) -> None:
    space = predictor.label_space
    assert space is not None
    names = tuple(f"my {name}" for name in space.names)
    edited = replace(space, names=names, colors=((1, 2, 3),) * len(names))
    prediction = predictor.predict(image, edited)
    assert prediction.names == names
    assert set(prediction.colors) == {(1, 2, 3)}
    assert (prediction.labels == predictor.predict(image).labels).all()


def test_foreign_label_spaces_are_refused(
    predictor: UniLabelPredictor,
    large_space: UnifiedLabelSpace,
    toy_space: UnifiedLabelSpace,
    multi_head_weights: Path,
) -> None:
    with pytest.raises(UniLabelError, match="217 unified labels, the model 19"):
        predictor.with_label_space(large_space)
    shuffled = LabelMapping.from_stacked(
        toy_space.label_spaces, toy_space.mapping.stacked().roll(7, 0)
    )
    with pytest.raises(UniLabelError, match="belongs to another model"):
        predictor.with_label_space(UnifiedLabelSpace.from_mapping(shuffled))
    with pytest.raises(UniLabelError, match="one head per dataset"):
        build_predictor(multi_head_weights, label_space=toy_space)


def test_other_classes_are_refused(toy_space: UnifiedLabelSpace) -> None:
    data = toy_space.to_dict()
    data["datasets"][0]["classes"][0]["name"] = "heaven"
    data["labels"][0]["links"]["toy_fine"]["class"] = "heaven"
    with pytest.raises(UniLabelError, match="classes of 'toy_fine'"):
        check_label_space(toy_space, UnifiedLabelSpace.from_dict(data))
    data = toy_space.to_dict()
    data["datasets"].pop()
    for entry in data["labels"]:
        entry["links"].pop("toy_coarse")
    with pytest.raises(UniLabelError, match="toy_coarse"):
        check_label_space(toy_space, UnifiedLabelSpace.from_dict(data))


def test_unknown_space_and_bad_images(predictor: UniLabelPredictor, image: np.ndarray) -> None:
    with pytest.raises(UniLabelError, match=r"'cityscapes'.*toy_fine.*unified"):
        predictor.predict(image, "cityscapes")
    for wrong in (
        image[..., 0],
        image.astype(np.float32),
        image[:0],
        np.zeros((4, 4, 4), np.uint8),
    ):
        with pytest.raises(UniLabelError, match="RGB"):
            predictor.predict(wrong)
    with pytest.raises(UniLabelError, match="window"):
        predictor.predict(image, window=5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (33, 47), (200, 3)])
def test_any_image_size(predictor: UniLabelPredictor, shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert predictor.predict(picture, "toy_idd").labels.shape == shape


def test_short_side_keeps_the_size_of_the_answer(
    predictor: UniLabelPredictor, image: np.ndarray
) -> None:
    encoded = predictor.encode(image, short_side=48)
    assert encoded.embedding.shape[2] < predictor.encode(image).embedding.shape[2]
    assert predictor.predict(encoded).labels.shape == image.shape[:2]


def test_images_are_asked_at_the_size_of_the_tests(
    predictor: UniLabelPredictor, image: np.ndarray
) -> None:
    size = TestSize(64)
    tested = UniLabelPredictor(predictor.model, predictor.label_space, size, crop_side=96)
    resized = size.resize(image)
    assert min(resized.shape[:2]) == 64 < min(image.shape[:2])
    asked, native = tested.encode(image), tested.encode(image, short_side=0)
    by_hand = tested.encode(resized, short_side=0)
    assert torch.equal(asked.embedding, by_hand.embedding)
    assert asked.size == image.shape[:2]
    assert native.embedding.shape != asked.embedding.shape
    explicit = predictor.encode(image, short_side=64)
    assert torch.equal(explicit.embedding, asked.embedding)


def test_images_far_from_the_training_are_told(predictor: UniLabelPredictor) -> None:
    own = UniLabelPredictor(predictor.model, None, crop_side=96)
    assert own.size_note((120, 160)) == ""
    assert "short side of 1080 pixels" in own.size_note((1080, 1920))
    assert "11 times as large" in own.size_note((1080, 1920))
    assert own.size_note((1080, 1920), short_side=96) == ""
    assert UniLabelPredictor(predictor.model, None, TestSize(96), 96).size_note((1080, 1920)) == ""
    assert UniLabelPredictor(predictor.model, None).size_note((1080, 1920)) == ""


def test_tta_of_an_image_does_not_depend_on_mirroring(
    predictor: UniLabelPredictor, image: np.ndarray
) -> None:
    one = predictor.predict(image, tta=True).labels
    two = predictor.predict(np.ascontiguousarray(image[:, ::-1]), tta=True).labels
    assert (one == two[:, ::-1]).mean() > 0.995  # up to rounding


@pytest.mark.parametrize("step", [1, 4, 32])
def test_windows_cover_everything_with_overlap(step: int) -> None:
    for length in (64, 65, 100, 127, 128, 1000):
        tiles = _tiles(length, 64, step)
        assert tiles[0][0] == 0
        assert sum(tiles[-1]) == length
        assert all(start % step == 0 for start, _ in tiles)
        for (a, n), (b, _) in pairwise(tiles):
            assert a < b <= a + n - 64 // 3 + step
            assert n == 64
    assert _tiles(40, 64, step) == [(0, 40)]


class Positions(torch.nn.Module):
    """A network whose embedding is the position of the cell in the pixels that it was given."""

    divisibility = 8

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def grid(self, image: tuple[int, int]) -> CellGrid:
        return CellGrid(image, self.stride)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(1, 3, H, W) -> (1, 3, h, w): the image at the centres of the cells."""
        size = (images.shape[2], images.shape[3])
        step = self.divisibility if self.stride else 4
        cells = tuple(-(-s // step) * step // 4 for s in size)
        grid = self.grid(size)
        y, x = (grid.centres(c, axis) for axis, c in enumerate(cells))
        return sampled(images, y, x)


@pytest.mark.parametrize("stride", [4, 0])
@pytest.mark.parametrize("size", [(96, 128), (77, 131), (200, 50)])
def test_windows_and_averaging_keep_positions(stride: int, size: tuple[int, int]) -> None:
    """On a ramp every way of embedding answers with the same positions, away from the border."""
    y, x = torch.meshgrid(*(torch.arange(s, dtype=torch.float64) for s in size), indexing="ij")
    ramp = torch.stack([y, x, y + x])[None]
    model = Positions(stride)
    plain = model.embed(ramp)
    cut = embed_in_windows(model, ramp, 64)
    assert cut.shape == plain.shape
    inner = (..., slice(2, plain.shape[2] - 4), slice(2, plain.shape[3] - 4))
    torch.testing.assert_close(cut[inner], plain[inner], atol=1e-3 if stride else 0.3, rtol=0)
    mean = embed_mean(model, ramp, (0.5, 1.0, 1.5), 0)
    # what the mirror image shows is put back to where it lies in the plain one
    torch.testing.assert_close(mean[inner], plain[inner], atol=0.2, rtol=0)


def test_windows_find_what_the_whole_image_shows(predictor: UniLabelPredictor) -> None:
    # a smooth picture: what a pixel shows hardly depends on what is far away
    y, x = np.mgrid[:160, :224]
    picture = np.stack([y, x, 255 - y], -1).astype(np.uint8)
    whole = predictor.encode(picture, short_side=0)
    cut = predictor.encode(picture, short_side=0, window=96)
    assert cut.embedding.shape == whole.embedding.shape
    agree = predictor.predict(cut).labels == predictor.predict(whole).labels
    assert agree.mean() > 0.7
    assert torch.isfinite(cut.embedding).all()


def test_threads_do_not_disturb_each_other(predictor: UniLabelPredictor, image: np.ndarray) -> None:
    space = predictor.label_space
    assert space is not None
    row = int(predictor.predict(image).shares.argmax())
    edited = predictor.with_label_space(moved(space, space.names[row], "toy_idd", "pole"))
    expected = [p.predict(image, "toy_idd").labels for p in (predictor, edited)]
    wrong: list[int] = []

    def work(which: int) -> None:
        for _ in range(5):
            answer = (predictor, edited)[which].predict(image, "toy_idd").labels
            if (answer != expected[which]).any():
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
