"""VGG Image Annotator, versions 1 and 2: JSON and CSV exports, and project files."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.io import decode_text, read_json
from unilabel.importers.classes import start_table
from unilabel.importers.forms.via_classes import Naming, find_naming
from unilabel.importers.painter import Shape, Sketch, box, ellipse, outline
from unilabel.importers.per_photo import label_ids, other_json
from unilabel.importers.plan import (
    MAX_JSON_BYTES,
    SHAPE_ERRORS,
    FilePhoto,
    Item,
    Options,
    Outlines,
    Plan,
)
from unilabel.importers.splits import folder_words, split_of_file, split_of_path
from unilabel.importers.tree import Tree

TITLE = "VGG Image Annotator"
NO_CLASS = "regions without a class"
TWICE = "photos that a second file names with the same regions"
_PHOTOS = "_via_img_metadata"
_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")


@dataclass(frozen=True)
class Entry:
    """What a file says about one photo.

    Attributes:
        where: names file and photo in messages.
        file: relative path of the annotation file.
        reference: the photo.
        regions: pairs of shape attributes and region attributes.
    """

    where: str
    file: str
    reference: str
    regions: list[tuple[dict[str, Any], dict[str, Any]]]


def files(tree: Tree) -> list[str]:
    """Project files, JSON and CSV exports."""
    found = [f for f in tree.with_suffix(".json") if _fits(tree.sniff(f))]
    tables = (f for f in tree.with_suffix(".csv") if _COLUMNS[1] in tree.sniff(f).split("\n")[0])
    return sorted([*found, *tables])


def _fits(text: str) -> bool:
    plain = '"regions"' in text and '"file_attributes"' in text
    return f'"{_PHOTOS}"' in text or plain or ('"shape_attributes"' in text and "{" in text[:2])


def detect(tree: Tree) -> list[str]:
    """The root, if a file of this program is below it."""
    return [""] if files(tree) else []


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: a file is damaged, a photo is missing, it cannot be told which attribute
            holds the classes.
    """
    table = start_table(options)
    plan = Plan(table)
    found = files(tree)
    other_json(tree, found)
    entries = [entry for file in found for entry in _entries(tree, file)]
    photos = _photos(tree, entries, plan.left_out)
    naming = find_naming(
        [a for e in photos.values() for _, a in e.regions], options, str(tree.root)
    )
    labels: dict[str, str] = {}
    for entry in photos.values():
        for _, attributes in entry.regions:
            for name in naming.classes(attributes)[:1]:
                labels.setdefault(name, entry.where)
    ids = label_ids(labels, table, options)
    for photo, entry in photos.items():
        label = Outlines(entry.where, TITLE, partial(sketch, entry, naming, ids), table.fill)
        split = split_of_path(photo) or split_of_file(entry.file)
        plan.items.append(Item(FilePhoto(str(tree.root), photo), label, split))
    plan.note_unused(tree, photos)
    return plan


def _entries(tree: Tree, file: str) -> Iterator[Entry]:
    path = str(tree.path(file))
    try:
        read_entries = _of_csv if file.lower().endswith(".csv") else _of_json
        for where, reference, regions in read_entries(path):
            if not isinstance(reference, str) or not reference:
                raise TypeError(f"the photo's name is {reference!r}")
            pairs = [(dict(shape), dict(attributes or {})) for shape, attributes in regions]
            yield Entry(where, file, reference, pairs)
    except SHAPE_ERRORS as error:
        if isinstance(error, UniLabelError):
            raise
        raise UniLabelError(
            f"{path} is not as {TITLE} writes it ({type(error).__name__}: {error}); export the "
            "annotations as JSON."
        ) from None


def _of_json(path: str) -> Iterator[tuple[str, str, list[tuple[Any, Any]]]]:
    """Photos of a project or an export; regions are a list, in version 1 numbered."""
    data = read_json(path, max_bytes=MAX_JSON_BYTES)
    for key, photo in data.get(_PHOTOS, data).items():
        regions = photo["regions"]
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        pairs = [(r["shape_attributes"], r.get("region_attributes")) for r in regions]
        yield f"{path}: {key}", photo["filename"], pairs


