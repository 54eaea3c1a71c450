"""One font for all pictures, and what it cannot show.

DejaVu Sans comes with Matplotlib. It has the letters of Latin, Greek, Cyrillic, Hebrew, Arabic and
others, but not those of East and South Asia. A name in such letters would be a row of boxes, so
its id is drawn instead, and a note. Names that are written from right to left are laid out by
libraqm; an installation without it shows their ids.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import ImageFont, features

ID_NOTE = "#: id of a label whose name has letters that this font lacks"
_FILES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
_RIGHT_TO_LEFT = ("R", "AL")
_END = "\u200e"  # left-to-right mark


def legend_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of a height in pixels."""
    return ImageFont.truetype(_file(_FILES[0]), size)


def line_layout() -> dict[str, Any]:
    """Arguments of Pillow's text functions: lines run from left to right, whatever is in them.

    Else a line that begins with an Arabic name would run from right to left as a whole, with the
    number behind the name on its left.
    """
    return {"direction": "ltr"} if features.check("raqm") else {}


def with_number(name: str, number: str) -> str:
    """A line of a name and what stands behind it, ``number``, whatever way the name is written.

    A number behind an Arabic word belongs to the words from right to left and is drawn on their
    left; a mark that cannot be seen ends them.
    """
    return f"{name}{_END if _from_right(name) else ''}{number}"


def drawable(text: str) -> bool:
    """Whether the font has all letters of a text, and they would stand in their order."""
    if not all(ord(c) in letters for letters in _letters() for c in text if not c.isspace()):
        return False
    return _has_layout() or not _from_right(text)


def drawable_names(names: Sequence[str], ids: Sequence[int] = ()) -> list[str]:
    """The names, and ``#id`` in the place of those that cannot be drawn.

    Args:
        names: of labels.
        ids: as many; without, positions.
    """
    numbers = ids or range(len(names))
    return [n if drawable(n) else f"#{i}" for i, n in zip(numbers, names, strict=True)]


def title_of(*texts: str) -> str:
    """The first text that can be drawn, else ""."""
    return next((text for text in texts if text and drawable(text)), "")


def _from_right(text: str) -> bool:
    return any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in text)


def _file(name: str) -> str:
    import matplotlib  # here and below: slow to import, and needed only where something is drawn

    return str(Path(matplotlib.get_data_path(), "fonts/ttf", name))


@lru_cache(maxsize=1)
def _letters() -> tuple[frozenset[int], ...]:
    from matplotlib import ft2font

    return tuple(frozenset(ft2font.FT2Font(_file(name)).get_charmap()) for name in _FILES)


def _has_layout() -> bool:
    """Both Pillow and Matplotlib know the order of letters (Matplotlib since 3.11)."""
    from matplotlib import ft2font

    return features.check("raqm") and hasattr(ft2font, "__libraqm_version__")
