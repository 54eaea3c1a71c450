"""Processes that the demo starts, so that none outlives it."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from typing import Any

_running: set[subprocess.Popen[str]] = set()
_lock = threading.Lock()


def start(command: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start a process; see :class:`subprocess.Popen`."""
    process: subprocess.Popen[str] = subprocess.Popen(command, text=True, **options)
    with _lock:
        _running.add(process)
    return process


def end(process: subprocess.Popen[str]) -> None:
    """End it, if it still runs."""
    with contextlib.suppress(OSError):
        process.kill()
    process.wait()
    with _lock:
        _running.discard(process)


def end_all() -> None:
    """End every one, without waiting for a lock: the demo itself is about to end."""
    for process in list(_running):
        with contextlib.suppress(OSError):
            process.kill()
