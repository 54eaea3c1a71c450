"""Label maps of 8 bits with a palette, or of 16 bits where there are too many labels."""

from __future__ import annotations

import io
import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.harmonize.target import Target
from unilabel.visual.label_png import id_png


def encode(values: NDArray[np.integer], target: Target) -> bytes:
    """A PNG of label ids.

    Args:
        values: (H, W), -1 where a pixel has no label.
        target: the labels.

    Returns:
        the file's bytes, the same for the same values.
    """
    filled = np.where(values < 0, target.ignore, values)
    return id_png(filled.astype(np.uint16 if target.wide else np.uint8), target.colors)


def decode(file: bytes | str | os.PathLike[str], ignore: int, where: str = "") -> NDArray[np.int32]:
    """(H, W) label ids of a file that :func:`encode` made, -1 where a pixel has none.

    Raises:
        UniLabelError: it cannot be read.
    """
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            values = np.array(image).astype(np.int32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UniLabelError(f"{where or file} cannot be read as a label map: {error}.") from error
    if values.ndim != 2:
        raise UniLabelError(f"{where or file} has colours, expected label ids.")
    return np.where(values == ignore, -1, values)
