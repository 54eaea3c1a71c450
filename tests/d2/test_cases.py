"""Inputs that people have: a test for each row of the shared table, with its right value.

The cases are built by ``make_cases.py`` beside the repository; without it these tests are skipped
(tests/d2/test_class_list.py and test_folders.py hold small inputs of the same kinds).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("detectron2")

from cases import MINI, Case, assert_same_as_truth, change, decoded, faults, refusal, truth, values

from unilabel.core.errors import UniLabelError
from unilabel.data.folders import folder_source

pytestmark = [pytest.mark.d2]


def test_every_case_has_a_test(built: Path) -> None:
    names = {p.name for kind in ("labels", "files") for p in (built / kind).iterdir()}
    files = (Path(__file__), Path(__file__).with_name("test_case_files.py"))
    text = "".join(file.read_text() for file in files)
    assert len(names) == 43
    assert {n for n in names if n.split("suffix_")[-1] not in text} == set()


def test_colours_are_refused_with_the_lines_and_then_read(case: Case) -> None:
    folder = case("labels/color")
    meta = json.loads((MINI / "classes.json").read_text())["classes"]
    message = refusal(folder)
    assert "#804080" in message  # the road's colour occurs
    assert '"values": ["#' in message
    assert '"ignore_values": ["#000000"]' in message
    values(folder, [["#" + bytes(c["color"]).hex()] for c in meta])
    change(folder, ignore_values=["#000000"])
    assert_same_as_truth(folder)
    values(folder, [[c["color"]] for c in meta])  # [[r, g, b]]
    change(folder, ignore_values=[[0, 0, 0]])
    assert_same_as_truth(folder)


def test_colours_of_classes_that_fit_stand_in_the_lines(case: Case) -> None:
    folder = case("labels/color")
    meta = json.loads((MINI / "classes.json").read_text())["classes"]
    change(folder, classes=meta)
    message = refusal(folder)
    lines = [line for line in message.splitlines() if '"values"' in line]
    change(folder, classes=[json.loads(line.strip().rstrip(",")) for line in lines])
    assert "#......" not in message
    change(folder, ignore_values=["#000000"])
    assert_same_as_truth(folder)


@pytest.mark.parametrize("name", ["uint16", "grey_alpha", "rgb_equal", "tif", "ignore_200"])
def test_plain_forms_are_read_as_they_are(case: Case, name: str) -> None:
    assert_same_as_truth(case(f"labels/{name}"))


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
    assert_same_as_truth(folder)


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
    assert_same_as_truth(folder)


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
