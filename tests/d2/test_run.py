"""Runs as functions: single models, evaluation of other data, what is reported and kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2")

from detectron2.config import CfgNode
from folder_datasets import write_folder
from small_runs import small_config, two_folders

from unilabel.core.errors import UniLabelError
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.examples import load_examples
from unilabel.data.images import read_image
from unilabel.engine import run
from unilabel.engine.checkpoint import CheckpointKeeper
from unilabel.engine.hooks import CheckpointHook
from unilabel.engine.trainer import UniLabelTrainer
from unilabel.predictor import build_predictor

pytestmark = pytest.mark.d2

SHORT = [["MULTI_HEAD", 2], ["GNN", 2], ["FINAL", 2]]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return two_folders(tmp_path)


def config(folders: list[Path], **values: Any) -> CfgNode:
    defaults = {
        "SCHEDULE": SHORT,
        "SOLVER__REFIT": True,
        "INPUT__TEST_SHORT_SIDE": 0,
        "LOG_PERIOD": 1,
    }
    cfg = small_config(folders, **{**defaults, **values})
    cfg.freeze()
    return cfg


def test_run_on_own_folders(folders: list[Path], tmp_path: Path) -> None:
    results = run.train(config(folders), "some.yaml", resume=False)
    out = tmp_path / "out"
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["config"] == "some.yaml"
    assert set(results["datasets"]["city"]["iou"]) == {"road", "car", "sky"}
    assert "relations" not in results
    # the last fit is no stage of the schedule: its steps are no iterations of the run
    assert [s["name"] for s in results["stages"]] == ["MULTI_HEAD", "GNN", "FINAL", "REFIT"]
    assert sum(s["iterations"] for s in results["stages"]) == 6
    assert results["stages"][-1]["steps"] == 2
    space = UnifiedLabelSpace.load(out / "label_space.json")
    assert space.mapping.checksum() == results["mapping_checksum"]
    # what the demo shows it with: the predictor of the file says the same energies
    examples = load_examples(out / "examples.json")
    assert {example.dataset for example in examples} == {"city", "idd"}
    predictor = build_predictor(out / "model_final.pth", optimize=False)
    for example in examples:
        energy = predictor.energy(predictor.encode(read_image(example.path)))
        assert energy == pytest.approx(example.energy, abs=1e-3)
    cfg = config(folders, MODEL__WEIGHTS=str(out / "model_final.pth"), OUTPUT_DIR=str(out / "eval"))
    again = run.evaluate(cfg, "some.yaml")
    assert again["datasets"] == results["datasets"]
    # one of the datasets alone, by the same file
    only = config(
        folders,
        MODEL__WEIGHTS=str(out / "model_final.pth"),
        OUTPUT_DIR=str(out / "only"),
        DATASETS__ONLY="['idd']",
    )
    assert run.evaluate(only, "x")["datasets"] == {"idd": results["datasets"]["idd"]}


def test_one_model_per_dataset(folders: list[Path], tmp_path: Path) -> None:
    cfg = config(
        folders, SINGLE_DATASET_MODELS=True, SCHEDULE=[["MULTI_HEAD", 2]], SOLVER__REFIT=False
    )
    results = run.train(cfg, "single.yaml", resume=False)
    out = tmp_path / "out"
    parts = {n: json.loads((out / n / "results.json").read_text()) for n in ("city", "idd")}
    assert results["datasets"] == {n: p["datasets"][n] for n, p in parts.items()}
    assert results["mean_miou"] == pytest.approx(
        (parts["city"]["mean_miou"] + parts["idd"]["mean_miou"]) / 2, abs=1e-3
    )
    assert [(s["name"], s["dataset"]) for s in results["stages"]] == [
        ("MULTI_HEAD", "city"),
        ("MULTI_HEAD", "idd"),
    ]
    assert json.loads((out / "results.json").read_text())["seed"] == 0
    assert (out / "idd" / "model_final.pth").is_file()
    assert not (out / "label_space.json").exists()
    # a finished baseline is only evaluated again
    again = run.train(cfg, "single.yaml", resume=True)
    assert again["datasets"] == results["datasets"]


def test_weights_of_other_classes_are_refused(folders: list[Path], tmp_path: Path) -> None:
    run.train(config(folders, SCHEDULE=[["MULTI_HEAD", 1]]), "x", resume=False)
    weights = str(tmp_path / "out" / "model_final.pth")
    other = write_folder(tmp_path / "other" / "idd", "street paint")
    with pytest.raises(UniLabelError, match="knows 'idd' with the classes road, marking; this"):
        run.evaluate(config([other], MODEL__WEIGHTS=weights), "x")
    new = write_folder(tmp_path / "ade", "road")
    with pytest.raises(UniLabelError, match="unknown dataset 'ade'; this label space knows: city"):
        run.evaluate(config([new], MODEL__WEIGHTS=weights), "x")


def test_files_of_later_stages_are_read_first(folders: list[Path], tmp_path: Path) -> None:
    def refused(message: str, **values: Any) -> None:
        with pytest.raises(UniLabelError, match=message):
            run.train(config(folders, **values), "x", resume=False)
        assert not (tmp_path / "out" / "last_checkpoint.json").exists()  # nothing was trained

    refused("no such file", DATASETS__RELATIONS="nowhere.json")
    refused(r"cannot read nowhere\.json", MODEL__LABEL_SPACE="nowhere.json", UNIFY__NODES="file")
    (tmp_path / "texts.safetensors").write_bytes(b"broken")
    refused(r"texts\.safetensors", TEXT__FEATURES=str(tmp_path / "texts.safetensors"))
    # without unified labels no texts are needed
    run.train(config(folders, SCHEDULE=[["MULTI_HEAD", 1]]), "x", resume=False)


def test_resume_without_checkpoint_starts_anew(folders: list[Path], caplog) -> None:
    with caplog.at_level("WARNING", logger="unilabel.engine.run"):
        run.train(config(folders, SCHEDULE=[["MULTI_HEAD", 1]]), "x", resume=True)
    assert "--resume: no checkpoint in" in caplog.text


def test_validation_without_any_label_has_no_score(folders: list[Path]) -> None:
    for folder in folders:
        for path in (folder / "labels" / "val").iterdir():
            cv2.imwrite(str(path), np.full((24, 32), 255, np.uint8))
    results = run.train(config(folders), "x", resume=False)
    assert results["mean_miou"] is None
    assert results["datasets"]["idd"]["miou"] is None
    text = run.report(results)
    assert "mean                   -               -" in text.splitlines()
    single = config(folders, SINGLE_DATASET_MODELS=True, SCHEDULE=[["MULTI_HEAD", 1]])
    assert run.train(single, "x", resume=False)["mean_miou"] is None


def test_report_lists_what_there_is() -> None:
    results = {
        "datasets": {"city": {"miou": 12.345}, "idd": {"miou": None}},
        "mean_miou": 12.345,
    }
    assert run.report(results).splitlines()[1:] == [
        "city               12.35               -",
        "idd                    -               -",
        "mean               12.35               -",
    ]
    results |= {
        "num_unified": 7,
        "mapping_checksum": "0123456789abcdef",
        "relations": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "num_related": 4},
        "unified": {"space": "unified", "atom_accuracy": 1, "atom_miou": 0.5, "hidden_iou": 0},
    }
    lines = run.report(results).splitlines()[4:]
    assert lines[0] == "unified labels: 7, mapping 0123456789abcdef"
    assert "precision 0.500, recall 0.250, F1 0.333 (4 related pairs)" in lines[1]
    assert "accuracy 1.000, mIoU 0.500, hidden IoU 0.000" in lines[2]


# --- hooks ---


def trainer_of(folders: list[Path], iterations: int) -> UniLabelTrainer:
    cfg = config(folders, SCHEDULE=[["MULTI_HEAD", iterations]])
    return UniLabelTrainer(cfg, run.build_sources(cfg))


def test_checkpoints_by_period_and_at_the_end_of_a_stage(folders, tmp_path: Path) -> None:
    trainer = trainer_of(folders, 7)
    saved = []

    class Keeper(CheckpointKeeper):
        def save(self, iteration: int, content: dict) -> None:
            saved.append((iteration, content["running"]))
            assert content["iteration"] == iteration

    trainer.register_hooks([CheckpointHook(Keeper(tmp_path, 2), 3)])
    trainer.train()
    assert saved == [(3, True), (6, True), (7, False)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_end_the_run(folders, tmp_path: Path, number: int) -> None:
    before = signal.getsignal(number)
    trainer = trainer_of(folders, 7)
    step = trainer.run_step

    def run_step() -> None:
        step()
        if trainer.iter == 1:
            os.kill(os.getpid(), number)

    trainer.run_step = run_step
    keeper = CheckpointKeeper(tmp_path / "kept", 2)
    trainer.register_hooks([CheckpointHook(keeper, 100)])
    try:
        with pytest.raises(SystemExit) as stop:
            trainer.train()
    finally:
        signal.signal(number, before)
    assert stop.value.code == 128 + number
    assert keeper.load_newest()["iteration"] == 2


@pytest.mark.parametrize("place", ["run_step", "after_step", "before_train"])
def test_signal_handlers_are_given_back_after_an_error(folders, tmp_path: Path, place) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    trainer = trainer_of(folders, 2)
    trainer.register_hooks([CheckpointHook(CheckpointKeeper(tmp_path / "kept", 2), 5)])
    original = getattr(trainer, place)

    def fails() -> None:
        original()
        raise ZeroDivisionError

    setattr(trainer, place, fails)
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_signal_handlers_are_given_back(folders, tmp_path: Path) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    trainer = trainer_of(folders, 1)
    trainer.register_hooks([CheckpointHook(CheckpointKeeper(tmp_path / "kept", 2), 5)])
    trainer.train()
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before
    assert torch.load(tmp_path / "kept" / "model_0000001.pth", weights_only=True)["version"] == 1


# --- what is expected ---


def test_expected_results_are_compared_after_everything_is_written(folders, tmp_path: Path) -> None:
    one = config(folders, SCHEDULE=[["MULTI_HEAD", 1]])
    found = run.train(one, "x", resume=False)
    (tmp_path / "out" / "results.json").unlink()
    city, mean = found["datasets"]["city"]["miou"], found["mean_miou"]
    good = [["city", "miou", city, 0.01], ["mean", "miou", mean + 1, 1.01]]
    again = config(folders, SCHEDULE=[["MULTI_HEAD", 1]], TEST__EXPECTED_RESULTS=good)
    assert run.train(again, "x", resume=True)["datasets"] == found["datasets"]
    bad = [*good, ["idd", "miou", 200, 0.5], ["mean", "unified_miou", 50, 1]]
    wrong = config(folders, SCHEDULE=[["MULTI_HEAD", 1]], TEST__EXPECTED_RESULTS=bad)
    (tmp_path / "out" / "results.json").unlink()
    message = rf"\[idd, miou, 200, 0\.5\]: found {found['datasets']['idd']['miou']}; \[mean, "
    with pytest.raises(UniLabelError, match=message + r"unified_miou, 50, 1\]: there is no such"):
        run.train(wrong, "x", resume=True)
    assert json.loads((tmp_path / "out" / "results.json").read_text())["mean_miou"] == mean
    weights = {"MODEL__WEIGHTS": str(tmp_path / "out" / "model_final.pth")}
    with pytest.raises(UniLabelError, match=r"EXPECTED_RESULTS do not hold: \[idd, miou, 200"):
        run.evaluate(config(folders, TEST__EXPECTED_RESULTS=bad[2:3], **weights), "x")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["kitti", "miou", 1, 1], "is about 'kitti', expected one of city, idd, mean, relations"),
        (["city", "mIoU", 1, 1], "names the metric 'mIoU', expected one of miou, unified_miou"),
        (["unified", "miou", 1, 1], "'miou', expected one of atom_accuracy, atom_miou, hidden_iou"),
        (["city", "miou", 1], r"expected rows \[dataset, metric, value, tolerance\]"),
        ([["city"], "miou", "1", 1], r"expected rows \[dataset, metric, value, tolerance\]"),
    ],
)
def test_expected_results_that_mean_nothing_are_refused_at_once(folders, tmp_path, row, message):
    with pytest.raises(UniLabelError, match=message):
        run.train(config(folders, TEST__EXPECTED_RESULTS=[row]), "x", resume=False)
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_model_is_written_before_it_is_scored(folders, tmp_path: Path, monkeypatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no scores")

    monkeypatch.setattr(run, "evaluate_model", fail)
    with pytest.raises(RuntimeError, match="no scores"):
        run.train(config(folders), "x", resume=False)
    out = tmp_path / "out"
    assert (out / "model_final.pth").is_file()
    assert UnifiedLabelSpace.load(out / "label_space.json").names
    assert not (out / "results.json").exists()


def test_folder_without_val_is_trained_and_not_scored(folders: list[Path], caplog) -> None:
    for kind in ("images", "labels"):
        shutil.rmtree(folders[0] / kind / "val")
    results = run.train(config(folders, SCHEDULE=[["MULTI_HEAD", 1]]), "x", resume=False)
    assert list(results["datasets"]) == ["idd"]
    assert results["mean_miou"] == results["datasets"]["idd"]["miou"]
    assert caplog.text.count("has no val part: it is trained on and not evaluated") == 1
    for kind in ("images", "labels"):
        shutil.rmtree(folders[1] / kind / "val")
    results = run.train(config(folders, SCHEDULE=[["MULTI_HEAD", 1]]), "x", resume=False)
    assert results["datasets"] == {}
    assert results["mean_miou"] is None
    assert "mean" in run.report(results)


def test_one_class_is_not_part_of_the_mean(folders: list[Path], caplog) -> None:
    for path in (folders[0] / "labels/val").iterdir():
        ids = np.asarray(Image.open(path))
        Image.fromarray(np.where(ids == 0, ids, 255).astype(np.uint8)).save(path)
    results = run.train(config(folders, SCHEDULE=[["MULTI_HEAD", 1]]), "x", resume=False)
    assert not results["datasets"]["city"]["counted"]
    assert results["datasets"]["city"]["unseen"] == ["car", "sky"]
    assert results["mean_miou"] == results["datasets"]["idd"]["miou"]
    assert "not in the mean: its labels hold fewer than two classes" in run.report(results)
    assert "its score is not part of the mean" in caplog.text
