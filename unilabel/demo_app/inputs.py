"""The photos that a person wants to have segmented, and what their answers are called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.data.folder_split import walk_own
from unilabel.data.images import IMAGE_SUFFIXES

CLASS_LIST = "classes.json"  # written beside the answers


def find_images(inputs: Sequence[str], output: Path) -> tuple[dict[str, Path], list[str]]:
    """Image files, those of folders and their subfolders in the order of their paths.

    Args:
        inputs: files and folders.
        output: where answers go; what lies below it is an answer of an earlier run.

    Returns:
        name of the answer -> image, and what was left out. A name is the path below the given
        folder without suffix; of several folders the folder's own name stands in front.

    Raises:
        UniLabelError: an input is missing or holds no image, or two answers would have one name.
    """
    folders = [Path(given) for given in inputs if Path(given).is_dir()]
    images: dict[str, Path] = {}
    notes: list[str] = []
    named: Iterator[tuple[Path, Path]]
    for given in map(Path, inputs):
        if given.is_dir():
            found, left_out = _below(given, output)
            front = Path(given.resolve().name) if len(folders) > 1 else Path()
            start = len(str(given)) + 1
            named = ((front / path[start:], Path(path)) for path in found)
            if left_out:
                notes.append(f"{left_out} images below {output}, the output, are left out.")
        elif given.is_file():
            named = iter([(Path(given.name), given)])
        else:
            raise UniLabelError(f"--input: no such file or folder: {given}.")
        for below, path in named:
            _add(images, below.with_suffix("").as_posix(), path)
    return images, notes


def _add(images: dict[str, Path], name: str, path: Path) -> None:
    if name in images:
        raise UniLabelError(
            f"--input: {images[name]} and {path} would both be written as {name}.png; rename one, "
            "give the folder that holds both, or run twice with two --output folders."
        )
    if name == CLASS_LIST.removesuffix(".json"):
        raise UniLabelError(
            f"--input: the answer to {path} would have the name of the list of all labels, "
            f"{CLASS_LIST}; rename the image."
        )
    images[name] = path


def _below(folder: Path, output: Path) -> tuple[list[str], int]:
    """Images in a folder, and how many below the output were left out."""
    files = [p for p in walk_own(str(folder)) if p.lower().endswith(IMAGE_SUFFIXES)]
    outside, answers, real = files, os.path.realpath(output), RealPaths()
    if answers != os.path.realpath(folder):  # else the program refuses to write over its inputs
        inside = os.path.join(answers, "")
        outside = [path for path in files if not real.of(path).startswith(inside)]
    if not outside:
        raise UniLabelError(
            f"--input: no image in {folder}; expected files {', '.join(IMAGE_SUFFIXES)}."
        )
    return outside, len(files) - len(outside)


class RealPaths:
    """Paths without links, as :func:`os.path.realpath`; every folder is followed once."""

    def __init__(self) -> None:
        """Begin without folders."""
        self._folders: dict[str, str] = {}

    def of(self, path: str) -> str:
        """The path of a file, which need not exist."""
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)
