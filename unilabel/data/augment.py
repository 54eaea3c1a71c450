"""Training augmentation: random resize, crop, flip and colour, drawn from one generator per sample.

The crop window is cut from the source image first and only that window is resized, which gives the
pixels of "resize, then crop" at a fraction of the cost (docs/DEVIATIONS.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from unilabel.core.label_space import IGNORE

cv2.setNumThreads(0)  # loader workers are the parallelism; OpenCV's own threads only contend

TRIES = 10  # crops drawn until no class covers too much
REDUCTIONS = (8, 4, 2)  # by which a JPEG can be decoded at a smaller size


@dataclass(frozen=True)
class Window:
    """Which part of an image becomes the crop.

    Attributes:
        ratio: size of the crop relative to this part.
        top: first row in pixels of the image.
        left: first column.
    """

    ratio: float
    top: float
    left: float

    @property
    def reduction(self) -> int:
        """Largest factor by which the image may be decoded smaller without being enlarged again."""
        return next((factor for factor in REDUCTIONS if self.ratio * factor <= 1), 1)


class View(NamedTuple):
    """Where a crop lies in its image: its point x (0 at its left border) is at start + x step.

    Attributes:
        image: (height, width) of the image, pixels.
        start: of the crop's upper left corner, pixels of the image.
        step: pixels of the image in one of the crop; negative where it is mirrored.
    """

    image: tuple[int, ...]
    start: tuple[float, float]
    step: tuple[float, float]

    def mirrored(self, width: int) -> View:
        """That of the crop, ``width`` pixels wide, from right to left."""
        (y, x), (down, across) = self.start, self.step
        return View(self.image, (y, x + width * across), (down, -across))


@dataclass(frozen=True)
class TrainAugmentation:
    """Random resize by a ratio, crop, flip and colour change (Section 4, implementation details).

    Attributes:
        crop_size: (height, width) of the result, pixels.
        scale_range: least and largest resize ratio.
        single_class_max_area: a crop with a larger share of one class is drawn again (10 times).
        base_short_side: short side of the image at ratio 1, pixels; 0: its own size.
        flip_prob: probability of a horizontal flip.
        color_jitter: strength of brightness, contrast and saturation changes, 0 for none.
    """

    crop_size: tuple[int, int]
    scale_range: tuple[float, float]
    single_class_max_area: float
    flip_prob: float
    color_jitter: float
    base_short_side: int = 0

    def __call__(
        self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augment one sample.

        Args:
            image: (H, W, 3) uint8.
            label: (H, W) uint8, 255 = ignore.
            rng: all randomness comes from here.

        Returns:
            image and label of ``crop_size``; parts outside the source are 0 and 255.
        """
        image, label, _ = self.apply(image, label, self.choose(label, rng), rng)
        return image, label

    def choose(self, label: np.ndarray, rng: np.random.Generator) -> Window:
        """Draw the part of an image that becomes the crop; the label map is enough for that."""
        ratio = float(np.exp(rng.uniform(*np.log(self.scale_range))))
        if self.base_short_side > 0:
            ratio *= self.base_short_side / min(label.shape)
        return Window(ratio, *self._corner(label, ratio, rng))

    def apply(
        self, image: np.ndarray, label: np.ndarray, window: Window, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, View]:
        """Cut and change a drawn window; see :meth:`__call__`. Also gives where it lies.

        Args:
            image: as there, or decoded smaller by ``window.reduction``, sizes rounded up.
            label: as there.
            window: answer of :meth:`choose`.
            rng: the generator of :meth:`choose`.
        """
        image, label, view = self._cut(image, label, window)
        if rng.random() < self.flip_prob:
            image, label = cv2.flip(image, 1), cv2.flip(label, 1)
            view = view.mirrored(label.shape[1])
        if self.color_jitter > 0:
            image = _change_colors(image, self.color_jitter, rng)
        return np.ascontiguousarray(image), np.ascontiguousarray(label), view

    def _corner(
        self, label: np.ndarray, scale: float, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Top left corner of the window in source pixels (0 where the source is smaller)."""
        free = [
            max(0.0, size - crop / scale)
            for size, crop in zip(label.shape, self.crop_size, strict=True)
        ]
        for _ in range(TRIES):
            top, left = (float(rng.uniform(0, f)) for f in free)
            if self.single_class_max_area >= 1:
                break
            bottom, right = (
                int(start + crop / scale)
                for start, crop in zip((top, left), self.crop_size, strict=True)
            )
            # Every fourth pixel is enough to judge shares and 16 times cheaper.
            counts = np.bincount(label[int(top) : bottom : 4, int(left) : right : 4].reshape(-1))
            counts = counts[:IGNORE]
            if np.count_nonzero(counts) > 1 and (
                counts.max() < self.single_class_max_area * counts.sum()
            ):
                break
        return top, left

    def _cut(
        self, image: np.ndarray, label: np.ndarray, window: Window
    ) -> tuple[np.ndarray, np.ndarray, View]:
        height, width = self.crop_size
        scale = window.ratio
        factor = 1 if image.shape[:2] == label.shape else window.reduction
        y0, x0 = (int(start) // factor * factor for start in (window.top, window.left))
        # Rounded up: a window that is short by a part of a pixel would leave an empty line.
        y1 = min(label.shape[0], y0 + math.ceil(height / scale))
        x1 = min(label.shape[1], x0 + math.ceil(width / scale))
        size = (
            min(width, max(1, round((x1 - x0) * scale))),
            min(height, max(1, round((y1 - y0) * scale))),
        )
        view = View(label.shape, (y0, x0), ((y1 - y0) / size[1], (x1 - x0) / size[0]))
        shrink = scale < 1
        small = cv2.resize(
            image[y0 // factor : -(-y1 // factor), x0 // factor : -(-x1 // factor)],
            size,
            interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR,
        )
        # Exact: the pixel under the centre, as for the image; the plain one takes the corner.
        ids = cv2.resize(label[y0:y1, x0:x1], size, interpolation=cv2.INTER_NEAREST_EXACT)
        if size == (width, height):
            return small, ids, view
        full = np.zeros((height, width, 3), np.uint8)
        full_ids = np.full((height, width), IGNORE, np.uint8)
        full[: size[1], : size[0]] = small
        full_ids[: size[1], : size[0]] = ids
        return full, full_ids, view


def _change_colors(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Contrast per colour channel, brightness and saturation, each with probability one half.

    Channels change on their own because cameras differ in colour balance; what a head says on the
    photos of another dataset is only worth something if it does not hang on that.
    """
    draw = rng.uniform(-strength, strength, 3)
    use = rng.random(3) < 0.5
    gain = 1 + (draw[0] + rng.uniform(-strength, strength, 3)) * use[0]
    shift = 128 * draw[1] * use[1]
    # Saturation keeps the grey value and scales the distance from it. All three changes are linear,
    # so that one matrix makes them in one pass.
    grey = np.tile([0.299, 0.587, 0.114], (3, 1))
    saturation = grey + (1 + draw[2] * use[2]) * (np.eye(3) - grey)
    matrix = np.column_stack([saturation * gain, np.full(3, shift)])
    return cv2.transform(image, matrix)
