"""Roboflow "semantic segmentation masks": ``_classes.csv`` beside photos and ``*_mask.png``."""

from __future__ import annotations

import csv
import posixpath

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE
from unilabel.importers.classes import ClassTable, is_background
from unilabel.importers.masks import MaskLabel
from unilabel.importers.pairs import by_key, need_all
from unilabel.importers.plan import FilePhoto, Item, Options, Plan
from unilabel.importers.splits import read_lines, split_of_word
from unilabel.importers.tree import Tree, suffix_of

CLASSES = "_classes.csv"
ENDING = "_mask"


def detect(tree: Tree) -> list[str]:
    """The root, if a table of classes is below it beside masks."""
    found = [f for f in tree.named(CLASSES) if _beside(tree, f, ENDING)]
    return [""] if found else []


def _beside(tree: Tree, file: str, ending: str) -> list[str]:
    """Pictures beside a file whose stems end so."""
    folder = posixpath.dirname(file)
    return [
        f
        for f in tree.photos
        if posixpath.dirname(f) == folder and posixpath.splitext(f)[0].lower().endswith(ending)
    ]


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import; value 0 is background.

    Raises:
        UniLabelError: a file is missing, or a table of classes is no such table.
    """
    table = ClassTable()
    plan = Plan(table)
    for file in tree.named(CLASSES):
        folder = posixpath.dirname(file)
        where = str(tree.path(file))
        ids = {IGNORE: IGNORE}
        for value, name in _classes(tree, file):
            if value == 0 and is_background(name):
                hidden = options.background == "ignore"
                ids[0] = IGNORE if hidden else table.add_background()
            else:
                ids[value] = table.add(name, where)
        mask_files = [f for f in _beside(tree, file, ENDING) if suffix_of(f) == ".png"]
        masks = by_key(tree, mask_files, folder, ENDING)
        taken = set(mask_files)
        others = [f for f in _beside(tree, file, "") if f not in taken]
        photos = by_key(tree, others, folder)
        need_all(tree, photos, masks, "mask", folder + "/{key}", folder)
        need_all(tree, masks, photos, "photo", folder + "/{key}" + ENDING, folder)
        for key, mask in sorted(masks.items()):
            hint = f"it is not in {where}"
            label = MaskLabel(str(tree.path(mask)), tuple(ids.items()), False, hint)
            split = split_of_word(posixpath.basename(folder))
            plan.items.append(Item(FilePhoto(str(tree.root), photos[key]), label, split))
    return plan


def _classes(tree: Tree, file: str) -> list[tuple[int, str]]:
    """(value, name) lines of the table."""
    path = tree.path(file)
    rows = list(csv.reader(read_lines(path)))[1:]
    try:
        pairs = [(int(row[0]), row[1].strip()) for row in rows]
        if not pairs or any(not 0 <= value <= 255 for value, _ in pairs):
            raise ValueError("no values of 0 to 255")
        if len({value for value, _ in pairs}) < len(pairs):
            raise ValueError("a value has two names")
    except (ValueError, IndexError) as error:
        raise UniLabelError(
            f'{path} is no table of classes ({error}), expected the lines "Pixel Value, Class" and '
            '"0, background", "1, road", ...; export it again.'
        ) from None
    return pairs
