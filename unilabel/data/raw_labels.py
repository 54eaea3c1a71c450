"""What the values of official label files mean: ``unilabel/label_spaces/*.json`` as look-ups.

A variant of a dataset changes its classes: classes are left out, folded in another way, or the
background (or all that is void) becomes a class. It is applied to the table, so that every decoder
follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE, LabelSpace
from unilabel.core.tables import read_table, table_path

# Values of the label files that mean "no class", where the table names them only in words.
_VOID_VALUES: Mapping[str, tuple[int, ...]] = {
    "bdd100k": (255,),
    "idd26": (255,),  # level3Ids; the ids under "void_raw" belong to another numbering
    "kitti": (*range(7), 9, 10, 14, 15, 16, 18, 29, 30, 255),  # 255: license plate, id -1
    "scannet20": tuple(range(41)),  # every id of NYU40 that is not one of the twenty
    "voc20": (0, 255),
    "context59": tuple(range(460)),  # every one of the 459 labels that is not one of the 59
}
_BACKGROUND_TEXT = "Anything that is none of the other classes of the dataset."


@dataclass(frozen=True)
class RawLabels:
    """The meaning of label file values of one dataset, in one variant.

    Attributes:
        space: the classes.
        ids: raw id -> class id, or 255 for void; other ids are wrong.
        colors: (red, green, blue) -> class id or 255; empty unless labels are stored as colours.
        names: object name -> class id or 255; empty unless labels are stored as polygons.
        alphabet: object name -> class id or 255 in alphabetical order, where colours have names.
        base_classes: class id of each class of the dataset without a variant, or 255; the meaning
            of label maps that a preparation script wrote.
    """

    space: LabelSpace
    ids: Mapping[int, int]
    colors: Mapping[tuple[int, int, int], int]
    names: Mapping[str, int]
    alphabet: Mapping[str, int]
    base_classes: tuple[int, ...]


def load_raw_labels(name: str, variants: tuple[str, ...] = ()) -> RawLabels:
    """Read the table of a built-in dataset and apply variants of its classes, in order.

    Raises:
        UniLabelError: the dataset has no such variant of its classes.
    """
    data = read_table(name)
    base = [c["name"] for c in data["classes"]]
    named_colors = _named_colors(data)
    void = set(_VOID_VALUES.get(name, [v["id"] for v in data.get("void_raw", []) if "id" in v]))
    void |= set(data.get("void_raw_ids", []))
    data["void"] = {v for v in void if v >= 0} - _class_ids(data)
    for variant in variants:
        changes = _class_changes(data)
        if variant not in changes:
            raise UniLabelError(
                f"dataset {name!r} has no variant {variant!r} of its classes; it has: "
                f"{', '.join(changes) or 'none'}."
            )
        data = changes[variant](data)
        data["classes"] = [{**c, "id": i} for i, c in enumerate(data["classes"])]
    space = LabelSpace.from_dict(data, table_path(name))
    position = {n: i for i, n in enumerate(space.class_names)}
    colors = _lookup(
        data, "raw_colors", [v["color"] for v in data.get("void_raw", []) if "color" in v]
    )
    return RawLabels(
        space=space,
        ids=_lookup(data, "raw_ids", sorted(data["void"])),
        colors=colors,
        names=_lookup(data, "members", [v["name"] for v in data.get("void_raw", [])]),
        alphabet={name: colors[color] for name, color in named_colors},
        base_classes=tuple(position.get(n, IGNORE) for n in base),
    )


def class_variants(name: str) -> list[str]:
    """Names of the variants of a dataset's classes."""
    return list(_class_changes(read_table(name)))


def _class_changes(data: dict[str, Any]) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    changes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
    for variant, rule in data.get("variants", {}).items():
        if isinstance(rule, dict) and "void_class" in rule:
            changes[variant] = partial(_with_void, rule=rule)
        elif isinstance(rule, dict) and "drop" in rule:
            changes[variant] = partial(_drop, names=tuple(rule["drop"]))
        elif variant.startswith("with_background"):
            changes[variant] = _with_background
        elif "raw_colors_mseg" in data["classes"][0] and variant == "mseg":
            changes[variant] = _same_name_colors
    return changes


def _drop(data: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    gone = [c for c in data["classes"] if c["name"] in names]
    return {
        **data,
        "classes": [c for c in data["classes"] if c["name"] not in names],
        "void": data["void"] | {raw for c in gone for raw in c["raw_ids"]},
    }


def _with_void(data: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    """What is no class becomes one: every raw value that is left over, ignored ones included."""
    moved = rule["raw_ids"]
    classes = [
        {**c, "raw_ids": moved.get(c["name"], c["raw_ids"])}
        for c in data["classes"]
        if c["name"] not in rule["drop"]
    ]
    known = data["void"] | _class_ids(data)
    entry = {**rule["void_class"], "raw_ids": sorted(known - _class_ids({"classes": classes}))}
    return {**data, "classes": [*classes, entry], "void": set()}


def _with_background(data: dict[str, Any]) -> dict[str, Any]:
    rule = data["background"]
    raw_ids = [rule["raw_id"]] if "raw_id" in rule else sorted(data["void"])
    entry = {
        "name": rule["name"],
        "raw_ids": raw_ids,
        "color": rule.get("color", [0, 0, 0]),
        "description": _BACKGROUND_TEXT,
    }
    classes = list(data["classes"])
    classes.insert(rule.get("index_in_mseg60", 0), entry)
    return {**data, "classes": classes, "void": data["void"] - set(raw_ids)}


def _same_name_colors(data: dict[str, Any]) -> dict[str, Any]:
    """MSeg's CamVid: only the colour of the same name counts, the others become void."""
    kept = [{**c, "raw_colors": c["raw_colors_mseg"]} for c in data["classes"]]
    others = [
        {"name": "", "color": color}
        for c in data["classes"]
        for color in c["raw_colors"]
        if color not in c["raw_colors_mseg"]
    ]
    return {**data, "classes": kept, "void_raw": [*data["void_raw"], *others]}


def _named_colors(data: dict[str, Any]) -> list[tuple[str, tuple[int, int, int]]]:
    """Names of the objects that have a colour, in alphabetical order."""
    if "raw_names" not in data["classes"][0] or "raw_colors" not in data["classes"][0]:
        return []
    named = [(v["name"], tuple(v["color"])) for v in data["void_raw"]]
    for entry in data["classes"]:
        named += zip(entry["raw_names"], map(tuple, entry["raw_colors"]), strict=True)
    return sorted(named, key=lambda pair: pair[0].casefold())


def _class_ids(data: dict[str, Any]) -> set[int]:
    return {raw for c in data["classes"] for raw in c.get("raw_ids", [])}


def _lookup(data: dict[str, Any], key: str, void: list[Any]) -> dict[Any, int]:
    """Raw value -> class id or 255; empty if the classes do not have ``key``."""
    if key not in data["classes"][0]:
        return {}
    table: dict[Any, int] = {_hashable(value): IGNORE for value in void}
    for entry in data["classes"]:
        for value in entry.get(key, []):
            table[_hashable(value)] = entry["id"]
    return table


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
