"""A run that is killed again and again ends bit for bit like one that was left alone."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

import breakable
import torch
from folder_datasets import write_folder

from unilabel.engine.checkpoint import load_file

pytestmark = [pytest.mark.d2, pytest.mark.faults, pytest.mark.slow]

EVERY = range(breakable.TOTAL)
CHAINS = {  # moment -> iterations at which one run is killed, one after the other
    "before": list(EVERY),
    "stepped": list(EVERY),
    "saved": list(EVERY)[:-1],  # after the last one the run is only evaluated
    "prepared": [0, *breakable.BOUNDARIES],
    "saving": [2, 5, 10, 12, 14, 16, 19, 22, 25],
    "evaluating": [breakable.TOTAL] * 2,
    "finishing": [breakable.TOTAL] * 2,
}
OUTSIDE = 12  # kills at random moments, seconds apart


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("datasets")
    return [
        write_folder(root / "city", "road car sky", train=4),
        write_folder(root / "idd", "road marking", train=3, seed=1),
    ]


class Runs:
    """Starts children; counts kills."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders
        self.context = breakable.server()

    def start(self, output: Path, kill: tuple[int, str] | None = None, **more: Any) -> Any:
        options = breakable.overrides(self.folders, output, **more)
        process = self.context.Process(target=breakable.train, args=(output, options, True, kill))
        process.start()
        return process

    def end(self, output: Path, kill: tuple[int, str] | None = None, **more: Any) -> int:
        return breakable.finish(self.start(output, kill, **more))


@pytest.fixture(scope="module")
def runs(folders: list[Path]) -> Runs:
    return Runs(folders)


@pytest.fixture(scope="module")
def alone(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the run that nothing happened to."""
    folder = tmp_path_factory.mktemp("alone")
    assert runs.end(folder) == 0, (folder / "terminal.txt").read_text()
    return folder


def results_of(folder: Path) -> dict[str, Any]:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    del results["git"]  # somebody may commit while the tests run
    results["stages"] = [(s["name"], s["iterations"]) for s in results["stages"]]
    return results


def assert_same(folder: Path, alone: Path) -> None:
    assert results_of(folder) == results_of(alone)
    assert (folder / "label_space.json").read_bytes() == (alone / "label_space.json").read_bytes()
    one, two = load_file(folder / "model_final.pth"), load_file(alone / "model_final.pth")
    assert one["model"].keys() == two["model"].keys()
    for name, value in one["model"].items():
        assert torch.equal(value, two["model"][name]), name
    last = f"model_{breakable.TOTAL:07d}.pth"
    one, two = load_file(folder / last), load_file(alone / last)
    for key in ("notes", "iteration", "scaler", "guard"):
        assert repr(one[key]) == repr(two[key]), key
    for key in ("proposal", "rows", "marginals", "link_scores"):
        assert repr(one["unifier"][key]) == repr(two["unifier"][key]), key
    leftovers = [p.name for p in folder.glob(".*.tmp") if "model_0" in p.name]
    assert leftovers == []


def test_there_are_enough_kills() -> None:
    assert sum(map(len, CHAINS.values())) + OUTSIDE >= 60
    assert set(breakable.BOUNDARIES) <= set(CHAINS["prepared"])


@pytest.mark.parametrize("moment", CHAINS)
def test_killed_in_every_iteration(runs: Runs, alone: Path, tmp_path: Path, moment: str) -> None:
    for iteration in CHAINS[moment]:
        code = runs.end(tmp_path, (iteration, moment))
        assert code == -9, (iteration, (tmp_path / "terminal.txt").read_text()[-2000:])
    assert runs.end(tmp_path) == 0, (tmp_path / "terminal.txt").read_text()[-2000:]
    assert_same(tmp_path, alone)


def test_killed_from_outside_at_any_moment(runs: Runs, alone: Path, tmp_path: Path) -> None:
    moments = random.Random(0)
    kills = 0
    attempt = 0
    while kills < OUTSIDE:
        folder = tmp_path / str(attempt)
        while kills < OUTSIDE:
            process = runs.start(folder)
            time.sleep(moments.uniform(0.2, 1.2))
            process.kill()
            code = breakable.finish(process)
            if code == 0:  # it was ready before
                break
            assert code == -9
            kills += 1
        else:
            assert runs.end(folder) == 0, (folder / "terminal.txt").read_text()[-2000:]
        assert_same(folder, alone)
        attempt += 1


def test_bad_samples_that_are_skipped_do_not_matter(tmp_path: Path) -> None:
    """A killed run takes the same samples in their place, and remembers which were bad."""
    folders = [
        write_folder(tmp_path / "city", "road car sky", train=6),
        write_folder(tmp_path / "idd", "road marking", train=6, seed=1),
    ]
    (folders[0] / "images/train/train2.png").write_bytes(b"no image")
    (folders[1] / "labels/train/train0.png").write_bytes(b"no label map")
    runs = Runs(folders)
    policy = {"DATASETS__ON_BAD_SAMPLE": "skip", "DATASETS__MAX_BAD_SHARE": 0.2}
    assert runs.end(tmp_path / "alone", **policy) == 0
    assert results_of(tmp_path / "alone")["bad_samples"] == {"city": 1, "idd": 1}
    text = (tmp_path / "alone/terminal.txt").read_text()
    assert "bad sample 1 (of 6 in the dataset) of 'city'" in text
    assert "bad sample left out" in text  # where pixels are cached and classes are counted
    for iteration in (4, 9, 17, 23):
        assert runs.end(tmp_path / "killed", (iteration, "before"), **policy) == -9
    assert runs.end(tmp_path / "killed", **policy) == 0
    assert_same(tmp_path / "killed", tmp_path / "alone")
    # and without the policy the run stops
    assert runs.end(tmp_path / "strict") == 2
    assert "error: " in (tmp_path / "strict/terminal.txt").read_text()
