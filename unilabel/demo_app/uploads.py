"""Files that visitors send: read once, then deleted."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from pathlib import Path

from unilabel.core.errors import UniLabelError

MAX_NAME = 60  # characters of a file name that are shown
_REMEMBER_BYTES = 128 * 2**20
_REMEMBER_SECONDS = 60.0
_ARRIVAL_SECONDS = 2.0  # the server moves a file to its place after it has answered


class Inbox:
    """The folder of uploads; safe to use from several threads.

    The server names a folder after the content of the file in it. Two visitors who send the same
    file at the same time therefore share one, and the second must not find it deleted: contents are
    remembered for a minute, and folders are deleted only when they have been empty for as long.
    """

    def __init__(self, temp_dir: str, work: str | None = None) -> None:
        """Take the folders.

        Args:
            temp_dir: Gradio's folder of uploads.
            work: where jobs on the files may write; None: where the system has such files.
        """
        self.root = Path(temp_dir).resolve()
        self.work = work
        self._recent: OrderedDict[Path, tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, path: str | None, max_bytes: int) -> tuple[str, bytes]:
        """Name and content of an uploaded file, which is deleted.

        Raises:
            UniLabelError: there is none below the folder of uploads, or it is too large.
        """
        if not path:
            raise UniLabelError("no file arrived; choose one.")
        file = Path(path).resolve()
        if self.root not in file.parents:
            raise UniLabelError("the file did not arrive; send it again.")
        name = shown_name(file)
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        while True:
            with self._lock:
                data = self._read(file, name, max_bytes)
            if data is not None:
                return name, data
            if time.monotonic() > deadline:
                raise UniLabelError("the file did not arrive; send it again.")
            time.sleep(0.05)

    def _read(self, file: Path, name: str, max_bytes: int) -> bytes | None:
        now = time.monotonic()
        self._forget(now)
        try:
            if file.stat().st_size > max_bytes:
                raise UniLabelError(
                    f"{name} has {file.stat().st_size / 2**20:.1f} MB, at most "
                    f"{max_bytes / 2**20:.0f} MB are accepted."
                )
            data = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return self._recent[file][1] if file in self._recent else None
        finally:
            with contextlib.suppress(OSError):
                file.unlink()
        self._recent[file] = (now, data)
        return data

    def _forget(self, now: float) -> None:
        total = sum(len(data) for _, data in self._recent.values())
        while self._recent:
            first, (since, data) = next(iter(self._recent.items()))
            if now - since < _REMEMBER_SECONDS and total <= _REMEMBER_BYTES:
                break
            total -= len(data)
            del self._recent[first]
        oldest = time.time() - _REMEMBER_SECONDS
        for folder in self.root.iterdir():
            with contextlib.suppress(OSError):
                if folder.is_dir() and folder.stat().st_mtime < oldest:
                    folder.rmdir()  # fails where files are inside


def shown_name(path: Path) -> str:
    """The name of a file without its folders, short and printable."""
    name = "".join(char if char.isprintable() else "?" for char in path.name)
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
