"""The scorer gives what the evaluation of cityscapesScripts gives, to rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.submission.scorer import CityscapesScorer, ScoredLabel, cityscapes_instances
from unilabel.submission.wilddash_scores import wilddash_labels

official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
LABELS = [label for label in official.labels if label.id >= 0]
SCORED = [label.id for label in LABELS if not label.ignoreInEval]
THINGS = [label.id for label in LABELS if label.hasInstances]
KEYS = {
    "miou_class": "averageScoreClasses",
    "iiou_class": "averageScoreInstClasses",
    "miou_category": "averageScoreCategories",
    "iiou_category": "averageScoreInstCategories",
}

Maps = list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # prediction, ground truth, instances


def noise(random: np.random.Generator) -> Maps:
    """Every pixel at random, also void ids; instances are scattered pixels."""
    frames = []
    for _ in range(3):
        truth = random.integers(0, 34, (40, 60))
        prediction = np.where(
            random.random((40, 60)) < 0.6, truth, random.integers(0, 34, (40, 60))
        )
        number = random.integers(0, 4, (40, 60))
        instances = np.where(np.isin(truth, THINGS), truth * 1000 + number, truth)
        frames.append((prediction, truth, instances))
    return frames


def blocks(random: np.random.Generator) -> Maps:
    """Rectangles as in a street: instances of many sizes, groups, shifted predictions."""
    frames = []
    for _ in range(4):
        truth = np.full((80, 120), 7)
        truth[:20], truth[20:40, 30:90], truth[70:] = 23, 11, 1
        instances = truth.copy()
        for number in range(14):
            class_id = int(random.choice(THINGS))
            y, x = random.integers(0, 70), random.integers(0, 110)
            h, w = random.integers(1, 30), random.integers(1, 40)
            truth[y : y + h, x : x + w] = class_id
            # every fourth is a group of things that cannot be told apart: no instance
            instances[y : y + h, x : x + w] = class_id * (1 if number % 4 == 3 else 1000) + (
                0 if number % 4 == 3 else number
            )
        prediction = np.roll(truth, (2, -3), (0, 1))
        prediction[50:60, 50:70] = 0
        frames.append((prediction, truth, instances))
    return frames


def few_classes(random: np.random.Generator) -> Maps:
    """Classes that are only predicted, only in the ground truth, or in neither."""
    truth = np.full((30, 30), 7)
    truth[10:20, 5:25], truth[25:] = 26, 4
    instances = truth.copy()
    instances[10:20, 5:15], instances[10:20, 15:25] = 26001, 26002
    prediction = truth.copy()
    prediction[:5], prediction[10:15, 5:10], prediction[10:12, 15:20] = 8, 27, 0
    return [(prediction, truth, instances)]


def no_instance(random: np.random.Generator) -> Maps:
    """Things that are no instances, so that the instance scores have only false positives."""
    truth = np.full((20, 20), 7)
    truth[5:10] = 24
    prediction = np.roll(truth, 3, 0)
    return [(prediction, truth, truth.copy())]


def official_scores(frames: Maps, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    if not hasattr(np, "in1d"):  # removed from NumPy 2.4
        monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    predictions, truths = [], []
    for i, (prediction, truth, instances) in enumerate(frames):
        paths = [str(folder / f"{i}_{kind}.png") for kind in ("pred", "labelIds", "instanceIds")]
        Image.fromarray(prediction.astype(np.uint8)).save(paths[0])
        Image.fromarray(truth.astype(np.uint8)).save(paths[1])
        Image.fromarray(instances.astype(np.int32)).save(paths[2])
        predictions.append(paths[0])
        truths.append(paths[1])
    monkeypatch.setattr(official.args, "quiet", True)
    monkeypatch.setattr(official.args, "JSONOutput", False)
    return official.evaluateImgLists(predictions, truths, official.args)


def our_scores(frames: Maps) -> CityscapesScorer:
    scorer = CityscapesScorer(
        [ScoredLabel(b.id, b.name, b.category, not b.ignoreInEval, b.hasInstances) for b in LABELS]
    )
    for prediction, truth, instances in frames:
        scorer.add(prediction, truth, cityscapes_instances(instances))
    return scorer


@pytest.mark.parametrize("make", [noise, blocks, few_classes, no_instance])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_cityscapes_scripts(
    make: Callable[[np.random.Generator], Maps],
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = make(np.random.default_rng(seed))
    expected = official_scores(frames, tmp_path, monkeypatch)
    scores = our_scores(frames).scores(sizes=official.args.avgClassSize)
    for ours, theirs in KEYS.items():
        assert scores.averages[ours] == pytest.approx(expected[theirs], abs=1e-6, nan_ok=True), ours
    for ours, theirs in (
        (scores.iou, "classScores"),
        (scores.instance_iou, "classInstScores"),
        (scores.category_iou, "categoryScores"),
        (scores.category_instance_iou, "categoryInstScores"),
    ):
        for name, value in expected[theirs].items():
            assert ours.get(name, math.nan) == pytest.approx(value, abs=1e-6, nan_ok=True), name


def test_the_averages_are_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = official_scores(blocks(np.random.default_rng(0)), tmp_path, monkeypatch)
    assert all(0.1 < expected[key] < 0.999 for key in KEYS.values())


def test_average_sizes_are_those_of_the_instances() -> None:
    scorer = our_scores(few_classes(np.random.default_rng(0)))
    assert scorer.average_sizes() == {"car": 100.0}
    # 25 and 10 of 100 pixels are wrong; nothing else is called a car
    assert scorer.scores().instance_iou["car"] == pytest.approx((75 + 90) / 200)


def test_wilddash_with_and_without_the_disputed_class() -> None:
    scorer = CityscapesScorer(wilddash_labels())
    truth = np.full((10, 10), 7)
    truth[:4], truth[4:6] = 31, 26
    prediction = np.where(truth == 26, 31, truth)
    scorer.add(prediction, truth)
    full, less = scorer.scores(), scorer.scores(void=["onrails"])
    assert full.iou["onrails"] == pytest.approx(40 / 60)
    assert full.averages["miou_class"] == pytest.approx((1 + 40 / 60 + 0) / 3)
    assert "onrails" not in less.iou
    assert less.averages["miou_class"] == pytest.approx((1 + 0) / 2)
    assert len(full.iou) == 26
    assert len(less.iou) == 25
    # calling a car a train is right in its category
    assert full.category_iou["vehicle"] == 1.0
    assert set(full.category_instance_iou) == {"human", "vehicle"}


def test_wrong_input_is_named() -> None:
    scorer = CityscapesScorer(wilddash_labels())
    good = np.full((4, 4), 7)
    with pytest.raises(UniLabelError, match="prediction has the id 255"):
        scorer.add(np.full((4, 4), 255), good)
    with pytest.raises(UniLabelError, match="ground truth has the id 9"):
        scorer.add(good, np.full((4, 4), 9))
    with pytest.raises(UniLabelError, match=r"\(4, 5\)"):
        scorer.add(np.full((5, 4), 7), good)
    scorer.add(good, np.full((4, 4), 26), (np.ones((4, 4), int), np.array([0, 26])))
    with pytest.raises(UniLabelError, match="average instance size"):
        scorer.scores(sizes={"person": 5.0})
