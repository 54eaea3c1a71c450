"""Names of classes in lines of text and in tables (CSV), as people and tools write them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from unilabel.core.errors import UniLabelError

# (id or None, name, colour or None)
Entry = tuple[int | None, str, tuple[int, int, int] | None]

_NAME = ("name", "class", "label", "class_name", "classname", "label_name", "category", "title")
_ID = ("id", "value", "pixel value", "pixel_value", "index", "class_id", "label_id", "gray", "grey")
_RGB = (("r", "red"), ("g", "green"), ("b", "blue"))
_VOID = "__ignore__"  # how LabelMe calls pixels that are left out; it is no class
_COLOR = r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})"
# What every line of a file without a header looks like; the first that all lines fit counts.
_LINES = (
    (re.compile(rf"(?P<name>.+?):{_COLOR.replace(';]+', ']+')}(:.*)?"), True),  # labelmap.txt
    (re.compile(rf"{_COLOR}[\s,;:]+(?P<name>[^\d\s].*)"), True),  # label_colors.txt
    (re.compile(rf"(?P<id>\d{{1,9}})[\s,;:]+(?P<name>[^\d\s].*?)[\s,;:]+{_COLOR}"), True),
    (re.compile(rf"(?P<name>[^\d\s].*?)[\s,;:]+{_COLOR}"), True),
    (re.compile(r"(?P<id>\d{1,9})\s*[\s:;,=]\s*(?P<name>\S.*)"), False),
    (re.compile(r"(?P<name>\S.*?)\s*[;,=\t]\s*(?P<id>\d{1,9})"), False),
)


def entries_of_lines(lines: Sequence[str], file: str) -> list[Entry]:
    """Entries of lines without blanks around them; lines that begin with # are left out.

    A table whose first line names its columns, or in every line: a name; an id and a name in either
    order; a name and three numbers of a colour in either order, perhaps with an id before.

    Raises:
        UniLabelError: a table has a line of another length, or an id or colour that is no number.
    """
    lines = [line for line in lines if not line.startswith("#")]
    table = _table(lines, file)
    if table is not None:
        return table
    for pattern, colored in _LINES:
        found = [pattern.fullmatch(line) for line in lines]
        if not lines or not all(found):
            continue
        rows = [m for m in found if m is not None]
        colors = [tuple(int(m[k]) for k in _color_groups(m)) if colored else None for m in rows]
        if any(c is not None and max(c) > 255 for c in colors):
            continue
        return [
            (int(m["id"]) if "id" in m.groupdict() else None, m["name"].strip(" ,;:"), color)
            for m, color in zip(rows, colors, strict=True)
        ]  # type: ignore[return-value]
    return [(None, line, None) for line in lines if line != _VOID]


def _color_groups(match: re.Match[str]) -> list[int]:
    """Numbers of the groups that hold a colour: the three that have no name, in order."""
    named = set(match.re.groupindex.values())
    return [k for k in range(1, match.re.groups + 1) if k not in named][:3]


def _table(lines: Sequence[str], file: str) -> list[Entry] | None:
    """Entries of a table with a header, None if the first line is none."""
    if not lines:
        return None
    mark = next((d for d in ("\t", ";", ",") if d in lines[0]), None)
    if mark is None:
        return None
    head, *rows = csv.reader(lines, delimiter=mark, skipinitialspace=True)
    words = [cell.strip().lower() for cell in head]
    names = [i for i, word in enumerate(words) if word in _NAME]
    if not names:
        return None
    ids = [i for i, word in enumerate(words) if word in _ID]
    colors = [[i for i, word in enumerate(words) if word in channel] for channel in _RGB]
    found: list[Entry] = []
    for number, row in enumerate(rows, 2):
        where = f"{file}: row {number}"
        if len(row) != len(head):
            raise UniLabelError(
                f"{where} has {len(row)} columns, the first row {len(head)}; correct the table."
            )
        color = None
        if all(colors):
            red, green, blue = (_byte(row[c[0]], where) for c in colors)
            color = (red, green, blue)
        value = _whole(row[ids[0]], where) if ids else None
        found.append((value, row[names[0]].strip(), color))
    return found


def _whole(text: str, where: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text.strip()):
        raise UniLabelError(f"{where}: {text[:40]!r} is no whole number; correct the table.")
    return int(text)


def _byte(text: str, where: str) -> int:
    value = _whole(text, where)
    if value > 255:
        raise UniLabelError(f"{where}: the colour {value} is above 255; correct the table.")
    return value
