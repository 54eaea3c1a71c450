"""Pascal VOC: ``JPEGImages``, palette masks in ``SegmentationClass``, lists in ``ImageSets``."""

from __future__ import annotations

import posixpath
from collections.abc import Collection

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE
from unilabel.importers.classes import ClassTable
from unilabel.importers.masks import MaskLabel, scan_masks
from unilabel.importers.naming import as_voc_values, name_values, voc_codes
from unilabel.importers.own_names import own_names
from unilabel.importers.pairs import by_key, need_all
from unilabel.importers.plan import FilePhoto, Item, Options, Plan
from unilabel.importers.splits import read_lines, split_of_path, split_of_word, two_files
from unilabel.importers.tree import PHOTO_SUFFIXES, Tree, is_below, suffix_of

# The first that holds pictures; labelme2voc has arrays of NumPy in the first one.
MASKS = ("segmentationclass", "segmentationclasspng", "segmentationclassaug")
PHOTOS = "jpegimages"
LISTS = "imagesets/segmentation"


def bases(tree: Tree) -> list[str]:
    """Folders that hold ``SegmentationClass``, whatever the case."""
    return sorted(
        {posixpath.dirname(f) for f in tree.folders if posixpath.basename(f).lower() in MASKS}
    )


def label_maps(tree: Tree, base: str) -> list[str]:
    """CVAT's file with the names of colours, which plain VOC does not have."""
    return [f for f in tree.named("labelmap.txt") if posixpath.dirname(f) == base]


def detect(tree: Tree) -> list[str]:
    """Folders with ``SegmentationClass`` and no ``labelmap.txt``."""
    return [base for base in bases(tree) if not label_maps(tree, base)]


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import; value 0 is background, 255 is ignored.

    Raises:
        UniLabelError: a file is missing or unreadable, or names do not fit.
    """
    plan = Plan(ClassTable())
    pairs = photo_mask_pairs(tree, base, plan)
    seen = scan_masks([str(tree.path(mask)) for _, mask, _ in pairs], options.workers)
    values = as_voc_values(seen) if seen.colored else seen
    names = options.names or own_names(tree)
    if names is not None and options.names is None:
        plan.notes.append(f"the names of the classes are taken from {names.file}")
    if values is None and names is None:
        raise UniLabelError(
            f"{tree.root / base}: the masks have colours that are not of the VOC palette, and no "
            'labelmap.txt names them; give them with --names FILE.json ({"road": [128, 64, 128], '
            "...})."
        )
    ids = name_values(values or seen, names, plan.table, values is not None, plan.notes)
    plan.table.background = ids.get(0)
    if options.background == "ignore" and ids.get(0, IGNORE) != IGNORE:
        ids = drop_class(plan.table, ids, ids[0])
    if seen.colored and values is not None:
        ids = {code: ids[value] for code, value in voc_codes().items() if value in ids}
    hint = "name it in --names"
    for photo, mask, split in pairs:
        label = MaskLabel(str(tree.path(mask)), tuple(ids.items()), seen.colored, hint)
        plan.items.append(Item(FilePhoto(str(tree.root), photo), label, split))
    return plan


def drop_class(table: ClassTable, ids: dict[int, int], gone: int) -> dict[int, int]:
    """Ignore a class: take it from the table; the ids above move down by one."""
    del table.names[gone], table.colors[gone]
    table.ids = {name: i for i, name in enumerate(table.names)}
    table.background = None
    return {
        value: IGNORE if number in (gone, IGNORE) else number - (number > gone)
        for value, number in ids.items()
    }


def photo_mask_pairs(tree: Tree, base: str, plan: Plan) -> list[tuple[str, str, str]]:
    """(photo, mask, split) of every listed mask.

    Raises:
        UniLabelError: a photo or a mask is missing, or one is in two splits.
    """
    prefix = f"{base}/" if base else ""
    inside = {f: f[len(prefix) :] for f in tree.files if is_below(f, base)}
    pictures = [f for f in inside if suffix_of(f) in PHOTO_SUFFIXES]
    folder = _folder(tree, base, MASKS)
    masks = by_key(tree, [f for f in pictures if is_below(f, folder)], folder)
    photo_folder = _folder(tree, base, (PHOTOS,))
    photos = by_key(tree, [f for f in pictures if is_below(f, photo_folder)], photo_folder)
    splits = _lists(tree, plan, inside, masks.keys() | photos.keys())
    if splits:
        unlisted = masks.keys() - splits.keys()
        if unlisted:
            plan.left_out["masks that no list in ImageSets/Segmentation names"] += len(unlisted)
    else:
        splits = {key: split_of_path(key) for key in masks}
    need_all(tree, splits, masks, "mask", "the list of the split names {key}", folder)
    need_all(tree, splits, photos, "photo", folder + "/{key}", photo_folder or base)
    idle = photos.keys() - masks.keys()
    if idle:
        plan.left_out["photos without a mask"] += len(idle)
    return [(photos[key], masks[key], split) for key, split in sorted(splits.items())]


def _folder(tree: Tree, base: str, names: tuple[str, ...]) -> str:
    inside = [f for f in tree.folders if posixpath.dirname(f) == base]
    found = [f for name in names for f in inside if posixpath.basename(f).lower() == name]
    holding = {posixpath.dirname(p) for p in tree.photos}
    full = [f for f in found if any(is_below(h, f) or h == f for h in holding)]
    return next(iter([*full, *found]), posixpath.join(base, names[0]))


def _lists(
    tree: Tree, plan: Plan, inside: dict[str, str], present: Collection[str]
) -> dict[str, str]:
    """Key -> split of all lists but that of the test split."""
    files = {
        posixpath.basename(f)[:-4].lower(): f
        for f, local in inside.items()
        if posixpath.dirname(local).lower() == LISTS and local.lower().endswith(".txt")
    }
    known = {name: split_of_word(name) for name in files}
    if not any(known.values()):  # only trainval.txt, or lists of other names
        known = dict.fromkeys(known, "train")
    keys: dict[str, str] = {}
    for name, split in sorted(known.items()):
        if not split:
            continue
        lines = read_lines(tree.path(files[name]))
        if split == "test":
            plan.left_out["photos of the split test"] += len(lines)
            continue
        for line in lines:
            key = line.split("\t")[0].strip().strip('"')
            if two := two_files(key):  # "/JPEGImages/1.jpg /SegmentationClassAug/1.png"
                key = two[0].lstrip("/")
            key = key.replace("\\", "/").removeprefix("JPEGImages/")
            if suffix_of(key) in PHOTO_SUFFIXES:
                key = posixpath.splitext(key)[0]
            if key not in present and key.rpartition(" ")[0].strip() in present:
                key = key.rpartition(" ")[0].strip()  # lists of a class have 1 or -1 behind it
            if keys.setdefault(key, split) != split:
                raise UniLabelError(
                    f"{tree.path(files[name])}: {key!r} is in train and in val; take it out of one "
                    "list."
                )
    return keys
