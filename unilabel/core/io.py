"""Atomic writing of files, and JSON in and out."""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError

MAX_JSON_BYTES = 64 * 2**20
_UNFINISHED = re.compile(r"\..+\.[0-9]+\.tmp")  # a name that atomic_path gives


@contextmanager
def atomic_path(path: str | os.PathLike[str], flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is flushed and renamed to ``path``.

    A reader sees either the old file or the whole new one, also after a kill or a full disk.
    Without ``flush`` (some 10 ms for each file) a power failure may leave an empty one.

    Raises:
        UniLabelError: the folder cannot be written or the disk is full; the old file is kept.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if flush:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise UniLabelError(
            f"cannot write {target}: {error.strerror or error}. {_cure(error, target)}; the file "
            "that was there before is untouched."
        ) from error
    finally:
        with suppress(OSError):  # the folder itself may be missing or no folder
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: str | os.PathLike[str], pattern: str = "*") -> None:
    """Remove what killed processes left of files that :func:`atomic_path` wrote in ``folder``.

    To be called by whoever owns the folder, before it writes: a file of a living process would be
    taken too.

    Args:
        folder: where to look; need not exist.
        pattern: names of the files that were written, as a glob, with folders if it has any:
            ``**/*`` is everything below.
    """
    parent, name = os.path.split(pattern)
    for path in Path(folder).glob(os.path.join(parent, f".{name}.*.tmp")):
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _cure(error: OSError, target: Path) -> str:
    """What the user can do about a file that cannot be written."""
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        parent = next((p for p in target.parents if p.exists() and not p.is_dir()), target.parent)
        return f"{parent} is a file where a folder is needed: name another place or remove it"
    if error.errno == errno.EISDIR or (error.errno == errno.ENOTEMPTY and target.is_dir()):
        return "There is a folder of this name: name another file or remove it"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"You may not write in {target.parent}: name another place or change its rights"
    if error.errno == errno.ENAMETOOLONG:
        return "Choose a shorter name"
    return "Free some disk space or choose another place (of a training run: OUTPUT_DIR)"


def write_json(path: str | os.PathLike[str], obj: Any, indent: int | None = 1) -> None:
    """Write ``obj`` as UTF-8 JSON, atomically. NaN and infinity are refused (ValueError)."""
    text = json.dumps(obj, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def decode_text(data: bytes, errors: str = "strict") -> str:
    """Text of a file as editors write it: UTF-8, or UTF-16 and UTF-32 with a byte order mark.

    Raises:
        UnicodeDecodeError: it is none of these (not with ``errors="replace"``).
    """
    marks = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    marked = next((f"utf-{32 if len(m) == 4 else 16}" for m in marks if data.startswith(m)), "")
    return data.decode(marked or "utf-8-sig", errors)


def read_json(path: str | os.PathLike[str], max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file, see :func:`decode_text`.

    Raises:
        UniLabelError: the file is missing, larger than ``max_bytes``, or not JSON.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > max_bytes:
            raise UniLabelError(
                f"{file} has {size} bytes, expected a JSON file of at most {max_bytes}."
            )
        text = file.read_bytes()
    except OSError as error:
        raise UniLabelError(f"cannot read {file}: {error.strerror or error}.") from error
    try:
        return json.loads(decode_text(text))
    except UnicodeDecodeError as error:
        raise UniLabelError(
            f"{file} is not valid JSON: it is not UTF-8 ({error}); save it as UTF-8."
        ) from error
    except (ValueError, RecursionError) as error:  # ValueError: also numbers of too many digits
        raise UniLabelError(f"{file} is not valid JSON ({error}).") from error


def put_table(document: str | os.PathLike[str], name: str, text: str) -> None:
    """Replace what stands in a document between ``<!-- table:NAME -->`` and ``<!-- end:NAME -->``.

    Raises:
        UniLabelError: the markers are missing.
    """
    path = Path(document)
    start, end = f"<!-- table:{name} -->", f"<!-- end:{name} -->"
    content = path.read_text(encoding="utf-8")
    before, found, rest = content.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UniLabelError(f"{path} lacks the markers {start} and {end}; add them.")
    with atomic_path(path) as temporary:
        temporary.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, hexadecimal; a block of it is in memory at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
