"""Label maps as segments and as outlines, for the forms that other programs read.

Letters: H x W image size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """Connected pixels of one label.

    Attributes:
        label: its id.
        area: pixels inside of the outline, those of its holes included.
        outline: (P, 2) x and y in pixels, from the upper left corner of the picture.
        holes: outlines of what is another label inside.
    """

    label: int
    area: float
    outline: NDArray[np.float64]
    holes: tuple[NDArray[np.float64], ...]


def regions(labels: NDArray[np.integer]) -> list[Region]:
    """Outlines of all regions, larger ones first, so that smaller ones drawn later lie on top.

    Args:
        labels: (H, W) label ids, below 0 where a pixel has none.
    """
    found = []
    for label in np.unique(labels[labels >= 0]).tolist():
        # at twice the size an outline runs outside of the centres of its outermost pixels, so that
        # whoever fills it gets these pixels too
        mask = (labels == label).astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
        contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for index, points in enumerate(contours):
            if tree[0, index, 3] < 0:
                inside = np.flatnonzero(tree[0, :, 3] == index).tolist()
                holes = tuple(_pixels(contours[i]) for i in inside)
                found.append(Region(label, cv2.contourArea(points) / 4, _pixels(points), holes))
    return sorted(found, key=lambda region: (-region.area, region.label))


def _pixels(points: NDArray[np.int32]) -> NDArray[np.float64]:
    """Points of a mask of twice the size, (P, 1, 2), in pixels of the picture."""
    return (points[:, 0] + 0.5) / 2


def panoptic(values: NDArray[np.int32]) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """A label map in the form of COCO panoptic: one segment for each label.

    Args:
        values: (H, W) label ids, below 0 where a pixel has none.

    Returns:
        (H, W, 3) uint8 segment numbers, base 256 with the lowest first, 0 void; and the segments.
    """
    number = (np.maximum(values, -1) + 1).astype(np.uint32)
    rgb = np.stack([number & 255, number >> 8 & 255, number >> 16], axis=-1).astype(np.uint8)
    segments = []
    for label in np.unique(values[values >= 0]).tolist():
        ys, xs = np.nonzero(values == label)
        left, top = int(xs.min()), int(ys.min())
        box = [left, top, int(xs.max()) - left + 1, int(ys.max()) - top + 1]
        segments.append(
            {
                "id": label + 1, "category_id": label + 1, "area": len(ys), "bbox": box,
                "iscrowd": 0,
            }
        )  # fmt: skip
    return rgb, segments
