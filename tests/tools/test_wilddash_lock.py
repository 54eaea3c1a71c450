"""Two processes never work on one output, and a dead one does not stop the next."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wilddash_frames import WILDDASH, label, write_frames

from unilabel.core.errors import UniLabelError
from unilabel.submission.frames import list_frames
from unilabel.submission.job import SubmissionJob
from unilabel.submission.lock import OutputLock

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = REPOSITORY / "tools/wilddash_submit.py"
main: Callable[[list[str]], int] = runpy.run_path(str(TOOL))["main"]


def test_the_second_is_told_who_works(tmp_path: Path) -> None:
    first, second = OutputLock(tmp_path / "x.lock"), OutputLock(tmp_path / "x.lock")
    first.acquire()
    first.acquire()
    words = f"process {os.getpid()} on {socket.gethostname()} is working on this output"
    with pytest.raises(UniLabelError, match=words):
        second.acquire()
    first.release()
    first.release()
    assert not (tmp_path / "x.lock").exists()
    second.acquire()
    assert second.stale is None
    second.release()


def _die_with_the_lock(path: Path) -> None:
    OutputLock(path).acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_process_leaves_a_stale_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    process = multiprocessing.get_context("fork").Process(target=_die_with_the_lock, args=(path,))
    process.start()
    process.join()
    assert json.loads(path.read_text())["pid"] == process.pid
    lock = OutputLock(path)
    lock.acquire()
    assert lock.stale == f"process {process.pid} on {socket.gethostname()}"
    lock.release()


@pytest.mark.parametrize("content", ["", "{", "[]", "\0\0"])
def test_a_lock_file_without_an_owner_is_nobodys(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text(content)
    lock = OutputLock(tmp_path / "x.lock")
    lock.acquire()
    assert json.loads((tmp_path / "x.lock").read_text())["pid"] == os.getpid()
    lock.release()


def test_another_host_counts_while_it_gives_signs_of_life(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.write_text(json.dumps({"pid": 7, "host": "elsewhere"}))
    with pytest.raises(UniLabelError, match=r"process 7 on elsewhere.*remove .*x\.lock"):
        OutputLock(path).acquire()
    os.utime(path, (time.time() - 3600,) * 2)
    lock = OutputLock(path)
    lock.acquire()
    assert lock.stale == "process 7 on elsewhere"
    before = path.stat().st_mtime
    os.utime(path, (before - 3600,) * 2)
    lock.beat()
    assert path.stat().st_mtime >= before
    lock.release()


def test_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def refuse(*args: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "x.lock"
    first = OutputLock(path)
    first.acquire()
    with pytest.raises(UniLabelError, match="is working on this output"):
        OutputLock(path).acquire()
    path.write_text(json.dumps({"pid": 2**22 + 5, "host": socket.gethostname()}))  # no such process
    OutputLock(path).acquire()
    with pytest.raises(UniLabelError, match=r"cannot write the lock file .*Name an --output"):
        OutputLock(path / "below" / "x.lock").acquire()


def test_a_running_job_keeps_its_files(tmp_path: Path) -> None:
    """The fault that this is for: --resume in a second process emptied the first one's folder."""
    frames = list_frames(
        write_frames(tmp_path / "in", ["wd0000_100000", "wd0001_100000"]), WILDDASH
    )
    with SubmissionJob(tmp_path / "out.zip", frames, WILDDASH, {}) as first:
        first.start(resume=False)
        next(iter(first.predict(label)))
        half = first.work / "frames" / ".wd0001_100000.png.1.tmp"
        half.write_bytes(b"half")
        for _ in range(2):
            with (
                pytest.raises(UniLabelError, match="is working on this output"),
                SubmissionJob(tmp_path / "out.zip", frames, WILDDASH, {}),
            ):
                pytest.fail("the second job must not begin")
        assert half.exists()
        list(first.predict(label))
        first.finish({}, allow_missing=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out.json", "out.zip"]


@pytest.fixture
def options(toy_weights: Path, tmp_path: Path) -> list[str]:
    stems = [f"wd{i:04d}_100000" for i in range(40)]
    folder = write_frames(tmp_path / "images", stems, (192, 120))
    return ["--weights", str(toy_weights), "--images", str(folder), "--void", "unmapped"]


def start(arguments: list[str], results: Path, count: int) -> subprocess.Popen[str]:
    """The tool in a process of its own, once ``count`` results are there."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(TOOL), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while len(list(results.glob("wd*.png"))) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    return process


@pytest.mark.slow
@pytest.mark.faults
def test_two_processes_and_ctrl_c(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, output = tmp_path / "whole.zip", tmp_path / "out.zip"
    assert main([*options, "--output", str(whole)]) == 0
    arguments = [*options, "--output", str(output), "--resume"]
    process = start(arguments, tmp_path / "out.zip.work/frames", 3)
    process.send_signal(signal.SIGSTOP)  # it lives, and does nothing meanwhile
    capsys.readouterr()
    assert main(arguments) == 2
    assert f"process {process.pid} on" in capsys.readouterr().err
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == (
        "interrupted: the same command with --resume goes on where this one was"
    )
    assert not output.exists()
    assert not (tmp_path / "out.zip.lock").exists()
    done = len(list((tmp_path / "out.zip.work/frames").glob("wd*.png")))
    assert 3 <= done < 40
    capsys.readouterr()
    assert main(arguments) == 0
    assert f"{40 - done} frames in" in capsys.readouterr().out
    assert output.read_bytes() == whole.read_bytes()
