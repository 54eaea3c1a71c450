from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # the makers of exports

import export_makers as makers
import export_pictures as scenes


@pytest.fixture
def export(tmp_path: Path) -> Callable[[str], Path]:
    def make(form: str) -> Path:
        if form == "hf_parquet":
            pytest.importorskip("pyarrow")
        makers.MAKERS[form](tmp_path / "export", scenes.draw())
        return tmp_path / "export"

    return make
