"""Where a published dataset lies on a disk: the arrangements that people have, and the one found.

A :class:`DatasetSpec` lists the names of a dataset's folder and the layouts of its files, both in
order of preference. :func:`locate` takes the first folder in which images and labels of a layout
are found; nothing here opens an image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unilabel.data.dataset_files import FileTree, SplitRule
from unilabel.data.raw_labels import RawLabels

Decoder = Callable[[str], np.ndarray]

SAME_NAMES: Mapping[str, tuple[str, ...]] = {"train": ("train",), "val": ("val",)}
MAX_SUBFOLDERS = 200  # of a folder that is looked into; more are frames or scenes
MAX_VISITED = 500  # folders that are looked at to name a near miss
NEAR_DEPTH = 3


@dataclass(frozen=True)
class Labels:
    """One form of a dataset's labels.

    Args:
        tree: the files.
        decoder: (table, dataset name) -> decoder.
        mark: text that only the paths of these files contain, to choose the decoder by.
        prepared_by: the script that writes these files from the official ones, if any.
        refuses: variants of the classes that these labels cannot tell; they are not used then.
    """

    tree: FileTree
    decoder: Callable[[RawLabels, str], Decoder]
    mark: str = ""
    prepared_by: str = ""
    refuses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One arrangement of a dataset's files.

    Args:
        origin: who arranges them so, for messages.
        images: the image files.
        labels: forms of the labels; the first of which there are files is used.
        splits: the names of train and val in folder names.
        select: which files belong to a split; None: what the split's folders hold.
        needs: files without which it is another layout.
        counts: number of images by split, where it is not that of the dataset.
        refuses: variants of the classes that these labels cannot tell.
    """

    origin: str
    images: FileTree
    labels: tuple[Labels, ...]
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: SAME_NAMES)
    select: SplitRule | None = None
    needs: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    refuses: tuple[str, ...] = ()

    def telling(self, variants: Sequence[str]) -> Layout:
        """The same without the forms of labels that cannot tell one of these variants."""
        usable = (f for f in self.labels if not set(f.refuses) & set(variants))
        return replace(self, labels=tuple(usable))

    def fits(self, folder: Path) -> bool:
        """Whether a folder holds images and labels, of any split."""
        needed = all((folder / name).is_file() for name in self.needs)
        return needed and self.has_images(folder) and self.has_labels(folder)

    def half_fits(self, folder: Path) -> bool:
        """Whether a folder holds images or labels; what the layout needs may be missing."""
        return self.has_images(folder) or self.has_labels(folder)

    def has_images(self, folder: Path) -> bool:
        """Whether a folder holds images of any split."""
        return self._has(self.images, folder)

    def has_labels(self, folder: Path) -> bool:
        """Whether a folder holds labels of any form and split."""
        return any(self._has(form.tree, folder) for form in self.labels)

    def _has(self, tree: FileTree, folder: Path) -> bool:
        names = dict.fromkeys(name for names in self.splits.values() for name in names)
        return any(tree.has_files(folder, name) for name in names)

    def drawing(self) -> str:
        """The folders of images and labels, in words."""
        official = [form for form in self.labels if not form.prepared_by] or self.labels
        labels = " or ".join(form.tree.drawing() for form in official)
        names = "|".join(dict.fromkeys(name for names in self.splits.values() for name in names))
        needs = "".join(f" and {name}" for name in self.needs)
        text = f"{self.images.drawing()} with {labels}{needs}"
        return text.replace("{split}", "{" + names + "}")


