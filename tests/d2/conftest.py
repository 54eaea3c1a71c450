from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MAKER = Path(__file__).parents[3] / "shared/cases/make_cases.py"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    if not MAKER.is_file():
        pytest.skip("needs ../shared/cases")
    out = tmp_path_factory.mktemp("cases")
    done = subprocess.run([sys.executable, str(MAKER), str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def case(built: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a case by its name, "labels/color" for example."""
    return lambda name: Path(shutil.copytree(built / name, tmp_path / name))
