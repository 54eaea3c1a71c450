"""The folder of a Hugging Face Space: complete, and it starts."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

pytest.importorskip("detectron2")
tomllib = pytest.importorskip("tomllib")

pytestmark = [pytest.mark.d2, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "demo/space"


def test_requirements_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    wanted = [name for name in project["dependencies"] if not name.startswith("detectron2")]
    assert [line for line in lines if not line.startswith("#")] == wanted


def test_header_of_the_readme() -> None:
    text = (SPACE / "README.md").read_text()
    header = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL).group(1))
    assert header["sdk"] == "gradio"
    assert (SPACE / header["app_file"]).is_file()
    versions = (ROOT / "constraints.txt").read_text()
    assert f"gradio=={header['sdk_version']}\n" in versions
    assert len(header["short_description"]) <= 60


def test_it_starts_from_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "space"
    command = [sys.executable, str(SPACE / "assemble.py"), str(folder)]
    assert subprocess.run(command, cwd=tmp_path, timeout=120, check=False).returncode == 0
    again = subprocess.run(command, cwd=tmp_path, timeout=120, check=False, capture_output=True)
    assert again.returncode == 2
    assert b"is not empty" in again.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PORT": str(port), "HOST": "127.0.0.1", "PYTHONPATH": ""}
    with open(tmp_path / "log", "w+") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            text = ""
            deadline = time.monotonic() + 240
            while not text and time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(OSError):
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=30) as page:
                        text = page.read().decode()
                time.sleep(0.2)
            log.seek(0)
            assert "drawn streets only" in text, log.read()
            # its own copy of the package, not the one of the environment
            maps = subprocess.run(
                [sys.executable, "-c", "import unilabel; print(unilabel.__file__)"],
                cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60,
            )  # fmt: skip
            assert maps.stdout.startswith(str(folder))
        finally:
            process.terminate()
            process.wait(timeout=30)
