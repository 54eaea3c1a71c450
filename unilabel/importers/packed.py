"""Photos that are no files of their own: they lie in an annotation file or a table."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unilabel.core.io import atomic_path
from unilabel.importers.frame import Frame, read_frame

_SUFFIXES = {
    b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp", b"BM": ".bmp", b"GI": ".gif",
    b"II": ".tif", b"MM": ".tif",
}  # fmt: skip


class Picture(Protocol):
    """Where the content of a picture file lies; its text names it in messages."""

    def data(self) -> bytes:
        """The content."""
        ...


@dataclass(frozen=True)
class PackedPhoto:
    """A photo that is written out, as nothing can be linked.

    Attributes:
        picture: where it lies.
        name: relative path, of which the name in the dataset is made.
    """

    picture: Picture
    name: str

    def frame(self) -> Frame:
        """Its size."""
        return read_frame(io.BytesIO(self.picture.data()), str(self.picture))

    def place(self, target: Path, link: str) -> None:
        """Write its bytes."""
        with atomic_path(target, flush=False) as temporary:
            temporary.write_bytes(self.picture.data())


def suffix_of_picture(data: bytes) -> str:
    """The suffix for the content of a picture file, by its first bytes."""
    return _SUFFIXES.get(data[:2], ".png")
