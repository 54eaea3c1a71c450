"""The panoptic form of a semantic submission to WildDash 2: one JSON file and RGB PNGs.

Each class of stuff is one segment, each connected part of a thing is one; touching things of one
class stay one segment, so this is a makeshift for a network without instances.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.submission.archive import write_archive
from unilabel.submission.results import ResultSet
from unilabel.submission.wilddash import VOID, scored_classes

JSON_NAME, FOLDER = "panoptic.json", "panoptic"
MIN_PIXELS = 32  # smaller parts of things become void


def panoptic_segments(
    ids: NDArray[np.uint8], min_pixels: int = MIN_PIXELS
) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
    """Segments of a label map.

    Args:
        ids: (H, W) values of WildDash 2, 0 for void.
        min_pixels: parts of things with fewer pixels become void.

    Returns:
        (H, W) segment numbers, 0 for void, and ``{"id", "category_id", "area"}`` of each segment,
        in the order of the ids.

    Raises:
        UniLabelError: a value is none of the scored classes.
    """
    things = {c.id: c.has_instances for c in scored_classes()}
    numbers = np.zeros(ids.shape, np.int32)
    segments: list[dict[str, Any]] = []
    for value in np.unique(ids).tolist():
        if value == VOID:
            continue
        if value not in things:
            raise UniLabelError(f"id {value} is none of the {len(things)} classes of WildDash 2.")
        mask = ids == value
        if things[value]:
            count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        else:
            count, parts = 2, mask.astype(np.int32)
        areas = np.bincount(parts.reshape(-1), minlength=count)
        kept = np.flatnonzero(areas[1:] >= (min_pixels if things[value] else 1)) + 1
        table = np.zeros(count, np.int32)
        table[kept] = len(segments) + 1 + np.arange(len(kept))
        numbers += table[parts]
        segments += [
            {"id": int(table[part]), "category_id": value, "area": int(areas[part])}
            for part in kept
        ]
    return numbers, segments


def write_panoptic(
    results: str | os.PathLike[str], output: str | os.PathLike[str], min_pixels: int = MIN_PIXELS
) -> int:
    """Turn an archive (or a folder) of label maps into a panoptic archive.

    It holds ``panoptic.json`` and ``panoptic/NAME.png``, segment number = R + 256 G + 65536 B.

    Args:
        results: label maps, as :class:`unilabel.submission.results.ResultSet` reads them.
        output: zip file to write; the same label maps give the same bytes.
        min_pixels: see :func:`panoptic_segments`.

    Returns:
        number of segments.

    Raises:
        UniLabelError: a label map is damaged or has an unknown id, or the output is in the way.
    """
    path = Path(output)
    if path.suffix.lower() != ".zip":
        raise UniLabelError(f"--panoptic is {path}, expected a file name ending in .zip.")
    if path.exists():
        raise UniLabelError(f"{path} exists already; remove it or give another --panoptic.")
    source = ResultSet(results)
    annotations: list[dict[str, Any]] = []

    def members() -> Iterator[tuple[str, bytes]]:
        for stem in source.stems:
            numbers, segments = panoptic_segments(source.load(stem), min_pixels)
            file_name = f"{stem}.png"
            entry = {"image_id": stem, "file_name": file_name, "segments_info": segments}
            annotations.append(entry)
            yield f"{FOLDER}/{file_name}", _rgb_png(numbers)
        text = json.dumps({"annotations": annotations, "categories": _categories()})
        yield JSON_NAME, text.encode()

    write_archive(path, members())
    return sum(len(entry["segments_info"]) for entry in annotations)


def _rgb_png(numbers: NDArray[np.int32]) -> bytes:
    channels = [numbers >> 16, numbers >> 8 & 255, numbers & 255]  # OpenCV stores B, G, R
    ok, data = cv2.imencode(".png", np.dstack(channels).astype(np.uint8))
    if not ok:
        raise UniLabelError(f"a map of the size {numbers.shape} cannot be encoded as PNG.")
    return data.tobytes()


def _categories() -> list[dict[str, Any]]:
    return [
        {"id": c.id, "name": c.name, "isthing": int(c.has_instances), "supercategory": c.category}
        for c in scored_classes()
    ]
