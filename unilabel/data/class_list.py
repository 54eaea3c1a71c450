"""``classes.json``: the classes of a person's own folder, and how its files are to be read.

The keys stand in ``docs/CUSTOM_DATASET.md``. Anything that this file does not know is refused: a
misspelt key would otherwise change nothing and say nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.label_space import IGNORE, LabelSpace, read_color
from unilabel.data.headers import MAX_PIXELS
from unilabel.data.split_choice import SplitChoice, read_split

KEYS = (
    "name",
    "display_name",
    "classes",
    "ignore_label",
    "ignore",
    "ignore_values",
    "label_suffix",
    "image_scale",
    "max_pixels",
    "split",
    "provenance",
    "source",
)
CLASS_KEYS = ("id", "name", "color", "description", "values")
TRANSPARENT = "transparent"
_MAX_ID = 65535


@dataclass(frozen=True)
class ClassList:
    """Content of a ``classes.json``.

    Attributes:
        space: the classes, with contiguous ids in the order of the file.
        values: C tuples, what stands for a class in the label files: ids, or packed colours
            R + 256 G + 65536 B.
        ignored: values of unlabelled pixels, of the same kind.
        colors: whether ``values`` are colours.
        clear_ignored: transparent pixels of label files are unlabelled.
        says_ignored: the file itself says which values are unlabelled.
        says_values: the file itself says which values its classes have.
        label_suffix: what the names of label files have behind those of the images.
        image_scale: values of black and white in images of more than 8 bits.
        max_pixels: width times height of the largest image that is read.
        split: which files are train and val, where folders do not say it.
        path: the file.
    """

    space: LabelSpace
    values: tuple[tuple[int, ...], ...]
    ignored: tuple[int, ...]
    colors: bool
    clear_ignored: bool
    says_ignored: bool
    says_values: bool
    label_suffix: str
    image_scale: tuple[float, float] | None
    max_pixels: int
    split: SplitChoice | None
    path: str


def read_class_list(path: str | os.PathLike[str]) -> ClassList:
    """Read a ``classes.json``.

    Raises:
        UniLabelError: it is missing, no JSON, or a part of it is unknown or wrong.
    """
    source = os.fspath(path)
    data = _in_full(read_json(path), Path(path))
    _known(data, KEYS, source)
    entries = _entries(data, source)
    given = [
        _ids_or_colors(e.get("values"), f'{source}: "values" of {e["name"]!r}') for e in entries
    ]
    space = LabelSpace.from_dict(
        {
            **{k: data[k] for k in ("name", "display_name") if k in data},
            "ignore_label": _space_ignore(data, len(entries)),
            "classes": [
                {**{k: v for k, v in e.items() if k != "values"}, "id": i}
                for i, e in enumerate(entries)
            ],
        },
        source,
    )
    values = [g or (_id_of(e, i),) for i, (g, e) in enumerate(zip(given, entries, strict=True))]
    colors = any(isinstance(v, tuple) for of_class in values for v in of_class)
    wanted = data.get("ignore_values", [])
    wanted = wanted if isinstance(wanted, list) else [wanted]
    others = [v for v in wanted if v != TRANSPARENT]
    ignored = list(_ids_or_colors(others, f'{source}: "ignore_values"'))
    if others and isinstance(ignored[0], tuple) != colors:
        _mixed(source, '"ignore_values"', colors)
    for key in ("ignore_label", "ignore"):
        if key in data and not colors:
            ignored.append(data[key])
    table = _table(values, ignored, colors, space, source)
    return ClassList(
        space=space,
        values=table,
        ignored=tuple(sorted({_code(v) for v in ignored} | _usual(table, colors))),
        colors=colors,
        clear_ignored=TRANSPARENT in wanted,
        says_ignored=any(k in data for k in ("ignore_values", "ignore_label", "ignore")),
        says_values=any(given)
        or [e.get("id", i) for i, e in enumerate(entries)] != list(range(len(entries))),
        label_suffix=_suffix(data.get("label_suffix", ""), source),
        image_scale=_scale(data.get("image_scale"), source),
        max_pixels=_pixels(data.get("max_pixels", MAX_PIXELS), source),
        split=read_split(data["split"], source) if "split" in data else None,
        path=source,
    )


def pack(color: tuple[int, int, int]) -> int:
    """A colour as one number, R + 256 G + 65536 B."""
    return color[0] + 256 * color[1] + 65536 * color[2]


def hex_color(code: int) -> str:
    """A packed colour as "#rrggbb"."""
    return f"#{code & 255:02x}{code >> 8 & 255:02x}{code >> 16:02x}"


def nearest(name: str, known: Mapping[str, Any] | tuple[str, ...] | list[str]) -> str:
    """The question "Did you mean ...?" for a word that is close to one of ``known``, or ""."""
    near = get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _in_full(data: Any, path: Path) -> dict[str, Any]:
    """Short forms as the long one; named after the folder.

    They are ["road"], {"0": "road"}, {"road": 0} and {"road": "#804080"}.
    """
    if isinstance(data, list) and data and all(isinstance(v, str) for v in data):
        data = {str(i): name for i, name in enumerate(data)}
    if isinstance(data, dict) and data and not data.keys() & set(KEYS):
        if all(type(v) is int for v in data.values()):
            entries = [{"id": number, "name": name} for name, number in data.items()]
            data = {"classes": sorted(entries, key=lambda e: e["id"])}
        elif all(_is_color(v) for v in data.values()):
            data = {"classes": [{"name": k, "color": v, "values": [v]} for k, v in data.items()]}
    if isinstance(data, dict) and data and all(re.fullmatch(r"\d{1,5}", str(k)) for k in data):
        entries = [{"id": int(k), "name": v} for k, v in data.items()]
        data = {"classes": sorted(entries, key=lambda e: e["id"])}
    if not isinstance(data, dict) or not isinstance(data.get("classes"), list):
        _known(data if isinstance(data, dict) else {}, KEYS, str(path))
        raise UniLabelError(
            f'{path}: expected an object with "name" and a list "classes", or a short form: '
            '{"0": "road", "1": "car"}, {"road": 0}, {"road": "#804080"} or ["road", "car"].'
        )
    return {"name": path.resolve().parent.name, **data}


def _known(data: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in data:
        if key not in keys and not str(key).startswith("_"):
            near = nearest(key, keys) or f" Known are: {', '.join(keys)}."
            raise UniLabelError(f"{where}: unknown key {key!r}.{near}")


def _entries(data: dict[str, Any], source: str) -> list[dict[str, Any]]:
    entries = []
    for position, entry in enumerate(data["classes"]):
        where = f"{source}: classes[{position}]"
        if isinstance(entry, str):
            entry = {"name": entry}
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise UniLabelError(
                f'{where} is {str(entry)[:60]}, expected {{"id": {position}, "name": "..."}}.'
            )
        _known(entry, CLASS_KEYS, where)
        _id_of(entry, position, where)
        entries.append({k: v for k, v in entry.items() if not k.startswith("_")})
    return entries


def _id_of(entry: dict[str, Any], position: int, where: str = "") -> int:
    value = entry.get("id", position)
    if type(value) is not int or not 0 <= value <= _MAX_ID:
        raise UniLabelError(
            f'{where} has "id" {value!r}, expected the value of the class in the label files, 0 to '
            f'{_MAX_ID} (colours go into "values").'
        )
    return value


def _space_ignore(data: dict[str, Any], classes: int) -> int:
    """What the label space calls its ignore label; which values are void is ours to say."""
    value = data.get("ignore_label", data.get("ignore", IGNORE))
    return value if type(value) is int and classes <= value <= 255 else IGNORE


def _ids_or_colors(value: Any, where: str) -> list[Any]:
    """Ids as integers, "128..255" as all of them, colours as tuples."""
    if value is None:
        return []
    found: list[Any] = []
    for item in value if isinstance(value, list) else [value]:
        span = _span(item)
        if span:
            found.extend(span)
        elif _is_color(item):
            found.append(read_color(item, where))
        else:
            raise UniLabelError(
                f"{where}: {item!r} is neither an id of 0..{_MAX_ID}, nor a range of them "
                '("128..255"), nor a colour ("#rrggbb" or [red, green, blue]).'
            )
    return found


def _span(item: Any) -> range:
    """The ids that an entry means; none where it means something else."""
    found = re.fullmatch(r"(\d{1,5})(?:\.\.(\d{1,5}))?", str(item)) if item is not True else None
    if not found or not isinstance(item, int | str):
        return range(0)
    first, last = int(found[1]), int(found[2] or found[1])
    return range(first, last + 1) if last <= _MAX_ID else range(0)


def _is_color(value: Any) -> bool:
    try:
        return bool(read_color(value, ""))
    except UniLabelError:
        return False


def _table(
    values: list[Any], ignored: list[Any], colors: bool, space: LabelSpace, source: str
) -> tuple[tuple[int, ...], ...]:
    owner: dict[int, str] = {}
    for name, of_class in zip(space.class_names, values, strict=True):
        for value in of_class:
            if isinstance(value, tuple) != colors:
                _mixed(source, f'class {name!r} ("values" {value})', colors)
            code = _code(value)
            if code in owner:
                raise UniLabelError(
                    f"{source}: the value {_shown(value)} belongs to {owner[code]!r} and to "
                    f"{name!r}; each value may stand for one class."
                )
            owner[code] = name
    for value in ignored:
        if type(value) is not int and not isinstance(value, tuple):
            raise UniLabelError(
                f'{source}: "ignore_label" is {value!r}, expected an id of 0..65535.'
            )
        if _code(value) in owner:
            shift = ""
            if value == 0 and not colors:
                shift = (
                    f' If the classes run from 1, write the ids 1 to {len(values)}: {{"id": 1, '
                    f'"name": "{space.class_names[0]}"}}, ...'
                )
            raise UniLabelError(
                f"{source}: the value {_shown(value)} is to be ignored, but belongs to the class "
                f"{owner[_code(value)]!r}; expected a value that no class has.{shift}"
            )
    return tuple(tuple(_code(v) for v in of_class) for of_class in values)


def _usual(table: tuple[tuple[int, ...], ...], colors: bool) -> set[int]:
    """255 means "unlabelled" unless it is a class or a colour."""
    taken = {v for of_class in table for v in of_class}
    return set() if colors or IGNORE in taken else {IGNORE}


def _mixed(source: str, what: str, colors: bool) -> None:
    kind = "colours" if colors else "ids"
    raise UniLabelError(
        f"{source}: {what} does not fit: the other values are {kind}; give ids for all or colours "
        'for all (a single colour is "#804080" or [[128, 64, 128]]).'
    )


def _code(value: Any) -> int:
    return pack(value) if isinstance(value, tuple) else int(value)


def _shown(value: Any) -> str:
    return hex_color(pack(value)) if isinstance(value, tuple) else str(value)


def _suffix(value: Any, source: str) -> str:
    if not isinstance(value, str) or "/" in value or "\\" in value or len(value) > 60:
        raise UniLabelError(
            f'{source}: "label_suffix" is {value!r}, expected what label files have behind the '
            'name of their image, for example "_mask".'
        )
    return re.sub(r"\.(png|tiff?|bmp)$", "", value, flags=re.IGNORECASE)


def _scale(value: Any, source: str) -> tuple[float, float] | None:
    if value is None:
        return None
    numbers = isinstance(value, list) and [v for v in value if type(v) in (int, float)]
    if not numbers or len(value) != 2 or len(numbers) != 2 or not value[0] < value[1]:
        raise UniLabelError(
            f'{source}: "image_scale" is {value!r}, expected the values of black and white, the '
            "smaller one first: [0, 4095] for 12 bits."
        )
    return float(value[0]), float(value[1])


def _pixels(value: Any, source: str) -> int:
    if type(value) is not int or not 1 <= value <= 2**30:
        raise UniLabelError(
            f'{source}: "max_pixels" is {value!r}, expected width times height of the largest '
            f"image, 1 to {2**30}."
        )
    return value
