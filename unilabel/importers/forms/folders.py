"""Folders of photos and folders of masks: MMSegmentation, Hugging Face, Ultralytics, and any other.

A mask belongs to the photo of the same path below its folder and the same stem, apart from a suffix
that the masks share (``0001_mask.png``).
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from dataclasses import astuple, dataclass

from unilabel.core.errors import UniLabelError
from unilabel.data.images import JPEG_SUFFIXES
from unilabel.data.label_files import LABEL_SUFFIXES
from unilabel.importers.classes import ClassTable
from unilabel.importers.forms import hf_metadata, split_lists
from unilabel.importers.forms.voc import drop_class
from unilabel.importers.masks import MaskLabel, scan_masks
from unilabel.importers.naming import name_values
from unilabel.importers.own_names import own_names
from unilabel.importers.plan import FilePhoto, Item, Options, Plan
from unilabel.importers.splits import split_of_path, split_of_word
from unilabel.importers.tree import PHOTO_SUFFIXES, Tree, suffix_of

MASK_FOLDERS = (
    *("ann_dir", "annotation", "annotations", "ann", "anns", "masks", "mask", "labels", "label"),
    *("gt", "gtfine", "ground_truth", "groundtruth", "segmentation", "segmentations", "seg"),
    *("segmentationclass", "segmentation_masks", "semantic", "target", "targets", "labelids"),
)
PHOTO_FOLDERS = (
    *("img_dir", "image", "images", "img", "imgs", "photos", "photo", "jpegimages", "rgb"),
    *("leftimg8bit", "input", "inputs", "original", "raw", "color", "image_2", "image_02"),
)
MASK_SUFFIXES = (
    *("_mask", "-mask", ".mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt"),
    *(
        "_gtFine_labelIds",
        "_gtFine_labelTrainIds",
        "_labelIds",
        "_labelTrainIds",
        "_L",
        "_annotation",
    ),
    *("_target", "_semantic", "_ann", "-label", "_groundtruth", "_lab"),
)
MASK_TYPES = LABEL_SUFFIXES
# What some tools write beside the map of classes: numbers of objects, colours to look at.
_OTHER_MAPS = re.compile(
    r"_(instanceIds|instanceTrainIds|color|colour|colored|pseudo|pseudo_color|vis|viz|overlay)$",
    re.I,
)
OTHER_MAPS = "pictures beside the masks (objects, colours to look at)"
_VERSION = re.compile(r"v\d+(\.\d+)*", re.I)  # of annotations, as a folder


@dataclass(frozen=True)
class Pair:
    """A photo with its mask, and the split that their folders name."""

    photo: str
    mask: str
    split: str


def _role(word: str) -> tuple[str, str]:
    """("mask", "photo" or "", the split that the word names besides) of a folder's name."""
    for kind, known in (("mask", MASK_FOLDERS), ("photo", PHOTO_FOLDERS)):
        if word in known:
            return kind, ""
    if joined := re.fullmatch(r"([a-z]+?)(annot|annotations?|masks?|labels?)", word):
        if split_of_word(joined[1]):  # trainannot, valmasks
            return "mask", joined[1]
    parts = re.split(r"[_\-. ]+", word)
    for kind, known in (("mask", MASK_FOLDERS), ("photo", PHOTO_FOLDERS)):
        rest = [part for part in parts if part not in known]
        if len(rest) == 1 < len(parts) and split_of_word(rest[0]):
            return kind, rest[0]
    return "", word


def _key(path: str) -> tuple[str, str] | None:
    """("mask" or "photo", path without what says so), None if nothing does.

    The innermost folder that is called like one of masks or photos counts, else the file's name
    (``0001/image.png``, ``0001/mask.png``).
    """
    parts = posixpath.splitext(path)[0].split("/")
    for at in range(len(parts) - 2, -1, -1):
        kind, rest = _role(parts[at].lower())
        if kind:
            outer = [part for part in parts[:at] if not _VERSION.fullmatch(part)]
            return kind, "/".join([*outer, *([rest] if rest else []), *parts[at + 1 :]])
    kind, rest = _role(parts[-1].lower())
    return (kind, "/".join(parts[:-1])) if kind and not rest else None


def find_pairs(tree: Tree, left_out: Counter[str] | None = None) -> list[Pair]:
    """Photos with masks of the export.

    Args:
        tree: the export.
        left_out: counts photos without mask and masks without photo.

    Raises:
        UniLabelError: two photos or two masks have the same name.
    """
    pictures = [f for f in tree.files if suffix_of(f) in PHOTO_SUFFIXES]
    keyed: dict[str, dict[str, list[str]]] = {"mask": defaultdict(list), "photo": defaultdict(list)}
    for path in pictures:
        found = _key(path)
        if found and (found[0] == "photo" or suffix_of(path) in MASK_TYPES):
            keyed[found[0]][found[1]].append(path)
    _drop_other_maps(keyed["mask"], left_out)
    if keyed["mask"] and not keyed["photo"]:  # photos lie beside the folder of masks
        for path in pictures:
            if _key(path) is None:
                keyed["photo"][posixpath.splitext(path)[0]].append(path)
    if not keyed["mask"]:
        return _pairs_by_suffix(tree, pictures, left_out)
    ending = _common_ending(keyed["mask"], keyed["photo"])
    masks = {_cut(key, ending): paths for key, paths in keyed["mask"].items()}
    photos: dict[str, list[str]] = keyed["photo"]
    if not masks.keys() & photos.keys():
        masks, photos = _without_affixes(masks), _without_affixes(photos)
    return _join(tree, photos, masks, left_out)


def _drop_other_maps(masks: dict[str, list[str]], left_out: Counter[str] | None) -> None:
    """Take out pictures that stand beside a map of classes; not if there is nothing else."""
    others = [key for key in masks if _OTHER_MAPS.search(key)]
    if not others or len(others) == len(masks):
        return
    if left_out is not None:
        left_out[OTHER_MAPS] += sum(len(masks[key]) for key in others)
    for key in others:
        del masks[key]


def _without_affixes(paths: dict[str, list[str]]) -> dict[str, list[str]]:
    """Keys without what all names begin and end with: ``img_1`` and ``mask_1`` become ``1``."""
    names = [posixpath.basename(key) for key in paths]
    start = len(_beginning(names).rstrip("0123456789"))
    end = len(_beginning([n[start:][::-1] for n in names]).rstrip("0123456789"))
    result: dict[str, list[str]] = defaultdict(list)
    for key, files in paths.items():
        name = posixpath.basename(key)[start:]
        result[posixpath.join(posixpath.dirname(key), name[: len(name) - end])] += files
    return result


def _beginning(names: list[str]) -> str:
    """The characters that all names begin with."""
    first, last = min(names, default=""), max(names, default="")
    same = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, min(len(first), len(last)))]


def _cut(key: str, ending: str) -> str:
    return key[: -len(ending)] if ending and key.endswith(ending) else key


def _common_ending(masks: dict[str, list[str]], photos: dict[str, list[str]]) -> str:
    """What the names of masks have behind those of photos, "" if they are equal or unlike."""
    if any(key in photos for key in masks):
        return ""
    endings: Counter[str] = Counter()
    for key in list(masks)[:50]:
        for cut in range(len(key) - 1, max(len(key) - 40, 0), -1):
            if key[:cut] in photos:
                endings[key[cut:]] += 1
                break
    return endings.most_common(1)[0][0] if endings else ""


def _pairs_by_suffix(tree: Tree, pictures: list[str], left_out: Counter[str] | None) -> list[Pair]:
    """Photos and masks told apart by the masks' suffix, in one folder or else in any."""
    for ending, whole in ((e, w) for w in (True, False) for e in MASK_SUFFIXES):
        masks: dict[str, list[str]] = defaultdict(list)
        photos: dict[str, list[str]] = defaultdict(list)
        for path in pictures:
            key = posixpath.splitext(path)[0]
            if not whole:  # in folders of any names
                key = posixpath.basename(key)
            if key.lower().endswith(ending.lower()) and suffix_of(path) in MASK_TYPES:
                masks[key[: -len(ending)]].append(path)
            else:
                photos[key].append(path)
        if masks and any(key in photos for key in masks):
            return _join(tree, photos, masks, left_out)
    return _pairs_by_format(tree, pictures, left_out)


def _pairs_by_format(tree: Tree, pictures: list[str], left_out: Counter[str] | None) -> list[Pair]:
    """Photos ``0001.jpg`` and masks ``0001.png`` in one folder, if most photos have one."""
    found: dict[bool, dict[str, list[str]]] = {True: defaultdict(list), False: defaultdict(list)}
    for path in pictures:
        found[suffix_of(path) == ".png"][posixpath.splitext(path)[0]].append(path)
    masks, photos = found[True], {k: v for k, v in found[False].items() if _is_jpeg(v[0])}
    if 2 * len(masks.keys() & photos.keys()) <= len(photos):
        return []
    return _join(tree, photos, masks, left_out)


def _is_jpeg(path: str) -> bool:
    return suffix_of(path) in (*JPEG_SUFFIXES, ".jpe")


def lossy_masks(tree: Tree) -> str:
    """What is wrong with folders of masks that hold JPEGs alone, or ""."""
    folders = {posixpath.dirname(f) for f in tree.photos}
    for folder in sorted(folders):
        inside = [f for f in tree.photos if posixpath.dirname(f) == folder]
        named = any(_role(part.lower())[0] == "mask" for part in folder.split("/"))
        if named and all(_is_jpeg(f) for f in inside):
            return (
                f"{tree.path(folder)} holds JPEGs, which change the values of masks; export the "
                "masks as PNG"
            )
    return ""


def _join(
    tree: Tree,
    photos: dict[str, list[str]],
    masks: dict[str, list[str]],
    left_out: Counter[str] | None,
) -> list[Pair]:
    pairs = []
    for key in sorted(photos.keys() & masks.keys()):
        for files in (photos[key], masks[key]):
            if len(files) > 1:
                raise UniLabelError(
                    f"{tree.path(files[0])} and {tree.path(files[1])} have the same name apart "
                    "from the suffix or a folder; which one is meant cannot be told: remove one."
                )
        photo, mask = photos[key][0], masks[key][0]
        pairs.append(Pair(photo, mask, split_of_path(photo) or split_of_path(mask)))
    if left_out is not None:
        for what, these, others in (
            ("photos without a mask", photos, masks),
            ("masks without a photo", masks, photos),
        ):
            if alone := these.keys() - others.keys():
                left_out[what] += sum(len(these[key]) for key in alone)
    return pairs


def _words(tree: Tree) -> set[str]:
    return {word.lower() for folder in tree.folders for word in folder.split("/")}


def detect_mmseg(tree: Tree) -> list[str]:
    """The root, if there are ``img_dir`` and ``ann_dir``."""
    return [""] if {"img_dir", "ann_dir"} <= _words(tree) and find_pairs(tree) else []


def detect_hf(tree: Tree) -> list[str]:
    """The root, if splits have ``image`` and ``annotation``, or a metadata file names masks."""
    if hf_metadata.files(tree):
        return [""]
    parents = defaultdict(set)
    for folder in tree.folders:
        parents[posixpath.dirname(folder)].add(posixpath.basename(folder).lower())
    for parent, names in parents.items():
        inside = split_of_word(posixpath.basename(parent)) and names & {"image", "images"}
        if inside and names & {"annotation", "label", "mask"} and find_pairs(tree):
            return [""]
    return [""] if tree.named("id2label.json") and find_pairs(tree) else []


def detect_ultralytics(tree: Tree) -> list[str]:
    """The root, if there are ``images/train`` and ``masks/train``."""
    words = {f.lower() for f in tree.folders}
    pairs = [f for f in words if re.search(r"(^|/)images/(train|val|test)$", f)]
    same = [f for f in pairs if re.sub(r"images(/\w+)$", r"masks\1", f) in words]
    return [""] if same and find_pairs(tree) else []


def detect_plain(tree: Tree) -> list[str]:
    """The root, if any photos have masks."""
    return [""] if find_pairs(tree) or split_lists.pairs(tree) else []


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: no pairs, unreadable masks, or names that do not fit.
    """
    plan = Plan(ClassTable())
    listed = hf_metadata.pairs(tree) or split_lists.pairs(tree)
    pairs = [Pair(*names) for names in listed] or find_pairs(tree, plan.left_out)
    pairs = [Pair(*names) for names in split_lists.splits(tree, [astuple(p) for p in pairs])]
    if not pairs:
        raise UniLabelError(
            f"{tree.root} has no photo with a mask: expected folders as images/ and masks/ with "
            "files of the same names, or 0001.jpg beside 0001_mask.png."
        )
    without = plan.left_out.get("masks without a photo", 0)
    if without > len(pairs):
        raise UniLabelError(
            f"{tree.root}: only {len(pairs)} masks have a photo of the same name, {without} have "
            "none; put the photos beside the masks or give them the same names."
        )
    seen = scan_masks([str(tree.path(p.mask)) for p in pairs], options.workers)
    names = options.names or own_names(tree)
    if names is not None and options.names is None:
        plan.notes.append(f"the names of the classes are taken from {names.file}")
    ids = name_values(seen, names, plan.table, False, plan.notes)
    if options.background == "ignore" and "background" in plan.table.ids:
        ids = drop_class(plan.table, ids, plan.table.ids["background"])
    hint = "name it in --names" if options.names is None else f"name it in {options.names.file}"
    for pair in pairs:
        label = MaskLabel(str(tree.path(pair.mask)), tuple(ids.items()), seen.colored, hint)
        plan.items.append(Item(FilePhoto(str(tree.root), pair.photo), label, pair.split))
    return plan
