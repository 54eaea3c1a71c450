"""COCO instances: polygons and run lengths in one JSON file for each split."""

from __future__ import annotations

import posixpath
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.importers.classes import ClassTable, read_any_color, start_table
from unilabel.importers.painter import Shape, Sketch, outline
from unilabel.importers.per_photo import other_json
from unilabel.importers.plan import (
    MAX_JSON_BYTES,
    SHAPE_ERRORS,
    FilePhoto,
    Item,
    Options,
    Outlines,
    Plan,
)
from unilabel.importers.rle import check_size, coco_rle
from unilabel.importers.splits import folder_words, split_of_file
from unilabel.importers.tree import Tree

TITLE = "COCO instances"
OTHER_TASKS = ("captions", "person_keypoints", "image_info")
BOX_ONLY = "annotations that are a box only"
UNKNOWN_IMAGE = "annotations of images that the file does not list"


def is_coco(text: str) -> bool:
    """Whether beginning and end of a JSON file look like COCO's."""
    keys = ('"images"', '"annotations"', '"categories"', '"category_id"', '"image_id"')
    return sum(key in text for key in keys) >= 2 and '"slots"' not in text


def coco_files(tree: Tree, panoptic: bool) -> list[str]:
    """JSON files in COCO's form, of instances or of segments."""
    found = []
    for path in tree.with_suffix(".json"):
        if posixpath.basename(path).startswith(OTHER_TASKS):
            continue
        text = tree.sniff(path)
        if is_coco(text) and ('"segments_info"' in text) == panoptic:
            found.append(path)
    return found


