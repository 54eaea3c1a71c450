"""Photos that look alike: copies saved anew, neighbouring frames of a video.

A photo is reduced to 8 x 8 pixels; an average hash of them finds candidates, their colours decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_SIDE = 8
_BITS = 4  # of 64 that may differ: pixels near the mean flip when a photo is saved anew
_LEVELS = 3.0  # mean difference of the small photos, of 256 levels


@dataclass(frozen=True)
class Look:
    """What a photo looks like from afar.

    Attributes:
        path: of the photo.
        content: hash of its pixels.
        small: 8 x 8 x 3 bytes, the photo reduced.
    """

    path: str
    content: bytes
    small: bytes


def small_photo(image: np.ndarray) -> bytes:
    """The (H, W, 3) photo reduced to 8 x 8 pixels."""
    reduced = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(reduced, np.uint8).tobytes()


def near_copies(known: Sequence[Look], asked: Sequence[Look]) -> list[tuple[str, str]]:
    """(asked, known) paths of photos that look the same and do not have the same pixels.

    Args:
        known: the photos of one split.
        asked: those of the other; each is named once, with the most similar one.
    """
    same = {look.content for look in known}
    asked = [look for look in asked if look.content not in same]
    if not known or not asked:
        return []
    pixels, bits = _hashes(known)
    found = []
    for look, (small, hashed) in zip(asked, zip(*_hashes(asked), strict=True), strict=True):
        close = np.flatnonzero((bits != hashed).sum(1) <= _BITS)
        if len(close):
            distance = np.abs(pixels[close] - small).mean(1)
            if distance.min() <= _LEVELS:
                found.append((look.path, known[int(close[distance.argmin()])].path))
    return found


def _hashes(looks: Sequence[Look]) -> tuple[np.ndarray, np.ndarray]:
    """(n, 192) small photos and (n, 64) whether their pixels are lighter than their mean."""
    small = np.stack([np.frombuffer(look.small, np.uint8) for look in looks]).astype(np.float32)
    grey = small.reshape(len(looks), -1, 3).mean(2)
    return small, grey > grey.mean(1, keepdims=True)
