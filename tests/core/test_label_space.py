"""Label spaces: reading, refusing, and the positions in the concatenation of all classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_cases import label_space, label_spaces

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color

GOOD = {
    "name": "streets",
    "display_name": "My streets",
    "ignore_label": 200,
    "classes": [
        {"id": 0, "name": "road", "color": [128, 64, 128], "description": "The carriageway."},
        {"id": 1, "name": "car", "color": [0, 0, 142], "description": "Cars of any size."},
    ],
}


def changed(path: str, value) -> dict:
    """GOOD with the value at ``classes.0.name`` or the like replaced; None removes it."""
    data = json.loads(json.dumps(GOOD))
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    node = data
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return data


def test_json_form_is_read(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({**GOOD, "loader_key": 7}), encoding="utf-8")
    space = LabelSpace.from_json(path)
    assert space == LabelSpace(
        "streets",
        ("road", "car"),
        ((128, 64, 128), (0, 0, 142)),
        200,
        "My streets",
        ("The carriageway.", "Cars of any size."),
    )
    assert space.to_dict() == GOOD


def test_defaults_of_the_json_form() -> None:
    space = LabelSpace.from_dict({"name": " a ", "classes": [{"id": 0, "name": "road "}]})
    assert space == LabelSpace("a", ("road",), (default_color(0),), 255, "a", ())
    assert LabelSpace.from_dict({**GOOD, "ignore": 3, "ignore_label": 255}).ignore_label == 255
    assert LabelSpace.from_dict({**changed("ignore_label", None), "ignore": 3}).ignore_label == 3


@given(
    names=st.lists(st.text("abc é'\"", min_size=1).filter(str.strip), min_size=1, max_size=9),
    described=st.booleans(),
)
def test_dict_form_comes_back_as_it_went(names: list[str], described: bool) -> None:
    classes = tuple(f"{i}{n.strip()}" for i, n in enumerate(names))
    texts = tuple(f"A {n}." for n in classes) if described else ()
    space = label_space("x", *classes, display_name="X", descriptions=texts)
    assert LabelSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r'f\.json: expected an object with "name" and a list "classes"'),
        (changed("classes", None), 'expected an object with "name" and a list "classes"'),
        (changed("classes", {}), 'expected an object with "name" and a list "classes"'),
        (changed("name", None), r'"name" is \'None\', expected a text of 1 to 2000 characters'),
        (changed("name", "  "), '"name" is'),
        (changed("name", 5), "\"name\" is '5', expected a text"),
        (changed("name", "a\nb"), "control characters are not allowed"),
        (changed("name", "a\u202eb"), "control characters are not allowed"),
        (changed("name", "a\x00"), "control characters are not allowed"),
        (changed("display_name", "\x1b[31mred"), "control characters are not allowed"),
        (changed("classes", []), "'streets' has 0 classes, expected 1 to 254"),
        (changed("classes.1.id", 2), r'classes\[1\] has "id" 2, expected 1: list the classes in'),
        (changed("classes.0.id", None), r'classes\[0\] has "id" None, expected 0'),
        (changed("classes.0", "road"), r"classes\[0\] has \"id\" 'road', expected 0"),
        (changed("classes.1.name", "road"), "names the class 'road' twice.*rename one or merge"),
        (changed("classes.1.name", " road "), "names the class 'road' twice"),
        (changed("classes.1.name", "ca\u200br"), r'classes\[1\]\["name"\].*control characters'),
        (changed("classes.1.name", "x" * 2001), r'classes\[1\]\["name"\] is'),
        (
            changed("classes.1.color", [0, 0]),
            r'classes\[1\]\["color"\] is \[0, 0\], expected \[red',
        ),
        (changed("classes.1.color", [0, 0, 256]), r'\["color"\] is \[0, 0, 256\]'),
        (changed("classes.1.color", [0, 0, True]), r'\["color"\] is'),
        (changed("classes.1.color", [0, 0, 1.5]), r'\["color"\] is'),
        (changed("classes.1.color", "red"), r'\["color"\] is \'red\''),
        (changed("classes.1.description", 3), r'classes\[1\]\["description"\] is \'3\''),
        (changed("ignore_label", 1), r'"ignore_label" is 1, expected an id of 2\.\.255'),
        (changed("ignore_label", 256), '"ignore_label" is 256'),
        (changed("ignore_label", -1), '"ignore_label" is -1'),
        (changed("ignore_label", "255"), "\"ignore_label\" is '255'"),
    ],
)
def test_bad_class_lists_are_refused(data, message: str) -> None:
    with pytest.raises(UniLabelError, match=message) as caught:
        LabelSpace.from_dict(data, "f.json")
    assert str(caught.value).startswith("f.json: ")


def test_too_many_classes_are_refused() -> None:
    label_space("x", *(str(i) for i in range(254)))
    with pytest.raises(UniLabelError, match=r"has 255 classes, expected 1 to 254.*Merge classes"):
        label_space("x", *(str(i) for i in range(255)))


def test_colours_must_fit_the_classes() -> None:
    with pytest.raises(UniLabelError, match="'x' has 1 colors for 2 classes"):
        LabelSpace("x", ("a", "b"), ((0, 0, 0),))
    with pytest.raises(UniLabelError, match="'x' has 0 colors for 2 classes"):
        LabelSpace("x", ("a", "b"), ())


def test_index_of_a_class() -> None:
    space = label_space("city", "road", "car")
    assert space.num_classes == 2
    assert space.index("car") == 1
    with pytest.raises(UniLabelError, match="'city' has no class 'Car'; it has: road, car"):
        space.index("Car")


def test_default_colours_are_distinct_and_visible() -> None:
    colors = [default_color(i) for i in range(255)]
    assert len(set(colors)) == 255
    assert (0, 0, 0) not in colors
    assert colors[:3] == [(128, 0, 0), (0, 128, 0), (128, 128, 0)]  # the palette of PASCAL VOC


# --- several label spaces ---


def test_positions_in_the_concatenation() -> None:
    spaces = label_spaces(city="road car", idd="road", toy="a b c")
    assert spaces.names == ["city", "idd", "toy"]
    assert spaces.num_classes == [2, 1, 3]
    assert spaces.class_offsets == [0, 2, 3, 6]
    assert spaces.total == 6
    assert len(spaces) == 3
    assert spaces.dataset_index("toy") == 2
    assert spaces.get("idd") is spaces[1] is list(spaces)[1]
    assert spaces.label_names()[1:4] == ["city:car", "idd:road", "toy:a"]


def test_split_cuts_at_the_offsets() -> None:
    spaces = label_spaces(city="road car", idd="road", toy="a b c")
    parts = spaces.split(torch.arange(12).view(2, 6))
    assert [p.tolist() for p in parts] == [
        [[0, 1], [6, 7]],
        [[2], [8]],
        [[3, 4, 5], [9, 10, 11]],
    ]
    assert [p.shape for p in spaces.split(torch.zeros(6, 4), dim=0)] == [(2, 4), (1, 4), (3, 4)]


def test_list_form_comes_back() -> None:
    spaces = label_spaces(city="road car", idd="road")
    again = LabelSpaceSet.from_list(json.loads(json.dumps(spaces.to_list())))
    assert again.to_list() == spaces.to_list()
    with pytest.raises(UniLabelError, match="file: expected a list of label spaces"):
        LabelSpaceSet.from_list({}, "file")
    with pytest.raises(UniLabelError, match=r"file\[0\]: expected an object"):
        LabelSpaceSet.from_list([None], "file")


def test_bad_sets_are_refused() -> None:
    with pytest.raises(UniLabelError, match="no dataset is given; name at least one in DATASETS"):
        LabelSpaceSet([])
    with pytest.raises(UniLabelError, match="the dataset 'city' is named twice; name each"):
        LabelSpaceSet([label_space("city", "road"), label_space("city", "car")])
    with pytest.raises(UniLabelError, match="unknown dataset 'City'; this label space knows: city"):
        label_spaces(city="road").dataset_index("City")


def test_name_of_the_unified_label_space_is_reserved() -> None:
    data = {"name": "unified", "classes": [{"id": 0, "name": "road"}]}
    message = "a dataset is called 'unified', which is the name of the unified label space; give it"
    with pytest.raises(UniLabelError, match=f"classes.json: {message}"):
        LabelSpace.from_dict(data, "classes.json")
    with pytest.raises(UniLabelError, match=message):
        LabelSpace("unified", ("road",), ((1, 2, 3),))