def detect(tree: Tree) -> list[str]:
    """The root, if a file in COCO's form is below it."""
    return [""] if coco_files(tree, panoptic=False) else []


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: a file is damaged, a photo is missing, a category is unknown.
    """
    table = start_table(options)
    plan = Plan(table)
    files = coco_files(tree, panoptic=False)
    other_json(tree, files, OTHER_TASKS)
    used: dict[str, str] = {}
    for file in files:
        data = read_coco(tree, file)
        categories = add_categories(data, table, str(tree.path(file)), options)
        images = read_images(tree, data, file, used)
        where = str(tree.path(file))
        grouped = _by_image(data, images, where, plan.left_out)
        for image_id, (photo, entry) in images.items():
            size = declared_size(entry, f"{where}: image {image_id!r}")
            about = f"{where}: image {image_id!r} ({entry['file_name']})"
            sketcher = partial(sketch, grouped.get(image_id, []), categories, size, where)
            label = Outlines(about, TITLE, sketcher, table.fill)
            plan.items.append(Item(FilePhoto(str(tree.root), photo), label, split_of_file(file)))
    plan.note_unused(tree, used)
    return plan


def read_coco(tree: Tree, file: str) -> dict[str, Any]:
    """The content, with lists of images, annotations and categories.

    Raises:
        UniLabelError: it is no JSON, or a list is missing.
    """
    data = read_json(tree.path(file), max_bytes=MAX_JSON_BYTES)
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            found = isinstance(data, dict) and "items" in data and "categories" in data
            other = " (it looks like Datumaro's own form: export as COCO)" if found else ""
            raise UniLabelError(
                f'{tree.path(file)}: there is no list "{key}"{other}; expected COCO\'s "images", '
                '"annotations" and "categories": export it again, with the annotations.'
            )
    return data


def add_categories(
    data: dict[str, Any], table: ClassTable, where: str, options: Options
) -> dict[int, int]:
    """Category id -> class id; new names are added in the order of their ids.

    Raises:
        UniLabelError: an entry has no id or name, or two have the same id.
    """
    entries = data["categories"]
    try:
        ids = [entry["id"] for entry in entries]
        order = sorted(range(len(ids)), key=lambda i: ids[i])
        names = [entries[i]["name"] for i in order]
    except SHAPE_ERRORS as error:
        raise UniLabelError(
            f'{where}: "categories" has an entry without "id" or "name" ({error!r}).'
        ) from None
    double = [k for k, n in Counter(ids).items() if n > 1]
    if double:
        raise UniLabelError(
            f"{where}: two categories have the id {double[0]!r}; give each its own."
        )
    result = {}
    for i, name in zip(order, names, strict=True):
        color = entries[i].get("color")
        rgb = None if color is None else read_any_color(color, f"{where}: category {name!r}")
        if options.names:
            result[ids[i]] = table.id_of(name, where)
        else:
            result[ids[i]] = table.add(name, where, rgb)
    return result


def read_images(
    tree: Tree,
    data: dict[str, Any],
    file: str,
    used: dict[str, str],
    avoid: tuple[str, ...] = (),
) -> dict[Any, tuple[str, dict[str, Any]]]:
    """Image id -> (photo, entry); ``used`` collects the photos of all files.

    Folders whose names contain one of ``avoid`` hold masks.

    Raises:
        UniLabelError: a photo is missing or named twice, or an entry has no id or name.
    """
    where = tree.path(file)
    found: dict[Any, tuple[str, dict[str, Any]]] = {}
    missing: list[str] = []
    prefer = folder_words(split_of_file(file))
    for position, entry in enumerate(data["images"]):
        try:
            image_id, name = entry["id"], entry["file_name"]
            photo = tree.find_photo(name, file, prefer, avoid=avoid)
            if image_id in found:
                raise UniLabelError(f"{where}: two images have the id {image_id!r}.")
        except SHAPE_ERRORS as error:
            if isinstance(error, UniLabelError):
                raise
            raise UniLabelError(
                f'{where}: images[{position}] has no usable "id" and "file_name" ({error!r}).'
            ) from None
        if photo is None:
            missing.append(f"image {image_id!r} ({name})")
            continue
        if photo in used:
            raise UniLabelError(
                f"{where}: image {image_id!r} is the photo {photo}, which {used[photo]} names, "
                "too; every photo may be listed once: move the file that does not count away, or "
                "rename a photo."
            )
        used[photo] = f"{where}: image {image_id!r}"
        found[image_id] = (photo, entry)
    if missing:
        more = f" ({len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise UniLabelError(
            f"{where}: the photo of {missing[0]} is not below {tree.root}{more}; put the photos "
            "there (some tools export annotations only), or remove the entry."
        )
    return found


def declared_size(entry: dict[str, Any], where: str) -> tuple[int, int] | None:
    """Width and height of an entry, None if it has none."""
    if entry.get("width") is None or entry.get("height") is None:
        return None
    return check_size(entry["width"], entry["height"], where)


def _by_image(
    data: dict[str, Any], images: Mapping[Any, Any], where: str, left_out: Counter[str]
) -> dict[Any, list[dict[str, Any]]]:
    """Annotations of every image, in the file's order."""
    grouped: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for position, annotation in enumerate(data["annotations"]):
        try:
            image_id = annotation["image_id"]
            if image_id in images:
                grouped[image_id].append(annotation)
            else:
                left_out[UNKNOWN_IMAGE] += 1
        except SHAPE_ERRORS as error:
            raise UniLabelError(
                f'{where}: annotations[{position}] has no usable "image_id" ({error!r}).'
            ) from None
    return grouped


def sketch(
    annotations: list[dict[str, Any]],
    categories: Mapping[int, int],
    size: tuple[int, int] | None,
    where: str,
) -> Sketch:
    """Shapes of one image.

    Raises:
        UniLabelError: unknown category, wrong run lengths, no numbers.
    """
    result = Sketch(size, [])
    for annotation in annotations:
        about = f"{where}: annotation {annotation.get('id')!r}"
        category = annotation.get("category_id")
        if category not in categories and isinstance(category, str) and category.isdigit():
            category = int(category)  # some programs write numbers as texts here
        if category not in categories:
            raise UniLabelError(
                f'{about} has the category {category!r}, which is not in "categories" '
                f"({len(categories)} ids); add it or correct the annotation."
            )
        segmentation = annotation.get("segmentation")
        shape = Shape(categories[category], about)
        if isinstance(segmentation, dict):
            height, width = (segmentation.get("size") or [0, 0])[:2]
            if size is None:
                size = result.size = check_size(width, height, about)
            shape.bitmap = coco_rle(segmentation, *size, about)
        elif segmentation:
            if not isinstance(segmentation[0], list):
                segmentation = [segmentation]
            shape.parts = [outline(part, about) for part in segmentation]
        else:
            result.left_out[BOX_ONLY] += 1
            continue
        result.shapes.append(shape)
    return result
