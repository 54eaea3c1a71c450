"""Supervisely: ``meta.json`` with the classes, datasets with ``img`` and ``ann``."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.importers.classes import read_any_color, start_table
from unilabel.importers.painter import Shape, Sketch, box, outline
from unilabel.importers.plan import (
    MAX_JSON_BYTES,
    SHAPE_ERRORS,
    FilePhoto,
    Item,
    Options,
    Outlines,
    Plan,
)
from unilabel.importers.rle import check_size, packed_picture
from unilabel.importers.splits import split_of_path
from unilabel.importers.tree import Tree, is_below

TITLE = "Supervisely"


def detect(tree: Tree) -> list[str]:
    """Folders with ``meta.json`` and annotations below ``ann``."""
    found = []
    for path in tree.named("meta.json"):
        base = posixpath.dirname(path)
        if '"classes"' in tree.sniff(path) and _annotations(tree, base):
            found.append(base)
    return found


def _annotations(tree: Tree, base: str) -> list[str]:
    return [
        f
        for f in tree.with_suffix(".json")
        if is_below(f, base) and posixpath.basename(posixpath.dirname(f)) == "ann"
    ]


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: a file is damaged, a photo is missing.
    """
    table = start_table(options)
    meta = tree.path(posixpath.join(base, "meta.json"))
    ids = {}
    try:
        for entry in read_json(meta)["classes"]:
            title, color = entry["title"], entry.get("color")
            rgb = None if color is None else read_any_color(color, f"{meta}: class {title!r}")
            add = table.id_of if options.names else table.add
            ids[title] = (
                add(title, str(meta)) if options.names else table.add(title, str(meta), rgb)
            )
    except SHAPE_ERRORS as error:
        if isinstance(error, UniLabelError):
            raise
        raise UniLabelError(
            f'{meta} is not as Supervisely writes it ({error!r}), expected {{"classes": '
            '[{"title", "shape", "color"}]}; export it again.'
        ) from None
    plan = Plan(table)
    for file in _annotations(tree, base):
        name = posixpath.basename(file)[: -len(".json")]  # the photo's name with its suffix
        folder = posixpath.dirname(posixpath.dirname(file))
        photo = posixpath.join(folder, "img", name)
        if photo not in tree.files:
            raise UniLabelError(
                f"{tree.path(file)}: its photo {photo} is not in {tree.root}; export with photos, "
                "or remove the annotation file."
            )
        path = tree.path(file)
        label = Outlines(str(path), TITLE, partial(sketch, path, ids), table.fill)
        plan.items.append(Item(FilePhoto(str(tree.root), photo), label, split_of_path(file)))
    plan.note_unused(tree, {item.photo.name for item in plan.items})
    return plan


def sketch(path: Path, ids: Mapping[str, int]) -> Sketch:
    """Shapes of a file.

    Raises:
        UniLabelError: unknown class, wrong numbers or masks.
    """
    data = read_json(path, max_bytes=MAX_JSON_BYTES)
    size = check_size(data["size"]["width"], data["size"]["height"], str(path))
    result = Sketch(size, [])
    for position, entry in enumerate(data["objects"]):
        title, kind = entry["classTitle"], entry.get("geometryType", "polygon")
        where = f"{path}: objects[{position}] ({title!r})"
        if title not in ids:
            raise UniLabelError(
                f"{where}: the class is not in meta.json; export the project again."
            )
        shape = Shape(ids[title], where)
        if kind in ("polygon", "rectangle"):
            outside = outline(entry["points"]["exterior"], where)
            if kind == "rectangle" and len(outside) == 2:
                outside = outline(box(*outside.min(0), *outside.max(0)), where)
            shape.parts = [outside]
            shape.holes = [outline(p, where) for p in entry["points"].get("interior") or []]
        elif kind == "bitmap":
            shape.bitmap = packed_picture(entry["bitmap"]["data"], where, compressed=True)
            x, y = outline([entry["bitmap"]["origin"]], where)[0]
            shape.origin = (int(x), int(y))
        else:
            result.left_out[f"objects of the kind {kind}"] += 1
            continue
        result.shapes.append(shape)
    return result
