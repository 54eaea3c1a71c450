"""Cells of benchmarks/compare.py that share their first stage equal whole runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

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
    done = program.start([*command, "--methods", "names", "ours", "--out", str(out)])
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
