"""COCO panoptic: PNGs of segment numbers, and a JSON file with the category of every segment."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.data.headers import read_bytes
from unilabel.importers.classes import start_table
from unilabel.importers.forms.coco import (
    OTHER_TASKS,
    add_categories,
    coco_files,
    declared_size,
    read_coco,
    read_images,
)
from unilabel.importers.frame import Frame
from unilabel.importers.masks import CODES, finish, read_mask
from unilabel.importers.painter import Painted
from unilabel.importers.per_photo import other_json
from unilabel.importers.plan import SHAPE_ERRORS, FilePhoto, Item, Options, Plan
from unilabel.importers.splits import split_of_file
from unilabel.importers.tree import Tree, stem_of, suffix_of


def detect(tree: Tree) -> list[str]:
    """The root, if a file of segments is below it."""
    return [""] if coco_files(tree, panoptic=True) else []


@dataclass(frozen=True)
class PanopticLabel:
    """Segments of one photo.

    Attributes:
        path: of the PNG.
        segments: (segment number, class id) pairs.
        where: the JSON file.
    """

    path: str
    segments: tuple[tuple[int, int], ...]
    where: str

    def __call__(self, frame: Frame, options: Options) -> Painted:
        """Read and look up.

        Raises:
            UniLabelError: not readable, of another size, or a segment is not in the JSON file.
        """
        stored = read_mask(read_bytes(self.path), self.path, colored=True)
        hint = (
            f"segment numbers are red + 256 green + 65536 blue, and {self.where} does not have it"
        )
        return finish(stored.codes, dict(self.segments), True, self.path, frame, hint)


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: a file is damaged or missing, a category is unknown.
    """
    table = start_table(options)
    plan = Plan(table)
    used: dict[str, str] = {}
    pngs = defaultdict(list)
    for path in tree.with_suffix(".png"):
        pngs[posixpath.basename(path)].append(path)
    masks: set[str] = set()
    files = coco_files(tree, panoptic=True)
    other_json(tree, files, OTHER_TASKS)
    for file in files:
        data = read_coco(tree, file)
        where = str(tree.path(file))
        categories = add_categories(data, table, where, options)
        known = _annotations(data, where)
        avoid = (stem_of(file).lower(), "panoptic")
        images = read_images(tree, data, file, used, avoid)
        for image_id, (photo, entry) in images.items():
            if image_id not in known:
                plan.left_out["photos without an annotation"] += 1
                continue
            annotation = known[image_id]
            name = annotation["file_name"].replace("\\", "/")
            # some write the name of the photo here
            png = posixpath.splitext(posixpath.basename(name))[0] + ".png"
            choices = [p for p in pngs[png] if p not in used]
            mask = _mask(choices, name, file, tree, image_id)
            masks.add(mask)
            declared_size(entry, f"{where}: image {image_id!r}")
            segments = _segments(annotation, categories, where, table.fill)
            label = PanopticLabel(str(tree.path(mask)), segments, where)
            plan.items.append(Item(FilePhoto(str(tree.root), photo), label, split_of_file(file)))
    plan.note_unused(tree, used.keys() | masks)
    return plan


def _annotations(data: dict[str, Any], where: str) -> dict[Any, dict[str, Any]]:
    """Image id -> annotation."""
    known: dict[Any, dict[str, Any]] = {}
    for position, annotation in enumerate(data["annotations"]):
        try:
            image_id = annotation["image_id"]
            if not isinstance(annotation["file_name"], str):
                raise TypeError("file_name is no text")
            list(annotation["segments_info"])
        except SHAPE_ERRORS as error:
            raise UniLabelError(
                f"{where}: annotations[{position}] is not as COCO panoptic writes it ({error!r})."
            ) from None
        if image_id in known:
            raise UniLabelError(f"{where}: two annotations are of image {image_id!r}.")
        known[image_id] = annotation
    return known


def _mask(choices: list[str], name: str, file: str, tree: Tree, image_id: Any) -> str:
    """The PNG of an annotation: in the folder named as the JSON file, else the only one."""
    for nearer in (
        lambda p: posixpath.basename(posixpath.dirname(p)) == stem_of(file),
        lambda p: "panoptic" in posixpath.dirname(p).lower(),
        lambda p: stem_of(file) in p,
    ):
        narrowed = [p for p in choices if nearer(p)]
        if len(narrowed) == 1:
            return narrowed[0]
    if len(choices) == 1 and suffix_of(choices[0]) == ".png":
        return choices[0]
    found = "several" if choices else "none"
    raise UniLabelError(
        f"{tree.path(file)}: the mask {name!r} of image {image_id!r} is expected in a folder "
        f"{stem_of(file)}, found {found}; unpack the archive of the panoptic PNGs."
    )


def _segments(
    annotation: dict[str, Any], categories: dict[int, int], where: str, fill: int
) -> tuple[tuple[int, int], ...]:
    pairs = {0: fill}
    about = f"{where}: {annotation['file_name']}"
    for segment in annotation["segments_info"]:
        try:
            number, category = segment["id"], segment["category_id"]
            if type(number) is not int or not 0 < number < CODES:
                raise ValueError(f"id {number!r}")
        except SHAPE_ERRORS as error:
            raise UniLabelError(f"{about}: a segment has no usable id ({error!r}).") from None
        if category not in categories:
            raise UniLabelError(
                f"{about}: segment {number} has the category {category!r}, which is not in "
                '"categories"; add it or correct the segment.'
            )
        pairs[number] = categories[category]
    return tuple(pairs.items())
