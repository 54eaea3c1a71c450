"""YOLO segmentation (Ultralytics): ``data.yaml``, a text file of outlines for each photo."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.importers.classes import Names, names_of, read_names, read_yaml, start_table
from unilabel.importers.forms.coco import BOX_ONLY
from unilabel.importers.frame import Frame
from unilabel.importers.painter import Painted, Shape, Sketch, outline
from unilabel.importers.plan import FilePhoto, Item, Options, Outlines, Plan
from unilabel.importers.splits import read_lines, split_of_path, split_of_word
from unilabel.importers.tree import PHOTO_SUFFIXES, Tree, is_below, suffix_of

TITLE = "YOLO segmentation"
NAME_LISTS = ("classes.txt", "obj.names")
NO_FILE = "photos without a label file (nothing labelled)"


def detect(tree: Tree) -> list[str]:
    """Folders with a YAML file that names classes, and text files below ``labels``."""
    return sorted({posixpath.dirname(f) for f in _class_files(tree) if _labels(tree, f)})


def _class_files(tree: Tree) -> list[str]:
    """YAML files that name classes; without any, plain lists beside ``images`` and ``labels``."""
    folders = {folder.lower() for folder in tree.folders}
    wanted = ("images", "labels")
    lists = [
        file
        for file in tree.named(*NAME_LISTS)
        if {posixpath.join(posixpath.dirname(file), n).lower() for n in wanted} <= folders
    ]
    return _yaml_files(tree) or lists


def _yaml_files(tree: Tree) -> list[str]:
    found = []
    for path in tree.with_suffix(".yaml", ".yml"):
        text = "\n" + tree.sniff(path)
        if "\nnames" in text and ("\ntrain" in text or "\nval" in text):
            found.append(path)
    return found


def _labels(tree: Tree, file: str) -> list[str]:
    below = tree.below(posixpath.dirname(file))
    texts = [f for f in below if suffix_of(f) == ".txt" and "labels" in f.lower().split("/")]
    return [f for f in texts if posixpath.basename(f).lower() not in NAME_LISTS]


@dataclass(frozen=True)
class YoloLabel:
    """Outlines of one photo, as shares of its width and height.

    Attributes:
        path: of the text file, None for a photo without objects.
        ids: (class number, class id) pairs.
        fill: class id of pixels in no outline.
    """

    path: str
    ids: tuple[tuple[int, int], ...]
    fill: int

    def __call__(self, frame: Frame, options: Options) -> Painted:
        """Read and paint.

        Raises:
            UniLabelError: a line is no outline, or its class is unknown.
        """
        reader = partial(sketch, Path(self.path), dict(self.ids), frame.upright)
        return Outlines(self.path, TITLE, reader, self.fill)(frame, options)


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: the YAML file is wrong, or a folder that it names is missing.
    """
    file = next(f for f in _class_files(tree) if posixpath.dirname(f) == base)
    path = tree.path(file)
    data, names = _content(path)
    table = start_table(options)
    ids = {}
    for value, (name, _) in names.by_value().items():
        ids[value] = (table.id_of if options.names else table.add)(name, str(path))
    plan = Plan(table)
    texts = _labels(tree, file)
    of_key = {_key(f): f for f in texts}
    used = set()
    for photo, split in _photos(tree, data, base, path).items():
        text = of_key.get(_key(photo))
        if text is None:
            plan.left_out[NO_FILE] += 1
            continue
        used.add(text)
        label = YoloLabel(str(tree.path(text)), tuple(ids.items()), table.fill)
        plan.items.append(Item(FilePhoto(str(tree.root), photo), label, split))
    alone = [f for f in texts if f not in used]
    if alone:
        plan.left_out["label files without a photo"] += len(alone)
    return plan


def _content(path: Path) -> tuple[dict[str, Any], Names]:
    """The content of a YAML file, and the names in it or in a plain list.

    Raises:
        UniLabelError: there are no names.
    """
    if path.name.lower() in NAME_LISTS:
        return {}, read_names(path)
    data = read_yaml(path)
    if not isinstance(data, dict) or not isinstance(data.get("names"), list | dict):
        raise UniLabelError(f'{path}: "names" is no list of names; export it again.')
    return data, names_of(data["names"], str(path))