def _of_csv(path: str) -> Iterator[tuple[str, str, list[tuple[Any, Any]]]]:
    """Photos of a table with a row for each region; a photo without regions has one row."""
    try:
        with open(path, "rb") as file:
            text = decode_text(file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise UniLabelError(f"cannot read {path}: {error}; save it as UTF-8 text.") from None
    rows = csv.reader(io.StringIO(text, newline=""))
    head = [name.lstrip("#").strip() for name in next(rows)]
    columns = [head.index(name) for name in _COLUMNS]
    photos: dict[str, list[tuple[Any, Any]]] = {}
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) < len(head):
            raise UniLabelError(
                f"{path}: row {number} has {len(row)} columns, expected {len(head)}; export it "
                "again, a spreadsheet may have changed it."
            )
        name, *cells = (row[c] for c in columns)
        try:
            shape, attributes = (json.loads(cell or "{}") for cell in cells)
        except ValueError as error:
            raise UniLabelError(
                f"{path}: row {number} holds no JSON in its columns {_COLUMNS[1]} and "
                f"{_COLUMNS[2]} ({error}); export it again, a spreadsheet may have changed it."
            ) from None
        regions = photos.setdefault(name, [])
        if shape:
            regions.append((shape, attributes))
    for name, regions in photos.items():
        yield f"{path}: {name}", name, regions


def _photos(tree: Tree, entries: list[Entry], left_out: Counter[str]) -> dict[str, Entry]:
    """Photo -> what is said about it; files that say the same count once.

    Raises:
        UniLabelError: a photo is missing, or two files disagree about it.
    """
    photos: dict[str, Entry] = {}
    missing: list[Entry] = []
    for entry in entries:
        words = folder_words(split_of_file(entry.file))
        photo = tree.find_photo(entry.reference, entry.file, words)
        if photo is None:
            missing.append(entry)
        elif photo not in photos:
            photos[photo] = entry
        elif photos[photo].regions == entry.regions:
            left_out[TWICE] += 1
        else:
            raise UniLabelError(
                f"{entry.where} and {photos[photo].where} are both of the photo {photo} and have "
                "other regions; keep the file that counts and move the other one away."
            )
    with_regions = [entry for entry in missing if entry.regions]
    if with_regions:
        more = f" ({len(with_regions) - 1} more are missing)" if len(with_regions) > 1 else ""
        raise UniLabelError(
            f"{with_regions[0].where}: its photo {posixpath.basename(with_regions[0].reference)!r} "
            f"is not below {tree.root}{more}; put the photos there ({TITLE} exports only "
            "annotations), or remove the entry."
        )
    if missing:
        left_out["entries without regions whose photo is not there"] += len(missing)
    return photos


def sketch(entry: Entry, naming: Naming, ids: dict[str, int]) -> Sketch:
    """Shapes of a photo.

    Raises:
        UniLabelError: wrong numbers.
    """
    result = Sketch(None, [])
    for position, (about, attributes) in enumerate(entry.regions):
        where = f"{entry.where}, region {position}"
        kind = about["name"]
        names = naming.classes(attributes)
        if kind not in _OUTLINES:
            result.left_out[f"regions of the kind {kind}"] += 1
        elif len(names) != 1:
            result.left_out["regions of several classes" if names else NO_CLASS] += 1
        else:
            points = _OUTLINES[kind](about, where)
            result.shapes.append(Shape(ids[names[0]], where, [points]))
    return result


def _numbers(about: dict[str, Any], where: str, *keys: str) -> list[float]:
    missing = [key for key in keys if key not in about]
    if missing:
        raise UniLabelError(f"{where}: the {about['name']} has no {missing[0]!r}; draw it again.")
    return [float(v) for v in outline([[about[k], 0] for k in keys], where)[:, 0]]


def _polygon(about: dict[str, Any], where: str) -> np.ndarray:
    x, y = about["all_points_x"], about["all_points_y"]
    if len(x) != len(y):
        raise UniLabelError(
            f"{where}: the outline has {len(x)} x and {len(y)} y; draw this region again."
        )
    return outline(list(zip(x, y, strict=True)), where)


def _rect(about: dict[str, Any], where: str) -> np.ndarray:
    x, y, width, height = _numbers(about, where, "x", "y", "width", "height")
    return outline(box(x, y, x + width, y + height), where)


def _circle(about: dict[str, Any], where: str) -> np.ndarray:
    x, y, radius = _numbers(about, where, "cx", "cy", "r")
    return outline(ellipse(x, y, radius, radius), where)


def _ellipse(about: dict[str, Any], where: str) -> np.ndarray:
    numbers = _numbers({"theta": 0, **about}, where, "cx", "cy", "rx", "ry", "theta")
    return outline(ellipse(*numbers[:4], float(np.rad2deg(numbers[4]))), where)  # radians


_OUTLINES = {"polygon": _polygon, "rect": _rect, "circle": _circle, "ellipse": _ellipse}
