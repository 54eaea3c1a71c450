"""A long run needs as much memory as a short one."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wilddash_frames import write_frames

TOOL = Path(__file__).resolve().parents[2] / "tools/wilddash_submit.py"
FRAMES = 90
SIZE = (960, 540)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow(toy_weights: Path, tmp_path: Path) -> None:
    stems = [f"wd{i:04d}_100000" for i in range(FRAMES)]
    images = write_frames(tmp_path / "images", stems, SIZE)
    results = tmp_path / "submission.zip.work/frames"
    options = ["--images", str(images), "--output", str(tmp_path / "submission.zip")]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(TOOL), "--weights", str(toy_weights), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    used: dict[int, list[float]] = {}  # frames done -> MiB
    while process.poll() is None:
        done = len(list(results.glob("wd*.png")))
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        if found:
            used.setdefault(done * 3 // FRAMES, []).append(int(found[1]) / 1024)
        time.sleep(0.02)
    assert process.returncode == 0
    # the first third holds the start; 60 more frames of 1.5 MiB each would be seen
    assert abs(statistics.mean(used[2]) - statistics.mean(used[1])) < 40
