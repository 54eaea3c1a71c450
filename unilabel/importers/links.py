"""Photos of an export put into the dataset: linked, or copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path

LINKS = ("symlink", "hardlink", "copy")


def place_file(source: Path, target: Path, link: str) -> None:
    """Put ``source`` to ``target``, which may be there already.

    Raises:
        UniLabelError: the file system cannot do it; names another way.
    """
    if link == "copy":
        with atomic_path(target, flush=False) as temporary:
            shutil.copyfile(source, temporary)
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if link == "symlink":
            target.symlink_to(source)
        else:
            os.link(source.resolve(), target)
    except OSError as error:
        raise UniLabelError(
            f"cannot make a {link} {target} to {source}: {error.strerror or error}; use --link copy"
            "."
        ) from error
