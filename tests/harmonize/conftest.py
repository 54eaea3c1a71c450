from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from unilabel.core.synthetic import write_toy_world

sys.path.append(str(Path(__file__).parent))  # what tests of whole folders share
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import harmonize
    finally:
        sys.path.pop(0)
    return harmonize


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_toy_world(root, 3, 3, 2)
    return root


@pytest.fixture(scope="module")
def call(tool: ModuleType, toy_weights: Path):
    def run(output: Path, *more: str) -> int:
        base = ["--weights", str(toy_weights), "--output", str(output), "--workers", "1"]
        return tool.main([*base, *map(str, more)])

    return run


@pytest.fixture(scope="module")
def merged(call, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from harmonize_runs import folders

    output = tmp_path_factory.mktemp("out") / "merged"
    assert call(output, *folders(world)) == 0
    return output
