"""Text files that list the photos of a split: ``train.txt``, ``val.txt``.

A line is a photo, or a photo and its mask (``images/1.jpg labels/1.png``).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from unilabel.core.errors import UniLabelError
from unilabel.importers.splits import TRAIN, VAL, read_lines, split_of_word, two_files
from unilabel.importers.tree import PHOTO_SUFFIXES, Tree, stem_of, suffix_of

Triple = tuple[str, str, str]  # photo, mask, split


def _files(tree: Tree) -> dict[str, str]:
    """List file -> split."""
    found = {f: split_of_word(stem_of(f)) for f in tree.with_suffix(".txt")}
    return {f: split for f, split in found.items() if split}


def pairs(tree: Tree) -> list[Triple]:
    """The pairs that lists of two columns name; empty if there are none.

    Raises:
        UniLabelError: a file that a list names is missing.
    """
    found = []
    for file, split in _files(tree).items():
        lines = read_lines(tree.path(file))
        columns = [two_files(line) for line in lines]
        if not lines or not all(columns):
            continue
        for number, names in enumerate(columns, 1):
            assert names is not None
            photo, mask = (_place(tree, file, name) for name in names)
            if photo is None or mask is None:
                missing = names[0] if photo is None else names[1]
                raise UniLabelError(
                    f"{tree.path(file)}: line {number}: {missing} is not below {tree.root}; put it "
                    "there, or remove the line."
                )
            found.append((photo, mask, split))
    return found


def _place(tree: Tree, file: str, name: str) -> str | None:
    """Path of a file that a list names: beside the list, or below the root."""
    clean = name.replace("\\", "/").lstrip("/").removeprefix("./")
    places = (posixpath.normpath(posixpath.join(posixpath.dirname(file), clean)), clean)
    return next((place for place in places if place in tree.files), None)


def splits(tree: Tree, triples: Sequence[Triple]) -> list[Triple]:
    """The same, in the splits of lists of photos where no folder names a split.

    Raises:
        UniLabelError: a photo is in the lists of train and of val.
    """
    if any(split for _, _, split in triples):
        return list(triples)
    listed: dict[str, str] = {}
    names = {key: photo for photo, _, _ in triples for key in _keys(photo)}
    for file, split in _files(tree).items():
        lines = [line.replace("\\", "/").lstrip("/") for line in read_lines(tree.path(file))]
        known = [names.get(line) or names.get(posixpath.basename(line)) for line in lines]
        if not lines or None in known:
            continue  # a list of something else
        for photo in known:
            assert photo is not None
            if {listed.setdefault(photo, split), split} == {TRAIN, VAL}:
                raise UniLabelError(
                    f"{tree.path(file)}: {photo} is in the lists of train and of val; take it out "
                    "of one."
                )
    return [(photo, mask, listed.get(photo, "")) for photo, mask, _ in triples]


def _keys(photo: str) -> tuple[str, ...]:
    """How a list may call a photo."""
    bare = posixpath.splitext(photo)[0] if suffix_of(photo) in PHOTO_SUFFIXES else photo
    return photo, bare, posixpath.basename(photo), posixpath.basename(bare)
