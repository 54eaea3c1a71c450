"""What a person changed in a label space, as a file: written, and read back.

Letters: N unified labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import clean_text
from unilabel.core.unified_space import Link, UnifiedLabelSpace

DIFF_SCHEMA = "unilabel/label_space_diff"
MAX_NAME = 80  # characters

Links = dict[tuple[int, str], tuple[int, Link]]  # (unified label, dataset) -> class id, link


@dataclass(frozen=True)
class Draft:
    """A label space under edit.

    Attributes:
        links: at most one class for each unified label and dataset.
        names: N names.
        colors: N colours.
        checked: unified labels that a person has marked as checked.
        change: what the last edit did, for the list of edits.
    """

    links: Links
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    checked: frozenset[int]
    change: str = ""

    @classmethod
    def of(cls, space: UnifiedLabelSpace, change: str = "") -> Draft:
        """A draft without edits."""
        links = {(row, name): (column, link) for (row, name, column), link in space.links.items()}
        return cls(links, space.names, space.colors, space.checked, change)


def new_name(value: Any) -> str:
    """A name for a unified label.

    Raises:
        UniLabelError: it is empty, too long, or no text.
    """
    name = clean_text(value, "the new name")
    if len(name) > MAX_NAME:
        raise UniLabelError(f"the name has {len(name)} characters; at most {MAX_NAME} are allowed.")
    return name


def changes_of(old: Draft, new: Draft, base: UnifiedLabelSpace) -> dict[str, Any]:
    """What differs between the model's label space and a draft.

    Returns:
        ``links`` [{"id", "label", "dataset", "before", "after"}] (class names or None),
        ``names`` [{"id", "before", "after"}], ``colors`` likewise, ``checked`` [id] and
        ``unchecked`` [id].
    """
    links = []
    for key in sorted(old.links.keys() | new.links.keys()):
        row, dataset = key
        names = base.label_spaces.get(dataset).class_names
        before, after = (names[d.links[key][0]] if key in d.links else None for d in (old, new))
        if before != after:
            entry = {"id": row, "label": new.names[row], "dataset": dataset}
            links.append({**entry, "before": before, "after": after})
    return {
        "schema": DIFF_SCHEMA,
        "base_checksum": base.mapping.checksum(),
        "links": links,
        "names": _pairs(old.names, new.names),
        "colors": _pairs(old.colors, new.colors),
        "checked": sorted(new.checked - old.checked),
        "unchecked": sorted(old.checked - new.checked),
    }


def _pairs(before: tuple[Any, ...], after: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [
        {"id": row, "before": old, "after": new}
        for row, (old, new) in enumerate(zip(before, after, strict=True))
        if old != new
    ]


def is_changes(content: Any) -> bool:
    """Whether the content of a JSON file is one of :func:`changes_of`."""
    return isinstance(content, dict) and content.get("schema") == DIFF_SCHEMA


def changed_draft(content: Any, original: Draft, base: UnifiedLabelSpace, change: str) -> Draft:
    """The draft that :func:`changes_of` was made from.

    Args:
        content: of the file, from anybody.
        original: the draft without edits.
        base: the label space of the model.
        change: what is said about it in the list of edits.

    Raises:
        UniLabelError: it is malformed, or of another label space.
    """
    if not is_changes(content):
        raise UniLabelError(f'the changes have no "schema": "{DIFF_SCHEMA}"; save them again.')
    if content.get("base_checksum") != base.mapping.checksum():
        raise UniLabelError(
            "the changes belong to another label space than this model's "
            f"(checksum {str(content.get('base_checksum'))[:16]!r}, here "
            f"{base.mapping.checksum()!r}); load them with the model that they were saved with."
        )
    count = len(original.names)
    names, colors = list(original.names), list(original.colors)
    for row, value in _entries(content, "names", count):
        names[row] = new_name(value.get("after"))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UniLabelError(f"the changes give two unified labels the name {twice!r}.")
    for row, value in _entries(content, "colors", count):
        colors[row] = _color(value.get("after"))
    links = dict(original.links)
    for row, value in _entries(content, "links", count):
        dataset, after = value.get("dataset"), value.get("after")
        space = base.label_spaces.get(dataset if isinstance(dataset, str) else repr(dataset))
        links.pop((row, space.name), None)
        if after is not None:
            column = space.index(after if isinstance(after, str) else repr(after))
            own = base.links.get((row, space.name, column))
            links[row, space.name] = (column, own or Link("human", 1.0))
    checked = set(original.checked) - set(_rows(content, "unchecked", count))
    added = set(_rows(content, "checked", count))
    for key, (column, _) in links.items():
        if key[0] in added:
            links[key] = (column, Link("human", 1.0))
    return replace(
        original,
        links=links,
        names=tuple(names),
        colors=tuple(colors),
        checked=frozenset(checked | added),
        change=change,
    )


def _list(content: dict[str, Any], key: str) -> list[Any]:
    found = content.get(key, [])
    if not isinstance(found, list):
        raise UniLabelError(f'the changes have no list under "{key}"; save them again.')
    return found


def _row(value: Any, key: str, count: int) -> int:
    if type(value) is not int or not 0 <= value < count:
        raise UniLabelError(
            f'the changes name unified label {str(value)[:20]!r} under "{key}", expected a number '
            f"of 0 to {count - 1}."
        )
    return value


def _rows(content: dict[str, Any], key: str, count: int) -> list[int]:
    return [_row(value, key, count) for value in _list(content, key)]


def _entries(content: dict[str, Any], key: str, count: int) -> list[tuple[int, dict[str, Any]]]:
    found = _list(content, key)
    if not all(isinstance(entry, dict) for entry in found):
        raise UniLabelError(f'the changes have an entry under "{key}" that is no object.')
    return [(_row(entry.get("id"), key, count), entry) for entry in found]


def _color(value: Any) -> tuple[int, int, int]:
    good = isinstance(value, list | tuple) and len(value) == 3
    if not good or any(type(v) is not int or not 0 <= v <= 255 for v in value):
        raise UniLabelError(
            f"the changes have the colour {str(value)[:40]!r}, expected three numbers of 0 to 255."
        )
    return value[0], value[1], value[2]
