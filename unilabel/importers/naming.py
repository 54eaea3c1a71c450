"""Classes for the values or colours of masks that carry no names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE, default_color
from unilabel.importers.classes import BACKGROUND, ClassTable, Color, Names, is_background
from unilabel.importers.masks import Seen, pack, soft_edges, unpack


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
    unexplained = names is None or names.values is None
    if unexplained and not zero_is_background and set(seen.first) in ({0, IGNORE}, {IGNORE}):
        raise UniLabelError(
            f"the masks (for example {seen.first[IGNORE]}) hold the values {sorted(seen.first)} "
            'only: is 255 the object, or "ignore"? Say it with --names FILE.json: '
            '{"0": "background", "255": "object"} makes 255 a class, {"0": "object"} ignores it.'
        )
    if names is None:
        return _number_values(seen, values, void, table, zero_is_background, notes)
    by_value = _fit_names(names, values, zero_is_background)
    result = dict.fromkeys(void - by_value.keys(), IGNORE)
    for value in sorted(by_value):
        name, color = by_value[value]
        result[value] = table.add(name, names.file, color or seen.palette.get(value))
    unknown = [value for value in values if value not in result]
    if unknown:
        raise UniLabelError(
            f"{seen.first[unknown[0]]}: the value {unknown[0]} has no name in {names.file}, which "
            f"names {len(names.listed)} classes; add it there, by its id."
            + soft_edges(len(unknown), "values")
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
        swapped = all(pack(unpack(c)[::-1]) in result for c in seen.first if c)
        cure = (
            "in all masks red and blue are swapped, as OpenCV writes them: swap them in the names "
            "or in the masks."
            if swapped
            else "add it." + soft_edges(len(unknown), "colours")
        )
        raise UniLabelError(
            f"{seen.first[code]}: the colour {unpack(code)} is of no class in {names.file}; {cure}"
        )
    return {**result, **dict.fromkeys(unknown, IGNORE)}  # black that nobody named
