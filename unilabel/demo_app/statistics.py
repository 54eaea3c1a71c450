"""What the unified labels look like: shares and example pixels from a few pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from unilabel.core.label_space import UNIFIED
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.payloads import picture_url
from unilabel.demo_app.pictures import Picture

MAX_CROPS = 3
MAX_KEPT = 64  # pictures whose statistics are kept
MIN_PIXELS = 12  # of a label in a picture to be shown
_SIDE = 40  # pixels of a crop in a picture with a short side of 96


@dataclass(frozen=True)
class _Seen:
    """What one picture shows of a unified label.

    Attributes:
        pixels: their number.
        sure: their confidences, summed up.
        crop: address of a square in which they are dense, or "".
    """

    pixels: int
    sure: float
    crop: str


def label_statistics(engine: Engine, pictures: Sequence[Picture]) -> dict[int, dict[str, Any]]:
    """Share, mean confidence and crops of every unified label in the pictures.

    What a picture shows is computed once: it depends on no visitor's edits.

    Returns:
        unified label -> ``{"share", "confidence", "crops": [data URLs]}``, only labels that occur.
    """
    places: dict[int, list[_Seen]] = {}
    for picture in pictures:
        seen = engine.statistics.get(picture.key)
        if seen is None:
            seen = engine.statistics[picture.key] = _look(engine, picture)
            while len(engine.statistics) > MAX_KEPT:
                engine.statistics.pop(next(iter(engine.statistics)), None)
        for label, found in seen.items():
            places.setdefault(label, []).append(found)
    total = sum(found.pixels for all_of_it in places.values() for found in all_of_it)
    found = {}
    for label, seen_in in places.items():
        count = sum(one.pixels for one in seen_in)
        largest = sorted(seen_in, key=lambda one: one.pixels, reverse=True)[:MAX_CROPS]
        found[label] = {
            "share": count / total,
            "confidence": sum(one.sure for one in seen_in) / count,
            "crops": [one.crop for one in largest if one.crop],
        }
    return found


def _look(engine: Engine, picture: Picture) -> dict[int, _Seen]:
    answer = engine.predictor.predict(engine.encode(picture), UNIFIED)
    assert answer.confidence is not None
    seen = {}
    for label in np.flatnonzero(answer.shares).tolist():
        inside = answer.labels == label
        count = int(inside.sum())
        sure = float(answer.confidence[inside].sum(dtype=np.float64))
        crop = picture_url(_crop(picture.pixels, inside)) if count >= MIN_PIXELS else ""
        seen[label] = _Seen(count, sure, crop)
    return seen


def _crop(pixels: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A square around the densest place of a label; pixels of other labels are darkened."""
    height, width = inside.shape
    side = min(height, width, max(_SIDE, _SIDE * min(height, width) // 96))
    dense = uniform_filter(inside.astype(np.float32), side // 2, mode="constant")
    row, column = np.unravel_index(int(np.where(inside, dense, -1).argmax()), inside.shape)
    top = min(max(int(row) - side // 2, 0), height - side)
    left = min(max(int(column) - side // 2, 0), width - side)
    window = (slice(top, top + side), slice(left, left + side))
    crop = pixels[window].astype(np.float32)
    crop[~inside[window]] *= 0.35
    step = max(1, side // 120)
    return crop[::step, ::step].astype(np.uint8)
