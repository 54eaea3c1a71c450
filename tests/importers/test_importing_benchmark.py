"""The benchmark of imports runs as it is called, and counts what was written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from unilabel.importers.detect import BY_NAME

ROOT = Path(__file__).parents[2]


def test_two_forms_of_ten_photos(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table:importing -->\nold\n<!-- end:importing -->\nafter\n")
    command = [sys.executable, "benchmarks/importing.py", "--forms", "via", "mmseg"]
    command += ["--photos", "10", "--markdown", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    for form, line in zip(("via", "mmseg"), lines[4:6], strict=True):
        assert line.startswith(f"| `{form}` ({BY_NAME[form].title}) | ")
    assert "old" not in lines
    assert "10 photos, 2 processes" in page.read_text()
