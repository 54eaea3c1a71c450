"""Finding the images and labels of a dataset by scanning its folders.

A :class:`FileTree` says how the files of one kind lie below a dataset's folder; each file has a
key, and an image and a label of the same key belong together. Nothing here opens an image.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.data.sources import SPLITS, Sample

logger = logging.getLogger(__name__)

# (path below the tree's folder without suffix, split of the tree) -> key, or None for a file that
# does not belong to the tree.
KeyRule = Callable[[str, str], "str | None"]
# (dataset folder, split, all keys found) -> the keys that belong to the split.
SplitRule = Callable[[Path, str, "set[str]"], "set[str]"]


# What systems put beside a person's files, in lower case: previews, bins.
_OF_SYSTEMS = {
    *("__macosx", "thumbs.db", "desktop.ini", "@eadir", "#recycle", "$recycle.bin", "lost+found"),
    *("system volume information",),
}


def is_of_system(name: str) -> bool:
    """Whether a file or folder of this name was put there by a system, not by its owner."""
    return name.lower() in _OF_SYSTEMS


def plain(name: str) -> str:
    """A name whatever its case and the way in which its accents are stored (macOS has its own)."""
    return unicodedata.normalize("NFC", name).casefold()


def same_key(stem: str, split: str) -> str | None:
    """The path itself is the key."""
    return stem


@dataclass(frozen=True)
class PatternKey:
    r"""A part of the path is the key; paths that do not fit are no files of the tree.

    Args:
        pattern: regular expression for the whole path.
        key: template of the key, for example ``\1/\2``.
    """

    pattern: str
    key: str = r"\1"

    def __call__(self, stem: str, split: str) -> str | None:
        """The key of a path."""
        match = re.fullmatch(self.pattern, stem)
        return match.expand(self.key) if match else None


@dataclass(frozen=True)
class FileTree:
    """Files of one kind.

    Args:
        folders: below the dataset's folder; the first that exists is used; ``{split}`` stands for
            the split's name.
        suffixes: endings of the file names; what remains of the path is handed to ``key``.
        recursive: also look into subfolders.
        key: tells the key.
        within: pattern of the subfolders that are entered at first; None: all.
        prefer: of files that differ in their suffix only the one whose suffix stands first is
            used; otherwise they are an error.
    """

    folders: tuple[str, ...]
    suffixes: tuple[str, ...]
    recursive: bool = False
    key: KeyRule = same_key
    within: str | None = None
    prefer: bool = False

    def folder(self, root: Path, split: str) -> Path:
        """The folder that is scanned; the first choice if none exists."""
        choices = [root / f.format(split=split) for f in self.folders]
        return next((c for c in choices if c.is_dir()), choices[0])

    def scan(self, root: Path, split: str) -> dict[str, str]:
        """Key -> path of every file.

        Raises:
            UniLabelError: two files have one key.
        """
        found: dict[str, str] = {}
        ranks: dict[str, int] = {}
        doubles = 0
        for key, rank, path in self._files(root, split):
            if key in found:
                if not self.prefer or rank == ranks[key]:
                    raise UniLabelError(
                        f"{found[key]} and {path} have the same name apart from the suffix; rename "
                        "or remove one."
                    )
                doubles += 1
                if rank > ranks[key]:
                    continue
            found[key], ranks[key] = path, rank
        if doubles:
            say_once(
                f"{self.folder(root, split)}: {doubles} files are there as "
                f"{' and '.join(self.suffixes)}; {self.suffixes[0]} is read"
            )
        return found

    def has_files(self, root: Path, split: str) -> bool:
        """Whether there is a file of the tree."""
        return next(self._files(root, split), None) is not None

    def _files(self, root: Path, split: str) -> Iterator[tuple[str, int, str]]:
        """Key, rank of the suffix and path of every file."""
        base = str(self.folder(root, split))
        for path in walk_files(base, self.within) if self.recursive else _list(base):
            name = os.path.basename(path)
            if name.startswith("."):
                continue
            lower = name.lower()
            ranks = (i for i, s in enumerate(self.suffixes) if lower.endswith(s.lower()))
            rank = next(ranks, None)
            if rank is None:
                continue
            stem = path[len(base) + 1 : -len(self.suffixes[rank])].replace(os.sep, "/")
            key = self.key(stem, split)
            if key is not None:
                yield key, rank, path

    def drawing(self) -> str:
        """The first choice of the folder, in words."""
        if self.within is None:
            return self.folders[0]
        return f"{self.folders[0]}/{self.within}".removeprefix("./")

    def path_of(self, root: Path, split: str, key: str) -> Path:
        """Where the file of a key is expected, for trees whose keys are paths."""
        return self.folder(root, split) / f"{key}{self.suffixes[0]}"


@lru_cache(maxsize=256)
def say_once(message: str) -> None:
    """Tell what was chosen without being asked; each message once per process."""
    logger.info("%s", message)


def _list(folder: str) -> Iterator[str]:
    yield from (entry.path for entry in _entries(folder) if not entry.is_dir())


def _entries(folder: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
    """What is in a folder; nothing if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UniLabelError(f"cannot read the folder {folder}: {error.strerror}.") from error


