"""Imports that tests make, and whether they hold what was drawn."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import export_pictures as scenes
import numpy as np
from export_pictures import NAMES
from PIL import Image

from unilabel.core.label_space import IGNORE
from unilabel.importers.prepare import Request, prepare
from unilabel.importers.write import Summary, write

ROOT = Path(__file__).parents[2]


def run(source: Path, target: Path, **request: Any) -> Summary:
    return write(prepare(source, Request(**request)), target)


def check(folder: Path, counts: dict[str, int] | None = None, background: str = "") -> None:
    """Import and compare the labelled pixels of every photo with those drawn."""
    target = folder.with_name("checked")
    summary = run(folder, target)
    assert summary.counts == (counts or {"train": 3, "val": 2}), summary
    entries = json.loads((target / "classes.json").read_text(encoding="utf-8"))["classes"]
    order = {entry["name"]: entry["id"] for entry in entries}
    assert set(NAMES) <= set(order)
    table = np.full(256, order[background] if background else IGNORE, np.uint8)
    table[: len(NAMES)] = [order[name] for name in NAMES]
    drawn = {p.stem.split()[-1]: p.ids for p in scenes.draw()}
    for path in target.glob("labels/*/*.png"):
        digits = next(d for d in drawn if d in re.split(r"\D+", path.stem))
        labelled = drawn[digits] != scenes.VOID
        got = np.array(Image.open(path))
        np.testing.assert_array_equal(got[labelled], table[drawn[digits]][labelled])


def train(folders: list[Path], output: Path) -> dict[str, Any]:
    """Results of a short training on exports as they are, by the command that a person types."""
    command = [sys.executable, "-W", "ignore", "train_net.py"]
    command += ["--config-file", "configs/quick/toy.yaml", "OUTPUT_DIR", str(output)]
    command += ["DATASETS.TOY", "False", "DATASETS.CUSTOM", str([str(f) for f in folders])]
    command += ["SCHEDULE", "[['MULTI_HEAD', 2], ['GNN', 2], ['SEG', 2], ['FINAL', 2]]"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results: dict[str, Any] = json.loads((output / "results.json").read_text())
    return results


def names_in(folder: Path) -> None:
    """The names that VOC lacks, as a file of a request; a class list that is found elsewhere."""
    folder.with_name("names.txt").write_text("\n".join(NAMES))
