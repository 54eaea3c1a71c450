"""Darwin JSON (V7), version 1 and 2: a file for each photo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.importers.classes import start_table
from unilabel.importers.forms.coco import BOX_ONLY
from unilabel.importers.painter import Shape, Sketch, outline
from unilabel.importers.per_photo import read_per_photo
from unilabel.importers.plan import MAX_JSON_BYTES, Options, Plan
from unilabel.importers.rle import check_size
from unilabel.importers.tree import Tree

TITLE = "Darwin"
AREAS = ("polygon", "complex_polygon", "mask")


def files(tree: Tree) -> list[str]:
    """JSON files of Darwin."""
    return [f for f in tree.with_suffix(".json") if _fits(tree.sniff(f))]


def _fits(text: str) -> bool:
    second = '"item"' in text and '"slots"' in text
    first = '"image"' in text and '"filename"' in text and '"dataset"' in text
    return '"annotations"' in text and (second or first)


def detect(tree: Tree) -> list[str]:
    """The root, if a file of Darwin is below it."""
    return [""] if files(tree) else []


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: a file is damaged, a photo is missing.
    """
    return read_per_photo(tree, files(tree), TITLE, start_table(options), options, _look, sketch)


def _look(path: Path) -> tuple[str, set[str]]:
    """The photo's name, and names of areas."""
    data = read_json(path, max_bytes=MAX_JSON_BYTES)
    labels = {a["name"] for a in data["annotations"] if any(k in a for k in AREAS)}
    if "item" not in data:
        return data["image"]["filename"], labels
    slot = _slot(data, path)
    name = data["item"].get("name") or slot["source_files"][0]["file_name"]
    return name, labels


def _slot(data: dict[str, Any], path: Path) -> dict[str, Any]:
    slots = data["item"]["slots"]
    if len(slots) != 1 or slots[0].get("type", "image") != "image":
        raise UniLabelError(f"{path} is of a video or of several views; export single photos.")
    first: dict[str, Any] = slots[0]
    return first


def sketch(path: Path, ids: Mapping[str, int]) -> Sketch:
    """Shapes of a file.

    Raises:
        UniLabelError: wrong numbers.
    """
    data = read_json(path, max_bytes=MAX_JSON_BYTES)
    about = data["image"] if "item" not in data else _slot(data, path)
    size = None
    if about.get("width") is not None and about.get("height") is not None:
        size = check_size(about["width"], about["height"], str(path))
    result = Sketch(size, [])
    layers = [a["raster_layer"] for a in data["annotations"] if "raster_layer" in a]
    for position, entry in enumerate(data["annotations"]):
        where = f"{path}: annotations[{position}] ({entry['name']!r})"
        if "raster_layer" in entry:
            continue
        if "mask" in entry:
            shape = Shape(ids[entry["name"].strip()], where)
            shape.bitmap = _raster(layers, entry["id"], size, where)
            result.shapes.append(shape)
            continue
        polygon = entry.get("polygon") or entry.get("complex_polygon")
        if not polygon:
            kind = BOX_ONLY if "bounding_box" in entry else "annotations that are no area"
            result.left_out[kind] += 1
            continue
        paths = polygon.get("paths") or [polygon["path"], *polygon.get("additional_paths", [])]
        paths = paths if isinstance(paths[0], list) else [paths]
        parts = [outline([(p["x"], p["y"]) for p in part], where) for part in paths]
        shape = Shape(ids[entry["name"].strip()], where, parts, even_odd=len(parts) > 1)
        result.shapes.append(shape)
    return result


def _raster(
    layers: list[dict[str, Any]], key: str, size: tuple[int, int] | None, where: str
) -> np.ndarray:
    """(H, W) bool of the pixels of one mask in the raster layers: value, count, value, count."""
    for layer in layers:
        if key not in layer["mask_annotation_ids_mapping"]:
            continue
        runs = np.array(layer["dense_rle"], np.int64).reshape(-1, 2)
        if size is None or (runs[:, 1] < 0).any() or runs[:, 1].sum() != size[0] * size[1]:
            raise UniLabelError(
                f"{where}: the mask has {int(runs[:, 1].sum())} pixels, expected those of the "
                f"photo, {size}; export it again."
            )
        flat = np.repeat(runs[:, 0] == layer["mask_annotation_ids_mapping"][key], runs[:, 1])
        return flat.reshape(size[1], size[0])
    raise UniLabelError(f"{where}: no raster layer has this mask; export it again.")
