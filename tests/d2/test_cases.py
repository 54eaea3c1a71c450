"""Inputs that people have: a test for each row of the shared table, with its right value.

The cases are built by ``make_cases.py`` beside the repository; without it these tests are skipped
(tests/d2/test_class_list.py and test_folders.py hold small inputs of the same kinds).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.data.findings import source_findings
from unilabel.data.folders import folder_source
from unilabel.data.images import IMAGE_SUFFIXES
from unilabel.data.inspection import findings, folder_target, inspect_split
from unilabel.data.sources import DatasetSource, load_sample

pytestmark = [pytest.mark.d2]
MAKER = Path(__file__).parents[3] / "shared/cases/make_cases.py"
MINI = Path(__file__).parents[3] / "shared/data/mini/camvid11"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    if not MAKER.is_file():
        pytest.skip("needs ../shared/cases")
    out = tmp_path_factory.mktemp("cases")
    done = subprocess.run([sys.executable, str(MAKER), str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def case(built: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a case by its name, "labels/color" for example."""
    return lambda name: Path(shutil.copytree(built / name, tmp_path / name))


Case = Callable[[str], Path]


def test_every_case_has_a_test(built: Path) -> None:
    names = {p.name for kind in ("labels", "files") for p in (built / kind).iterdir()}
    text = Path(__file__).read_text()
    assert len(names) == 43
    assert {n for n in names if n.split("suffix_")[-1] not in text} == set()


def change(folder: Path, **keys: object) -> None:
    """Add lines to a ``classes.json``, as its owner would."""
    path = folder / "classes.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def values(folder: Path, of_class: list[object]) -> None:
    """Say the values of every class."""
    data = json.loads((folder / "classes.json").read_text())
    classes = [
        {"name": c["name"], "values": v} for c, v in zip(data["classes"], of_class, strict=True)
    ]
    change(folder, classes=classes)


def refusal(folder: Path) -> str:
    """What training says about the first sample."""
    with pytest.raises(UniLabelError) as caught:
        first(folder_source(str(folder)))
    return str(caught.value)


