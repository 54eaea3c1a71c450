"""Scores in the course of a run: when, what is kept, and that the run does not notice."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("detectron2")

from detectron2.config import CfgNode
from small_runs import small_config, two_folders

from unilabel.core.errors import UniLabelError
from unilabel.engine import run, validation
from unilabel.engine.checkpoint import load_file
from unilabel.engine.loading import load_model
from unilabel.engine.trainer import UniLabelTrainer
from unilabel.engine.undisturbed import undisturbed

pytestmark = pytest.mark.d2

SCHEDULE = [["MULTI_HEAD", 5], ["GNN", 4], ["FINAL", 8]]
SCORED = [2, 4, 10, 12, 14, 16]  # after 2, 4, ... network iterations
WIDE = {"TEST__EVAL_PERIOD": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return two_folders(tmp_path_factory.mktemp("datasets"))


def config(folders: list[Path], output: Path, **values: Any) -> CfgNode:
    defaults = {
        "SCHEDULE": SCHEDULE,
        "SOLVER__REFIT": True,
        "UNIFY__PRUNE_AT": 0.25,
        "GRAPH__DROPOUT": 0.5,
        "LOG_PERIOD": 3,
    }
    return small_config(folders, output, **{**defaults, **values})


@pytest.fixture(scope="module")
def plain(folders, tmp_path_factory) -> Path:
    """A run without scores on the way."""
    out = tmp_path_factory.mktemp("plain")
    run.train(config(folders, out), "x", resume=False)
    return out


@pytest.fixture(scope="module")
def scored(folders, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("scored")
    run.train(config(folders, out, **WIDE), "x", resume=False)
    return out


def results_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def assert_same_weights(one: Path, two: Path) -> None:
    a, b = load_file(one)["model"], load_file(two)["model"]
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_scores_do_not_change_the_run(plain: Path, scored: Path) -> None:
    assert_same_weights(plain / "model_final.pth", scored / "model_final.pth")
    one, two = results_of(plain), results_of(scored)
    assert two["datasets"] == one["datasets"]
    assert two["notes"] == one["notes"]
    assert "validation" not in one
    assert "best" not in one
    assert not (plain / "model_best.pth").exists()
    assert not (plain / "miou.png").exists()


def test_what_is_scored_when(scored: Path) -> None:
    entries = results_of(scored)["validation"]
    assert [e["iteration"] for e in entries] == SCORED
    assert [e["space"] for e in entries] == ["heads"] * 2 + ["unified"] * 4
    for entry in entries:
        assert set(entry["datasets"]) == {"city", "idd"}
        mean = sum(entry["datasets"].values()) / 2
        assert entry["mean_miou"] == pytest.approx(mean, abs=1e-3)


def test_curves_stand_in_metrics_tensorboard_and_a_picture(scored: Path) -> None:
    lines = [json.loads(t) for t in (scored / "metrics.json").read_text().splitlines()]
    found = {line["iteration"] + 1: line for line in lines if "mean_miou" in line}
    assert list(found) == SCORED
    for entry in results_of(scored)["validation"]:
        line = found[entry["iteration"]]
        assert line["mean_miou"] == entry["mean_miou"]
        assert {k: line[f"miou/{k}"] for k in entry["datasets"]} == entry["datasets"]
    event = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = event.EventAccumulator(str(scored)).Reload()
    assert [e.step + 1 for e in events.Scalars("miou/idd")] == SCORED
    assert cv2.imread(str(scored / "miou.png")).shape[2] == 3
    assert not list(scored.glob(".miou*"))


def test_the_best_model_is_kept_as_it_was(scored: Path, folders, tmp_path: Path) -> None:
    results = results_of(scored)
    best = results["best"]
    unified = [e for e in results["validation"] if e["space"] == "unified"]
    assert best["mean_miou"] == max(e["mean_miou"] for e in unified)
    assert best["file"] == "model_best.pth"
    _, space = load_model(scored / "model_best.pth")
    assert space is not None
    weights = {"MODEL__WEIGHTS": str(scored / "model_best.pth")}
    again = run.evaluate(config(folders, tmp_path, **weights), "x")
    assert again["mean_miou"] == best["mean_miou"]
    assert f"best while training: {best['mean_miou']:.2f} at iteration" in run.report(results)


@pytest.mark.parametrize("iteration", [3, 9, 12, 15])
def test_interrupted_run_has_the_same_scores(scored, folders, tmp_path, monkeypatch, iteration):
    step = UniLabelTrainer.run_step

    def stopped(trainer: UniLabelTrainer) -> None:
        step(trainer)
        if trainer.iter == iteration:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(UniLabelTrainer, "run_step", stopped)
        with pytest.raises(SystemExit):
            run.train(config(folders, tmp_path, **WIDE), "x", resume=False)
    signal.signal(signal.SIGTERM, before)
    run.train(config(folders, tmp_path, **WIDE), "x", resume=True)
    one, two = results_of(scored), results_of(tmp_path)
    assert (two["validation"], two["best"]) == (one["validation"], one["best"])
    for name in ("model_best.pth", "model_final.pth"):
        assert_same_weights(scored / name, tmp_path / name)


# --- patience ---


def scores_of(values: list[float]) -> Any:
    """Scores that fall or rise as a case needs; the network's own say nothing on tiny data."""
    waiting = iter(values)

    def score(cfg: Any, model: Any, sources: Any, mapping: Any) -> dict[str, Any]:
        value = next(waiting)
        return {"datasets": {s.name: {"miou": value} for s in sources}, "mean_miou": value}

    return score


