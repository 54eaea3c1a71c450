"""Label maps that an export has as pictures: values, palette indices, colours, segment numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.data.headers import read_bytes
from unilabel.data.label_files import decode_label, pack_colors
from unilabel.data.parallel import run_parallel
from unilabel.importers.classes import Color
from unilabel.importers.frame import Frame
from unilabel.importers.painter import Painted
from unilabel.importers.plan import Options

UNKNOWN = 254
CODES = 2**24
_MANY = 8  # values without a class


def pack(color: Color) -> int:
    """R + 256 G + 65536 B."""
    return color[0] + 256 * color[1] + 65536 * color[2]


def unpack(code: int) -> Color:
    """The colour of a packed one."""
    return code & 255, code >> 8 & 255, code >> 16


@dataclass(frozen=True)
class Stored:
    """Pixels of a mask file.

    Attributes:
        codes: (H, W) values, palette indices, or packed colours.
        colored: whether they are packed colours.
        palette: (n, 3) colours of the indices, or None.
    """

    codes: np.ndarray
    colored: bool
    palette: np.ndarray | None = None


def read_mask(data: np.ndarray, path: str, colored: bool = False) -> Stored:
    """Pixels of a mask as they are stored: nothing is scaled, turned or expanded.

    Args:
        data: (n,) uint8 content of the file.
        path: names it in messages.
        colored: give packed colours also of grey and palette pictures.

    Raises:
        UniLabelError: it cannot be decoded, is lossy, too large, or of another kind.
    """
    image = decode_label(data, path)
    ids = None if colored else image.ids()
    if ids is not None:
        return Stored(ids, False, image.palette)
    colors = image.colors()
    if colors is None:
        raise UniLabelError(
            f"the mask {path} has 16 bits, expected label colours of 8 bits per channel; export it "
            "as the other masks."
        )
    return Stored(pack_colors(np.ascontiguousarray(colors)), True)


@lru_cache(maxsize=1)
def _look_up_table() -> np.ndarray:
    return np.full(CODES, UNKNOWN, np.uint8)


def look_up(codes: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    """(H, W) uint8 class ids of codes below 2^24, :data:`UNKNOWN` where the table has none."""
    lut = _look_up_table()
    keys = np.fromiter(table.keys(), np.int64, len(table))
    lut[keys] = np.fromiter(table.values(), np.uint8, len(table))
    ids: np.ndarray = lut[codes]
    lut[keys] = UNKNOWN
    return ids


@dataclass(frozen=True)
class MaskLabel:
    """A label map stored as a picture.

    Attributes:
        path: of the picture.
        table: (value or packed colour, class id or 255) pairs.
        colored: whether the table has colours.
        hint: what to do about a value that the table does not have.
    """

    path: str
    table: tuple[tuple[int, int], ...]
    colored: bool
    hint: str

    def __call__(self, frame: Frame, options: Options) -> Painted:
        """Read and look up.

        Raises:
            UniLabelError: not readable, of another size, or with a value of no class.
        """
        stored = read_mask(read_bytes(self.path), self.path, self.colored)
        return finish(stored.codes, dict(self.table), stored.colored, self.path, frame, self.hint)


def finish(
    codes: np.ndarray,
    table: Mapping[int, int],
    colored: bool,
    path: str,
    frame: Frame,
    hint: str,
) -> Painted:
    """The label map of stored codes, upright.

    Raises:
        UniLabelError: of another size than the photo, or with a value of no class.
    """
    notes: Counter[str] = Counter()
    height, width = codes.shape
    frame.drawn_on((width, height), f"the mask {path}", notes)
    ids = look_up(codes, table)
    if (ids == UNKNOWN).any():
        code = int(codes[ids == UNKNOWN][0])
        what = f"colour {unpack(code)}" if colored else f"value {code}"
        unknown = len(np.unique(codes[ids == UNKNOWN]))
        raise UniLabelError(
            f"{path}: the {what} on {int((codes == code).sum())} pixels is of no class; {hint}."
            + soft_edges(unknown, "colours" if colored else "values")
        )
    return Painted(np.ascontiguousarray(frame.turn(ids)), notes=notes)


def soft_edges(unknown: int, what: str) -> str:
    """Where so many values or colours without a class come from, or ""."""
    if unknown < _MANY:
        return ""
    return (
        f" {unknown} {what} are of no class: so many come from soft edges (resizing with "
        "interpolation, a soft brush, JPEG); then export the masks again, with hard edges."
    )


@dataclass
class Seen:
    """What occurs in the masks of an export.

    Attributes:
        colored: whether any has colours.
        first: value or packed colour -> the first file that has it.
        palette: colours of values.
    """

    colored: bool
    first: dict[int, str]
    palette: dict[int, Color]


@dataclass(frozen=True)
class Scanned:
    """What occurs in one mask; ``error`` if it cannot be read."""

    colored: bool = False
    codes: tuple[int, ...] = ()
    palette: Mapping[int, Color] = field(default_factory=dict)
    error: str = ""


def scan_stored(stored: Stored) -> Scanned:
    """Distinct values or packed colours of a mask, up to 1,000."""
    flat = stored.codes.reshape(-1)
    changes = flat[np.flatnonzero(np.diff(flat, prepend=flat[:1] ^ 1))]  # long runs: few values
    codes = tuple(int(v) for v in np.unique(changes)[:1000])
    palette: dict[int, Color] = {}
    if stored.palette is not None:
        for value in codes:
            if value < len(stored.palette):
                red, green, blue = (int(v) for v in stored.palette[value])
                palette[value] = (red, green, blue)
    return Scanned(stored.colored, codes, palette)


def scan_file(path: str, colored: bool = False) -> Scanned:
    """Values of a mask file."""
    try:
        return scan_stored(read_mask(read_bytes(path), path, colored))
    except UniLabelError as error:
        return Scanned(error=str(error))


def scan_masks(paths: Sequence[str], workers: int) -> Seen:
    """Read all masks and collect their values, see :func:`collect`."""
    return collect(paths, workers, scan_file)


def collect(masks: Sequence[Any], workers: int, scan: Callable[..., Scanned]) -> Seen:
    """Scan masks in several processes and collect what occurs.

    Where grey pictures stand among coloured ones all are taken as colours.

    Raises:
        UniLabelError: one cannot be read, or there are more than 254 colours or values.
    """
    seen = _collect(masks, run_parallel(scan, masks, workers, "masks"))
    if seen is None:
        colored = partial(scan, colored=True)
        seen = _collect(masks, run_parallel(colored, masks, workers, "masks"))
    assert seen is not None
    if len(seen.first) > 255:
        what = "colours" if seen.colored else "values"
        path = seen.first[max(seen.first)]
        raise UniLabelError(
            f"the masks hold {len(seen.first)} {what} (one is in {path}), expected at most 254 "
            "classes and ignore (label maps have 8 bits): they are no label maps, were resized "
            "with interpolation or saved with loss; export PNGs of class ids or label colours."
        )
    return seen


def _collect(masks: Sequence[Any], scanned: Iterable[Scanned]) -> Seen | None:
    """None if both grey and coloured pictures occur."""
    seen = Seen(False, {}, {})
    kinds = set()
    for mask, found in zip(masks, scanned, strict=True):
        if found.error:
            raise UniLabelError(found.error)
        kinds.add(found.colored)
        if len(kinds) > 1:
            return None
        for code in found.codes:
            seen.first.setdefault(code, str(mask))
        for code, color in found.palette.items():
            seen.palette.setdefault(code, color)
    seen.colored = True in kinds
    return seen
