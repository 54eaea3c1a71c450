"""Pixels get the values of a benchmark: sums over labels, void, and the tool around it."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from wilddash_spaces import table_of

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.reading import interpolated
from unilabel.predictor import UniLabelPredictor, build_predictor
from unilabel.submission.formats import Benchmark, get_benchmark, input_stem
from unilabel.submission.label_table import LabelTable, learned_table
from unilabel.submission.labeller import Labeller
from unilabel.submission.void import VoidPolicy
from unilabel.submission.zero_shot import class_meanings, zero_shot_table

REPOSITORY = Path(__file__).resolve().parents[2]
WILDDASH = get_benchmark("wilddash2")
NO_VOID = VoidPolicy(unmapped=False)

main: Callable[[list[str]], int] = runpy.run_path(str(REPOSITORY / "tools/wilddash_submit.py"))[
    "main"
]


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
        encoded = predictor.encode(image)
        scores = predictor.model.uni_head.unified_logits(encoded.embedding).permute(0, 2, 3, 1)
        axes = encoded.grid.axes(scores.shape[1:3], image.shape[:2])
        full = interpolated(scores, image.shape[:2], axes)[0].permute(2, 0, 1)
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
