"""Every arrangement in which people have a dataset is read to the pixel; near misses are named."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from miniature_arrangements import ARRANGEMENTS, move, part_2
from miniature_datasets import write_miniature
from miniature_files import Planted, write_lines

from unilabel.core.errors import UniLabelError
from unilabel.data.builtin import builtin_dataset, builtin_names, builtin_source
from unilabel.data.dataset_files import say_once
from unilabel.data.dataset_specs import SPECS
from unilabel.data.sources import load_sample

pytestmark = pytest.mark.d2
SPLITS = ("train", "val")


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def planted_by_content(planted: dict[str, list[Planted]]) -> dict[str, dict[str, np.ndarray]]:
    """Split -> digest of an image -> what its label says; files may move after this."""
    return {s: {digest(p.image): p.ids for p in planted[s]} for s in SPLITS}


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_arrangement_is_read(name, tmp_path):
    dataset, variant, rearrange = ARRANGEMENTS[name]
    planted = write_miniature(dataset, tmp_path)
    expected = planted_by_content(planted)
    rearrange(tmp_path, planted)
    source = pickle.loads(pickle.dumps(builtin_source(dataset, tmp_path, variant)))
    for split in SPLITS:
        samples = source.samples(split)
        assert {digest(s.image) for s in samples} == set(expected[split])
        assert len(samples) == len(expected[split])
        for sample in samples:
            image, label = load_sample(source, sample)
            assert image.shape[:2] == label.shape
            np.testing.assert_array_equal(label, expected[split][digest(sample.image)])


def test_every_dataset_with_alternatives_has_an_arrangement():
    alternatives = {
        name
        for name, spec in SPECS.items()
        if len(spec.layouts) > 1 or len(spec.folders) > 1 or len(spec.parts) > 1
    }
    assert alternatives <= {dataset for dataset, _, _ in ARRANGEMENTS.values()}


# (arrangement, official number of images): the numbers that the check compares with.
# MMSegmentation's lists of PASCAL Context have 4,996 and 5,104 frames (its data set page); IDD has
# 14,027 and 2,036 frames in both parts (idd.insaan.iiit.ac.in: 6,993 + 7,034, 981 + 1,055).
COUNTS = [
    ("context_mmseg", {"train": 4996, "val": 5104}),
    ("idd_both_parts", {"train": 14027, "val": 2036}),
    ("idd_part_2_alone", {"train": 7034, "val": 1055}),
    ("camvid_kaggle", {"train": 468, "val": 233}),
    ("camvid_kaggle_with_its_own_split", {"train": 469, "val": 232}),
    ("camvid_list_of_the_authors", {"train": 469, "val": 232}),
]


@pytest.mark.parametrize(("name", "counts"), COUNTS)
def test_official_counts_follow_the_arrangement(name, counts, tmp_path):
    dataset, variant, rearrange = ARRANGEMENTS[name]
    rearrange(tmp_path, write_miniature(dataset, tmp_path))
    assert builtin_dataset(dataset, tmp_path, variant).counts == counts


def test_official_context_keeps_its_own_counts(tmp_path):
    write_miniature("context59", tmp_path)
    assert builtin_dataset("context59", tmp_path).counts == {"train": 4998, "val": 5105}


# --- what is chosen is said -----------------------------------------------------------------------


@pytest.fixture
def told(caplog):
    say_once.cache_clear()
    caplog.set_level(logging.INFO, logger="unilabel")
    yield caplog
    say_once.cache_clear()


def test_the_place_is_told_once(told, tmp_path):
    planted = write_miniature("idd26", tmp_path)
    part_2(tmp_path, planted, 2)
    source = builtin_source("idd26", tmp_path)
    for split in (*SPLITS, *SPLITS):
        source.samples(split)
    lines = [r.getMessage() for r in told.records]
    assert lines == [
        f"idd26: read from {tmp_path / 'IDD'} and {tmp_path / 'idd20kII'}, "
        "laid out as the official archives"
    ]


def test_part_1_alone_is_a_variant(told, tmp_path):
    planted = write_miniature("idd26", tmp_path)
    part_2(tmp_path, planted, 2)
    assert len(builtin_source("idd26", tmp_path).samples("train")) == 4
    part_1 = builtin_source("idd26", tmp_path, "part_1")
    assert len(part_1.samples("train")) == 2
    assert builtin_dataset("idd26", tmp_path, "part_1").counts == {"train": 6993, "val": 981}


def test_a_part_without_labels_is_told(told, tmp_path):
    planted = write_miniature("idd26", tmp_path)
    part_2(tmp_path, planted, 2)
    (tmp_path / "idd20kII/gtFine").rename(tmp_path / "elsewhere")
    assert len(builtin_source("idd26", tmp_path).samples("train")) == 2
    assert f"idd26: {tmp_path / 'idd20kII'} is left out, it has images or labels only" in told.text


def test_two_forms_of_one_image_are_told(told, tmp_path):
    dataset, _, rearrange = ARRANGEMENTS["viper_png_and_jpg"]
    rearrange(tmp_path, write_miniature(dataset, tmp_path))
    samples = builtin_source(dataset, tmp_path).samples("train")
    assert all(s.image.endswith(".png") for s in samples)
    assert "train/img: 4 files are there as .png and .jpg; .png is read" in told.text


# --- near misses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", builtin_names())
def test_absent_dataset_is_called_absent(name, tmp_path):
    """Not a missing list or missing benchmark frames: there is nothing at all."""
    with pytest.raises(UniLabelError) as error:
        builtin_source(name, tmp_path / "data").samples("train")
    message = str(error.value)
    assert f"dataset {name!r} has no labels of the split 'train'; expected (a file" in message
    assert f"Looked below {tmp_path / 'data'} for {SPECS[name].folders[0]}/" in message
    assert f"The folder {tmp_path / 'data'} does not exist." in message
    assert "benchmark frames" not in message
    assert "list of the split" not in message
    for layout in SPECS[name].layouts:
        assert layout.images.drawing().split("{")[0] in message


# The root may be the folder of ScanNet: its frames have a folder of their own.
@pytest.mark.parametrize(
    ("name", "place"),
    [(name, "my/data") for name in builtin_names()]
    + [(name, ".") for name in builtin_names() if name != "scannet20"],
)
def test_files_in_another_place_are_named(name, place, tmp_path):
    write_miniature(name, tmp_path / "x", train=1, val=1)
    folder = builtin_dataset(name, tmp_path / "x").folder
    root = tmp_path / "root"
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    folder.rename(root / place)
    with pytest.raises(UniLabelError) as error:
        builtin_source(name, root).samples("train")
    expected = f"Found its files in {root / place}: move or link that folder to {root}"
    assert expected in str(error.value)


def test_two_folders_that_could_be_it_are_an_error_with_both_names(tmp_path):
    write_miniature("cityscapes", tmp_path, train=1, val=1)
    move(tmp_path, "cityscapes", "cityscapes/one")
    write_miniature("cityscapes", tmp_path / "again", train=1, val=1)
    (tmp_path / "again/cityscapes").rename(tmp_path / "cityscapes/two")
    source = builtin_source("cityscapes", tmp_path)  # its classes can be used all the same
    with pytest.raises(UniLabelError, match=r"one and .*two could all be the dataset; keep one"):
        source.samples("train")


def test_missing_half_of_a_dataset_names_the_half(tmp_path):
    planted = write_miniature("kitti", tmp_path)
    move(tmp_path, "kitti", "kitti/data_semantics")
    for plan in planted["train"] + planted["val"]:
        (tmp_path / "kitti/data_semantics" / plan.label.relative_to(tmp_path / "kitti")).unlink()
    with pytest.raises(UniLabelError, match=r"no labels .*kitti.*semantic"):
        builtin_source("kitti", tmp_path).samples("train")


# --- CamVid ---------------------------------------------------------------------------------------


def test_segnet_labels_cannot_tell_msegs_variant(tmp_path):
    dataset, _, rearrange = ARRANGEMENTS["camvid_segnet"]
    rearrange(tmp_path, write_miniature(dataset, tmp_path))
    with pytest.raises(UniLabelError, match=r"SegNet tutorial\) cannot tell the variant 'mseg'"):
        builtin_source(dataset, tmp_path, "mseg").samples("train")


def test_fastai_codes_are_compared(tmp_path):
    dataset, _, rearrange = ARRANGEMENTS["camvid_fastai"]
    rearrange(tmp_path, write_miniature(dataset, tmp_path))
    codes = tmp_path / "camvid/codes.txt"
    names = codes.read_text().split()
    for wrong, message in (
        (names[::-1], r"names 'Wall' as label 0, expected 'Animal'"),
        (names[:-1], r"names 'nothing' as label 31, expected 'Wall'"),
        ([*names, "Sea"], r"names 'Sea' as label 32, expected 'nothing'"),
    ):
        write_lines(codes, wrong)
        with pytest.raises(UniLabelError, match=message):
            builtin_source(dataset, tmp_path).samples("train")


def test_fastai_labels_follow_msegs_variant(tmp_path):
    dataset, _, rearrange = ARRANGEMENTS["camvid_fastai"]
    planted = write_miniature(dataset, tmp_path)
    official = builtin_source(dataset, tmp_path, "mseg")
    expected = {
        Path(s.image).name: official.decode_label(s.label) for s in official.samples("train")
    }
    rearrange(tmp_path, planted)
    source = builtin_source(dataset, tmp_path, "mseg")
    for sample in source.samples("train"):
        np.testing.assert_array_equal(
            source.decode_label(sample.label), expected[Path(sample.image).name]
        )


def test_test_232_needs_its_list(tmp_path):
    write_miniature("camvid11", tmp_path)
    with pytest.raises(UniLabelError, match=r"camvid/test\.txt; take it from the paper's repo"):
        builtin_source("camvid11", tmp_path, "test_232").samples("val")


def test_frames_of_a_list_that_are_missing_are_reported(tmp_path):
    write_miniature("camvid11", tmp_path)
    write_lines(tmp_path / "camvid/test.txt", ["Seq05VD_f00000.png", "x/Seq05VD_f09999_L.png"])
    source = builtin_source("camvid11", tmp_path, "test_232")
    with pytest.raises(UniLabelError, match=re.escape("entry 'Seq05VD_f09999' of the list")):
        source.samples("val")
    assert len(source.samples("train")) == 5
