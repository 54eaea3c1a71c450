"""Images from strangers: a file becomes one RGB image, or it is refused with a reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.data.images import ImageReader, LoadedImage


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted.

    Attributes:
        max_bytes: size of the file.
        max_pixels: width times height that is decoded.
        max_side: larger images are reduced to this side, pixels; 0: never.
    """

    max_bytes: int = 25 * 2**20
    max_pixels: int = 60_000_000
    max_side: int = 2048


def decode_image(
    data: bytes, name: str = "the file", limits: ImageLimits | None = None
) -> LoadedImage:
    """Decode an image file as training does, see ``unilabel/data/images.py``.

    Args:
        data: the content of the file.
        name: how to call it in messages.
        limits: what is accepted; None: the defaults.

    Raises:
        UniLabelError: the file is no image of a known format, too large, damaged, or holds values
            that cannot be shown as a photo.
    """
    limits = limits or ImageLimits()
    if not data:
        raise UniLabelError(f"{name} is empty; choose an image file.")
    if len(data) > limits.max_bytes:
        raise UniLabelError(
            f"{name} has {len(data) / 2**20:.1f} MB, at most {limits.max_bytes / 2**20:.0f} MB are "
            "accepted; save it smaller."
        )
    reader = ImageReader(max_pixels=limits.max_pixels)
    image = reader.decode(np.frombuffer(data, np.uint8), name)
    height, width = image.pixels.shape[:2]
    if not limits.max_side or max(height, width) <= limits.max_side:
        return image
    scale = limits.max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    note = f"It was reduced from {width} x {height} to {size[0]} x {size[1]} pixels."
    smaller = Image.fromarray(image.pixels).resize(size, Image.Resampling.LANCZOS)
    return LoadedImage(np.array(smaller), (*image.notes, note))
