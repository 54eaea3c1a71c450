"""Figures of a finished run: what their tools print and draw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unilabel.core.io import read_json, write_json
from unilabel.core.unified_space import UnifiedLabelSpace

pytestmark = pytest.mark.d2
ROOT = Path(__file__).resolve().parents[2]


def run(tool: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools" / tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_relations_are_counted_and_drawn(quick_run: Path, tmp_path: Path) -> None:
    space = quick_run / "label_space.json"
    links = UnifiedLabelSpace.load(space).mapping.links()
    names = UnifiedLabelSpace.load(space).label_spaces.label_names()
    pairs = links.triu(1).nonzero().tolist()
    known = [
        {
            "a": dict(zip(("dataset", "label"), names[a].split(":", 1), strict=True)),
            "b": dict(zip(("dataset", "label"), names[b].split(":", 1), strict=True)),
        }
        for a, b in pairs[1:]
    ]
    write_json(tmp_path / "known.json", {"relations": known})
    picture = tmp_path / "relations.png"
    arguments = ["--label-space", space, "--relations", tmp_path / "known.json"]
    done = run("relation_figure.py", *arguments, "--output", picture, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(known)} found and known, 0 missed, 1 found, not known\n"
    colors = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    assert (colors == (0x2C, 0x7F, 0xB8)).all(1).any()
    assert (colors == (0xB2, 0x18, 0x2B)).all(1).any()


def test_columns_of_the_figure_of_a_model(quick_run: Path, tmp_path: Path) -> None:
    weights = quick_run / "model_final.pth"
    names = list(read_json(quick_run / "results.json")["datasets"])
    sizes = []
    for columns in (["own"], ["photo", "harmonized", names[1]]):
        picture = tmp_path / f"{len(columns)}.png"
        arguments = ["--weights", weights, "--datasets", names[0], "--index", 0, 1]
        done = run(
            "make_figure.py", *arguments, "--columns", *columns, "--output", picture, cwd=quick_run
        )
        assert done.returncode == 0, done.stderr
        sizes.append(Image.open(picture).size)
    assert sizes[1][0] == pytest.approx(3 * sizes[0][0], rel=0.01)
    assert sizes[0][1] < sizes[1][1] < 2 * sizes[0][1]  # the legend of a second label space
    done = run(
        "make_figure.py",
        "--weights",
        weights,
        "--datasets",
        "moon",
        "--output",
        "a.png",
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "was not trained on moon, but on " in done.stderr
