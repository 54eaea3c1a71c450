"""The learned label space as a file: names, links, relations, and what it refuses to read."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from label_cases import label_space, label_spaces, links, mappings

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.synthetic import ATOMS, atom_table, toy_label_spaces, toy_relations
from unilabel.core.unified_space import Link, UnifiedLabelSpace, class_relations

SPACES = label_spaces(city="road car", idd="street marking car")
# 0: road and street; 1: road and marking; 2: both cars
MAPPING = LabelMapping.from_stacked(SPACES, links(["10 100", "10 010", "01 001"]))


@pytest.fixture
def space() -> UnifiedLabelSpace:
    weights = torch.tensor([[0.9, 0, 0.8, 0, 0], [1.4, 0, 0, 0.123456789, 0], [0, 1, 0, 0, -0.1]])
    return UnifiedLabelSpace.from_mapping(MAPPING, weights, provenance={"seed": 3})


def test_labels_are_named_after_their_most_specific_class(space: UnifiedLabelSpace) -> None:
    # the road of city has two labels, street and marking one each: these name the labels
    assert space.names == ("street", "marking", "car")
    assert space.colors[0] == SPACES[1].colors[0]
    assert len(set(space.colors)) == 3


def test_names_are_numbered_apart() -> None:
    spaces = label_spaces(city="road", idd="a b")
    mapping = LabelMapping.from_stacked(spaces, links(["1 00", "1 00", "0 10", "0 01", "0 00"]))
    assert UnifiedLabelSpace.from_mapping(mapping).names == ("road", "road (2)", "a", "b", "unused")


def test_names_say_what_tells_labels_apart() -> None:
    spaces = label_spaces(city="house tree", town="house tree", idd="far near")
    rows = links(["10 10 10", "10 10 01", "01 01 10", "01 01 01"])
    space = UnifiedLabelSpace.from_mapping(LabelMapping.from_stacked(spaces, rows))
    assert space.names == ("house (far)", "house (near)", "tree (far)", "tree (near)")
    # the first two differ in nothing, and the last has nothing that tells it apart
    rows = links(["10 10 10", "10 10 10", "10 10 01", "01 01 01", "01 01 00"])
    space = UnifiedLabelSpace.from_mapping(LabelMapping.from_stacked(spaces, rows))
    assert space.names == ("far", "far (2)", "near", "tree (near)", "tree")


def test_a_numbered_name_does_not_meet_a_class_of_that_name() -> None:
    spaces = LabelSpaceSet([label_space("city", "road"), label_space("idd", "road (2)", "unused")])
    rows = links(["1 00", "1 00", "0 10", "0 01", "0 00"])
    space = UnifiedLabelSpace.from_mapping(LabelMapping.from_stacked(spaces, rows))
    assert len(set(space.names)) == 5
    assert UnifiedLabelSpace.from_dict(space.to_dict()).names == space.names


@given(mappings())
def test_no_two_labels_have_one_name_or_colour(mapping: LabelMapping) -> None:
    space = UnifiedLabelSpace.from_mapping(mapping)
    assert len(set(space.names)) == len(set(space.colors)) == mapping.num_unified


def test_a_label_without_free_colour_leaves_later_classes_theirs() -> None:
    spaces = label_spaces(city="road", idd="a b c")  # road and a have the first colour
    mapping = LabelMapping.from_stacked(spaces, links(["1 000", "0 100", "0 010", "0 001"]))
    assert spaces[0].colors[0] == spaces[1].colors[0]
    colors = UnifiedLabelSpace.from_mapping(mapping).colors
    assert colors[0] == spaces[0].colors[0]
    assert colors[2:] == spaces[1].colors[1:]
    assert len(set(colors)) == 4


def test_links_keep_source_and_clipped_weight(space: UnifiedLabelSpace) -> None:
    assert space.links == {
        (0, "city", 0): Link("learned", 0.9),
        (0, "idd", 0): Link("learned", 0.8),
        (1, "city", 0): Link("learned", 1.0),
        (1, "idd", 1): Link("learned", 0.123457),
        (2, "city", 1): Link("learned", 1.0),
        (2, "idd", 2): Link("learned", 0.0),
    }


def test_human_links_are_marked_and_found_again(tmp_path: Path) -> None:
    human = links(["00 100", "00 000", "01 000"])
    space = UnifiedLabelSpace.from_mapping(MAPPING, source="text", human_links=human)
    assert torch.equal(space.human_links(), human)
    assert space.links[2, "idd", 2].source == "text"
    space.save(tmp_path / "label_space.json")
    assert torch.equal(UnifiedLabelSpace.load(tmp_path / "label_space.json").human_links(), human)


def test_with_mapping_keeps_what_stays(space: UnifiedLabelSpace) -> None:
    changed = LabelMapping.from_stacked(SPACES, links(["10 100", "00 010", "01 001"]))
    other = space.with_mapping(changed, source="human")
    assert other.names == space.names
    assert other.links == {k: v for k, v in space.links.items() if k != (1, "city", 0)}
    back = other.with_mapping(MAPPING, source="human")
    assert back.links[1, "city", 0] == Link("human", 1.0)
    assert back.links[0, "city", 0] == space.links[0, "city", 0]


def test_file_form(space: UnifiedLabelSpace, tmp_path: Path) -> None:
    path = tmp_path / "label_space.json"
    space.save(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    assert (data["schema"], data["version"]) == ("unilabel/label_space", 1)
    assert data["checksum"] == MAPPING.checksum()
    assert data["provenance"] == {"seed": 3}
    assert [d["name"] for d in data["datasets"]] == ["city", "idd"]
    assert data["labels"][1] == {
        "id": 1,
        "name": "marking",
        "color": list(space.colors[1]),
        "active": True,
        "checked": False,
        "links": {
            "city": {"class": "road", "source": "learned", "weight": 1.0},
            "idd": {"class": "marking", "source": "learned", "weight": 0.123457},
        },
    }
    assert UnifiedLabelSpace.load(path) == space


@given(mappings())
def test_any_label_space_comes_back_from_its_file_form(mapping: LabelMapping) -> None:
    space = UnifiedLabelSpace.from_mapping(mapping)
    assert len(set(space.names)) == mapping.num_unified
    again = UnifiedLabelSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again == space
    assert again.mapping.checksum() == mapping.checksum()


def test_links_left_out_and_marks_are_read(space: UnifiedLabelSpace) -> None:
    data = space.to_dict()
    data["labels"][0] |= {"checked": True, "links": {"city": {"class": "road"}}}
    data["labels"][1]["links"]["city"] = None
    data["labels"].append({"id": 3, "name": "street 2", "links": {"idd": {"class": "street"}}})
    read = UnifiedLabelSpace.from_dict(data)
    assert read.checked == {0}
    assert read.links[0, "city", 0] == Link("human", 1.0)  # written by hand
    assert read.mapping.class_of("city").tolist() == [0, -1, 1, -1]
    assert read.mapping.class_of("idd").tolist() == [-1, 1, 2, 0]


def edit(**changes):
    """Replace values: ``labels__0__name="x"``; a lambda computes from the old value."""

    def apply(data: dict) -> dict:
        for path, value in changes.items():
            *parents, last = [int(p) if p.isdigit() else p for p in path.split("__")]
            node = data
            for key in parents:
                node = node[key]
            node[last] = value(node[last]) if callable(value) else value
        return data

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: [], "\"schema\" is 'list', expected 'unilabel/label_space'"),
        (lambda d: {}, '"schema" is None, expected'),
        (edit(schema="other"), "\"schema\" is 'other', expected"),
        (edit(version=2), '"version" is 2, this program reads 1'),
        (edit(version=None), '"version" is None, this program reads 1'),
        (edit(datasets=None), '"datasets": expected a list of label spaces'),
        (edit(datasets=lambda d: d * 2), "the dataset 'city' is named twice"),
        (edit(datasets__0__classes__1__name="road"), "names the class 'road' twice"),
        (edit(labels=[]), 'expected a list "labels" of 1 to 20000 entries'),
        (edit(labels={}), 'expected a list "labels"'),
        (edit(labels__1="x"), r'labels\[1\] must be an object with "id" 1'),
        (edit(labels__1__id=7), r'labels\[1\] must be an object with "id" 1'),
        (edit(labels__1__name="a\tb"), r'labels\[1\]\["name"\].*control characters'),
        (edit(labels__1__name=None), r'labels\[1\]\["name"\] is \'None\''),
        (edit(labels__1__name="street"), "two unified labels are named 'street'; rename one"),
        (edit(labels__1__color=[1, 2]), r'labels\[1\]\["color"\] is \[1, 2\], expected'),
        (edit(labels__1__color=5), r'labels\[1\]\["color"\] is 5, expected'),
        (edit(labels__1__color=None), r'labels\[1\]\["color"\] is None, expected'),
        (edit(labels__1__color="red"), r'labels\[1\]\["color"\] is \'red\', expected'),
        (edit(labels__1__color=[0, 0, 300]), r'labels\[1\]\["color"\] is \[0, 0, 300\]'),
        (edit(labels__1__links=None), r'labels\[1\]\["links"\] is NoneType, expected an object'),
        (edit(labels__1__links={"ade": None}), r"\[\"links\"\]: unknown dataset 'ade'"),
        (edit(labels__1__links__city="road"), r'expected null or {"class".*not \'road\''),
        (edit(labels__1__links__city__class="lane"), "'city' has no class 'lane'; it has: road, c"),
        (edit(labels__1__links__city__class=None), "'city' has no class 'None'"),
        (edit(labels__1__links__city__source="me"), r"link source 'me', expected one of"),
        (edit(labels__1__links__city__weight=1.5), r"link weight 1\.5, expected a number"),
        (edit(labels__1__links__city__weight="1"), "link weight '1', expected a number"),
        (edit(labels__1__links__city__weight=float("nan")), "link weight nan, expected a number"),
        (edit(labels__2__links__city=None), "class 'car' of 'city' has no unified label"),
        (edit(provenance=[]), '"provenance" must be an object'),
    ],
)  # fmt: skip
def test_bad_files_are_refused(space: UnifiedLabelSpace, change, message: str) -> None:
    data = change(json.loads(json.dumps(space.to_dict())))
    with pytest.raises(UniLabelError, match=message) as caught:
        UnifiedLabelSpace.from_dict(data, "file.json")
    assert str(caught.value).startswith("file.json: ")


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UniLabelError, match=r"cannot read .*none\.json"):
        UnifiedLabelSpace.load(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"schema": ')
    with pytest.raises(UniLabelError, match=r"cut\.json is not valid JSON"):
        UnifiedLabelSpace.load(tmp_path / "cut.json")


# --- relations that a mapping implies ---


def test_relations_worked_by_hand() -> None:
    found = {(r["a"]["label"], r["b"]["label"]): r for r in class_relations(MAPPING)}
    assert {pair: r["type"] for pair, r in found.items()} == {
        ("road", "street"): "superset",
        ("road", "marking"): "superset",
        ("car", "car"): "equal",
    }
    assert found["road", "street"]["a"]["dataset"] == "city"
    assert found["car", "car"]["shared"] == 1
    crossing = LabelMapping.from_stacked(
        label_spaces(a="x y", b="u v"), links(["10 10", "10 01", "01 01"])
    )
    types = {(r["a"]["label"], r["b"]["label"]): r["type"] for r in class_relations(crossing)}
    assert types == {("x", "u"): "superset", ("x", "v"): "overlap", ("y", "v"): "subset"}


def test_atoms_as_unified_labels_imply_the_relations_of_the_toy_world() -> None:
    spaces = LabelSpaceSet(toy_label_spaces())
    matrices = {
        s.name: torch.from_numpy(np.eye(256, dtype=bool)[atom_table(s.name)][:, : s.num_classes])
        for s in spaces
    }
    mapping = LabelMapping(spaces, matrices)
    assert mapping.num_unified == len(ATOMS)

    def key(relation: dict) -> tuple:
        sides = [(relation[s]["dataset"], relation[s]["label"]) for s in ("a", "b")]
        return (*sides, relation["type"])

    expected = {key(r) for r in toy_relations()["relations"]}
    assert {key(r) for r in class_relations(mapping)} == expected


@given(mappings())
def test_relations_are_those_of_the_sets_of_unified_labels(mapping: LabelMapping) -> None:
    sets = [set(np.flatnonzero(c).tolist()) for c in mapping.stacked().T.numpy()]
    names = [(s.name, n) for s in mapping.label_spaces for n in s.class_names]
    expected = []
    for (a, one), (b, two) in itertools.combinations(enumerate(sets), 2):
        if names[a][0] == names[b][0] or not one & two:
            continue
        kinds = {one == two: "equal", one < two: "subset", one > two: "superset"}
        expected.append((names[a], names[b], kinds.get(True, "overlap"), len(one & two)))
    found = [
        (*(tuple(e[side].values()) for side in "ab"), e["type"], e["shared"])
        for e in class_relations(mapping)
    ]
    assert found == expected


def test_the_file_form_looks_at_every_matrix_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = label_spaces(one=" ".join(map(str, range(50))), two="a b")
    two = torch.stack([torch.arange(50) < 25, torch.arange(50) >= 25], 1)
    mapping = LabelMapping(spaces, {"one": torch.eye(50), "two": two})
    space, asked, class_of = UnifiedLabelSpace.from_mapping(mapping), [], LabelMapping.class_of
    monkeypatch.setattr(
        LabelMapping, "class_of", lambda self, name: asked.append(name) or class_of(self, name)
    )
    found = [entry["links"]["two"]["class"] for entry in space.to_dict()["labels"]]
    assert found == ["a"] * 25 + ["b"] * 25
    assert asked == ["one", "two"]
