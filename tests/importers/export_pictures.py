"""The drawn world that the small exports hold: pictures of known label maps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

NAMES = ("sky", "road", "car", "traffic sign")
COLORS = ((70, 130, 180), (128, 64, 128), (0, 0, 142), (220, 220, 0))
VOID = 255


@dataclass(frozen=True)
class Picture:
    """A photo with its label map.

    Attributes:
        stem: of the file name.
        split: "train" or "val".
        ids: (H, W) uint8, 255 where nobody labelled.
    """

    stem: str
    split: str
    ids: np.ndarray

    @property
    def rgb(self) -> np.ndarray:
        """(H, W, 3) colours of the classes."""
        return palette()[self.ids]


def palette() -> np.ndarray:
    """(256, 3) colours of the classes, black for the others."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(COLORS)] = COLORS
    return table


def draw(train: int = 3, val: int = 2, width: int = 64, height: int = 48) -> list[Picture]:
    """Sky above a road, a car, a sign, and an unlabelled strip below."""
    pictures = []
    for number in range(train + val):
        rng = np.random.default_rng(number)
        ids = np.full((height, width), 1, np.uint8)
        ids[: height // 2 + int(rng.integers(-4, 5))] = 0
        x, y = int(rng.integers(8, width - 30)), int(rng.integers(height // 2, height - 16))
        ids[y : y + 11, x : x + 21] = 2
        cx, cy = int(rng.integers(10, width - 10)), int(rng.integers(8, height // 2 - 6))
        cv2.circle(ids, (cx, cy), 6, 3, -1)
        ids[-3:] = VOID
        split = "train" if number < train else "val"
        pictures.append(Picture(f"photo {number:04d}", split, ids))
    return pictures


def photo(path: Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture.rgb[..., ::-1])


def mask(path: Path, values: np.ndarray, colors: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if colors is not None:
        image.putpalette(colors.reshape(-1).tolist())
    image.save(path)


def dump(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def objects(ids: np.ndarray) -> Iterator[tuple[int, np.ndarray, list[list[int]]]]:
    """(class, mask, outline as x, y pairs) of every object, the largest first."""
    found = []
    for number in range(len(NAMES)):
        whole = (ids == number).astype(np.uint8)
        contours, _ = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for contour in contours:
            filled = np.zeros_like(whole)
            cv2.fillPoly(filled, [contour], 1)
            found.append((number, filled > 0, contour.reshape(-1, 2).tolist()))
    yield from sorted(found, key=lambda entry: -int(entry[1].sum()))


def shifted(ids: np.ndarray) -> np.ndarray:
    """Ids from 1, 0 where nobody labelled."""
    return np.where(ids == VOID, 0, ids + 1).astype(np.uint8)


def by_split(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    return {s: [p for p in pictures if p.split == s] for s in ("train", "val")}
