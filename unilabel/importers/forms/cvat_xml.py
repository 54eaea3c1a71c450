"""CVAT "CVAT for images 1.1": one XML file with polygons, masks, boxes and ellipses."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.importers.classes import ClassTable, read_any_color, start_table
from unilabel.importers.painter import Shape, Sketch, box, ellipse, outline, turned
from unilabel.importers.per_photo import label_ids
from unilabel.importers.plan import FilePhoto, Item, Options, Outlines, Plan
from unilabel.importers.rle import check_size, runs_to_mask
from unilabel.importers.splits import folder_words, split_of_file, split_of_path, split_of_word
from unilabel.importers.tree import Tree

TITLE = "CVAT for images"
AREAS = ("polygon", "mask", "box", "ellipse")
Entry = tuple[str, dict[str, str]]


def files(tree: Tree) -> list[str]:
    """XML files of CVAT."""
    return [f for f in tree.with_suffix(".xml") if "<annotations" in tree.sniff(f)]


def detect(tree: Tree) -> list[str]:
    """The root, if a file of CVAT is below it."""
    return [""] if files(tree) else []


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import; shapes are painted in their z order.

    Raises:
        UniLabelError: a file is damaged, of a video, or a photo is missing.
    """
    table = start_table(options)
    plan = Plan(table)
    used: dict[str, str] = {}
    for file in files(tree):
        path = tree.path(file)
        images = _images(path, table, options)
        labels = {a["label"]: str(path) for _, shapes in images for _, a in shapes if "label" in a}
        ids = label_ids(labels, table, options)
        for image, shapes in images:
            where = f"{path}: image {image.get('name')!r}"
            split = split_of_word(image.get("subset", "")) or split_of_file(image.get("name", ""))
            photo = tree.find_photo(image["name"], file, folder_words(split))
            if photo is None or photo in used:
                what = "is not below the export's folder" if photo is None else "comes twice"
                raise UniLabelError(
                    f"{where}: this photo {what} ({tree.root}); export with images, or remove the "
                    "entry."
                )
            used[photo] = where
            if not shapes and table.background is None:
                plan.left_out["photos without annotations"] += 1
                continue
            size = check_size(image["width"], image["height"], where)
            reader = partial(sketch, shapes, ids, size, where)
            split = split or split_of_path(photo)
            label = Outlines(where, TITLE, reader, table.fill)
            plan.items.append(Item(FilePhoto(str(tree.root), photo), label, split))
    plan.note_unused(tree, used)
    return plan


def _images(
    path: Path, table: ClassTable, options: Options
) -> list[tuple[dict[str, str], list[Entry]]]:
    """(attributes, shapes) of every image; the label table is read on the way.

    Raises:
        UniLabelError: damaged, with definitions of entities, or of a video.
    """
    found: list[tuple[dict[str, str], list[Entry]]] = []
    try:
        with open(path, "rb") as file:
            if b"<!" in file.read(4096).replace(b"<!--", b""):
                raise UniLabelError(f"{path} defines a document type, which no tool's export does.")
            file.seek(0)
            for _, node in ET.iterparse(file):
                if node.tag == "label" and node.find("name") is not None and not options.names:
                    _add_label(node, table, path)
                elif node.tag == "track":
                    raise UniLabelError(
                        f'{path} is of a video; export the task as "CVAT for images 1.1".'
                    )
                elif node.tag == "image":
                    shapes = [(child.tag, dict(child.attrib)) for child in node]
                    found.append((dict(node.attrib), shapes))
                    node.clear()
    except (OSError, ET.ParseError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, UniLabelError):
            raise
        raise UniLabelError(f"{path} is not valid XML ({error}); export it again.") from None
    for image, _ in found:
        missing = [key for key in ("name", "width", "height") if key not in image]
        if missing:
            raise UniLabelError(f"{path}: an image has no {missing[0]!r}; export it again.")
    return found


def _add_label(node: ET.Element, table: ClassTable, path: Path) -> None:
    color = node.findtext("color")
    rgb = read_any_color(color, str(path)) if color else None
    name = node.findtext("name")
    if (node.findtext("type") or "any") not in ("tag", "points", "polyline", "skeleton"):
        table.add(name, str(path), rgb)


def sketch(shapes: list[Entry], ids: dict[str, int], size: tuple[int, int], where: str) -> Sketch:
    """Shapes of an image.

    Raises:
        UniLabelError: wrong numbers.
    """
    result = Sketch(size, [])
    ordered = sorted(enumerate(shapes), key=lambda s: int(s[1][1].get("z_order", 0)))
    for position, (kind, values) in ordered:
        about = f"{where}, shape {position} ({kind} {values.get('label')!r})"
        if kind not in AREAS:
            result.left_out[f"shapes of the kind {kind}"] += 1
            continue
        shape = Shape(ids[values["label"].strip()], about)
        if kind == "mask":
            left, top = int(values["left"]), int(values["top"])
            width, height = check_size(values["width"], values["height"], about)
            runs = [int(v) for v in values["rle"].split(",")]
            shape.bitmap = runs_to_mask(runs, width, height, about)
            shape.origin = (left, top)
        else:
            shape.parts = [outline(_points(kind, values, about), about)]
        result.shapes.append(shape)
    return result


def _points(kind: str, values: dict[str, Any], where: str) -> Any:
    if kind == "polygon":
        return [pair.split(",") for pair in values["points"].split(";")]
    if kind == "box":
        corners = box(*(float(values[k]) for k in ("xtl", "ytl", "xbr", "ybr")))
        return turned(corners, float(values.get("rotation", 0)))
    numbers = [float(values[k]) for k in ("cx", "cy", "rx", "ry")]
    return ellipse(*numbers, float(values.get("rotation", 0)))
