"""Zip files from strangers: unpacked into a folder, or refused with a reason."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from unilabel.core.errors import UniLabelError

MAX_FILES = 600
MAX_BYTES = 200 * 2**20  # of all files together


def unpack(data: bytes, name: str, folder: Path) -> Path:
    """Write the files of a zip below a folder.

    Args:
        data: the zip.
        name: how to call it in messages.
        folder: an empty one.

    Returns:
        the folder of the dataset in it: where ``classes.json`` lies, else the uppermost that holds
        more than one thing.

    Raises:
        UniLabelError: it is no zip, damaged, too large, or names places outside of it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [info for info in archive.infolist() if not info.is_dir()]
            _check(files, name)
            for info in files:
                target = folder / info.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(info))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UniLabelError(
            f"{name} is no zip that can be read ({error}); pack the folder of the dataset again, "
            "without a password."
        ) from error
    except OSError as error:
        raise UniLabelError(
            f"{name} holds a file name that cannot be written; use plain names."
        ) from error
    return _root(folder)


def _check(files: list[zipfile.ZipInfo], name: str) -> None:
    size = sum(info.file_size for info in files)
    if not files or len(files) > MAX_FILES or size > MAX_BYTES:
        raise UniLabelError(
            f"{name} holds {len(files)} files of {size / 2**20:.0f} MB together, expected 1 to "
            f"{MAX_FILES} files of at most {MAX_BYTES // 2**20} MB; for more use the program on "
            "your own machine."
        )
    for info in files:
        path = PurePosixPath(info.filename)
        link = info.external_attr >> 16 & 0o170000 == 0o120000
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename or link:
            raise UniLabelError(
                f"{name} holds {info.filename[:80]!r}, a link or a place outside of it; pack plain "
                "files only."
            )


def _root(folder: Path) -> Path:
    found = sorted(folder.rglob("classes.json"), key=lambda path: len(path.parts))
    if found:
        return found[0].parent
    inside = [path for path in folder.iterdir() if path.name != "__MACOSX"]
    while len(inside) == 1 and inside[0].is_dir():
        folder = inside[0]
        inside = list(folder.iterdir())
    return folder
