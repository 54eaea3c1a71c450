"""What the labels of a model become in WildDash 2, and when a pixel is void."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from wilddash_spaces import space_of, table_of, unify

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.submission import wilddash
from unilabel.submission.class_names import add_relations, add_text, meanings_by_name
from unilabel.submission.formats import get_benchmark
from unilabel.submission.label_table import learned_table, read_table
from unilabel.text.label_tables import builtin_names, load_label_spaces

WILDDASH = get_benchmark("wilddash2")


# --- the policy -------------------------------------------------------------------------------


def test_policy_has_26_classes_of_seven_categories() -> None:
    classes = wilddash.scored_classes()
    assert len(classes) == 26
    assert {c.id for c in classes} < set(range(1, 39))
    assert len({c.category for c in classes}) == 7
    assert len(wilddash.policy_names()) == 81
    folded = wilddash.folding()
    assert set(folded.tolist()) == {0} | {c.id for c in classes}
    for raw, result in {
        41: 7,
        52: 8,
        18: 17,
        46: 17,
        47: 25,
        56: 12,
        58: 32,
        78: 22,
        67: 1,
    }.items():
        assert folded[raw] == result
    for raw in (0, 2, 9, 15, 29, 53, 54, 60, 68, 73):
        assert folded[raw] == 0
    assert (folded[[c.id for c in classes]] == [c.id for c in classes]).all()


def test_instances_are_those_of_road_users_and_the_own_car() -> None:
    things = {c.name for c in wilddash.scored_classes() if c.has_instances}
    assert {"person", "rider", "car", "van", "pickup", "egovehicle"} < things
    assert not things & {"pole", "trafficlight", "trafficsign", "billboard", "streetlight", "road"}


# --- by name ----------------------------------------------------------------------------------

EXPECTED = {
    "cityscapes:road": "road",
    "cityscapes:train": "onrails",
    "mapillary:Lane Marking - General": "roadmarking",
    "mapillary:Lane Marking - Crosswalk": "road",
    "mapillary:Crosswalk - Plain": "road",
    "mapillary:Curb": "sidewalk",
    "mapillary:Curb Cut": "sidewalk",
    "mapillary:Barrier": "wall",
    "mapillary:Bicyclist": "rider",
    "mapillary:Traffic Sign Frame": "pole",
    "mapillary:Traffic Sign (Back)": None,
    "mapillary:Traffic Sign (Front)": "trafficsign",
    "mapillary:Street Light": "streetlight",
    "mapillary:Car Mount": "egovehicle",
    "mapillary:Other Vehicle": None,
    "mapillary:Parking": None,
    "mapillary:Bridge": None,
    "idd26:person or animal": "person",
    "idd26:sky or fallback background": "sky",
    "idd26:bridge or tunnel": None,
    "idd26:autorickshaw": "motorcycle",
    "idd26:vehicle fallback, caravan, trailer or train": None,
    "ade20k150:house": "building",
    "ade20k150:van": "van",
    "ade20k150:signboard": "billboard",
    "ade20k150:minibike": "motorcycle",
    "ade20k150:bed": None,
    "coco_panoptic133:pavement-merged": "sidewalk",
    "coco_panoptic133:stop sign": "trafficsign",
    "coco_panoptic133:hot dog": None,
    "coco_panoptic133:potted plant": None,
    "viper:mobilebarrier": "wall",
    "camvid11:SignSymbol": "trafficsign",
    "camvid11:Column_Pole": "pole",
}


@pytest.fixture(scope="module")
def published() -> LabelSpaceSet:
    return load_label_spaces([n for n in builtin_names() if n != "wilddash2"])


def test_names_of_published_datasets(published: LabelSpaceSet) -> None:
    found = dict(zip(published.label_names(), meanings_by_name(published), strict=True))
    for name, scored in EXPECTED.items():
        meaning = found[name]
        assert meaning is not None, name
        assert meaning.scored == scored, name


def test_every_cityscapes_class_keeps_its_id(published: LabelSpaceSet) -> None:
    ids = get_benchmark("cityscapes").ids
    for space in ("cityscapes", "bdd100k", "kitti"):
        one = LabelSpaceSet([published.get(space)])
        for name, meaning in zip(one[0].class_names, meanings_by_name(one), strict=True):
            assert WILDDASH.ids[str(meaning and meaning.scored)] == ids[name], name


def test_the_policy_finds_itself() -> None:
    own = LabelSpaceSet([space_of("other", *wilddash.policy_names())])
    for name, meaning in zip(own[0].class_names, meanings_by_name(own), strict=True):
        assert meaning is not None
        assert meaning.scored == wilddash.policy_names()[name], name


def test_indoor_walls_and_wide_names_have_no_vote(published: LabelSpaceSet) -> None:
    found = dict(zip(published.label_names(), meanings_by_name(published), strict=True))
    assert found["sunrgbd37:wall"] is None
    assert found["scannet20:wall"] is None
    assert found["viper:infrastructure"] is None
    wide = LabelSpaceSet([space_of("wide", "vehicle", "living things", "road side objects")])
    assert meanings_by_name(wide) == [None] * 3


# --- unified labels ---------------------------------------------------------------------------


def test_toy_world(toy_space: UnifiedLabelSpace) -> None:
    table = table_of(UnifiedLabelSpace.from_mapping(toy_space.mapping))
    value = dict(zip(table.labels, table.values(WILDDASH), strict=True))
    expected = {
        "sky": 23,
        "road": 7,
        "lane marking": 38,
        "crosswalk": 7,
        "sidewalk": 8,
        "curb": 8,
        "building": 11,
        "vegetation": 21,
        "person": 24,
        "car": 26,
        "bus": 28,
        "truck": 27,
        "bicycle": 33,
        "pole": 17,
        "traffic sign": 20,
        "manhole": 7,
    }
    assert {name: value[name] for name in expected} == expected
    assert table.way == "zero-shot"
    assert "onrails" in table.unused(WILDDASH)


def test_the_narrowest_class_decides() -> None:
    fine = space_of("fine", "road", "lane marking", "book", "bench")
    wide = space_of("wide", "road", "sign", "object")
    other = space_of("third", "road", "object")
    space = unify(
        [fine, wide, other],
        [
            {"fine": "road", "wide": "road", "third": "road"},
            {"fine": "lane marking", "wide": "road", "third": "road"},
            {"fine": "book", "wide": "sign", "third": "object"},
            {"wide": "sign", "third": "object"},
            {"wide": "object"},
            {"fine": "bench", "third": "road"},
        ],
    )
    assert table_of(space).classes == ("road", "roadmarking", None, "trafficsign", None, None)
    evidence = table_of(space).evidence
    assert "fine:lane marking" in evidence[1]
    assert "fine:book" in evidence[2]
    assert evidence[4] == "too wide"


def test_weak_links_have_no_vote() -> None:
    one, two = space_of("one", "car", "tree"), space_of("two", "boat", "wall")
    rows = [{"one": "car", "two": "boat"}, {"one": "tree"}, {"two": "wall"}]
    assert table_of(unify([one, two], rows, one_0=0.5, two_0=0.9)).classes[0] is None
    assert table_of(unify([one, two], rows, one_0=0.9, two_0=0.4)).classes[0] == "car"


def test_a_model_without_any_known_class_is_refused() -> None:
    space = unify([space_of("indoor", "bed", "sofa")], [{"indoor": "bed"}, {"indoor": "sofa"}])
    with pytest.raises(UniLabelError, match="--relations"):
        table_of(space)


def relations(path: Path, *entries: tuple[str, str, str]) -> Path:
    def side(text: str) -> dict[str, str]:
        return dict(zip(("dataset", "label"), text.split(":"), strict=True))

    data = [{"a": side(a), "b": side(b), "type": kind} for a, kind, b in entries]
    path.write_text(json.dumps({"relations": data}))
    return path


def test_relations_decide(tmp_path: Path) -> None:
    spaces = LabelSpaceSet(
        [space_of("a", "zone", "machine", "car"), space_of("b", "thingy", "tree", "cab")]
    )
    path = relations(
        tmp_path / "relations.json",
        ("a:zone", "subset", "wilddash2:curb"),
        ("wilddash2:tramtrack", "superset", "b:thingy"),
        ("b:cab", "subset", "a:car"),
        ("a:machine", "overlap", "wilddash2:car"),
        ("c:x", "equal", "wilddash2:sky"),
    )
    meanings = add_relations(meanings_by_name(spaces), spaces, path)
    scored = [m.scored if m and m.known else "?" for m in meanings]
    assert scored == ["sidewalk", "?", "car", "road", "vegetation", "car"]
    bad = relations(tmp_path / "bad.json", ("a:zone", "equal", "wilddash2:pavement"))
    with pytest.raises(UniLabelError, match="'pavement'"):
        add_relations(meanings_by_name(spaces), spaces, bad)
    bad.write_text('{"relations": [{"a": 1}]}')
    with pytest.raises(UniLabelError, match=r"relations\[0\]"):
        add_relations(meanings_by_name(spaces), spaces, bad)
    bad.write_text("[]")
    with pytest.raises(UniLabelError, match='list "relations"'):
        add_relations(meanings_by_name(spaces), spaces, bad)


def test_text_decides_only_about_unknown_classes() -> None:
    spaces = load_label_spaces(["viper", "scannet20"])
    plain = meanings_by_name(spaces)
    asked = add_text(plain, spaces, "hashed")
    assert len(asked) == len(plain)
    for before, after in zip(plain, asked, strict=True):
        if before is not None and before.known:
            assert after == before
        elif after != before:
            assert before is not None
            assert after is not None
            assert after.evidence.startswith("text ")


# --- tables -----------------------------------------------------------------------------------


def wilddash_space() -> UnifiedLabelSpace:
    own = space_of("wilddash2", "road", "roadmarking", "sky", "void")
    other = space_of("other", "road", "sky", "bed")
    return unify(
        [own, other],
        [
            {"wilddash2": "road", "other": "road"},
            {"wilddash2": "roadmarking", "other": "road"},
            {"wilddash2": "sky", "other": "sky"},
            {"wilddash2": "void", "other": "bed"},
            {"other": "bed"},
        ],
    )


def test_learned_links_and_a_learned_void_class() -> None:
    space = wilddash_space()
    table = learned_table(WILDDASH, space.label_spaces, space)
    assert table.classes == ("road", "roadmarking", "sky", None, None)
    assert table.values(WILDDASH) == [7, 38, 23, None, None]
    assert table.dataset == "wilddash2"
    heads = learned_table(WILDDASH, space.label_spaces, None)
    assert heads.space == "wilddash2"
    assert heads.classes == ("road", "roadmarking", "sky", None)


def test_learned_needs_the_dataset(toy_space: UnifiedLabelSpace) -> None:
    with pytest.raises(UniLabelError, match="not trained on 'wilddash2'"):
        learned_table(WILDDASH, toy_space.label_spaces, toy_space)


def test_an_edited_table_is_read_back(toy_space: UnifiedLabelSpace, tmp_path: Path) -> None:
    path = tmp_path / "mapping.json"
    table = table_of(toy_space)
    table.save(path)
    spaces = toy_space.label_spaces
    same = read_table(path, WILDDASH, spaces, toy_space)
    assert same.classes == table.classes
    data = json.loads(path.read_text())
    data["labels"][0]["class"] = None
    data["labels"][1]["class"] = "van"
    path.write_text(json.dumps(data))
    edited = read_table(path, WILDDASH, spaces, toy_space)
    assert edited.classes[:2] == (None, "van")
    assert edited.voids() == [
        name for name, own in zip(edited.labels, edited.classes, strict=True) if own is None
    ]
    assert edited.labels[0] in edited.voids()
    assert edited.way == "file"
    for change, words in (
        (lambda d: d["labels"][0].update({"class": "vann"}), "'vann'"),
        (lambda d: d["labels"][0].update({"class": ["van"]}), "class \\['van'\\]"),
        # none of these may make a label void unseen
        (lambda d: d["labels"][0].pop("class"), 'has no "class"; give it the name of a class, or'),
        (
            lambda d: d["labels"][0].update({"clas": d["labels"][0].pop("class")}),
            "unknown key 'clas'. Did you mean 'class'",
        ),
        (lambda d: d["labels"][0].update({"Class": "van"}), "unknown key 'Class'"),
        (
            lambda d: d["labels"][0].update({"value": 35}),
            "unknown key 'value'. Expected: id, label",
        ),
        (lambda d: d["labels"][0].update({"class": ""}), "class ''"),
        (lambda d: d["labels"][0].update({"class": False}), "class False"),
        (lambda d: d["labels"][0].update({"class": "void"}), "class 'void', expected null"),
        (lambda d: d.update(labels=None), 'list "labels"'),
        (lambda d: d["labels"].pop(), "18 labels"),
        (lambda d: d["labels"][0].update(label="x"), "not the 19"),
        (lambda d: d.update(benchmark="viper"), "'viper'"),
        (lambda d: d.update(space="toy_fine"), "unified labels"),
        (lambda d: d.update(dataset="x"), "unknown dataset"),
        (lambda d: d.update(version=9), "no mapping file"),
    ):
        wrong = json.loads(path.read_text())
        change(wrong)
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        with pytest.raises(UniLabelError, match=words):
            read_table(tmp_path / "wrong.json", WILDDASH, spaces, toy_space)
