"""A killed run goes on where it was, and the archive is the same to the byte."""

from __future__ import annotations

import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = REPOSITORY / "tools/wilddash_submit.py"
FRAMES = 60

main: Callable[[list[str]], int] = runpy.run_path(str(TOOL))["main"]


@pytest.fixture
def options(toy_weights: Path, tmp_path: Path) -> list[str]:
    folder = tmp_path / "images"
    folder.mkdir()
    source = np.random.default_rng(0)
    for i in range(FRAMES):
        coarse = source.integers(0, 256, (5, 8, 3), np.uint8)
        pixels = np.repeat(np.repeat(coarse, 24, 0), 24, 1)
        Image.fromarray(pixels).save(folder / f"wd{i:04d}_100000.jpg")
    return ["--weights", str(toy_weights), "--images", str(folder), "--void", "unmapped"]


def run_until_killed(arguments: list[str], results: Path, count: int) -> int:
    """Start the tool, kill it when ``count`` results are there; how many there were."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(TOOL), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        while len(list(results.glob("wd*.png"))) < count:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return len(list(results.glob("wd*.png")))


@pytest.mark.slow
@pytest.mark.faults
def test_five_kills(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tmp_path / "whole.zip"
    assert main([*options, "--output", str(whole)]) == 0
    killed = tmp_path / "killed.zip"
    results = Path(f"{killed}.work") / "frames"
    moments = sorted(random.Random(1).sample(range(1, FRAMES - 5), 5))
    seen = [
        run_until_killed(
            [*options, "--output", str(killed), *(["--resume"] if i else [])], results, count
        )
        for i, count in enumerate(moments)
    ]
    assert seen == sorted(seen)
    assert all(0 < n < FRAMES for n in seen)
    times = {p.name: p.stat().st_mtime_ns for p in results.glob("wd*.png")}
    assert not killed.exists()
    capsys.readouterr()
    assert main([*options, "--output", str(killed), "--resume"]) == 0
    printed = capsys.readouterr().out
    assert f"{FRAMES - seen[-1]} frames in" in printed  # the others were not done again
    assert len(times) == seen[-1]
    assert killed.read_bytes() == whole.read_bytes()
    assert not results.exists()
    assert main([*options, "--output", str(killed), "--resume"]) == 0
    assert "complete already" in capsys.readouterr().out
