"""What the tags of a TIFF file say about its bands, before a decoder drops or guesses some."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_PAGES = 64
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}  # by PhotometricInterpretation
_REDUCED = 1  # bit of NewSubfileType: a smaller copy of another page


@dataclass(frozen=True)
class TiffTags:
    """The first page of a TIFF.

    Attributes:
        width: pixels.
        height: pixels.
        bits: the most of any band.
        bands: samples per pixel.
        colors: bands that are colours by the file's own word.
        has_alpha: the band behind the colours is transparency by the file's own word.
        floating: values are floating point.
        orientation: as in EXIF.
        pages: without smaller copies of other pages.
    """

    width: int
    height: int
    bits: int
    bands: int
    colors: int
    has_alpha: bool
    floating: bool
    orientation: int
    pages: int


def read_tiff_tags(data: np.ndarray) -> TiffTags | None:
    """Tags of a file; None if it is no TIFF.

    Args:
        data: (n,) uint8 content.

    Raises:
        OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error: it is damaged.
    """
    start = data[:16].tobytes()
    if not start.startswith(_MAGIC):
        return None
    file = io.BytesIO(data.tobytes())
    tags = ImageFileDirectory_v2(start if start[2:3] == b"+" or start[3:4] == b"+" else start[:8])
    first: ImageFileDirectory_v2 | None = None
    pages, seen = 0, set()
    while tags.next and tags.next not in seen and len(seen) < _MAX_PAGES:
        seen.add(tags.next)
        file.seek(tags.next)
        tags.load(file)
        if first is None:
            first = tags
            facts = _facts(tags)
        pages += not int(tags.get(254, 0)) & _REDUCED
    if first is None:
        raise ValueError("a TIFF without a picture")
    return TiffTags(*facts, pages=max(pages, 1))


def _facts(tags: ImageFileDirectory_v2) -> tuple[int, int, int, int, int, bool, bool, int]:
    bands = int(tags.get(277, 1))
    formats = tags.get(339, (1,))
    return (
        int(tags[256]),
        int(tags[257]),
        max(tags.get(258, (1,))),
        bands,
        _COLORS.get(int(tags.get(262, 1)), bands),
        tags.get(338, (0,))[0] in (1, 2),
        any(int(f) == 3 for f in (formats if isinstance(formats, tuple) else (formats,))),
        int(tags.get(274, 1)),
    )
