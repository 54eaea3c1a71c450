"""The self-check tells what is there and what is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

from folder_datasets import write_folder

from unilabel import doctor

pytestmark = [pytest.mark.d2, pytest.mark.faults]


def start(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "unilabel.doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.mark.slow
def test_program(tmp_path: Path) -> None:
    done = start("--json", "--output", str(tmp_path / "new" / "folder"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    checks = report["checks"]
    assert list(checks) == ["versions", "detectron2", "devices", "datasets", "disk", "run"]
    assert all(entry["state"] in ("ok", "warning") for entry in checks.values())
    assert checks["versions"]["torch"]
    assert checks["detectron2"]["flavour"] in ("pure Python", "official, with compiled operators")
    assert checks["devices"]["gpus"] == []
    assert checks["run"]["unified_labels"] > 1
    assert checks["run"]["seconds"] < 120
    assert checks["disk"]["written"] is True
    assert os.listdir(tmp_path) == []  # nothing is left
    assert "Traceback" not in done.stderr


def test_text_is_made_for_an_issue_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(["--no-run", "--output", str(tmp_path), "--root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Paste everything between the lines into an issue report.\n---")
    assert "[ok] versions" in printed
    assert "[ok] datasets" in printed
    assert "cityscapes" in printed
    assert printed.endswith("Everything that a run needs works.\n")


def test_what_breaks_is_reported_and_sets_the_exit_code(
    tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", (*doctor.PACKAGES, "no-such-package"))
    monkeypatch.setitem(doctor.SMOKE, "SCHEDULE", [["NONE", 1]])
    (tmp_path / "file").write_text("")
    assert doctor.main(["--json", "--output", str(tmp_path / "file" / "below")]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    checks = report["checks"]
    assert checks["versions"]["state"] == "failed"
    assert checks["versions"]["cure"] == "install no-such-package (make install)"
    assert checks["run"]["error"].startswith("UniLabelError: SCHEDULE names the stage 'NONE'")
    assert checks["devices"]["state"] == "ok"
    doctor.main(["--output", str(tmp_path)])
    assert "broken: versions, run" in capsys.readouterr().out


def test_datasets_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path / "kitti")  # not the files of that dataset
    state, found = doctor.check_datasets(str(tmp_path))
    assert state == "warning"
    assert "kitti" in found["faulty"]
    assert "cityscapes" in found["missing"]
