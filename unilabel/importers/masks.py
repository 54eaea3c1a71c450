"""Label maps that an export has as pictures: values, palette indices, colours, segment numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE, default_color
from unilabel.data.headers import MAX_PIXELS
from unilabel.data.parallel import run_parallel
from unilabel.importers.classes import BACKGROUND, ClassTable, Color, Names, is_background
from unilabel.importers.frame import Frame
from unilabel.importers.painter import Painted
from unilabel.importers.plan import Options

UNKNOWN = 254
CODES = 2**24
LOSSY = {"JPEG", "WEBP", "MPO"}


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


def read_mask(file: object, path: str, colored: bool = False) -> Stored:
    """Read a mask as it is stored: nothing is scaled, turned or expanded.

    Args:
        file: path or binary file object.
        path: names it in messages.
        colored: give packed colours also of grey and palette pictures.

    Raises:
        UniLabelError: it cannot be read, is lossy, too large, or of another kind.
    """
    try:
        with Image.open(file) as picture:  # type: ignore[arg-type]
            _check_kind(picture, path)
            if colored:
                return Stored(_packed(np.asarray(picture.convert("RGB"))), True)
            return _stored(picture, path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, UniLabelError):
            raise
        raise UniLabelError(
            f"the mask {path} cannot be decoded ({error}); it is damaged or no image: export it "
            "again."
        ) from None


def _check_kind(picture: Image.Image, path: str) -> None:
    if picture.format in LOSSY:
        raise UniLabelError(
            f"the mask {path} is a {picture.format}, which changes values; export it as PNG."
        )
    if picture.width * picture.height > MAX_PIXELS:
        raise UniLabelError(
            f"the mask {path} has {picture.width}x{picture.height} pixels, expected at most "
            f"{MAX_PIXELS}."
        )
    if getattr(picture, "n_frames", 1) > 1:
        raise UniLabelError(
            f"the mask {path} has several pictures, expected one; save one of them."
        )


def _stored(picture: Image.Image, path: str) -> Stored:
    mode = picture.mode
    if mode == "P":
        colors = np.array(picture.getpalette() or [], np.uint8).reshape(-1, 3)
        return Stored(np.array(picture), False, colors)
    if mode == "1":
        return Stored(np.array(picture).astype(np.uint8), False)
    if mode == "LA":
        return Stored(np.array(picture)[..., 0], False)
    if mode in ("RGB", "RGBA"):
        rgb = np.asarray(picture)
        if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all():
            return Stored(rgb[..., 0].copy(), False)
        return Stored(_packed(rgb), True)
    values = np.array(picture)
    whole = values.ndim == 2 and np.issubdtype(values.dtype, np.integer)
    if not whole or (values.size and (values.min() < 0 or values.max() > 65535)):
        raise UniLabelError(
            f"the mask {path} is of the kind {mode}, expected whole numbers of 8 or 16 bits or "
            "colours; export it as PNG."
        )
    return Stored(values.astype(np.uint16), False)


def _packed(rgb: np.ndarray) -> np.ndarray:
    wide = rgb.astype(np.uint32)
    codes: np.ndarray = wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16
    return codes


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
        stored = read_mask(self.path, self.path, self.colored)
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
        raise UniLabelError(
            f"{path}: the {what} on {int((codes == code).sum())} pixels is of no class; {hint}."
        )
    return Painted(np.ascontiguousarray(frame.turn(ids)), notes=notes)


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
        return scan_stored(read_mask(path, path, colored))
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


@lru_cache(maxsize=1)
def voc_codes() -> Mapping[int, int]:
    """Packed colours of the VOC palette -> value; its colour of void -> 255."""
    colors = {pack(default_color(value - 1)): value for value in range(1, 255)}
    return {0: 0, **colors, pack((224, 224, 192)): IGNORE}


def as_voc_values(seen: Seen) -> Seen | None:
    """Values 0..255 of masks in the colours of the VOC palette; None if a colour is none of it."""
    table = voc_codes()
    if any(code not in table for code in seen.first):
        return None
    palette = {table[code]: unpack(code) for code in seen.first}
    return Seen(False, {table[code]: path for code, path in seen.first.items()}, palette)


def name_values(
    seen: Seen, names: Names | None, table: ClassTable, zero_is_background: bool, notes: list[str]
) -> dict[int, int]:
    """Value or packed colour -> class id, for masks without a list of names of their own.

    Raises:
        UniLabelError: the names do not fit, or {0, 255} has to be explained.
    """
    void = _void_values(seen)
    if seen.colored:
        return _name_colors(seen, names, table, notes)
    values = sorted(set(seen.first) - void)
    if names is None:
        return _number_values(seen, values, void, table, zero_is_background, notes)
    by_value = _fit_names(names, values, zero_is_background)
    result = dict.fromkeys(void - by_value.keys(), IGNORE)
    for value in sorted(by_value):
        name, color = by_value[value]
        result[value] = table.add(name, names.file, color or seen.palette.get(value))
    for value in values:
        if value not in result:
            raise UniLabelError(
                f"{seen.first[value]}: the value {value} has no name in {names.file}, which names "
                f"{len(names.listed)} classes; add it there, by its id."
            )
    return result


def _void_values(seen: Seen) -> set[int]:
    if seen.colored:
        return set()
    deep = any(255 < v < 65535 for v in seen.first)
    return {65535} if deep else {IGNORE, 65535}


def _number_values(
    seen: Seen,
    values: Iterable[int],
    void: set[int],
    table: ClassTable,
    zero_is_background: bool,
    notes: list[str],
) -> dict[int, int]:
    if set(seen.first) in ({0, 255}, {255}) and not zero_is_background:
        raise UniLabelError(
            f"the masks (for example {seen.first[255]}) hold the values {sorted(seen.first)} only: "
            'is 255 the object, or "ignore"? Say it with --names FILE.json: '
            '{"0": "background", "255": "object"} makes 255 a class, {"0": "object"} ignores it.'
        )
    result = dict.fromkeys(void, IGNORE)
    for value in values:
        background = value == 0 and zero_is_background
        name = BACKGROUND if background else f"class {value}"
        result[value] = table.add(name, seen.first[value], seen.palette.get(value))
    notes.append(
        'the masks carry no names of classes: their values are taken ("class 1", ...); name them '
        "with --names FILE (a name in each line, the first for value 0; or JSON {id: name})"
    )
    return result


def _fit_names(
    names: Names, values: list[int], zero_is_background: bool
) -> dict[int, tuple[str, Color | None]]:
    """Value -> name; where 0 is background and the list does not name it, it begins at 1."""
    by_value = names.by_value()
    if names.values is None and zero_is_background and not is_background(names.listed[0][0]):
        top = max(values, default=0)
        if top >= len(names.listed) or not any(is_background(n) for n, _ in names.listed):
            shifted = {v + 1: entry for v, entry in by_value.items()}
            return {0: (BACKGROUND, (0, 0, 0)), **shifted} if 0 in values else shifted
    return by_value


def _name_colors(
    seen: Seen, names: Names | None, table: ClassTable, notes: list[str]
) -> dict[int, int]:
    if names is None:
        notes.append(
            "the masks are coloured and carry no names of classes: the colours are taken as names; "
            'name them with --names FILE (JSON {"road": [128, 64, 128], ...})'
        )
        return {
            code: table.add("#{:02x}{:02x}{:02x}".format(*unpack(code)), path, unpack(code))
            for code, path in sorted(seen.first.items())
        }
    if any(color is None for _, color in names.listed):
        raise UniLabelError(
            f"the masks (for example {seen.first[max(seen.first)]}) are coloured, but {names.file} "
            'gives no colours; expected JSON {"road": [128, 64, 128], ...} or lines '
            '"road:128,64,128".'
        )
    result: dict[int, int] = {}
    for name, color in names.ordered():
        assert color is not None
        result[pack(color)] = table.add(name, names.file, color)
    unknown = [code for code in seen.first if code not in result]
    if unknown and unknown != [0]:
        code = next(c for c in unknown if c)
        raise UniLabelError(
            f"{seen.first[code]}: the colour {unpack(code)} is of no class in {names.file}; add it."
        )
    return {**result, **dict.fromkeys(unknown, IGNORE)}  # black that nobody named
