"""Which photos are for training and which for validation."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.core.io import decode_text, read_json
from unilabel.importers.tree import PHOTO_SUFFIXES, stem_of

TRAIN, VAL, TEST = "train", "val", "test"
WORDS = {
    TRAIN: (TRAIN, "training", "default"),
    VAL: (VAL, "valid", "validation", "dev", "eval", "evaluation"),
    TEST: (TEST, "testing", "test-dev"),
}
FILLERS = {  # words beside the split in names of folders: train_images, val-set
    *("image", "images", "img", "imgs", "photos", "rgb", "mask", "masks", "label", "labels"),
    *("annotations", "annotation", "ann", "gt", "set", "data", "split", "dataset", ""),
}
_SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
DEFAULT_SHARE = 0.2
_PICTURE = "|".join(re.escape(suffix) for suffix in PHOTO_SUFFIXES)
_TWO = re.compile(rf"(\S.*?(?:{_PICTURE}))[\s,;]+(\S.*?(?:{_PICTURE}))", re.IGNORECASE)


def split_of_word(word: str) -> str:
    """Split of a word as ``train``, ``Valid``, ``val2017``, ``train_images``, "" if it is none."""
    whole = word.lower().rstrip("0123456789_-")
    if whole in _SPLIT_OF:
        return _SPLIT_OF[whole]
    words = re.split(r"[^a-z]+", whole)
    splits = [_SPLIT_OF[w] for w in words if w in _SPLIT_OF]
    rest = {w for w in words if w not in _SPLIT_OF}
    return splits[0] if len(splits) == 1 and rest <= FILLERS else ""


def split_of_path(path: str) -> str:
    """Split that a folder of a path names, the innermost first, "" if none does."""
    for part in reversed(posixpath.dirname(path).split("/")):
        if split := split_of_word(part):
            return split
    return ""


def split_of_file(path: str) -> str:
    """Split that a file's name (``instances_val2017.json``) or else its folders name."""
    for word in reversed(re.split(r"[^A-Za-z0-9]+", stem_of(path))):
        if split := split_of_word(word):
            return split
    return split_of_path(path)


def folder_words(split: str) -> tuple[str, ...]:
    """Names that a folder of the split may have."""
    return WORDS.get(split, ())


def assign_splits(photos: Sequence[str], given: Sequence[str], option: str) -> list[str]:
    """The split of every photo.

    Args:
        photos: relative paths.
        given: what the export says: "train", "val", "test" or "".
        option: "" keeps what is given (train where nothing is), ``val=SHARE``,
            ``by-folder`` or ``by-folder=SHARE``, or a file that lists the photos of val.

    Raises:
        UniLabelError: the option is none of these or does not fit.
    """
    if not option:
        return [split or TRAIN for split in given]
    kind, _, number = option.partition("=")
    if kind in (VAL, "by-folder") and (number or kind == "by-folder"):
        share = _share(number, option)
        groups = [posixpath.dirname(p) if kind == "by-folder" else p for p in photos]
        return _by_share(groups, share, option)
    return _by_file(photos, Path(option))


def _share(text: str, option: str) -> float:
    try:
        share = float(text) if text else DEFAULT_SHARE
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise UniLabelError(
            f"--split {option}: expected a share between 0 and 1, for example --split val=0.2."
        )
    return share


def _by_share(groups: Sequence[str], share: float, option: str) -> list[str]:
    """Groups in the order of a hash of their names: the same on every machine."""
    distinct = sorted(set(groups), key=lambda g: hashlib.sha256(g.encode()).digest())
    if len(distinct) < 2:
        what = "folder" if option.startswith("by-folder") else "photo"
        raise UniLabelError(
            f"--split {option}: there is only one {what} ({distinct[0] or '.'!r}), expected two or "
            "more; use --split val=0.2 or a list file."
        )
    wanted = share * len(groups)
    val: set[str] = set()
    taken = 0
    sizes = Counter(groups)
    for group in distinct[:-1]:
        if taken and taken + sizes[group] / 2 > wanted:
            break
        val.add(group)
        taken += sizes[group]
    return [VAL if g in val else TRAIN for g in groups]


def _by_file(photos: Sequence[str], file: Path) -> list[str]:
    if not file.is_file():
        raise UniLabelError(
            f"--split {file}: no such file; expected val=SHARE, by-folder, or a text file with a "
            "line for each photo of val."
        )
    if file.suffix.lower() == ".json":
        data = read_json(file)
        lines = data.get(VAL) if isinstance(data, dict) else data
    else:
        lines = read_lines(file)
    if not isinstance(lines, list) or not all(isinstance(x, str) for x in lines):
        raise UniLabelError(f'{file}: expected a list of photos, or {{"val": [...]}}.')
    keys: dict[str, list[int]] = {}
    for position, photo in enumerate(photos):
        bare = posixpath.splitext(photo)[0]
        for key in {photo, bare, posixpath.basename(photo), posixpath.basename(bare)}:
            keys.setdefault(key, []).append(position)
    result = [TRAIN] * len(photos)
    for line in lines:
        if line not in keys:
            raise UniLabelError(
                f"--split {file}: the line {line!r} is no photo of the export; expected names as "
                f"{photos[0]!r} or {stem_of(photos[0])!r}."
            )
        for position in keys[line]:
            result[position] = VAL
    return result


def two_files(line: str) -> tuple[str, str] | None:
    """The photo and the mask that a line of a list names, None if it is no such line."""
    match = _TWO.fullmatch(line)
    return (match[1], match[2]) if match else None


def read_lines(file: Path) -> list[str]:
    """Lines of a UTF-8 text file that are not empty, without blanks around them.

    Raises:
        UniLabelError: it cannot be read or is not UTF-8.
    """
    try:
        text = decode_text(file.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 ({error})"
        raise UniLabelError(f"cannot read {file}: {reason}; save it as UTF-8 text.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
