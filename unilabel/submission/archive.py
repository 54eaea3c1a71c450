"""Writing of archives: the same files give the same bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from unilabel.core.io import atomic_path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can hold
_MODE = 0o100644 << 16  # a plain file, readable by all
_UNIX = 3
_LEVEL = 6


def write_archive(path: Path, members: Iterable[tuple[str, Path | bytes]]) -> None:
    """Write a zip file atomically; one member is in memory at a time.

    Args:
        path: file to write.
        members: name inside the archive and its content (or the file that holds it), in the order
            in which they are stored.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members:
            data = content.read_bytes() if isinstance(content, Path) else content
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = _UNIX, _MODE
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data, compresslevel=_LEVEL)
