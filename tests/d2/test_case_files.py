"""Inputs that people have: photos, folders, and what label maps tell together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

from cases import MINI, Case, change, decoded, faults, first, refusal, truth

from unilabel.data.findings import source_findings
from unilabel.data.folders import folder_source
from unilabel.data.images import IMAGE_SUFFIXES
from unilabel.data.inspection import findings, folder_target, inspect_split

pytestmark = [pytest.mark.d2]


# --- files ---


def test_exif_of_labels_on_stored_pixels(case: Case) -> None:
    message = refusal(case("files/exif6_label_on_stored_pixels"))
    assert "EXIF orientation 6" in message
    assert "turn the label in the same way, or remove the orientation tag" in message
    assert "do not resize" in message


def test_upright_labels_of_turned_photos_work(case: Case) -> None:
    image, label = first(folder_source(str(case("files/exif6_label_upright"))))
    assert image.shape[:2] == label.shape == (90, 120)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("uint16_png", "16 bits per channel"),
        ("uint16_tif_12bit", "16 bits per channel"),
        ("four_bands_tif", "4 bands, 1 more than its colours"),
    ],
)
def test_images_that_nobody_can_guess_are_refused(case: Case, name: str, message: str) -> None:
    folder = case(f"files/{name}")
    assert message in refusal(folder)
    assert any(message in fault for fault in faults(folder))
    assert not any("archive" in fault for fault in faults(folder))


def test_deep_photos_with_their_range_are_read(case: Case) -> None:
    for name, high in (("uint16_png", 65535), ("uint16_tif_12bit", 4080)):
        folder = case(f"files/{name}")
        change(folder, image_scale=[0, high])
        image, _ = first(folder_source(str(folder)))
        photo = np.asarray(Image.open(PLAIN).resize((120, 90)))
        if name == "uint16_png":
            photo = photo[..., ::-1]  # as the case is made
        assert np.abs(image.astype(int) - photo).max() <= 1
        assert faults(folder) == []


PLAIN = Path(sorted((MINI / "images/train").glob("*.jpg"))[0]) if MINI.is_dir() else Path()


def test_transparent_half_is_white(case: Case) -> None:
    image, _ = first(folder_source(str(case("files/transparent_half"))))
    assert (image[:45] == 255).all()
    assert not (image[45:] == 255).all()


def test_cmyk_is_converted(case: Case) -> None:
    image, _ = first(folder_source(str(case("files/cmyk"))))
    photo = np.asarray(Image.open(PLAIN).resize((120, 90)).convert("CMYK").convert("RGB"))
    assert np.abs(image.astype(int) - photo).mean() < 12


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("subfolders", ["berlin/f0", "berlin/f1", "berlin/f2"]),
        ("subfolders_some", ["berlin/f1", "berlin/f2", "f0"]),
        ("valid_folder", ["f0", "f1", "f2"]),
        ("jfif", ["f0", "f1", "f2"]),
        ("bom", ["f0", "f1", "f2"]),
        ("id_to_name", ["f0", "f1", "f2"]),
        ("hex_color", ["f0", "f1", "f2"]),
    ],
)
def test_all_files_are_used(case: Case, name: str, keys: list[str]) -> None:
    folder = case(f"files/{name}")
    source = folder_source(str(folder))
    below = [Path(s.image).relative_to(folder / "images/train") for s in source.samples("train")]
    assert [str(p.with_suffix("")) for p in below] == keys
    assert len(source.samples("val")) == 2
    assert source.remarks() == []
    assert faults(folder) == faults(folder, "val") == []
    assert source.label_space.num_classes == 11
    if name == "hex_color":
        assert source.label_space.colors[0] == (128, 64, 128)


@pytest.mark.parametrize(("name", "count"), [("no_val", 3), ("flat", 3)])
def test_no_val_is_said_once_and_a_split_can_be_asked_for(
    case: Case, name: str, count: int
) -> None:
    folder = case(f"files/{name}")
    source = folder_source(str(folder))
    assert len(source.samples("train")) == count
    assert not source.has("val")
    (remark,) = source.remarks()
    assert "no val part: it is trained on and not evaluated" in remark
    assert '"split": {"val": 0.2, "by": "file"}' in remark
    change(folder, split={"val": 0.34, "by": "file"})
    source = folder_source(str(folder))
    train, val = ({s.image for s in source.samples(p)} for p in ("train", "val"))
    assert len(train) == 2
    assert len(val) == 1
    assert not train & val
    assert source.remarks() == []


def test_lists_divide_a_flat_folder(case: Case) -> None:
    folder = case("files/flat")
    change(folder, split={"train": "train.txt", "val": "ImageSets/val.txt"})
    (folder / "train.txt").write_text("f0\n")
    (folder / "ImageSets").mkdir()
    (folder / "ImageSets/val.txt").write_text("images/f2.png\n")
    source = folder_source(str(folder))
    assert [Path(s.image).name for s in source.samples("train")] == ["f0.png"]
    assert [Path(s.image).name for s in source.samples("val")] == ["f2.png"]
    assert [r for r in source.remarks() if "f1.png" in r and "not used" in r]


def test_huge_photo_is_read_within_the_stated_limit(case: Case) -> None:
    folder = case("files/huge")
    image, label = first(folder_source(str(folder)))
    assert image.shape == (8000, 9000, 3)
    assert label.shape == (8000, 9000)
    change(folder, max_pixels=71_000_000)
    message = refusal(folder)
    assert '"max_pixels": 72000000' in message
    assert "damaged" not in message
    assert "remove" not in message


# --- what the label maps tell together ---


def found(folder: Path) -> list[str]:
    """What check and training say, which must be the same."""
    target = folder_target(str(folder))
    checked = findings(target, [inspect_split(target, s) for s in ("train", "val")])
    lines = [f"{f.level}: {f.message}" for f in checked if f.level != "note"]
    trained = [f"{f.level}: {f.message}" for f in source_findings(folder_source(str(folder)))]
    assert [x for x in lines if "the same pixels" not in x] == trained
    return lines


@pytest.mark.parametrize("name", ["binary_255", "binary_255_one_class"])
def test_is_255_a_class(case: Case, name: str) -> None:
    folder = case(f"labels/{name}")
    (fault,) = [line for line in found(folder) if line.startswith("fault")]
    assert "is 255 a class, or does it mean unlabelled?" in fault
    answers = [line.strip() for line in fault.splitlines() if line.startswith("  ")]
    assert len(answers) == (3 if name.endswith("one_class") else 2)  # one class: 0 may be it
    change(folder, **json.loads("{" + answers[0] + "}"))
    source = folder_source(str(folder))
    assert source.label_space.class_names == ("background", "road")
    for seen, original in zip(decoded(source), truth(source), strict=True):
        assert np.array_equal(seen, original == 3)
    assert not [line for line in found(folder) if line.startswith("fault")]


def test_255_as_ignored_is_an_answer_and_gives_no_signal(case: Case) -> None:
    folder = case("labels/binary_255")
    change(folder, ignore_values=[255])
    lines = found(folder)
    assert any("is the only class in the training labels" in line for line in lines)
    assert not any(line.startswith("fault") for line in lines)


def test_one_class_gives_no_signal(case: Case) -> None:
    (fault,) = [x for x in found(case("labels/one_class")) if x.startswith("fault")]
    assert "only 'road' is labelled, which gives no signal" in fault
    assert '{"name": "road", "values": [0]}, {"name": "background", "values": [255]}' in fault


def test_ids_from_one_with_an_absent_top(case: Case) -> None:
    folder = case("labels/ids_from_1_top_absent")
    (line,) = [x for x in found(folder) if "Do the ids run from 1?" in x]
    assert '{"id": 1, "name": "Sky"}' in line or '{"id": 1, "name": "' in line
    for quiet in ("labels/tif", "labels/never_occurs"):
        assert not [x for x in found(case(quiet)) if "run from 1" in x]


def test_classes_that_never_occur_and_splits_without_labels(case: Case) -> None:
    lines = found(case("labels/never_occurs"))
    assert sum("unicorn" in line for line in lines) == 2  # in train and in val
    lines = found(case("labels/val_all_void"))
    assert any("no pixel of 2 label maps of val is labelled" in line for line in lines)


def test_same_photo_in_both_splits(case: Case) -> None:
    (line,) = [x for x in found(case("files/same_photo_in_both_splits")) if "the same pix" in x]
    assert "1 of 2 photos of val are in train too" in line


def test_orientation_that_the_size_does_not_show(case: Case) -> None:
    lines = found(case("files/exif3_label_on_stored_pixels"))
    assert sum("EXIF orientation 3" in line for line in lines) == 2  # once per split
    assert not any("EXIF" in line for line in found(case("files/exif6_label_upright")))


def test_every_suffix_that_is_read_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/CUSTOM_DATASET.md").read_text()
    for suffix in IMAGE_SUFFIXES:
        assert suffix in text
