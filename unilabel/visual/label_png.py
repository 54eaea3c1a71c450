"""Label maps as PNG files: the pixels are ids, the palette shows their colours."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def id_png(
    ids: NDArray[np.uint8] | NDArray[np.uint16], colors: Sequence[tuple[int, int, int]] = ()
) -> bytes:
    """A PNG that holds ids, the same bytes for the same ids.

    Args:
        ids: (H, W); uint16 is written with 16 bits, for which PNG has no palette.
        colors: colour of each id from 0 on, the others are black; none: grey.
    """
    buffer = io.BytesIO()
    image = Image.fromarray(ids)
    if colors and ids.dtype == np.uint8:
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(colors)] = colors
        image = Image.fromarray(ids, "P")
        image.putpalette(palette.tobytes())
    image.save(buffer, "PNG")
    return buffer.getvalue()
