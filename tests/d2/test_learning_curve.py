"""Cells of the learning curve: where they are kept."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest
from scripts import load_script

pytest.importorskip("detectron2")

from folder_datasets import write_folder

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("absolute", [True, False])
def test_cells_lie_in_their_folder_however_the_dataset_is_named(
    absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    curve = load_script("benchmarks/learning_curve.py")
    folder = write_folder(tmp_path / "sets" / "mine")
    cells = tmp_path / "cells"
    named = str(folder) if absolute else "sets/mine"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curve, "train_cell", lambda *_: {"miou": 50.0, "all": {}, "seconds": 1.0})
    args = argparse.Namespace(
        cells=cells, seeds=[3], datasets=[named], photos=[5], draws=[1], methods=["ours"]
    )
    assert curve.scratch_cells(args)
    before = {p for p in tmp_path.rglob("*.json") if cells not in p.parents}
    assert before == {folder / "classes.json"}
    cell = json.loads((cells / "mine_ours_seed3_5_1.json").read_text())
    assert (cell["dataset"], cell["model"], cell["miou"]) == ("mine", "seed3", 50.0)
