"""What a person waits for before anything happens: which packages a program imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.d2

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "train_net.py", *(ROOT / "demo").glob("*.py"), *(ROOT / "tools").glob("*.py")]
PROGRAMS = sorted(str(path.relative_to(ROOT)) for path in FILES)
UNUSED = {
    "transformers", "torch_geometric", "gradio", "matplotlib.figure", "scipy.optimize",
    "scipy.ndimage",
}  # fmt: skip
HEAVY = {"torch", "detectron2", "timm", "transformers", "torch_geometric", "gradio", "matplotlib"}


def imported(*command: str) -> tuple[set[str], str]:
    """Packages that a Python process imported, and its standard output."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    names = {line.rsplit("|", 1)[1].strip() for line in lines if line.startswith("import time:")}
    said = [line for line in lines if not line.startswith("import time:")]
    assert done.returncode == 0, "\n".join(said)
    return names, done.stdout


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 15


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_imports_nothing_heavy(program: str) -> None:
    names, text = imported(program, "--help")
    assert text.startswith("usage:")
    assert not names & HEAVY


def test_wrong_options_are_answered_before_the_slow_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "train_net.py", "--confg-file", "x"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "the following arguments are required: --config-file" in done.stderr
    assert "| torch\n" not in done.stderr


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("unilabel.predictor", UNUSED),
        ("unilabel.engine.run", UNUSED),
        ("unilabel.config", {"torch_geometric", "transformers", "gradio", "torchvision", "timm"}),
    ],
)
def test_run_time_imports_only_what_is_used(module: str, unused: set[str]) -> None:
    names, _ = imported("-W", "ignore", "-c", f"import {module}")
    assert module in names
    assert not names & unused