def test_last_stage_ends_when_nothing_becomes_better(folders, tmp_path, monkeypatch) -> None:
    # Two scores of the heads, one in FINAL before its links are pruned (which does not count).
    monkeypatch.setattr(validation, "score_datasets", scores_of([9, 9, 9, 5, 4, 3, 2, 1]))
    values = {"TEST__EVAL_PERIOD": 1, "TEST__PATIENCE": 2, "UNIFY__PRUNE_AT": 0.1}
    values["SCHEDULE"] = [["MULTI_HEAD", 2], ["GNN", 4], ["FINAL", 12]]
    results = run.train(config(folders, tmp_path, **values), "x", resume=False)
    stages = [(s["name"], s["iterations"]) for s in results["stages"] if s["name"] != "REFIT"]
    assert stages == [("MULTI_HEAD", 2), ("GNN", 4), ("FINAL", 4)]
    assert [e["iteration"] for e in results["validation"]] == [1, 2, 7, 8, 9, 10]
    note = "FINAL ended at iteration 10 of 18: no better mean mIoU in 2 scores (TEST.PATIENCE)"
    assert note in results["notes"]
    assert (results["best"]["iteration"], results["best"]["mean_miou"]) == (7, 9)
    assert load_file(tmp_path / "model_0000010.pth")["iteration"] == 10
    # a resumed run is at its end
    again = run.train(config(folders, tmp_path, **values), "x", resume=True)
    assert again["stages"][:3] == results["stages"][:3]
    assert again["validation"] == results["validation"]
    # without patience it goes on
    monkeypatch.setattr(validation, "score_datasets", scores_of([1] * 9))
    values["TEST__PATIENCE"] = 0
    on = run.train(config(folders, tmp_path, **values), "x", resume=True)
    assert sum(s["iterations"] for s in on["stages"] if s["name"] != "REFIT") == 18


def test_patience_without_scores_is_refused(folders, tmp_path: Path) -> None:
    for key, value in (("PATIENCE", 2), ("PATIENCE", -1), ("EVAL_PERIOD", -1)):
        with pytest.raises(UniLabelError, match=f"TEST.{key}"):
            config(folders, tmp_path, **{f"TEST__{key}": value})


def test_undisturbed_puts_everything_back() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout())
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    expected = (torch.rand(2), random.random(), np.random.rand())
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    with undisturbed(model):
        model.train()
        model(torch.randn(2, 3, 4, 4))
        random.random(), np.random.rand()
        assert int(model[1].num_batches_tracked) == 1
    assert [m.training for m in model] == [True, False, True]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.rand(2), expected[0])
    assert (random.random(), np.random.rand()) == expected[1:]
