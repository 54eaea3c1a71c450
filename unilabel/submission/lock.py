"""One process at a time works on an output.

The file system's lock decides; what the file says (process, host) is for people, and for file
systems that have no locks or do not share them between machines.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError

_SILENT = 600.0  # seconds without a sign of life after which another host's lock is stale
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class OutputLock:
    """A lock file; its file goes when it is released, and is taken over from a dead process.

    Attributes:
        path: the lock file.
        stale: who left it behind, in words, if it was taken over.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is locked yet."""
        self.path = path
        self.stale: str | None = None
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock; does nothing if this object has it already.

        Raises:
            UniLabelError: another process has it, or the file cannot be written.
        """
        while self._file is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise UniLabelError(
                    f"cannot write the lock file {self.path}: {error.strerror or error}. Name an "
                    "--output in a folder that can be written."
                ) from error
            try:
                self._take(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if self._is_current(descriptor):
                self._file = descriptor
                self._sign()
            else:  # the owner before removed the file while this process waited for it
                os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        owner = _owner(os.pread(descriptor, 4096, 0))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here_is_dead = True
        except BlockingIOError:
            raise UniLabelError(self._refusal(owner, held=True)) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise UniLabelError(f"cannot lock {self.path}: {error.strerror}.") from error
            here_is_dead = not _alive(owner)
        if not owner:
            return
        age = time.time() - os.fstat(descriptor).st_mtime
        same_host = owner.get("host") == socket.gethostname()
        if not (here_is_dead if same_host else age > _SILENT):
            raise UniLabelError(self._refusal(owner, held=False))
        self.stale = _words(owner)

    def _refusal(self, owner: dict[str, Any], held: bool) -> str:
        text = f"{_words(owner)} is working on this output ({self.path}). "
        if held:
            return f"{text}Wait until it has ended, or give another --output."
        return (
            f"{text}Wait until it has ended, or give another --output. If you know that it no "
            f"longer runs, remove {self.path}."
        )

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.stat(self.path).st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def _sign(self) -> None:
        assert self._file is not None
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n"
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text.encode(), 0)

    def check_free(self) -> None:
        """Whether nobody has the lock; several processes may ask at the same time.

        Raises:
            UniLabelError: a process has it.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR)
        except OSError:
            return  # no such file, so nobody has it
        try:
            owner = _owner(os.pread(descriptor, 4096, 0))
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UniLabelError(self._refusal(owner, held=True)) from None
        except OSError as error:
            if error.errno in _NO_LOCKS and _alive(owner):
                raise UniLabelError(self._refusal(owner, held=False)) from error
        finally:
            os.close(descriptor)

    def beat(self) -> None:
        """Give a sign of life, for processes of other hosts."""
        if self._file is not None:
            os.utime(self._file)

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


def _owner(data: bytes) -> dict[str, Any]:
    """What a lock file says about its process; {} for an empty or strange one."""
    try:
        owner = json.loads(data)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _alive(owner: dict[str, Any]) -> bool:
    """Whether a process of this number runs on this host."""
    pid = owner.get("pid")
    if type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _words(owner: dict[str, Any]) -> str:
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"
