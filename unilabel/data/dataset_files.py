"""Finding the images and labels of a dataset by scanning its folders.

A :class:`FileTree` says how the files of one kind lie below a dataset's folder; each file has a
key, and an image and a label of the same key belong together. Nothing here opens an image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.data.sources import IMAGE_SUFFIXES, SPLITS, Sample

# (path below the tree's folder without suffix, split of the tree) -> key, or None for a file that
# does not belong to the tree.
KeyRule = Callable[[str, str], "str | None"]
# (dataset folder, split, all keys found) -> the keys that belong to the split.
SplitRule = Callable[[Path, str, "set[str]"], "set[str]"]


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
    """

    folders: tuple[str, ...]
    suffixes: tuple[str, ...]
    recursive: bool = False
    key: KeyRule = same_key

    def folder(self, root: Path, split: str) -> Path:
        """The folder that is scanned; the first choice if none exists."""
        choices = [root / f.format(split=split) for f in self.folders]
        return next((c for c in choices if c.is_dir()), choices[0])

    def scan(self, root: Path, split: str) -> dict[str, str]:
        """Key -> path of every file.

        Raises:
            UniLabelError: two files have one key.
        """
        base = str(self.folder(root, split))
        found: dict[str, str] = {}
        for path in walk_files(base) if self.recursive else _list(base):
            name = os.path.basename(path)
            if name.startswith("."):
                continue
            lower = name.lower()
            suffix = next((s for s in self.suffixes if lower.endswith(s.lower())), None)
            if suffix is None:
                continue
            stem = path[len(base) + 1 : -len(suffix)].replace(os.sep, "/")
            key = self.key(stem, split)
            if key is None:
                continue
            if key in found:
                raise UniLabelError(
                    f"{found[key]} and {path} have the same name apart from the suffix; rename or "
                    "remove one."
                )
            found[key] = path
        return found

    def path_of(self, root: Path, split: str, key: str) -> Path:
        """Where the file of a key is expected, for trees whose keys are paths."""
        return self.folder(root, split) / f"{key}{self.suffixes[0]}"


def _list(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.path for entry in entries if not entry.is_dir())
    except FileNotFoundError:
        return


def walk_files(
    folder: str | os.PathLike[str], above: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Every file below a folder, also behind links to folders; nothing if there is no such folder.

    Args:
        folder: where to look.
        above: real paths of the folders that lead here; a link back to one of them is not followed.

    Raises:
        UniLabelError: a folder may not be read.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UniLabelError(f"cannot read the folder {folder}: {error.strerror}.") from error
    for entry in found:
        if entry.is_dir():
            yield from walk_files(entry.path, above | {real})
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


def folder_files(root: Path, dataset: str, split: str) -> PairedFiles:
    """The files of a user's folder ``images/{train,val}``, ``labels/{train,val}``."""
    images = FileTree(("images/{split}",), IMAGE_SUFFIXES)
    labels = FileTree(("labels/{split}",), (".png",))
    return pair_trees(dataset, root, images, labels, split, split)


def pair_trees(
    dataset: str,
    root: Path,
    images: FileTree,
    labels: FileTree,
    split: str,
    folder_split: str,
    select: SplitRule | None = None,
) -> PairedFiles:
    """Scan both trees.

    Args:
        dataset: name, for messages.
        root: the dataset's folder.
        images: where images lie.
        labels: where labels lie.
        split: "train" or "val".
        folder_split: what the split is called in folder names.
        select: which keys belong to the split; None: all that the folders hold.
    """
    if split not in SPLITS:
        raise UniLabelError(f"there is no split {split!r}; expected one of {', '.join(SPLITS)}.")
    image_files = images.scan(root, folder_split)
    label_files = labels.scan(root, folder_split)
    keys = image_files.keys() | label_files.keys()
    wanted = keys if select is None else select(root, split, set(keys))
    return PairedFiles(
        dataset,
        frozenset(wanted),
        image_files,
        label_files,
        _place(images, root, folder_split),
        _place(labels, root, folder_split),
    )


def _place(tree: FileTree, root: Path, split: str) -> str:
    return f"(a file *{' or *'.join(tree.suffixes)} below {tree.folder(root, split)})"
