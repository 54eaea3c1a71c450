"""Runs that are killed, stopped or spread over processes end like one that was left alone."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

import program
import torch

from unilabel.engine.checkpoint import load_file

pytestmark = pytest.mark.d2


def arguments(folder: Path, *more: str) -> list[str]:
    overrides = ["OUTPUT_DIR", str(folder), "SOLVER.CHECKPOINT_PERIOD", "4"]
    flags = [m for m in more if m.startswith("--")]
    rest = [m for m in more if not m.startswith("--")]
    return ["--config-file", program.QUICK, *flags, *overrides, *rest]


def assert_same_run(one: Path, two: Path) -> None:
    """Bit for bit: weights, label space, scores, notes."""
    a, b = (json.loads((f / "results.json").read_text(encoding="utf-8")) for f in (one, two))
    assert [s["iterations"] for s in a.pop("stages")] == [s["iterations"] for s in b.pop("stages")]
    assert a.pop("mapping_checksum") == b.pop("mapping_checksum")
    for results in (a, b):
        results.pop("git")
    assert a == b
    a, b = (load_file(f / "model_final.pth") for f in (one, two))
    assert a["label_space"] == b["label_space"]
    assert a["model"].keys() == b["model"].keys()
    for name, value in a["model"].items():
        assert torch.equal(value, b["model"][name]), name


@pytest.mark.faults
@pytest.mark.slow
def test_killed_in_every_kind_of_stage(quick_run: Path, tmp_path: Path) -> None:
    # checkpoints lie at multiples of 4 and at the ends of stages: 24, 32, 38, 46
    kills = {
        5: ("MULTI_HEAD", 4),
        30: ("GNN", 28),
        37: ("SEG", 36),
        50: ("FINAL before pruning", 48),
        54: ("FINAL after pruning", 52),
    }
    for iteration, (stage, checkpoint) in kills.items():
        resume = ["--resume"] if iteration > 5 else []
        done = program.train_net_until(iteration, signal.SIGKILL, *arguments(tmp_path, *resume))
        assert done.returncode == -signal.SIGKILL, f"{stage}: {done.stderr}"
        newest = json.loads((tmp_path / "last_checkpoint.json").read_text())["checkpoints"][-1]
        assert newest["iteration"] == checkpoint, stage
        assert not (tmp_path / "results.json").exists()
    # the last part with a worker process: it must not matter
    done = program.train_net(*arguments(tmp_path, "--resume", "DATALOADER.NUM_WORKERS", "1"))
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stdout
    assert_same_run(quick_run, tmp_path)


@pytest.mark.faults
@pytest.mark.slow
def test_stopped_by_a_scheduler(quick_run: Path, tmp_path: Path) -> None:
    done = program.train_net_until(34, signal.SIGTERM, *arguments(tmp_path))
    assert done.returncode == 128 + signal.SIGTERM
    assert "stopped by signal 15 at iteration 35; continue with --resume" in done.stdout
    assert "Traceback" not in done.stderr
    done = program.train_net(*arguments(tmp_path, "--resume"))
    assert done.returncode == 0, done.stderr
    assert_same_run(quick_run, tmp_path)
    # once more: a finished run is only evaluated again
    done = program.train_net(*arguments(tmp_path, "--resume"))
    assert done.returncode == 0, done.stderr
    assert "stage " not in done.stdout.split("resuming from")[1]
    assert_same_run(quick_run, tmp_path)


@pytest.mark.faults
@pytest.mark.slow
def test_damaged_newest_checkpoint(quick_run: Path, tmp_path: Path) -> None:
    done = program.train_net_until(30, signal.SIGKILL, *arguments(tmp_path))
    assert done.returncode == -signal.SIGKILL
    newest = tmp_path / "model_0000028.pth"
    newest.write_bytes(newest.read_bytes()[:-100])
    done = program.train_net(*arguments(tmp_path, "--resume"))
    assert done.returncode == 0, done.stderr
    assert "model_0000028.pth is missing or damaged; trying the checkpoint before" in done.stdout
    assert "model_0000024.pth" in done.stdout.split("resuming from")[1]
    assert_same_run(quick_run, tmp_path)


TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture(scope="module")
def run_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run by two processes."""
    folder = tmp_path_factory.mktemp("run_of_two")
    done = program.start([*TWO, "train_net.py", *arguments(folder)])
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_agree(run_of_two: Path, tmp_path: Path) -> None:
    results = json.loads((run_of_two / "results.json").read_text(encoding="utf-8"))
    assert results["processes"] == 2
    assert [s["name"] for s in results["stages"]] == [
        "MULTI_HEAD",
        "GNN",
        "SEG",
        "GNN",
        "FINAL",
        "REFIT",
    ]
    assert (run_of_two / "config.yaml").stat().st_size > 1000
    # every rank solved, simplified and pruned to the same mappings
    found = [
        re.findall(r"mapping ([0-9a-f]{16})", (run_of_two / name).read_text())
        for name in ("log.txt", "log.txt.rank1")
    ]
    assert found[0] == found[1]
    assert len(found[0]) >= 4
    assert found[0][-1] == results["mapping_checksum"]
    # each image is scored once, whichever rank sees it
    assert [e["images"] for e in results["datasets"].values()] == [4] * 4
    weights = str(run_of_two / "model_final.pth")
    done = program.train_net(*arguments(tmp_path, "--eval-only", "MODEL.WEIGHTS", weights))
    assert done.returncode == 0, done.stderr
    alone = json.loads((tmp_path / "results_eval.json").read_text(encoding="utf-8"))
    assert alone["datasets"] == results["datasets"]
    assert alone["unified"] == results["unified"]


@pytest.mark.ddp
@pytest.mark.faults
@pytest.mark.slow
def test_two_processes_resume(run_of_two: Path, tmp_path: Path) -> None:
    # both die in the SEG stage, which began at 32 and had a checkpoint at 36
    kill = [program.__file__, "end", "37", str(int(signal.SIGKILL))]
    done = program.start([*TWO, *kill, *arguments(tmp_path)])
    assert done.returncode != 0
    assert not (tmp_path / "results.json").exists()
    done = program.start([*TWO, "train_net.py", *arguments(tmp_path, "--resume")])
    assert done.returncode == 0, done.stderr
    assert "model_0000036.pth" in (tmp_path / "log.txt").read_text().split("resuming from")[1]
    assert_same_run(run_of_two, tmp_path)
