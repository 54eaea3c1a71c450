from __future__ import annotations

from pathlib import Path

import program
import pytest


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one whole run of configs/quick/toy.yaml by train_net.py."""
    folder = tmp_path_factory.mktemp("quick_run")
    done = program.train_net("--config-file", program.QUICK, "OUTPUT_DIR", str(folder))
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder
