"""A finished folder in the forms that other programs read: COCO panoptic, VOC, YOLO.

They lie below the folder, in ``coco/``, ``voc/`` and ``yolo/``, and hold the same labels. Photos
are linked as the folder's own are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path, read_json, write_json
from unilabel.core.label_space import MAX_CLASSES, default_color
from unilabel.data.parallel import run_parallel
from unilabel.data.sources import SPLITS
from unilabel.harmonize.label_png import decode
from unilabel.harmonize.labelling import write_bytes
from unilabel.harmonize.outlines import panoptic, regions
from unilabel.importers.links import place_file

VOID = 255


@dataclass(frozen=True)
class Entry:
    """A photo of a finished folder."""

    number: int
    split: str
    image: Path
    label: Path


@dataclass(frozen=True)
class _Folder:
    """A finished folder."""

    root: Path
    name: str
    ignore: int
    names: list[str]
    colors: list[list[int]]
    link: str

    def entries(self) -> Iterator[Entry]:
        number = 0
        for split in SPLITS:
            images = {p.stem: p for p in sorted((self.root / "images" / split).glob("[!.]*"))}
            for label in sorted((self.root / "labels" / split).glob("[!.]*.png")):
                number += 1
                yield Entry(number, split, images[label.stem], label)

    def read(self, entry: Entry) -> NDArray[np.int32]:
        return decode(entry.label, self.ignore)


def export(root: Path, forms: list[str], workers: int = 1) -> list[str]:
    """Write a finished folder in other forms.

    Args:
        root: the folder.
        forms: of :data:`FORMS`.
        workers: processes.

    Returns:
        what a person should know, a line for each form.

    Raises:
        UniLabelError: there are too many labels for a form, or a file cannot be written.
    """
    classes = read_json(root / "classes.json")
    options = read_json(root / "harmonize.json")["settings"]["options"]
    names = [c["name"] for c in classes["classes"]]
    colors = [c["color"] for c in classes["classes"]]
    folder = _Folder(root, classes["name"], classes["ignore_label"], names, colors, options["link"])
    return [FORMS[form](folder, workers) for form in forms]


def _each(
    task: Callable[[Entry], Any], folder: _Folder, workers: int, form: str
) -> list[tuple[Entry, Any]]:
    entries = list(folder.entries())
    return list(zip(entries, run_parallel(task, entries, workers, form), strict=True))


# --- COCO panoptic: PNGs of segment numbers, one segment for each label of a photo ---


def _coco(folder: _Folder, workers: int) -> str:
    base = folder.root / "coco"
    categories = [
        {"id": i + 1, "name": name, "supercategory": name, "isthing": 0, "color": color}
        for i, (name, color) in enumerate(zip(folder.names, folder.colors, strict=True))
    ]
    found = _each(partial(_coco_photo, folder, base), folder, workers, "coco")
    for split in SPLITS:
        rows = [(entry, result) for entry, result in found if entry.split == split]
        if rows:
            content = {
                "images": [image for _, (image, _) in rows],
                "annotations": [annotation for _, (_, annotation) in rows],
                "categories": categories,
            }
            write_json(base / f"annotations/panoptic_{split}.json", content, indent=None)
    return f"coco: panoptic, {len(found)} photos; one segment (stuff) for each label of a photo"


def _coco_photo(folder: _Folder, base: Path, entry: Entry) -> tuple[dict[str, Any], dict[str, Any]]:
    values = folder.read(entry)
    place_file(entry.image.resolve(), base / entry.split / entry.image.name, folder.link)
    rgb, segments = panoptic(values)
    with atomic_path(base / f"annotations/panoptic_{entry.split}/{entry.label.name}") as file:
        Image.fromarray(rgb).save(file, "PNG")
    height, width = values.shape
    image = {"id": entry.number, "file_name": entry.image.name, "width": width, "height": height}
    annotation = {
        "image_id": entry.number, "file_name": entry.label.name, "segments_info": segments,
    }  # fmt: skip
    return image, annotation


# --- VOC: palette masks, 0 is background (unused here), 255 void ---


def _voc(folder: _Folder, workers: int) -> str:
    if len(folder.names) >= MAX_CLASSES:
        raise UniLabelError(
            f"--also voc: {len(folder.names)} labels, at most {MAX_CLASSES - 1} fit beside "
            "background and void; use coco."
        )
    base = folder.root / "voc"
    found = _each(partial(_voc_photo, folder, base), folder, workers, "voc")
    for split in SPLITS:
        stems = [entry.label.stem for entry, _ in found if entry.split == split]
        if stems:
            text = "".join(f"{stem}\n" for stem in stems)
            write_bytes(base / f"ImageSets/Segmentation/{split}.txt", text.encode())
    listing = "".join(f"{name}\n" for name in ["background", *folder.names])
    write_bytes(base / "labels.txt", listing.encode())
    return f"voc: {len(found)} photos; labels.txt names the values, 0 (background) is unused"


def _voc_photo(folder: _Folder, base: Path, entry: Entry) -> None:
    values = folder.read(entry)
    place_file(entry.image.resolve(), base / "JPEGImages" / entry.image.name, folder.link)
    image = Image.fromarray(np.where(values < 0, VOID, values + 1).astype(np.uint8), "P")
    palette = [(0, 0, 0), *map(default_color, range(254)), (224, 224, 192)]
    image.putpalette(np.array(palette, np.uint8).tobytes())
    with atomic_path(base / "SegmentationClass" / entry.label.name) as file:
        image.save(file, "PNG")


# --- YOLO: outlines, larger ones first, so that smaller ones lie on top ---


def _yolo(folder: _Folder, workers: int) -> str:
    base = folder.root / "yolo"
    found = _each(partial(_yolo_photo, folder, base), folder, workers, "yolo")
    splits = {s: f"images/{s}" for s in SPLITS if any(e.split == s for e, _ in found)}
    content = {"path": ".", **splits, "names": dict(enumerate(folder.names))}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_bytes(base / "data.yaml", text.encode())
    lost = sum(result for _, result in found)
    return (
        f"yolo: {len(found)} photos; outlines have no holes: smaller regions lie on top of larger "
        f"ones, {lost} unlabelled pixels inside regions are lost"
    )


def _yolo_photo(folder: _Folder, base: Path, entry: Entry) -> int:
    values = folder.read(entry)
    place_file(entry.image.resolve(), base / "images" / entry.split / entry.image.name, folder.link)
    painted = np.full(values.shape, -1, np.int32)
    height, width = values.shape
    lines = []
    for region in regions(values):
        cv2.fillPoly(painted, [np.floor(region.outline).astype(np.int32)], region.label)
        shares = region.outline / (width, height)
        lines.append(f"{region.label} " + " ".join(f"{v:.6f}" for v in shares.reshape(-1)))
    write_bytes(
        base / "labels" / entry.split / f"{entry.label.stem}.txt",
        "".join(f"{line}\n" for line in lines).encode(),
    )
    return int(np.count_nonzero(painted != values))


FORMS: dict[str, Callable[[_Folder, int], str]] = {"coco": _coco, "voc": _voc, "yolo": _yolo}
