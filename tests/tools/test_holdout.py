"""Validation cut from training images: whole groups, no image on both sides, nothing else used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLASSES = '{"name": "street", "classes": [{"id": 0, "name": "road"}, {"id": 1, "name": "car"}]}'


def make(root: Path, names: list[str]) -> Path:
    for kind, suffix in (("images", "jpg"), ("labels", "png")):
        for split, stems in (("train", names), ("val", ["secret_1"])):
            folder = root / kind / split
            folder.mkdir(parents=True)
            for stem in stems:
                (folder / f"{stem}.{suffix}").write_text(stem)
    (root / "classes.json").write_text(CLASSES)
    return root


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks/holdout.py")]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)


def test_large_groups_lose_their_end_and_small_ones_go_whole(tmp_path: Path) -> None:
    drive = [f"drive_{i:03d}" for i in range(20)]
    pairs = [f"{group}_{i}" for group in "abcde" for i in range(2)]
    data = make(tmp_path / "street", drive + pairs)
    done = run("--datasets", data, "--out", tmp_path / "held", "--share", 0.2)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "street: 24 training images, 6 held out\n"
    for kind, suffix in (("images", "jpg"), ("labels", "png")):
        folder = tmp_path / "held/street" / kind
        held = {f.stem for f in (folder / "val").iterdir()}
        assert held == {*drive[16:], "e_0", "e_1"}
        kept = {f.stem for f in (folder / "train").iterdir()}
        assert kept == {*drive, *pairs} - held
        assert (folder / "val" / f"e_0.{suffix}").read_text() == "e_0"
    assert (tmp_path / "held/street/classes.json").read_text() == CLASSES


@pytest.mark.parametrize("fault", ["twice", "no label", "share"])
def test_mistakes(tmp_path: Path, fault: str) -> None:
    data = make(tmp_path / "street", [f"a_{i}" for i in range(10)])
    arguments = ["--datasets", data, "--out", tmp_path / "held"]
    if fault == "twice":
        assert run(*arguments).returncode == 0
        message = "exists already"
    elif fault == "no label":
        (data / "labels/train/a_3.png").unlink()
        message = "1 image in "
    else:
        arguments += ["--share", "2"]
        message = "--share is 2.0"
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
