"""The size of a photo as stored and as seen, and turning a label map that was made on the other.

Cameras store a turned photo with an EXIF orientation; some annotation tools show it upright, some
as it is stored. unilabel reads photos upright, so labels have to be upright too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.data.images import image_header

TURNED = "photos with an EXIF orientation whose labels were made on the stored pixels: turned"
UNSURE = "photos with an EXIF orientation that keeps the size: labels taken as made upright"


@dataclass(frozen=True)
class Frame:
    """Size of a photo.

    Attributes:
        path: names the photo in messages.
        stored: width and height of its pixels in the file.
        orientation: 1 to 8 as in EXIF, 1 is upright.
    """

    path: str
    stored: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height as seen."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored

    def drawn_on(
        self, size: tuple[int, int] | None, where: str, notes: Counter[str]
    ) -> tuple[int, int]:
        """Width and height on which labels of a declared size were made.

        Raises:
            UniLabelError: it is neither the stored nor the upright size.
        """
        if size is None or size == self.upright:
            if self.orientation != 1 and self.stored == self.upright:
                notes[UNSURE] += 1
            return self.upright
        if size == self.stored:
            notes[TURNED] += 1
            return self.stored
        width, height = self.upright
        raise UniLabelError(
            f"{where} is made for a photo of {size[0]}x{size[1]}, but {self.path} has "
            f"{width}x{height}; take the photo of the export, or export labels of this photo."
        )

    def turn(self, ids: np.ndarray) -> np.ndarray:
        """A label map of the upright size; one of the stored size is turned as the photo is."""
        if ids.shape[1::-1] == self.upright:
            return ids
        return np.ascontiguousarray(_TURNS[self.orientation](ids))


_TURNS: dict[int, Any] = {
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, 1),
}


def read_frame(file: Any, path: str) -> Frame:
    """The frame of a photo, from its header alone.

    Args:
        file: path or binary file object.
        path: names the photo.

    Raises:
        UniLabelError: it is no image.
    """
    try:
        width, height, orientation = image_header(file, path)
    except UniLabelError as error:
        raise UniLabelError(
            f"the photo {path} cannot be opened ({error.__cause__}); export it again, or remove it "
            "together with its label."
        ) from None
    return Frame(path, (width, height), orientation)