@dataclass(frozen=True)
class Part:
    """A part of a dataset that is an archive of its own.

    Args:
        folders: names of its folder, below the root or in another folder of the dataset; in any
            case; the first that holds the files is used.
        counts: official number of images; key "all" where there is no official split.
    """

    folders: tuple[str, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class DatasetSpec:
    """What a built-in dataset is, apart from its classes.

    Args:
        parts: its archives; those that are there are read together.
        layouts: arrangements of the files, the preferred one first.
        variants: variants that change files or splits, as changes of this object.
    """

    parts: tuple[Part, ...]
    layouts: tuple[Layout, ...]
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def folders(self) -> tuple[str, ...]:
        """All names of the dataset's folders."""
        return tuple(name for part in self.parts for name in part.folders)


@dataclass(frozen=True)
class Place:
    """What was found of a dataset.

    Attributes:
        layout: the arrangement; the preferred one if nothing was found.
        folders: one per part that was found; else where the dataset is expected.
        counts: official number of images of these parts.
        found: whether images and labels are there.
        left_out: folders of parts that have images or labels only.
        problem: why none of several folders was chosen.
    """

    layout: Layout
    folders: tuple[Path, ...]
    counts: Mapping[str, int]
    found: bool
    left_out: tuple[Path, ...] = ()
    problem: str = ""


def locate(spec: DatasetSpec, root: Path) -> Place:
    """Look for a dataset below ``root``; where it is not found, say where it is expected."""
    layouts = spec.layouts
    folders: list[Path] = []
    left_out: list[Path] = []
    counts = []
    for part in spec.parts:
        hits = _find(spec, part, layouts, root)
        if len(hits) > 1:
            problem = (
                f"{' and '.join(str(folder) for folder, _ in hits)} could all be the dataset; keep "
                f"one, or link it to {root / part.folders[0]}."
            )
            return replace(_best_guess(spec, root), problem=problem)
        if hits:
            layouts = (hits[0][1],)  # the parts of one dataset are arranged alike
            folders.append(hits[0][0])
            counts.append(part.counts)
        else:
            left_out += _halves(spec, _existing(root, part.folders))
    if not folders:
        return _best_guess(spec, root)
    total = layouts[0].counts or _sum(counts)
    return Place(layouts[0], tuple(folders), total, True, tuple(left_out))


def near_misses(spec: DatasetSpec, root: Path) -> list[Path]:
    """Folders up to three levels below ``root``, or itself, that hold the dataset elsewhere."""
    found: list[Path] = []
    level, visited = [root], 0
    for _ in range(NEAR_DEPTH + 1):
        following: list[Path] = []
        for folder in level:
            visited += 1
            if visited > MAX_VISITED:
                return found
            if any(layout.fits(folder) for layout in spec.layouts):
                found.append(folder)
            else:
                following += _subfolders(folder)
        level = following
    return found


def _find(
    spec: DatasetSpec, part: Part, layouts: Sequence[Layout], root: Path
) -> list[tuple[Path, Layout]]:
    """The folder of a part and its layout; several where it cannot be told."""
    own = _existing(root, part.folders)
    names = {Path(name).name.lower() for name in part.folders}
    for folder in _candidates(spec, own, names, root):
        for layout in layouts:
            if layout.fits(folder):
                return [(folder, layout)]
    others = {Path(name).name.lower() for name in spec.folders} - names
    hits: dict[Path, Layout] = {}
    for child in (c for folder in own for c in _subfolders(folder)):
        if child.name.lower() not in others and child not in hits:
            fitting = next((layout for layout in layouts if layout.fits(child)), None)
            if fitting is not None:
                hits[child] = fitting
    return list(hits.items())


def _candidates(
    spec: DatasetSpec, own: Sequence[Path], names: set[str], root: Path
) -> Iterator[Path]:
    """Folders that are called like a part, below the root and in other folders of the dataset."""
    yield from own
    for folder in _existing(root, spec.folders):
        yield from (child for child in _subfolders(folder) if child.name.lower() in names)


def _best_guess(spec: DatasetSpec, root: Path) -> Place:
    """For messages: a folder with a half of a layout, else one that exists, else the first name."""
    existing = _existing(root, spec.folders)
    counts = spec.parts[0].counts
    for folder in existing:
        for layout in spec.layouts:
            if layout.half_fits(folder):
                return Place(layout, (folder,), layout.counts or counts, False)
    folder = existing[0] if existing else root / spec.parts[0].folders[0]
    return Place(spec.layouts[0], (folder,), counts, False)


def _halves(spec: DatasetSpec, folders: Sequence[Path]) -> list[Path]:
    return [f for f in folders if any(layout.half_fits(f) for layout in spec.layouts)]


def _existing(root: Path, names: Sequence[str]) -> list[Path]:
    found: dict[str, Path] = {}
    for name in names:
        path = _in_any_case(root, name)
        if path is not None:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _in_any_case(root: Path, name: str) -> Path | None:
    """The folder ``name`` below ``root``; exact case is preferred."""
    path = root
    for step in name.split("/"):
        if (path / step).is_dir():
            path = path / step
            continue
        alike = [child for child in _folders(path) if child.name.lower() == step.lower()]
        if not alike:
            return None
        path = alike[0]
    return path


def _subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, unless there are very many."""
    found = list(_folders(folder))
    return found if len(found) <= MAX_SUBFOLDERS else []


def _folders(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError:
        return
    yield from (folder / name for name in names)


def _sum(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for key, number in one.items():
            total[key] = total.get(key, 0) + number
    return total
