"""A person's own folder, ``images/``, ``labels/`` and ``classes.json``, as a dataset.

One scanner for training and check. Whatever does not pair or is not used is said in one line for
each folder, with counts, the first names and the line of ``classes.json`` that mends it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.data.class_list import ClassList, read_class_list
from unilabel.data.folder_split import (
    FolderSplit,
    counted,
    first_names,
    import_cure,
    same_names,
    walk_own,
)
from unilabel.data.images import IMAGE_SUFFIXES, ImageReader
from unilabel.data.label_files import LABEL_SUFFIXES
from unilabel.data.sources import SPLITS, DatasetSource, Sample, resolve_folder
from unilabel.data.value_decoder import ValueDecoder
from unilabel.importers.splits import split_of_word

ALIASES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
}


def folder_source(folder: str) -> DatasetSource:
    """The dataset of a folder that has a ``classes.json``.

    Raises:
        UniLabelError: the folder or its class list is wrong.
    """
    files = folder_files(folder)
    classes = files.classes
    return DatasetSource(
        classes.space,
        files,
        ValueDecoder(classes),
        files.root,
        ImageReader(classes.image_scale, classes.max_pixels),
        files.remarks,
    )


def folder_files(folder: str) -> FolderFiles:
    """The lister of a folder that has a ``classes.json``.

    Raises:
        UniLabelError: the folder or its class list is wrong.
    """
    root = resolve_folder(folder)
    return FolderFiles(str(root), read_class_list(root / "classes.json"))


@dataclass(frozen=True)
class FolderFiles:
    """Lists the samples of a folder; plain data, so that it travels to worker processes.

    Attributes:
        root: the folder.
        classes: content of its ``classes.json``.
    """

    root: str
    classes: ClassList

    def __call__(self, split: str) -> list[Sample]:
        """Samples of a split, sorted; none if the folder has no val part.

        Raises:
            UniLabelError: files do not pair, or there is nothing to train on.
        """
        found = self.scan(split)
        if not found.wanted and split == "train":
            raise UniLabelError(
                f"dataset {self.classes.space.name!r} has no images to train on: none in "
                f"{self._base('images', split)[0]}; expected files {', '.join(IMAGE_SUFFIXES)} "
                "there, and label maps of the same names below labels. If they are arranged in "
                f"another way, {import_cure(self.root)}."
            )
        return found.samples()

    def scan(self, split: str) -> FolderSplit:
        """All files of a split, paired by their path below the split's folder without suffix.

        Raises:
            UniLabelError: two files have one key, or the wish for a split cannot be met.
        """
        if split not in SPLITS:
            raise UniLabelError(
                f"there is no split {split!r}; expected one of {', '.join(SPLITS)}."
            )
        choice = self.classes.split
        self._check_choice()
        image_base, image_known = self._base("images", split)
        label_base, label_known = self._base("labels", split)
        images = _by_key(image_base, IMAGE_SUFFIXES, "") if image_known else {}
        suffix = self.classes.label_suffix
        labels = _by_key(label_base, LABEL_SUFFIXES, suffix) if label_known else {}
        labels = same_names(labels, images)
        keys = set(images) | set(labels)
        wanted = keys if choice is None else choice.select(Path(self.root), split, keys)
        return FolderSplit(
            self.classes.space.name,
            frozenset(wanted),
            images,
            labels,
            image_base,
            label_base,
            classes_file=self.classes.path,
        )

    def remarks(self) -> list[str]:
        """What is not used, one line for each folder, and that there is nothing to evaluate on."""
        lines = [line for kind in ("images", "labels") for line in self._unused(kind)]
        choice = self.classes.split
        wanted = [self.scan(split).wanted for split in SPLITS]
        both = sorted(wanted[0] & wanted[1]) if choice is not None and choice.lists else []
        if both:
            lines.append(
                f"dataset {self.classes.space.name!r}: {counted(len(both), 'photo')} "
                f"{'stands' if len(both) == 1 else 'stand'} in the lists of train and of val, so "
                f"scores on val are too good: {first_names(both)}."
            )
        if not wanted[1]:
            lines.append(
                f"dataset {self.classes.space.name!r} has no val part: it is trained on and not "
                f'evaluated. A part of its files becomes val with "split": {{"val": 0.2, "by": '
                f'"file"}} in {self.classes.path} ("folder": whole subfolders){self._lists()}.'
            )
        return lines

    def _lists(self) -> str:
        """The line for list files that lie where the common forms have them."""
        for folder in ("", "ImageSets/", "ImageSets/Segmentation/"):
            names = [f"{folder}{split}.txt" for split in SPLITS]
            if all((Path(self.root) / name).is_file() for name in names):
                return f'; or by the lists that are there, "split": {{"train": "{names[0]}", ' + (
                    f'"val": "{names[1]}"}}'
                )
        return ""

    def _check_choice(self) -> None:
        choice = self.classes.split
        folder = (
            None if choice is None or choice.lists else _split_folder(self._top("images"), "val")
        )
        if folder is not None:
            raise UniLabelError(
                f'{self.classes.path}: "split" wants a part of the training files as val, but '
                f"{folder} is there already; remove one of the two."
            )

    def _top(self, kind: str) -> Path:
        root = Path(self.root)
        return _one_folder(root, kind, lambda name: name.lower() == kind) or root / kind

    def _base(self, kind: str, split: str) -> tuple[str, bool]:
        """The folder of a split's files, and whether it may hold some."""
        top = self._top(kind)
        folders = {s: _split_folder(top, s) for s in SPLITS}
        choice = self.classes.split
        if choice is not None and choice.lists:
            return str(top), True
        if choice is not None:
            return str(folders["train"] or top), True
        if not any(folders.values()) and not any(split_of_word(p.name) for p in _subfolders(top)):
            return str(top), split == "train"  # flat: all is for training
        return str(folders[split] or top / split), folders[split] is not None

    def _unused(self, kind: str) -> Iterator[str]:
        suffixes = IMAGE_SUFFIXES if kind == "images" else LABEL_SUFFIXES
        suffix = "" if kind == "images" else self.classes.label_suffix
        used: set[str] = set()
        for split in SPLITS:
            _, known = self._base(kind, split)
            if known:
                scan = self.scan(split)
                table = scan.images if kind == "images" else scan.labels
                lists = self.classes.split is not None and bool(self.classes.split.lists)
                used |= {p for k, p in table.items() if not lists or k in scan.wanted}
        groups: dict[tuple[str, str], list[str]] = {}
        top = str(self._top(kind))
        for path in walk_own(top):
            if path in used:
                continue
            below = os.path.relpath(path, top).split(os.sep)
            place = os.path.join(top, below[0]) if len(below) > 1 else top
            lower = path.lower()
            if not lower.endswith(suffixes):
                why = f"no {'image' if kind == 'images' else 'label'} format that is read"
            elif suffix and not os.path.splitext(lower)[0].endswith(suffix.lower()):
                why = f'their names do not end in "{suffix}" ("label_suffix")'
            else:
                why = "in no part of the dataset (train or val)"
            groups.setdefault((place, why), []).append(path)
        for (place, why), paths in groups.items():
            yield (
                f"dataset {self.classes.space.name!r}: {counted(len(paths), 'file')} in {place} "
                f"{'is' if len(paths) == 1 else 'are'} not used ({why}): {first_names(paths)}."
            )


