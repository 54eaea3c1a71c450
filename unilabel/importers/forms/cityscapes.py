"""Polygons as Cityscapes writes them: ``*_gtFine_polygons.json``."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from unilabel.core.io import read_json
from unilabel.core.label_space import IGNORE
from unilabel.importers.classes import start_table
from unilabel.importers.painter import Shape, Sketch, outline
from unilabel.importers.per_photo import read_per_photo
from unilabel.importers.plan import MAX_JSON_BYTES, UNUSED, Options, Plan
from unilabel.importers.rle import check_size
from unilabel.importers.splits import folder_words, split_of_path
from unilabel.importers.tree import Tree

TITLE = "Cityscapes"
GROUP = "group"
GROUPED = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle", "caravan")
VOID = {"unlabeled", "ego vehicle", "rectification border", "out of roi"}
ENDING = re.compile(r"(_gt(Fine|Coarse))?_polygons\.json$|\.json$", re.IGNORECASE)


def files(tree: Tree) -> list[str]:
    """Polygon files; of fine and coarse ones of a photo the fine ones."""
    found = []
    for path in tree.with_suffix(".json"):
        text = tree.sniff(path)
        if '"objects"' in text and '"imgHeight"' in text:
            found.append(path)
    fine = {ENDING.sub("", posixpath.basename(f)) for f in found if "gtCoarse" not in f}
    return [
        f for f in found if "gtCoarse" not in f or ENDING.sub("", posixpath.basename(f)) not in fine
    ]


def detect(tree: Tree) -> list[str]:
    """The root, if a polygon file is below it."""
    return [""] if files(tree) else []


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: a file is damaged, a photo is missing.
    """
    table = start_table(options)
    plan = read_per_photo(
        tree, files(tree), TITLE, table, options, _look, sketch, _find, _without_group
    )
    plan.left_out.pop(UNUSED, None)  # colour images and id maps lie beside polygons
    return plan


def _find(tree: Tree, reference: str, file: str) -> str | None:
    words = folder_words(split_of_path(file))
    for name in (f"{reference}_leftImg8bit", reference):
        if photo := tree.find_photo(name, file, words, stem=True, avoid=("gtfine", "gtcoarse")):
            return photo
    return None


def _without_group(label: str, labels: Collection[str]) -> str:
    """``cargroup`` counts as ``car``: cars that nobody told apart."""
    base = label.removesuffix(GROUP).strip()
    return base if base and label.endswith(GROUP) and base in (*labels, *GROUPED) else label


def _look(path: Path) -> tuple[str, set[str]]:
    """Stem of the photo, and labels."""
    data = read_json(path, max_bytes=MAX_JSON_BYTES)
    labels = {entry["label"] for entry in data["objects"] if not entry.get("deleted")}
    return ENDING.sub("", path.name), labels - VOID


def sketch(path: Path, ids: Mapping[str, int]) -> Sketch:
    """Shapes of a file.

    Raises:
        UniLabelError: wrong numbers.
    """
    data = read_json(path, max_bytes=MAX_JSON_BYTES)
    result = Sketch(check_size(data["imgWidth"], data["imgHeight"], str(path)), [])
    for position, entry in enumerate(data["objects"]):
        where = f"{path}: objects[{position}] ({entry['label']!r})"
        if entry.get("deleted"):
            result.left_out["objects marked as deleted"] += 1
            continue
        label = entry["label"].strip()
        number = IGNORE if label in VOID else ids[label]
        result.shapes.append(Shape(number, where, [outline(entry["polygon"], where)]))
    return result
