"""The table of names and colours of an import."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from unilabel.core.errors import UniLabelError
from unilabel.core.io import decode_text, read_json
from unilabel.core.label_space import IGNORE, MAX_CLASSES, clean_text, default_color
from unilabel.importers.name_lines import entries_of_lines
from unilabel.importers.splits import read_lines

Color = tuple[int, int, int]
BACKGROUND = "background"
BACKGROUND_NAMES = {BACKGROUND, "_background_", "__background__"}


def is_background(name: str) -> bool:
    """Whether a name means "none of the others"."""
    return name.strip().lower() in BACKGROUND_NAMES


@dataclass
class ClassTable:
    """Classes in the order of their ids.

    Attributes:
        names: distinct names.
        colors: one for each, None where the export has none.
        background: id of the class of pixels that nothing covers, or None.
    """

    names: list[str] = field(default_factory=list)
    colors: list[Color | None] = field(default_factory=list)
    background: int | None = None
    ids: dict[str, int] = field(default_factory=dict)

    @property
    def fill(self) -> int:
        """Value of pixels that nothing covers."""
        return IGNORE if self.background is None else self.background

    def add(self, name: Any, where: str, color: Color | None = None) -> int:
        """Id of a class, added if it is new.

        Raises:
            UniLabelError: the name is no usable text, or there are more than 254 classes.
        """
        text = clean_text(name, f"{where}: the name of a class")
        if text in self.ids:
            known = self.ids[text]
            self.colors[known] = self.colors[known] or color
            return known
        if len(self.names) >= MAX_CLASSES:
            raise UniLabelError(
                f"{where}: there are more than {MAX_CLASSES} classes ({text!r} is one more); label "
                f"maps have 8 bits, so at most {MAX_CLASSES} are possible: merge or remove classes "
                "in the annotation tool and export again."
            )
        self.ids[text] = len(self.names)
        self.names.append(text)
        self.colors.append(color)
        return self.ids[text]

    def add_background(self, color: Color = (0, 0, 0)) -> int:
        """Id of the background class, which is made if no class is one."""
        for name, number in self.ids.items():
            if is_background(name):
                self.background = number
                return number
        self.background = self.add(BACKGROUND, "--background", color)
        return self.background

    def id_of(self, name: Any, where: str) -> int:
        """Id of a class that must be there.

        Raises:
            UniLabelError: it is not.
        """
        text = name.strip() if isinstance(name, str) else name
        if text not in self.ids:
            raise UniLabelError(
                f"{where}: the class {str(name)[:60]!r} is none of the {len(self.names)} classes "
                f"({', '.join(self.names[:8])}{', ...' if len(self.names) > 8 else ''}); add it to "
                "the list of classes or correct the annotation."
            )
        return self.ids[text]

    def entries(self) -> list[dict[str, Any]]:
        """The list ``classes`` of a ``classes.json``; missing colours are made up, distinct."""
        taken = {c for c in self.colors if c is not None}
        spare = (default_color(i) for i in range(4096))
        entries = []
        for number, (name, color) in enumerate(zip(self.names, self.colors, strict=True)):
            if color is None:
                color = next(c for c in spare if c not in taken)
                taken.add(color)
            entries.append({"id": number, "name": name, "color": list(color)})
        return entries


def start_table(options: Any, default: str = "ignore") -> ClassTable:
    """A table with the background class if it is asked for, and the names of ``--names``."""
    table = ClassTable()
    if (options.background or default) == "class":
        table.add_background()
    if options.names is not None:
        for name, color in options.names.ordered():
            table.add(name, options.names.file, color)
    return table


@dataclass(frozen=True)
class Names:
    """Content of a file of names.

    Attributes:
        file: where it comes from.
        listed: (name, colour or None), in order.
        values: the values in label files, one for each name; None if they are only listed.
    """

    file: str
    listed: tuple[tuple[str, Color | None], ...]
    values: tuple[int, ...] | None = None

    def ordered(self) -> list[tuple[str, Color | None]]:
        """Names with colours, by value where values are given."""
        if self.values is None:
            return list(self.listed)
        order = sorted(range(len(self.listed)), key=lambda i: self.values[i])  # type: ignore[index]
        return [self.listed[i] for i in order]

    def by_value(self) -> dict[int, tuple[str, Color | None]]:
        """Value -> name and colour; the position is the value where none is given."""
        values = range(len(self.listed)) if self.values is None else self.values
        return dict(zip(values, self.listed, strict=True))


def read_names(file: Path) -> Names:
    """Read names from text lines, JSON or YAML.

    Text and tables: see :func:`unilabel.importers.name_lines.entries_of_lines`. JSON and YAML: a
    list of names or of ``{"id", "name", "color"}``, a mapping of ids to names, of names to ids or
    to colours, or one of these under ``names``, ``classes``, ``labels`` or ``id2label``.

    Raises:
        UniLabelError: it is none of these.
    """
    suffix = file.suffix.lower()
    if suffix == ".json":
        return names_of(read_json(file), str(file))
    if suffix in (".yaml", ".yml"):
        return names_of(read_yaml(file), str(file))
    return _checked(entries_of_lines(read_lines(file), str(file)), str(file))


def read_yaml(file: Path) -> Any:
    """Content of a YAML file.

    Raises:
        UniLabelError: it cannot be read.
    """
    try:
        return yaml.safe_load(decode_text(file.read_bytes()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UniLabelError(f"{file} is not valid YAML ({reason}).") from error


def names_of(data: Any, file: str) -> Names:
    """Names of a JSON or YAML value, see :func:`read_names`."""
    if isinstance(data, dict):
        for key in ("names", "classes", "labels", "id2label"):
            if isinstance(data.get(key), dict | list):
                return names_of(data[key], file)
        pairs = [_entry(key, value, file) for key, value in data.items()]
    elif isinstance(data, list):
        pairs = [_entry(None, value, file) for value in data]
    else:
        pairs = []
    return _checked(pairs, file)


def _entry(key: Any, value: Any, file: str) -> tuple[int | None, str, Color | None]:
    """(id, name, colour) of ``key: value`` of a mapping, or of a ``value`` of a list."""
    if isinstance(value, dict):
        name = value.get("name", value.get("title", key))
        color = None if value.get("color") is None else read_any_color(value["color"], file)
        number = value.get("id", key if _number(key) is not None else None)
    elif key is None or _number(key) is not None:
        number, name, color = key, value, None
    elif isinstance(value, list | tuple) or (isinstance(value, str) and value.startswith("#")):
        number, name, color = None, key, read_any_color(value, file)
    else:
        number, name, color = value, key, None
    return _number(number), name if isinstance(name, str) else str(name), color


def _number(value: Any) -> int | None:
    """A whole number, perhaps written as text."""
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value) else None


def _checked(pairs: list[tuple[int | None, str, Color | None]], file: str) -> Names:
    if not pairs:
        raise UniLabelError(
            f"{file} holds no names; expected a name in each line, or JSON or YAML with a list of "
            "names or a mapping of ids to names."
        )
    listed = tuple((clean_text(name, f"{file}: a name"), color) for _, name, color in pairs)
    values = [number for number, _, _ in pairs]
    known = [v for v in values if v is not None]
    if known and (len(known) < len(pairs) or len(set(known)) < len(known)):
        raise UniLabelError(f"{file}: give every name an id of its own, or none of them.")
    return Names(file, listed, tuple(known) if known else None)


def read_any_color(value: Any, where: str) -> Color:
    """(red, green, blue) of a list of three integers or of ``#rrggbb``.

    Raises:
        UniLabelError: it is neither.
    """
    if isinstance(value, str) and re.fullmatch(r"#?[0-9a-fA-F]{6}([0-9a-fA-F]{2})?", value.strip()):
        digits = value.strip().lstrip("#")
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)
    ok = isinstance(value, list | tuple) and len(value) in (3, 4)
    if not ok or any(type(v) is not int or not 0 <= v <= 255 for v in value):
        raise UniLabelError(
            f"{where}: the colour {value!r} is neither [red, green, blue] of 0..255 nor #rrggbb."
        )
    return value[0], value[1], value[2]
