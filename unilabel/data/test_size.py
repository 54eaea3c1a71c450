"""At which size a model is asked: one rule for evaluation, prediction, submissions and exports."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["TestSize"]


@dataclass(frozen=True)
class TestSize:
    """The size at which the network sees an image.

    Attributes:
        short_side: pixels that the short side is resized to (INPUT.TEST_SHORT_SIDE); 0: the image
            keeps its size.
    """

    __test__ = False  # pytest takes classes called Test* for tests

    short_side: int = 0

    def of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) for the network of an image of this size."""
        shorter = min(height, width)
        if self.short_side <= 0 or shorter == self.short_side:
            return height, width
        scale = self.short_side / shorter
        return max(1, round(height * scale)), max(1, round(width * scale))

    def resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 image at that size: area means where it shrinks, else bilinear."""
        height, width = image.shape[:2]
        size = self.of(height, width)
        if size == (height, width):
            return image
        shrink = size[0] < height or size[1] < width
        method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR_EXACT
        return np.ascontiguousarray(cv2.resize(image, size[::-1], interpolation=method))

    def __str__(self) -> str:
        """For a person."""
        return f"short side {self.short_side} pixels" if self.short_side else "own size"
