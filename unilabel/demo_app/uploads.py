"""Files that visitors send: read once, then deleted."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unilabel.core.errors import UniLabelError

MAX_NAME = 60  # characters of a file name that are shown


@contextmanager
def received(path: str | None, temp_dir: str) -> Iterator[Path]:
    """An uploaded file, deleted with its folder afterwards.

    Raises:
        UniLabelError: there is none, or it does not lie below the folder of uploads.
    """
    if not path:
        raise UniLabelError("no file arrived; choose one.")
    root = Path(temp_dir).resolve()
    file = Path(path).resolve()
    if root not in file.parents or not file.is_file():
        raise UniLabelError("the file did not arrive; send it again.")
    try:
        yield file
    finally:
        folder = root / file.relative_to(root).parts[0]
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(file)


def shown_name(path: Path) -> str:
    """The name of a file without its folders, short and printable."""
    name = "".join(char if char.isprintable() else "?" for char in path.name)
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
