"""Benchmarks of harmonising: results that are kept, their table, the memory of a long run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("detectron2")

from unilabel.core.synthetic import write_toy_world
from unilabel.harmonize.options import Options

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return __import__(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    saved = sys.modules.pop("harmonize", None)  # a tool has the same name
    module = load("harmonize")
    del sys.modules["harmonize"]
    if saved is not None:
        sys.modules["harmonize"] = saved
    return module


def row(bench: ModuleType, accuracy: float) -> dict[str, dict[str, object]]:
    score = bench.Score(accuracy, accuracy / 2, {})
    return {"a in b, val": {"free": score, "constrained": score}}


def test_results_are_kept_and_stand_in_one_table(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(("val",), short_side=240)
    for name, accuracy in (("run_0", 0.8), ("run_1", 0.9)):
        bench.kept(tmp_path / "cells", [name], "a in b", options, lambda a=accuracy: row(bench, a))
    alone = row(bench, 0.95)
    del alone["a in b, val"]["free"]
    bench.kept(tmp_path / "cells", ["run_0", "run_1"], "a in b", options, lambda: alone)
    bench.kept(tmp_path / "cells", ["run_0"], "a in b", options, pytest.fail)  # is there already
    page = tmp_path / "page.md"
    page.write_text(
        f"before\n<!-- table:{bench.TABLE} -->\nold\n<!-- end:{bench.TABLE} -->\nafter\n"
    )
    command = ["bench", "--cells", str(tmp_path / "cells"), "--markdown", str(page)]
    monkeypatch.setattr(sys, "argv", command)
    assert bench.main() == 0
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert lines[4] == (
        "| a in b, val | short side 240 | run_0, run_1 | 0.8500 (0.800 to 0.900) / 0.4250 (0.400 "
        "to 0.450) | **0.8500 (0.800 to 0.900) / 0.4250 (0.400 to 0.450)** |"
    )
    assert lines[5].endswith(
        "run_0 + run_1 (mean of the probabilities) | - | **0.9500 / 0.4750** |"
    )
    assert "old" not in page.read_text()


def test_photos_against_a_finer_truth(
    bench: ModuleType, toy_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The truth of toy_city in its own classes: what is certain is right."""
    write_toy_world(tmp_path / "world", 1, 1, 1)
    folder = tmp_path / "world/toy_city"
    command = ["bench", "--photos", str(folder), "--space", "toy_city", "--splits", "val"]
    command += ["--truth", str(folder / "labels"), "--cells", str(tmp_path / "cells"), "--weights"]
    monkeypatch.setattr(sys, "argv", [*command, str(toy_weights)])
    assert bench.main() == 0
    (file,) = (tmp_path / "cells").iterdir()
    scores = json.loads(file.read_text())["rows"]["toy_city in toy_city, val"]
    assert scores["constrained"]["accuracy"] == 1
    assert scores["free"]["accuracy"] < 1
    monkeypatch.setattr(sys, "argv", [*command, str(toy_weights), str(toy_weights), "--mean"])
    assert bench.main() == 0
    assert len(list((tmp_path / "cells").iterdir())) == 2


def test_memory_is_measured_over_the_whole_run(
    toy_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = load("harmonize_memory")
    monkeypatch.setattr(memory, "EACH", 10)
    rows = memory.measure(str(toy_weights), 30, tmp_path)
    assert [done for done, _, _ in rows] == [10, 20, 30]
    assert all(size > 50 for _, size, _ in rows)
    assert len(list((tmp_path / "merged/labels/train").glob("*.png"))) == 30


def test_seconds_of_a_photo(
    toy_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of photos that are certain the network is not asked."""
    speed = load("harmonize_speed")
    write_toy_world(tmp_path, 0, 5, 1)
    folders = [str(tmp_path / name) for name in ("toy_fine", "toy_coarse")]
    page = tmp_path / "page.md"
    page.write_text(f"<!-- table:{speed.TABLE} -->\nold\n<!-- end:{speed.TABLE} -->\n")
    command = ["--weights", str(toy_weights), "--folders", *folders, "--markdown", str(page)]
    assert speed.main([*command, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["certain"] + found["asked"] == 10
    assert found["asked_network"] == found["asked"] - 3  # three warm up
    assert found["certain_network"] == 0
    assert found["asked_ms"] > 0
    assert found["predict_ms"] > 0
    assert "old" not in page.read_text()
    assert f"| {found['certain']} | 0 |" in page.read_text()
