from __future__ import annotations

import json
from pathlib import Path

import pytest

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.text import prompts
from unilabel.text.label_tables import (
    PAPER_DATASETS,
    builtin_names,
    load_label_space,
    load_label_spaces,
)
from unilabel.text.prompts import MODES, label_prompt, label_texts, with_descriptions

DESCRIPTIONS = Path(__file__).parents[2] / "configs" / "descriptions"


def space(name, classes, descriptions=(), display_name=""):
    colors = tuple((i, 0, 0) for i in range(len(classes)))
    return LabelSpace(name, tuple(classes), colors, 255, display_name, tuple(descriptions))


@pytest.fixture
def spaces():
    return LabelSpaceSet(
        [
            space("streets", ["road", "tree"], ["Paved ground.", "A tall plant."], "My Streets"),
            space("rooms", ["wall"], ["The side of a room."]),
        ]
    )


def write(tmp_path, content):
    path = tmp_path / "descriptions.json"
    path.write_text(json.dumps(content))
    return path


def test_prompt_is_the_template_of_the_paper():
    assert label_prompt("road", "Cityscapes") == "An image of road from the dataset Cityscapes."
    assert label_prompt("road", "IDD", "Paved.").endswith("from the dataset IDD. Paved.")


def test_texts_follow_the_order_of_the_classes(spaces):
    assert label_texts(spaces, "name") == ["road", "tree", "wall"]
    assert label_texts(spaces, "description")[2] == "The side of a room."
    assert label_texts(spaces, "prompt")[0] == "An image of road from the dataset My Streets."
    full = label_texts(spaces, "prompt+description")
    assert full[2] == "An image of wall from the dataset rooms. The side of a room."


def test_unknown_mode_is_refused(spaces):
    with pytest.raises(UniLabelError, match=r"prompts.*prompt"):
        label_texts(spaces, "prompts")


@pytest.mark.parametrize("mode", ["description", "prompt+description"])
def test_names_stand_for_missing_descriptions_and_it_is_said_once(mode, caplog):
    bare = space("bare", ["road", "car"])
    half = space("half", ["road", "car"], ["The carriageway.", ""])
    prompts._tell_missing.cache_clear()
    texts = label_texts(LabelSpaceSet([bare, half]), mode)
    assert label_texts(LabelSpaceSet([bare, half]), mode) == texts  # another reader
    names = label_texts(LabelSpaceSet([bare]), "prompt")
    expected = ["road", "car"] if mode == "description" else names
    assert texts[:2] == expected
    assert texts[2].endswith("The carriageway.")
    assert texts[3] == (expected[1] if mode == "description" else texts[3])
    assert [r.getMessage()[:44] for r in caplog.records] == [
        "dataset 'bare': 2 of 2 classes have no descr",
        "dataset 'half': 1 of 2 classes have no descr",
    ]


def test_descriptions_file_replaces_texts_and_leaves_other_datasets(spaces, tmp_path):
    path = write(tmp_path, {"rooms": {"wall": "Another wall."}, "elsewhere": {"x": "y"}})
    described = with_descriptions(spaces, path)
    assert described.get("rooms").descriptions == ("Another wall.",)
    assert described.get("streets").descriptions == ("Paved ground.", "A tall plant.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"room": {"wall": "x"}, "streets": {"road": "x", "tree": "y"}}, "Did you mean 'rooms'"),
        ({"nowhere": {"wall": "x"}}, "unknown dataset 'nowhere'"),
        ({"streets": {"road": "x", "trees": "y", "tree": "z"}}, "no class 'trees'.*mean 'tree'"),
        ({"streets": {"road": "x"}}, "class 'tree' has no description"),
        ({"streets": {"road": "", "tree": "x"}}, "description of 'streets' class 'road'"),
        ({"streets": {"road": 3, "tree": "x"}}, "description of 'streets' class 'road'"),
        ({"streets": ["road"]}, "expected {dataset"),
        (["streets"], "expected {dataset"),
    ],
)
def test_wrong_descriptions_are_refused_by_name(spaces, tmp_path, content, message):
    with pytest.raises(UniLabelError, match=message):
        with_descriptions(spaces, write(tmp_path, content))


MINI = {"camvid11": 11, "camvid7": 7, "iddlite": 7, "msrc21": 21, "aerial5": 5}
REAL = {
    "facade8": 8,
    "clothes33": 33,
    "person10": 10,
    "animals13": 13,
    "animals7": 7,
    "drone6": 6,
}


@pytest.mark.parametrize(("file", "sizes"), [("mini.json", MINI), ("real.json", MINI | REAL)])
def test_descriptions_of_the_small_sets_are_complete_and_distinct(file, sizes):
    described = json.loads((DESCRIPTIONS / file).read_text())
    assert {name: len(classes) for name, classes in described.items()} == sizes
    assert all(len(set(classes.values())) == len(classes) for classes in described.values())


def test_a_set_is_described_in_one_way():
    mini, real = (json.loads((DESCRIPTIONS / f).read_text()) for f in ("mini.json", "real.json"))
    assert mini.items() <= real.items()


def test_builtin_tables_give_every_text_mode():
    everything = load_label_spaces(builtin_names())
    for mode in MODES:
        texts = label_texts(everything, mode)
        assert len(texts) == everything.total
        assert all(texts)


def test_paper_datasets_and_the_variant_without_mailbox():
    spaces = load_label_spaces(PAPER_DATASETS)
    assert spaces.total == 448
    mapillary = load_label_space("mapillary@paper_64")
    assert mapillary.name == "mapillary"
    assert "Mailbox" not in mapillary.class_names
    assert len(mapillary.descriptions) == 64


def test_a_folder_with_classes_json_is_a_table(tmp_path):
    content = {"name": "mine", "ignore": 255, "classes": [{"id": 0, "name": "thing"}]}
    (tmp_path / "classes.json").write_text(json.dumps(content))
    assert load_label_space(str(tmp_path)).class_names == ("thing",)
    assert load_label_space(str(tmp_path / "classes.json")).name == "mine"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cityscape", "Did you mean 'cityscapes'"),
        ("mapillary@paper_63", "no variant 'paper_63'.*paper_64"),
        ("voc20@with_background_21", "no variant"),
        ("missing/classes.json", "cannot read"),
    ],
)
def test_unknown_tables_are_refused_with_a_hint(spec, message):
    with pytest.raises(UniLabelError, match=message):
        load_label_space(spec)
