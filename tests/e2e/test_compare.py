"""Cells of benchmarks/compare.py that share their first stage equal whole runs."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

import program
import torch

from unilabel.engine.checkpoint import load_file

pytestmark = pytest.mark.d2


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("comparison")
    command = [sys.executable, "benchmarks/compare.py", "--config", program.QUICK]
    done = program.start([*command, "--methods", "names", "ours", "--jobs", "2", "--out", str(out)])
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_a_cell_from_the_shared_stem_equals_an_uninterrupted_run(
    comparison: Path, quick_run: Path
) -> None:
    cell, whole = comparison / "ours_0", quick_run
    ours, expected = (load_file(f / "model_final.pth")["model"] for f in (cell, whole))
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    ours, expected = (json.loads((f / "results.json").read_text()) for f in (cell, whole))
    assert ours["datasets"] == expected["datasets"]
    assert [s["iterations"] for s in ours["stages"]] == [
        s["iterations"] for s in expected["stages"]
    ]


def assert_same(one: Any, two: Any) -> None:
    """Nested plain values and tensors."""
    assert type(one) is type(two)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, list):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    else:
        assert one == two


def test_the_first_stage_is_trained_once(comparison: Path) -> None:
    assert sorted(p.name for p in comparison.iterdir() if p.is_dir()) == [
        "names_0",
        "ours_0",
        "stem_0",
    ]
    for name in ("names_0", "ours_0"):
        assert "stage MULTI_HEAD" not in (comparison / name / "log.txt").read_text()


def test_the_table_has_a_row_for_each_method(comparison: Path) -> None:
    rows = (comparison / "table.md").read_text().splitlines()
    assert [r.split("|")[1].strip() for r in rows if r.startswith("| ")][2:] == ["names", "ours"]
    assert (comparison / "table.png").stat().st_size > 1000


def test_a_stem_taken_from_the_multi_head_run_equals_one_that_ended_there(tmp_path: Path) -> None:
    keys = ["SOLVER.DECAY_ITERS", "40", "SOLVER.CHECKPOINT_PERIOD", "12"]
    keys += ["SOLVER.WARMUP_ITERS", "2"]
    command = [sys.executable, "benchmarks/compare.py", "--config", program.QUICK, "--set", *keys]
    command += ["--out", str(tmp_path / "runs"), "--cells", str(tmp_path / "cells")]
    done = program.start([*command, "--methods", "multi_head", "names"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stem_0: taken from multi_head_0" in done.stdout
    options = ["SCHEDULE", '[["MULTI_HEAD", 24]]', "SOLVER.REFIT", "False", *keys]
    options += ["OUTPUT_DIR", str(tmp_path / "alone")]
    done = program.train_net("--config-file", program.QUICK, *options)
    assert done.returncode == 0, done.stderr
    taken, alone = (
        load_file(folder / "model_0000024.pth")
        for folder in (tmp_path / "runs/stem_0", tmp_path / "alone")
    )
    assert taken["model"].keys() == alone["model"].keys()
    assert all(torch.equal(taken["model"][n], alone["model"][n]) for n in alone["model"])
    for name in ("running", "optimizer", "iteration", "num_unified"):
        assert taken[name] == alone[name]
    assert_same(taken["last_optimizer"], alone["last_optimizer"])
    assert taken["unifier"]["learner"] is alone["unifier"]["learner"] is None
    assert [(r["name"], r["iterations"]) for r in taken["records"]] == [("MULTI_HEAD", 24)]

    # the results alone are enough for the table, and count as finished
    shutil.rmtree(tmp_path / "runs")
    done = program.start([*command, "--methods", "multi_head", "names"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("finished before, in") == 2
    assert [r.split("|")[1].strip() for r in done.stdout.splitlines() if r.startswith("| ")][
        2:
    ] == [
        "multi_head",
        "names",
    ]
