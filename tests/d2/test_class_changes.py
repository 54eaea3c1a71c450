"""DATASETS.CLASSES merges, renames and leaves out classes; all that names classes follows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("detectron2")

from folder_datasets import write_folder

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.relations import RelationTruth
from unilabel.data.build import build_sources
from unilabel.data.builtin import builtin_source
from unilabel.data.class_changes import change_classes

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
CHANGES = "[[city, {car: vehicle, bus: vehicle, sky: ignore}]]"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    city = write_folder(tmp_path / "city", "road car bus sky")
    return [city, write_folder(tmp_path / "idd", "road marking", seed=1)]


def config(folders: list[Path], *options: str):
    base = ["DATASETS.CUSTOM", json.dumps(list(map(str, folders))), "DATASETS.TOY", "False"]
    return load_config(ROOT / "configs/toy.yaml", [*base, *options])


def test_command_line_and_file_say_the_same(folders: list[Path], tmp_path: Path, caplog) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"_BASE_: {ROOT}/configs/toy.yaml\nDATASETS:\n  TOY: False\n"
        f"  CUSTOM: {json.dumps(list(map(str, folders)))}\n  CLASSES: {CHANGES}\n"
    )
    plain = build_sources(config(folders))[0]
    with caplog.at_level("INFO", logger="unilabel.data.class_changes"):
        for cfg in (config(folders, "DATASETS.CLASSES", CHANGES), load_config(path)):
            source, other = build_sources(cfg)
            assert source.label_space.class_names == ("road", "vehicle")
            assert source.label_space.descriptions == ("A road.", "A car. A bus.")
            assert other.label_space.class_names == ("road", "marking")
            for sample in source.samples("train"):
                before = plain.decode_label(sample.label)
                wanted = np.array([0, 1, 1, 255, *[255] * 252], np.uint8)[before]
                assert np.array_equal(source.decode_label(sample.label), wanted)
    assert "makes 2 of 4 classes: car -> vehicle; bus -> vehicle; sky -> ignore" in caplog.text


def test_a_class_may_be_merged_into_another_and_all_others_left_out(folders: list[Path]) -> None:
    rename = '[[city, {bus: car, road: road, car: car, "*": ignore}]]'
    space = build_sources(config(folders, "DATASETS.CLASSES", rename))[0].label_space
    assert space.class_names == ("road", "car")
    assert space.renamed == (("bus", "car"), ("sky", ""))
    assert LabelSpace.from_dict(space.to_dict()) == space  # so a checkpoint keeps it


def test_relations_and_descriptions_follow_old_and_new_names(folders, tmp_path) -> None:
    relations = tmp_path / "relations.json"
    pairs = [("sky", "road"), ("bus", "marking"), ("vehicle", "road")]
    entries = [
        {"a": {"dataset": "city", "label": a}, "b": {"dataset": "idd", "label": b}}
        for a, b in pairs
    ]
    relations.write_text(json.dumps({"relations": entries}))
    texts = tmp_path / "texts.json"
    for given, wanted in (
        ({"road": "R.", "car": "C.", "bus": "B.", "sky": "S."}, ("R.", "C. B.")),
        ({"road": "R.", "vehicle": "V."}, ("R.", "V.")),
    ):
        texts.write_text(json.dumps({"city": given}))
        options = ("DATASETS.CLASSES", CHANGES, "DATASETS.DESCRIPTIONS", str(texts))
        sources = build_sources(config(folders, *options))
        assert sources[0].label_space.descriptions == wanted
    truth = RelationTruth.from_json(relations, LabelSpaceSet(s.label_space for s in sources))
    assert truth.related[:2, 2:].tolist() == [[False, False], [True, True]]


def test_builtin_sets_can_be_changed(tmp_path: Path) -> None:
    source = change_classes(builtin_source("camvid11", tmp_path), {"*": "rest", "Road": "Road"})
    assert source.label_space.class_names == ("rest", "Road")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("[[city, {caar: x}]]", r"has no class 'caar'\. Did you mean 'car'\?"),
        ("[[citty, {car: x}]]", r"names 'citty', expected one of city, idd\. Did you mean 'city'"),
        ("[[city, {car: ''}]]", r"DATASETS\.CLASSES: city: car is ''"),
        ('[[city, {"*": ignore}]]', "without a class"),
        ("[city]", r"holds 'city', expected \[dataset, \{old name: new name\}\]"),
        ("[[city, {car: x}], [city, {bus: x}]]", "names 'city' twice"),
    ],
)
def test_wrong_changes_are_refused(folders: list[Path], changes: str, message: str) -> None:
    with pytest.raises(UniLabelError, match=message):
        build_sources(config(folders, "DATASETS.CLASSES", changes))