def _split_folder(top: Path, split: str) -> Path | None:
    """The subfolder of a split by any of its names: ``train``, ``Training``, ``train2017``."""
    exact = _one_folder(top, split, lambda name: name.lower() in ALIASES[split])
    return exact or _one_folder(top, split, lambda name: split_of_word(name) == split)


def _one_folder(top: Path, what: str, fits: Callable[[str], bool]) -> Path | None:
    """The subfolder whose name fits.

    Raises:
        UniLabelError: there are two.
    """
    found = [p for p in _subfolders(top) if fits(p.name)]
    if len(found) > 1:
        raise UniLabelError(
            f"{found[0]} and {found[1]} would both be the folder {what!r}; rename one of them."
        )
    return found[0] if found else None


def _subfolders(top: Path) -> list[Path]:
    try:
        return [p for p in sorted(top.iterdir()) if p.is_dir()]
    except OSError:
        return []


def _by_key(base: str, suffixes: tuple[str, ...], ending: str) -> dict[str, str]:
    """Key -> path of the files with one of the suffixes whose stem has the ending.

    Raises:
        UniLabelError: two files have one key.
    """
    found: dict[str, str] = {}
    for path in walk_own(base):
        stem, suffix = os.path.splitext(path)
        if suffix.lower() not in suffixes or not stem.lower().endswith(ending.lower()):
            continue
        key = stem[len(base) + 1 : len(stem) - len(ending)].replace(os.sep, "/")
        if key in found:
            raise UniLabelError(
                f"{found[key]} and {path} have the same name apart from the suffix; rename or "
                "remove one."
            )
        found[key] = path
    return found