def walk_files(
    folder: str | os.PathLike[str],
    within: str | None = None,
    above: frozenset[str] = frozenset(),
) -> Iterator[str]:
    """Every file below a folder, also behind links to folders; nothing if there is no such folder.

    Args:
        folder: where to look.
        within: pattern of the subfolders of ``folder`` that are entered; None: all.
        above: real paths of the folders that lead here; a link back to one of them is not followed.

    Raises:
        UniLabelError: a folder may not be read.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in list(_entries(folder)):  # closed before the next one is opened
        if entry.is_dir():
            entered = within is None or re.fullmatch(within, entry.name)
            if entered and not is_of_system(entry.name):
                yield from walk_files(entry.path, None, above | {real})
        else:
            yield entry.path


@dataclass(frozen=True)
class PairedFiles:
    """Images and labels of one split, by key, before they are checked.

    Attributes:
        dataset: name, for messages.
        wanted: keys that belong to the split.
        images: key -> path.
        labels: key -> path.
        image_place: where a missing image is expected, in words.
        label_place: where a missing label is expected, in words.
        cure: what to do about missing files.
    """

    dataset: str
    wanted: frozenset[str]
    images: Mapping[str, str]
    labels: Mapping[str, str]
    image_place: str
    label_place: str
    cure: str = "unpack the archive again, or move the single files away"

    def complete(self) -> list[Sample]:
        """Samples that have both files, sorted by key."""
        keys = sorted(k for k in self.wanted if k in self.images and k in self.labels)
        return [Sample(self.images[k], self.labels[k]) for k in keys]

    def missing_labels(self) -> list[str]:
        """One message for each image without a label."""
        return [
            f"dataset {self.dataset!r}: image {self.images[k]} has no label {k!r} "
            f"{self.label_place}"
            for k in sorted(self.wanted)
            if k in self.images and k not in self.labels
        ]

    def missing_images(self) -> list[str]:
        """One message for each label, or entry of a list, without an image."""
        return [
            f"dataset {self.dataset!r}: "
            + (f"label {self.labels[k]}" if k in self.labels else f"the entry {k!r} of the list")
            + f" has no image {k!r} {self.image_place}"
            for k in sorted(self.wanted)
            if k not in self.images
        ]

    def samples(self) -> list[Sample]:
        """All samples.

        Raises:
            UniLabelError: a file is missing.
        """
        missing = self.missing_labels() + self.missing_images()
        if missing:
            more = f" ({len(missing) - 1} more like this)" if len(missing) > 1 else ""
            raise UniLabelError(
                f"{missing[0]}{more}; {self.cure}. tools/check_dataset.py lists all faults of a "
                "dataset."
            )
        return self.complete()


def pair_trees(
    dataset: str,
    roots: Sequence[Path],
    images: FileTree,
    labels: FileTree,
    split: str,
    folder_splits: Sequence[str],
    select: SplitRule | None = None,
) -> PairedFiles:
    """Scan both trees.

    Args:
        dataset: name, for messages.
        roots: the dataset's folders; with several, keys begin with the folder's name.
        images: where images lie.
        labels: where labels lie.
        split: "train" or "val".
        folder_splits: the names in folder names that make up the split.
        select: which keys belong to the split; None: all that the folders hold. It is not asked
            where there are no files at all.
    """
    if split not in SPLITS:
        raise UniLabelError(f"there is no split {split!r}; expected one of {', '.join(SPLITS)}.")
    image_files = _scan_all(images, roots, folder_splits)
    label_files = _scan_all(labels, roots, folder_splits)
    keys = image_files.keys() | label_files.keys()
    wanted = keys if select is None or not keys else select(roots[0], split, set(keys))
    return PairedFiles(
        dataset,
        frozenset(wanted),
        image_files,
        label_files,
        _place(images, roots, folder_splits),
        _place(labels, roots, folder_splits),
    )


def _scan_all(tree: FileTree, roots: Sequence[Path], splits: Sequence[str]) -> dict[str, str]:
    """Files of several folders and split names together."""
    found: dict[str, str] = {}
    scanned: set[Path] = set()
    for root in roots:
        for split in splits:
            folder = tree.folder(root, split)
            if folder in scanned:  # its name does not tell the split
                continue
            scanned.add(folder)
            for key, path in tree.scan(root, split).items():
                full = f"{root.name}/{key}" if len(roots) > 1 else key
                if full in found:
                    raise UniLabelError(
                        f"{found[full]} and {path} are the same frame in two parts of the dataset; "
                        "remove one."
                    )
                found[full] = path
    return found


def _place(tree: FileTree, roots: Sequence[Path], splits: Sequence[str]) -> str:
    folders = dict.fromkeys(str(tree.folder(root, split)) for root in roots for split in splits)
    return f"(a file *{' or *'.join(tree.suffixes)} below {' or '.join(folders)})"