def first(source: DatasetSource, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    return load_sample(source, source.samples(split)[0])


def truth(source: DatasetSource, split: str = "train") -> list[np.ndarray]:
    """The original label maps of the samples."""
    stems = [Path(s.image).stem for s in source.samples(split)]
    return [np.array(Image.open(MINI / "labels" / split / f"{s}.png")) for s in stems]


def decoded(source: DatasetSource, split: str = "train") -> list[np.ndarray]:
    return [load_sample(source, s)[1] for s in source.samples(split)]


def same_as_truth(folder: Path) -> None:
    source = folder_source(str(folder))
    for split, count in (("train", 6), ("val", 2)):
        assert len(source.samples(split)) == count
        for found, wanted in zip(decoded(source, split), truth(source, split), strict=True):
            assert np.array_equal(found, wanted)


def faults(folder: Path, split: str = "train") -> list[str]:
    report = inspect_split(folder_target(str(folder)), split)
    return [f"[{f.kind}] {f.message}" for f in report.faults]


# --- labels ---


def test_colours_are_refused_with_the_lines_and_then_read(case: Case) -> None:
    folder = case("labels/color")
    meta = json.loads((MINI / "classes.json").read_text())["classes"]
    message = refusal(folder)
    assert "#804080" in message  # the road's colour occurs
    assert '"values": ["#' in message
    assert '"ignore_values": ["#000000"]' in message
    values(folder, [["#" + bytes(c["color"]).hex()] for c in meta])
    change(folder, ignore_values=["#000000"])
    same_as_truth(folder)
    values(folder, [[c["color"]] for c in meta])  # [[r, g, b]]
    change(folder, ignore_values=[[0, 0, 0]])
    same_as_truth(folder)


def test_colours_of_classes_that_fit_stand_in_the_lines(case: Case) -> None:
    folder = case("labels/color")
    meta = json.loads((MINI / "classes.json").read_text())["classes"]
    change(folder, classes=meta)
    message = refusal(folder)
    lines = [line for line in message.splitlines() if '"values"' in line]
    change(folder, classes=[json.loads(line.strip().rstrip(",")) for line in lines])
    assert "#......" not in message
    change(folder, ignore_values=["#000000"])
    same_as_truth(folder)


@pytest.mark.parametrize("name", ["uint16", "grey_alpha", "rgb_equal", "tif", "ignore_200"])
def test_plain_forms_are_read_as_they_are(case: Case, name: str) -> None:
    same_as_truth(case(f"labels/{name}"))


def test_gaps(case: Case) -> None:
    folder = case("labels/gaps")
    message = refusal(folder)
    for line in ('{"id": 3, "name": "building"}', '{"id": 200, "name": "road"}'):
        assert line in message
    values(folder, [0, [3], 7, [200, 201]])
    source = folder_source(str(folder))
    for found, original in zip(decoded(source), truth(source), strict=True):
        assert np.array_equal(found, np.where(original <= 3, original, 255))
    names = ["sky", "building", "pole", "road"]
    change(
        folder, classes=[{"id": i, "name": n} for i, n in zip((0, 3, 7, 200), names, strict=True)]
    )
    assert np.array_equal(decoded(folder_source(str(folder)))[0], decoded(source)[0])


@pytest.mark.parametrize("name", ["zero_is_void", "ids_from_1"])
def test_ids_from_one(case: Case, name: str) -> None:
    folder = case(f"labels/{name}")
    try:
        message = "\n".join(faults(folder))
    except UniLabelError as error:
        message = str(error)
    assert '{"id": 1, "name": "' in message
    names = json.loads((folder / "classes.json").read_text())["classes"]
    change(folder, classes=[{"id": i + 1, "name": c["name"]} for i, c in enumerate(names)])
    if name == "ids_from_1":  # nobody said that 0 is void
        assert any("label id 0 on" in fault for fault in faults(folder))
        change(folder, ignore_values=[0])
    same_as_truth(folder)


def test_one_bit_is_read_as_zero_and_one(case: Case) -> None:
    source = folder_source(str(case("labels/binary_1bit")))
    for found, original in zip(decoded(source), truth(source), strict=True):
        assert np.array_equal(found, original == 3)


def test_unknown_keys_are_refused_with_the_nearest(case: Case) -> None:
    folder = case("labels/unknown_keys")
    with pytest.raises(UniLabelError, match=r"unknown key 'ignore_index'\. Did you mean 'ignore"):
        folder_source(str(folder))
    data = json.loads((folder / "classes.json").read_text())
    del data["ignore_index"]
    (folder / "classes.json").write_text(json.dumps(data))
    with pytest.raises(UniLabelError, match=r"'ignore_lable'\. Did you mean 'ignore_label'"):
        folder_source(str(folder))


def test_too_many_classes_name_the_limit(case: Case) -> None:
    with pytest.raises(UniLabelError, match=r"has 300 classes, expected 1 to 254.*\"values\""):
        folder_source(str(case("labels/many_classes")))


def test_many_classes_folded_into_few(case: Case) -> None:
    folder = case("labels/many_classes")
    change(
        folder,
        classes=[
            {"name": "things", "values": [*range(200, 211), 205 + 400]},
            {"name": "rest", "values": list(range(211, 455))},
        ],
        ignore_values=[455],
    )
    source = folder_source(str(folder))
    for found, original in zip(decoded(source), truth(source), strict=True):
        assert np.array_equal(found, np.where(original == 255, 255, 0))


def test_names_of_other_scripts_are_kept(case: Case) -> None:
    folder = case("labels/scripts")
    assert "سماء" in folder_source(str(folder)).label_space.class_names
    same_as_truth(folder)


def test_reserved_name(case: Case) -> None:
    with pytest.raises(UniLabelError, match=r"called 'unified', .* another \"name\""):
        folder_source(str(case("labels/unified")))


def test_npy_is_named_once_with_a_cure(case: Case) -> None:
    folder = case("labels/npy")
    (fault,) = faults(folder)
    assert "6 images in" in fault
    assert "6 files .npy instead: NumPy arrays are not read, save each as PNG" in fault
    assert "archive" not in fault


@pytest.mark.parametrize("suffix", ["_gt", "_mask", "_labelIds"])
def test_suffix_is_named_once_with_its_key(case: Case, suffix: str) -> None:
    folder = case(f"labels/suffix{suffix}")
    (fault,) = faults(folder)
    assert fault.count("have no label") == 1
    assert f'"label_suffix": "{suffix}"' in fault
    change(folder, label_suffix=suffix)
    assert faults(folder) == []
    source = folder_source(str(folder))
    assert len(source.samples("train")) == 6
    assert np.array_equal(decoded(source)[0], truth(source)[0])


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
