"""What the unified labels look like: shares and example pixels from a few pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from unilabel.core.label_space import UNIFIED
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.payloads import picture_url
from unilabel.demo_app.pictures import Picture

MAX_CROPS = 3
MIN_PIXELS = 12  # of a label in a picture to be shown
_SIDE = 40  # pixels of a crop in a picture with a short side of 96


def label_statistics(engine: Engine, pictures: Sequence[Picture]) -> dict[int, dict[str, Any]]:
    """Share, mean confidence and crops of every unified label in the pictures.

    Returns:
        unified label -> ``{"share", "confidence", "crops": [data URLs]}``, only labels that occur.
    """
    pixels: dict[int, int] = {}
    sums: dict[int, float] = {}
    places: dict[int, list[tuple[int, int]]] = {}  # label -> (pixels, picture)
    answers = [engine.predictor.predict(engine.encode(p), UNIFIED) for p in pictures]
    for number, answer in enumerate(answers):
        sure = answer.confidence
        for label in np.flatnonzero(answer.shares).tolist():
            inside = answer.labels == label
            count = int(inside.sum())
            pixels[label] = pixels.get(label, 0) + count
            if sure is not None:
                sums[label] = sums.get(label, 0.0) + float(sure[inside].sum(dtype=np.float64))
            places.setdefault(label, []).append((count, number))
    total = sum(pixels.values())
    return {
        label: {
            "share": count / total,
            "confidence": sums[label] / count,
            "crops": [
                picture_url(_crop(pictures[number].pixels, answers[number].labels == label))
                for found, number in sorted(places[label], reverse=True)[:MAX_CROPS]
                if found >= MIN_PIXELS
            ],
        }
        for label, count in pixels.items()
    }


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
