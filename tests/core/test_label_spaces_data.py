"""The label tables are data: these tests hold them against what the datasets publish."""

from __future__ import annotations

from importlib.resources import files

import pytest

from unilabel.core.label_space import LabelSpace
from unilabel.core.tables import read_table

FOLDER = files("unilabel") / "label_spaces"
PUBLISHED_COUNTS = {
    "ade20k150": 150,
    "bdd100k": 19,
    "camvid11": 11,
    "cityscapes": 19,
    "coco_panoptic133": 133,
    "context59": 59,
    "idd26": 26,
    "kitti": 19,
    "mapillary": 65,
    "scannet20": 20,
    "sunrgbd37": 37,
    "viper": 23,
    "voc20": 20,
    "wilddash2": 26,
}
PAPER_TOTAL = 448
STORAGE = {"ids", "colors", "panoptic"}
NAMES = sorted(PUBLISHED_COUNTS)


table = read_table


def test_there_is_a_table_for_every_dataset_and_no_other():
    assert sorted(p.name for p in FOLDER.iterdir()) == [f"{name}.json" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_contiguous_names_unique_and_counts_as_published(name):
    data = table(name)
    classes = data["classes"]
    assert data["name"] == name
    assert [c["id"] for c in classes] == list(range(PUBLISHED_COUNTS[name]))
    assert data["num_classes"] == len(classes)
    assert len({c["name"] for c in classes}) == len(classes)
    assert data["ignore_label"] == 255
    assert data["display_name"]


@pytest.mark.parametrize("name", NAMES)
def test_colors_are_rgb_bytes(name):
    for entry in table(name)["classes"]:
        assert len(entry["color"]) == 3
        assert all(isinstance(v, int) and 0 <= v <= 255 for v in entry["color"])


@pytest.mark.parametrize("name", NAMES)
def test_every_class_has_a_description_of_its_own(name):
    texts = [c["description"] for c in table(name)["classes"]]
    assert all(len(text.split()) >= 4 and text.endswith(".") for text in texts)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", NAMES)
def test_no_stored_value_belongs_to_two_classes_or_to_void(name):
    data = table(name)
    assert data["storage"] in STORAGE
    key = "raw_colors" if data["storage"] == "colors" else "raw_ids"
    values = [str(value) for entry in data["classes"] for value in entry[key]]
    assert all(entry[key] for entry in data["classes"])
    assert len(set(values)) == len(values)
    void = data.get("void_raw", [])
    void_values = {str(entry["color" if key == "raw_colors" else "id"]) for entry in void}
    void_values |= {str(value) for value in data.get("void_raw_ids", [])}
    assert not void_values & set(values)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_reads_as_label_space(name):
    space = LabelSpace.from_json(str(FOLDER / f"{name}.json"))
    assert space.num_classes == PUBLISHED_COUNTS[name]
    assert len(space.descriptions) == space.num_classes


def test_variants_that_drop_classes_name_existing_ones():
    seen = 0
    for name in NAMES:
        data = table(name)
        for variant in data.get("variants", {}).values():
            if isinstance(variant, dict) and "drop" in variant:
                known = {c["name"] for c in data["classes"]}
                assert set(variant["drop"]) <= known
                added = "void_class" in variant
                assert variant["num_classes"] == len(known) - len(variant["drop"]) + added
                seen += 1
    assert seen == 3


def test_the_seven_training_sets_of_the_paper_have_448_classes():
    names = ("cityscapes", "sunrgbd37", "bdd100k", "idd26", "ade20k150", "coco_panoptic133")
    variant = table("mapillary")["variants"]["paper_64"]
    assert variant["drop"] == ["Mailbox"]
    assert sum(PUBLISHED_COUNTS[n] for n in names) + variant["num_classes"] == PAPER_TOTAL


def test_sets_with_the_classes_of_cityscapes_agree_on_their_order():
    order = [c["name"] for c in table("cityscapes")["classes"]]
    assert [c["name"] for c in table("bdd100k")["classes"]] == order
    assert [c["name"] for c in table("kitti")["classes"]] == order


def test_wilddash_results_are_written_with_ids_of_the_evaluation():
    entries = {c["name"]: c for c in table("wilddash2")["classes"]}
    assert all(c["submission_id"] in c["raw_ids"] for c in entries.values())
    assert all(1 <= c["submission_id"] <= 38 for c in entries.values())
    assert entries["roadmarking"]["submission_id"] == 38
    assert 76 in entries["road"]["raw_ids"]  # a zebra crossing is road there, not road marking
