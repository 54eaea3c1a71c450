"""What the labels of a model become in WildDash 2, and when a pixel is void."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.predictor import UniLabelPredictor, build_predictor
from unilabel.submission import wilddash
from unilabel.submission.class_names import add_relations, add_text, meanings_by_name
from unilabel.submission.formats import Benchmark, get_benchmark, input_stem
from unilabel.submission.label_table import LabelTable, learned_table, read_table
from unilabel.submission.labeller import Labeller
from unilabel.submission.void import VoidPolicy
from unilabel.submission.zero_shot import class_meanings, zero_shot_table
from unilabel.text.label_tables import builtin_names, load_label_spaces

REPOSITORY = Path(__file__).resolve().parents[2]
WILDDASH = get_benchmark("wilddash2")
NO_VOID = VoidPolicy(unmapped=False)

main: Callable[[list[str]], int] = runpy.run_path(str(REPOSITORY / "tools/wilddash_submit.py"))[
    "main"
]


def space_of(name: str, *classes: str) -> LabelSpace:
    colors = tuple(default_color(i) for i in range(len(classes)))
    texts = tuple(f"A {c} in a photo." for c in classes)
    return LabelSpace(name, classes, colors, descriptions=texts)


def unify(spaces: list[LabelSpace], rows: list[dict[str, str]], **weights: float):
    """A unified label space from {dataset: class} rows; weights by "row_dataset"."""
    joint = LabelSpaceSet(spaces)
    matrices = {s.name: torch.zeros(len(rows), s.num_classes) for s in spaces}
    values = torch.ones(len(rows), joint.total)
    for i, row in enumerate(rows):
        for dataset, name in row.items():
            matrices[dataset][i, joint.get(dataset).index(name)] = 1
            if f"{dataset}_{i}" in weights:
                offset = joint.class_offsets[joint.dataset_index(dataset)]
                values[i, offset + joint.get(dataset).index(name)] = weights[f"{dataset}_{i}"]
    return UnifiedLabelSpace.from_mapping(LabelMapping(joint, matrices), values)


def table_of(space: UnifiedLabelSpace) -> LabelTable:
    return zero_shot_table(space.label_spaces, space, class_meanings(space.label_spaces))


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
    assert edited.way == "file"
    for change, words in (
        (lambda d: d["labels"][0].update({"class": "vann"}), "'vann'"),
        (lambda d: d["labels"][0].update({"class": ["van"]}), "class \\['van'\\]"),
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


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        (["none"], VoidPolicy(False)),
        (["unmapped"], VoidPolicy(True)),
        (["unmapped", "threshold=0.4"], VoidPolicy(True, 0.4)),
        (["threshold=1"], VoidPolicy(False, 1.0)),
        (
            ["class=ade:floor", "class=b:x:y"],
            VoidPolicy(False, 0.0, (("ade", "floor"), ("b", "x:y"))),
        ),
    ],
)
def test_void_words(words: list[str], policy: VoidPolicy) -> None:
    assert VoidPolicy.parse(words) == policy
    assert VoidPolicy.parse(str(policy).split()) == policy


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["all"],
        ["threshold"],
        ["threshold=2"],
        ["threshold=x"],
        ["class=a"],
        ["none", "unmapped"],
    ],
)
def test_wrong_void_words(words: list[str]) -> None:
    with pytest.raises(UniLabelError, match="--void"):
        VoidPolicy.parse(words)


# --- pixels -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predictor(toy_weights: Path) -> UniLabelPredictor:
    return build_predictor(toy_weights)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (6, 8, 3), np.uint8)
    return np.repeat(np.repeat(coarse, 12, 0), 12, 1)[:70, :90].copy()


def city(spaces: LabelSpaceSet) -> Benchmark:
    """A benchmark that is a dataset of the toy model."""
    ids = {name: 10 + i for i, name in enumerate(spaces.get("toy_city").class_names)}
    return Benchmark("toy_city", 0, ids, input_stem, None)


@pytest.mark.parametrize("weights", ["toy_weights", "logit_sum_weights", "multi_head_weights"])
def test_learned_mapping_gives_the_answer_of_the_model(
    weights: str, image: np.ndarray, request: pytest.FixtureRequest
) -> None:
    predictor = build_predictor(request.getfixturevalue(weights))
    benchmark = city(predictor.model.label_spaces)
    table = learned_table(benchmark, predictor.model.label_spaces, predictor.label_space)
    result = Labeller(predictor, benchmark, table, NO_VOID)(image)
    expected = predictor.predict(image, "toy_city").labels + 10
    assert result.shape == image.shape[:2]
    assert (result == expected).mean() > 0.999  # up to rounding where two classes are equal


def test_probabilities_against_a_plain_computation(
    predictor: UniLabelPredictor, image: np.ndarray
) -> None:
    table = table_of(predictor.label_space)
    values = table.values(WILDDASH)
    values[values.index(26)] = None  # no car: its label competes as void
    classes = tuple(None if v is None else WILDDASH.class_of(v) for v in values)
    table = LabelTable("wilddash2", "file", "unified", "", table.labels, classes, table.evidence)
    with torch.inference_mode():
        embedding = predictor.encode(image).embedding
        scores = predictor.model.uni_head.unified_logits(embedding)
        full = F.interpolate(scores, image.shape[:2], mode="bilinear", align_corners=True)[0]
        probability = full.softmax(0).numpy()
    ids = sorted({v for v in values if v is not None})
    summed = np.stack([probability[[v == i for v in values]].sum(0) for i in ids])
    void = probability[[v is None for v in values]].sum(0)
    best, plain = summed.max(0), np.array(ids, np.uint8)[summed.argmax(0)]
    close = np.abs(np.sort(summed, 0)[-2] - best) < 1e-5

    def check(policy: VoidPolicy, expected: np.ndarray, unsure: np.ndarray) -> None:
        got = Labeller(predictor, WILDDASH, table, policy)(image)
        assert (got == expected)[~(close | unsure)].all()

    near = np.abs(void - best) < 1e-5
    check(NO_VOID, plain, near & False)
    check(VoidPolicy(), np.where(void > best, 0, plain), near)
    limit = float(np.median(best))
    edge = np.abs(best - limit) < 1e-5
    check(VoidPolicy(False, limit), np.where(best < limit, 0, plain), edge)
    both = np.where((best < limit) | (void > best), 0, plain)
    check(VoidPolicy(True, limit), both, edge | near)
    assert 0 < (both == 0).mean() < 1


def test_threshold_one_is_all_void(predictor: UniLabelPredictor, image: np.ndarray) -> None:
    table = table_of(predictor.label_space)
    assert not Labeller(predictor, WILDDASH, table, VoidPolicy(False, 1.0))(image).any()
    assert Labeller(predictor, WILDDASH, table, NO_VOID)(image).all()


def test_a_learned_void_class_is_void(predictor: UniLabelPredictor, image: np.ndarray) -> None:
    table = table_of(predictor.label_space)
    plain = Labeller(predictor, WILDDASH, table, NO_VOID)(image)
    space = predictor.label_space
    value = int(np.bincount(plain.reshape(-1)).argmax())
    row = table.values(WILDDASH).index(value)
    column = int(space.mapping.class_of("toy_city")[row])
    name = space.label_spaces.get("toy_city").class_names[column]
    void = VoidPolicy(False, 0.0, (("toy_city", name),))
    result = Labeller(predictor, WILDDASH, table, void)(image)
    assert (result == 0).any()
    assert (plain[result != 0] == result[result != 0]).mean() > 0.9
    with pytest.raises(UniLabelError, match="no class 'nothing'"):
        Labeller(predictor, WILDDASH, table, VoidPolicy(False, 0.0, (("toy_city", "nothing"),)))


def test_void_labels_of_a_model_that_sums_logits(
    logit_sum_weights: Path, image: np.ndarray
) -> None:
    predictor = build_predictor(logit_sum_weights)
    table = table_of(predictor.label_space)
    classes = tuple(c if c != "road" else None for c in table.classes)
    table = LabelTable("wilddash2", "file", "unified", "", table.labels, classes, table.evidence)
    with_void = Labeller(predictor, WILDDASH, table, VoidPolicy())(image)
    without = Labeller(predictor, WILDDASH, table, NO_VOID)(image)
    assert without.all()
    assert (with_void[with_void != 0] == without[with_void != 0]).all()


def test_one_head_answers(multi_head_weights: Path, image: np.ndarray) -> None:
    predictor = build_predictor(multi_head_weights)
    spaces = predictor.model.label_spaces
    meanings = class_meanings(spaces)
    with pytest.raises(UniLabelError, match="--space"):
        zero_shot_table(spaces, None, meanings)
    table = zero_shot_table(spaces, None, meanings, "toy_city")
    assert table.values(WILDDASH)[:3] == [23, 11, 7]
    result = Labeller(predictor, WILDDASH, table, VoidPolicy())(image)
    assert set(np.unique(result)) <= {0, *WILDDASH.ids.values()}
    void = VoidPolicy(False, 0.0, (("toy_city", "sky"),))
    assert 23 not in np.unique(Labeller(predictor, WILDDASH, table, void)(image))
    with pytest.raises(UniLabelError, match="toy_fine"):
        Labeller(predictor, WILDDASH, table, VoidPolicy(False, 0.0, (("toy_fine", "sky"),)))


def test_a_benchmark_without_void(predictor: UniLabelPredictor, image: np.ndarray) -> None:
    spaces = predictor.model.label_spaces
    benchmark = Benchmark("toy_city", None, city(spaces).ids, input_stem, None)
    table = learned_table(benchmark, spaces, predictor.label_space)
    with pytest.raises(UniLabelError, match="--void none"):
        Labeller(predictor, benchmark, table, VoidPolicy())
    assert Labeller(predictor, benchmark, table, NO_VOID)(image).min() >= 10


# --- the tool ---------------------------------------------------------------------------------


def test_the_tool_prints_and_writes_the_mapping(
    toy_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mapping.json"
    assert main(["--weights", str(toy_weights), "--write-mapping", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "lane marking" in printed
    assert "23  sky  " in printed
    assert json.loads(path.read_text())["labels"][0]["class"] == "sky"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--images", "x", "--output", "x.zip"], "--weights is missing"),
        (["--weights", "W", "--mapping", "learned"], "not trained on"),
        (["--weights", "W", "--mapping", "nearest"], "--mapping 'nearest'"),
        (["--weights", "W", "--void", "some"], "--void 'some'"),
        (["--weights", "W"], "--images DIR"),
        (["--weights", "W", "--images", "nowhere", "--output", "x.zip"], "no such folder"),
        (["--weights", "W", "--images", "I", "--output", "x.tar"], "ending in .zip"),
        (["--weights", "W", "--images", "I", "--output", "x.zip", "--layout", "a"], "--layout a"),
        (["--weights", "nowhere.pth"], "no such checkpoint"),
        (["--check-only", "nowhere.zip"], "no such archive"),
    ],
)
def test_mistakes_are_told(
    options: list[str],
    words: str,
    toy_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from PIL import Image

    (tmp_path / "I").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "I/wd0000_100000.jpg")
    monkeypatch.chdir(tmp_path)
    assert main([str(toy_weights) if o == "W" else o for o in options]) == 2
    assert words in capsys.readouterr().err
