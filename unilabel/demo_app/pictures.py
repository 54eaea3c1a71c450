"""A picture of the demo."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """A picture of one visitor, or an example.

    Attributes:
        name: how to call it, without any folder.
        pixels: (H, W, 3) uint8.
        notes: what was done to it.
        key: distinct for every picture, cannot be guessed.
    """

    name: str
    pixels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