def _key(path: str) -> str:
    """The path without suffix and without the folder images or labels."""
    parts = posixpath.splitext(path)[0].split("/")
    for at in range(len(parts) - 2, -1, -1):
        if parts[at].lower() in ("images", "labels"):
            return "/".join(parts[:at] + parts[at + 1 :])
    return "/".join(parts)


def _photos(tree: Tree, data: Mapping[str, Any], base: str, path: Path) -> dict[str, str]:
    """Photo -> split, of the folders and lists that the YAML file names.

    Raises:
        UniLabelError: a folder is missing, or a photo is in two splits.
    """
    found: dict[str, str] = {}
    for key, value in data.items():
        split = split_of_word(str(key))
        if not split or value in (None, "", []):
            continue
        for place in value if isinstance(value, list) else [value]:
            photos = _place(tree, str(place), str(data.get("path") or ""), base)
            if photos is None and split == "test":  # often not part of an export
                continue
            if photos is None:
                raise UniLabelError(
                    f'{path}: "{key}: {place}" is neither a folder nor a list of photos below '
                    f"{tree.root}; correct the path, relative to the file."
                )
            for photo in photos:
                if found.setdefault(photo, split) != split:
                    raise UniLabelError(
                        f"{path}: the photo {photo} is in {found[photo]} and in {split}; correct "
                        "the paths of the splits."
                    )
    if not found:
        photos = [p for p in tree.photos if is_below(p, base)]
        found = {p: split_of_path(p) for p in photos}
    return found


def _place(tree: Tree, place: str, root: str, base: str) -> list[str] | None:
    """Photos in a folder or a list file, None if it is not there.

    Paths are tried relative to the YAML file, below its ``path``, and without what leads out of the
    export (Roboflow writes ../train/images; others write the path on the machine they ran on).
    """
    clean = place.replace("\\", "/").strip().rstrip("/")
    parts = [p for p in clean.split("/") if p not in ("", ".", "..")]
    root_parts = [p for p in root.replace("\\", "/").split("/") if p not in ("", ".", "..")]
    tries = [parts[i:] for i in range(len(parts))]
    tries = [root_parts + parts, *tries]
    for inner in tries:
        path = posixpath.normpath(posixpath.join(base, *inner))
        if path in tree.files:
            lines = read_lines(tree.path(path))
            photos = [tree.find_photo(line, path) for line in lines]
            for line, photo in zip(lines, photos, strict=True):
                if photo is None:
                    raise UniLabelError(
                        f"{tree.path(path)}: the photo {line!r} is not below {tree.root}; put it "
                        "there, or remove the line."
                    )
            return [p for p in photos if p]
        if path in tree.folders:
            return [p for p in tree.photos if is_below(p, path) and suffix_of(p) in PHOTO_SUFFIXES]
    return None


def sketch(path: Path, ids: Mapping[int, int], size: tuple[int, int]) -> Sketch:
    """Outlines of a file.

    Raises:
        UniLabelError: a line is no outline, or its class is unknown.
    """
    result = Sketch(None, [])
    for number, line in enumerate(read_lines(path), 1):
        where = f"{path}: line {number}"
        try:
            first, *values = (float(v) for v in line.split())
        except ValueError:
            raise UniLabelError(
                f"{where}: {line[:60]!r} is no list of numbers, expected a class number and "
                "x, y as shares of the photo's size."
            ) from None
        if first not in ids:
            raise UniLabelError(
                f"{where}: the class {first:g} is none of {sorted(ids)[0]} to {sorted(ids)[-1]} in "
                "the names of the YAML file; add its name or correct the line."
            )
        if len(values) == 4:
            result.left_out[BOX_ONLY] += 1
            continue
        if len(values) % 2:
            raise UniLabelError(
                f"{where}: there are {len(values)} numbers behind the class, expected pairs of x, "
                "y; a confidence at the end, as predictions are saved with, has to go (save_conf)."
            )
        points = outline(values, where)
        if len(points) and (points.min() < -1 or points.max() > 2):
            raise UniLabelError(
                f"{where}: the coordinate {points.flat[np.abs(points).argmax()]:g} is no share of "
                "the photo's size (0 to 1); export it again with normalised coordinates."
            )
        shape = Shape(ids[int(first)], where, [points * size])
        result.shapes.append(shape)
    return result
