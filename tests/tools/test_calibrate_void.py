"""The threshold under which pixels are void: the sweep and its tool."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.predictor import build_predictor
from unilabel.submission.calibration import ThresholdSweep, best_point
from unilabel.submission.formats import get_benchmark
from unilabel.submission.labeller import Labeller
from unilabel.submission.negatives import (
    joint_miou,
)
from unilabel.submission.scorer import CityscapesScorer
from unilabel.submission.void import VoidPolicy
from unilabel.submission.wilddash_scores import wilddash_labels
from unilabel.submission.zero_shot import class_meanings, zero_shot_table

REPOSITORY = Path(__file__).resolve().parents[2]

calibrate: Callable[[list[str]], int] = runpy.run_path(str(REPOSITORY / "tools/calibrate_void.py"))[
    "main"
]


@pytest.fixture(scope="module")
def labeller(toy_weights: Path) -> Labeller:
    predictor = build_predictor(toy_weights)
    spaces = predictor.model.label_spaces
    table = zero_shot_table(spaces, predictor.label_space, class_meanings(spaces))
    return Labeller(predictor, get_benchmark("wilddash2"), table, VoidPolicy())


def photo(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return np.repeat(np.repeat(coarse, 12, 0), 12, 1).copy()


def test_the_sweep_equals_predictions_with_each_threshold(labeller: Labeller) -> None:
    random = np.random.default_rng(3)
    ids = np.array([0, 7, 23, 26, 11, 255], np.uint8)
    pairs = [(photo(i), ids[random.integers(0, 6, (60, 84))]) for i in range(3)]
    sweep = ThresholdSweep(labeller)
    for image, truth in pairs:
        sweep.add(image, truth)
    points = sweep.points(0.3)
    for step in (0, 5, 8, 20):
        exact = Labeller(
            labeller.predictor,
            labeller.benchmark,
            labeller.table,
            VoidPolicy(True, step / 100),
        )
        written = [exact(image) for image, _ in pairs]
        void = [(p[t == 0] == 0) for p, (_, t) in zip(written, pairs, strict=True)]
        kept = [(p[(t != 0) & (t != 255)] != 0) for p, (_, t) in zip(written, pairs, strict=True)]
        scorer = CityscapesScorer(wilddash_labels())
        for p, (_, t) in zip(written, pairs, strict=True):
            scorer.add(p, np.where(t == 255, 0, t))
        ious = [scorer.scores().iou[name] for name in ("road", "sky", "car", "building")]
        point = points[step]
        assert point.void == pytest.approx(np.concatenate(void).mean(), abs=1e-3)
        assert point.kept == pytest.approx(np.concatenate(kept).mean(), abs=1e-3)
        assert point.miou == pytest.approx(np.mean(ious), abs=1e-3)
        # the score is the joint count, over the classes that the ground truth holds
        table = scorer.confusion * 0
        for p, (_, t) in zip(written, pairs, strict=True):
            np.add.at(table, (t[t != 255], p[t != 255]), 1)
        shown = np.isin(np.arange(39), [0, 7, 23, 26, 11])
        kept_table = np.where(shown[None, :], table, 0)
        lost = np.zeros_like(table)
        lost[:, 0] = table[:, ~shown].sum(1)  # written as a class without ground truth: a miss
        both = kept_table + lost
        void_rows = np.where(np.arange(39)[:, None] == 0, both, 0)
        assert point.score == pytest.approx(joint_miou(both - void_rows, void_rows, 0.3), abs=1e-3)
    best = best_point(points)
    assert best.score == max(p.score for p in points)
    for kept in (0.5, 0.9, 1.0):
        mild = best_point(points, kept)
        usable = [p for p in points if p.kept >= kept * points[0].kept]
        assert mild.score == max(p.score for p in usable)
        assert mild in usable
    shares = [p.void for p in points]
    assert shares == sorted(shares)


def test_a_sweep_needs_both_kinds_of_pixels(labeller: Labeller) -> None:
    for value, words in ((0, "with a class"), (7, "known to be void")):
        sweep = ThresholdSweep(labeller)
        sweep.add(photo(0), np.full((60, 84), value, np.uint8))
        with pytest.raises(UniLabelError, match=words):
            sweep.points(0.5)


def test_the_threshold_tool(
    toy_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "mine"
    for part in ("images", "labels"):
        (root / part / "val").mkdir(parents=True)
    names = ["road", "sky", "bench", "sofa", "vehicle"]
    for i in range(4):
        Image.fromarray(photo(i)).save(root / f"images/val/{i}.png")
        ids = np.random.default_rng(i).integers(0, 5, (60, 84)).astype(np.uint8)
        Image.fromarray(ids).save(root / f"labels/val/{i}.png")
    classes = [{"id": i, "name": name} for i, name in enumerate(names)]
    (root / "classes.json").write_text(json.dumps({"name": "mine", "classes": classes}))
    output = tmp_path / "threshold.json"
    options = ["--weights", str(toy_weights), "--folders", str(root), "--output", str(output)]
    assert calibrate([*options, "--limit", "3"]) == 0
    printed = capsys.readouterr().out
    assert "mine: void: bench" in printed
    assert "mine: not used: sofa, vehicle" in printed
    threshold = json.loads(output.read_text())["threshold"]
    assert f"use: --void unmapped threshold={threshold:g}" in printed
    assert printed.startswith("size of the images for the network: ")
    assert (
        calibrate([*options, "--void-classes", "unknown", "--negative", str(root / "images")]) == 0
    )
    assert "mine: void: bench, sofa" in capsys.readouterr().out
    assert calibrate([*options, "--void", "threshold=0.5"]) == 2
    assert "leave it out" in capsys.readouterr().err
    assert calibrate([*options, "--void-classes", "mine:chair"]) == 2
    assert "no class 'chair'" in capsys.readouterr().err
    for wrong in ("-1", "nan", "inf"):
        assert calibrate([*options, f"--negative-weight={wrong}"]) == 2
        assert "expected 0 or more" in capsys.readouterr().err


def test_a_threshold_that_loses_the_classes_is_warned_of(
    toy_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A random model: nearly all is wrong, so the more void the better."""
    root = tmp_path / "mine"
    for part in ("images", "labels"):
        (root / part / "val").mkdir(parents=True)
    Image.fromarray(photo(0)).save(root / "images/val/0.png")
    labels = np.random.default_rng(0).integers(0, 2, (60, 84)).astype(np.uint8)
    Image.fromarray(labels).save(root / "labels/val/0.png")
    classes = [{"id": i, "name": name} for i, name in enumerate(["road", "sky"])]
    (root / "classes.json").write_text(json.dumps({"name": "mine", "classes": classes}))
    negative = tmp_path / "negative"
    negative.mkdir()
    for i in range(4):
        Image.fromarray(photo(i)).save(negative / f"{i}.png")
    output = tmp_path / "t.json"
    options = ["--weights", str(toy_weights), "--folders", str(root), "--output", str(output)]
    more = ["--negative", str(negative), "--void", "none"]
    assert calibrate([*options, *more, "--negative-weight", "50"]) == 0
    printed = capsys.readouterr().out
    found = json.loads(output.read_text())
    points = {p["threshold"]: p for p in found["points"]}
    best, mild = points[found["threshold"]], points[found["threshold_that_keeps"]]
    assert best["kept"] < 0.9 <= mild["kept"]
    assert (
        f"warning: threshold={best['threshold']:g} keeps {100 * best['kept']:.1f} % of the labelled"
        in printed
    )
    assert f"keeps 90 % of them: --void threshold={mild['threshold']:g}" in printed
    assert calibrate([*options, *more, "--negative-weight", "0"]) == 0
    found = json.loads(output.read_text())
    warned = "warning:" in capsys.readouterr().out
    assert warned == (found["threshold"] != found["threshold_that_keeps"])
