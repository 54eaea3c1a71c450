"""Label maps of 8 bits with a palette, or of 16 bits where there are too many labels."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.data.label_files import decode_label, read_label
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
    if isinstance(file, bytes):
        name = where or "a label map"
        values = decode_label(np.frombuffer(file, np.uint8), name).values
    else:
        name = where or os.fspath(file)
        values = read_label(os.fspath(file)).values
    if values.ndim != 2:
        raise UniLabelError(f"{name} has colours, expected label ids.")
    return np.where(values == ignore, np.int32(-1), values.astype(np.int32))
