"""Label spaces: the class list of one dataset, and the concatenation of several.

Letters: K datasets, C_i classes of dataset i, C = sum of C_i.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json

if TYPE_CHECKING:  # torch would be slow to import for those who only read names
    from torch import Tensor

UNIFIED = "unified"  # name of the unified label space among the answers of a model
IGNORE = 255  # label of pixels without a class, everywhere inside the program
IGNORE_WIDE = 65535  # the same in files of 16 bits
MAX_CLASSES = 254  # label maps are 8-bit; 254 marks values without a meaning while they are decoded
MAX_TEXT = 2000  # characters of a name or description


def clean_text(value: Any, what: str) -> str:
    """A short printable string, or :class:`UniLabelError` naming ``what``."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise UniLabelError(
            f"{what} is {str(value)[:60]!r}, expected a text of 1 to {MAX_TEXT} characters."
        )
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in value):
        raise UniLabelError(f"{what} is {value[:60]!r}: control characters are not allowed.")
    return value.strip()


def default_color(index: int) -> tuple[int, int, int]:
    """A distinct colour per index (the bit-interleaved palette of PASCAL VOC), never black."""
    red = green = blue = 0
    value = index + 1
    for shift in range(7, -1, -1):
        red |= (value & 1) << shift
        green |= ((value >> 1) & 1) << shift
        blue |= ((value >> 2) & 1) << shift
        value >>= 3
    return red, green, blue


@dataclass(frozen=True)
class LabelSpace:
    """The classes of one dataset (L_i of the paper).

    Attributes:
        name: short name, the key of everything that belongs to the dataset.
        class_names: C_i distinct names; the position is the class id in the label maps.
        colors: C_i display colours, RGB 0..255.
        ignore_label: value of unlabelled pixels in the label maps.
        display_name: name in texts and figures.
        descriptions: one sentence or two per class, "" for a class without; or empty.
        renamed: (old, new) names of classes that a configuration renamed or merged; "" for new:
            left out.
    """

    name: str
    class_names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    ignore_label: int = IGNORE
    display_name: str = ""
    descriptions: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.name == UNIFIED:
            raise UniLabelError(
                f"a dataset is called {UNIFIED!r}, which is the name of the unified label space; "
                'give it another "name".'
            )
        _check_count(self.name, len(self.class_names))
        double = sorted({n for n in self.class_names if self.class_names.count(n) > 1})
        if double:
            raise UniLabelError(
                f"label space {self.name!r} names the class {double[0]!r} twice; class names must "
                "be distinct: rename one or merge the two ids in the label files."
            )
        for field, values in (("colors", self.colors), ("descriptions", self.descriptions)):
            if len(values) != len(self.class_names) and (values or field == "colors"):
                raise UniLabelError(
                    f"label space {self.name!r} has {len(values)} {field} for "
                    f"{len(self.class_names)} classes; give one for each class."
                )

    @property
    def num_classes(self) -> int:
        """C_i."""
        return len(self.class_names)

    @property
    def described(self) -> bool:
        """Whether every class has a description."""
        return bool(self.descriptions) and all(self.descriptions)

    def index(self, class_name: str) -> int:
        """Class id of a name.

        Raises:
            UniLabelError: there is no such class.
        """
        try:
            return self.class_names.index(class_name)
        except ValueError:
            raise UniLabelError(
                f"dataset {self.name!r} has no class {class_name!r}; it has: "
                f"{', '.join(self.class_names)}."
            ) from None

    def present_name(self, class_name: str) -> str | None:
        """What a class is called after the changes of a configuration; None: it was left out."""
        return dict(self.renamed).get(class_name, class_name) or None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, accepted by :meth:`from_dict`."""
        classes: list[dict[str, Any]] = [
            {"id": i, "name": name, "color": list(color)}
            for i, (name, color) in enumerate(zip(self.class_names, self.colors, strict=True))
        ]
        for entry, text in zip(classes, self.descriptions, strict=False):
            if text:
                entry["description"] = text
        data = {
            "name": self.name,
            "display_name": self.display_name or self.name,
            "ignore_label": self.ignore_label,
            "classes": classes,
        }
        return {**data, "renamed": dict(self.renamed)} if self.renamed else data

    @classmethod
    def from_dict(cls, data: Any, source: str = "label space") -> LabelSpace:
        """Read the JSON form.

        Args:
            data: ``{"name", "display_name", "ignore_label" or "ignore", "classes": [{"id", "name",
                "color", "description"}]}``; other keys are left to the loaders.
            source: the file that ``data`` comes from, for messages.

        Raises:
            UniLabelError: a part is missing or wrong.
        """
        if not isinstance(data, dict) or not isinstance(data.get("classes"), list):
            raise UniLabelError(f'{source}: expected an object with "name" and a list "classes".')
        name = clean_text(data.get("name"), f'{source}: "name"')
        if name.startswith(".") or "/" in name or "\\" in name:  # folders are called after it
            raise UniLabelError(
                f'{source}: "name" is {name[:60]!r}, expected one without / and \\ that does not '
                "begin with a dot."
            )
        classes = data["classes"]
        try:
            _check_count(name, len(classes))
        except UniLabelError as error:
            raise UniLabelError(f"{source}: {error}") from None
        names: list[str] = []
        colors: list[tuple[int, int, int]] = []
        texts: list[str] = []
        for position, entry in enumerate(classes):
            where = f"{source}: classes[{position}]"
            if not isinstance(entry, dict) or entry.get("id") != position:
                found = entry.get("id") if isinstance(entry, dict) else entry
                raise UniLabelError(
                    f'{where} has "id" {found!r}, expected {position}: list the classes in the '
                    "order of their ids 0, 1, 2, ... without gaps."
                )
            names.append(clean_text(entry.get("name"), f'{where}["name"]'))
            colors.append(read_color(entry.get("color", default_color(position)), where))
            text = entry.get("description", "")
            texts.append(clean_text(text, f'{where}["description"]') if text != "" else "")
        ignore = data.get("ignore_label", data.get("ignore", IGNORE))
        if type(ignore) is not int or not 0 <= ignore <= 255 or ignore < len(names):
            raise UniLabelError(
                f'{source}: "ignore_label" is {ignore!r}, expected an id of {len(names)}..255 '
                "that no class has (usually 255)."
            )
        display = clean_text(data.get("display_name", name), f'{source}: "display_name"')
        described = tuple(texts) if any(texts) else ()
        renamed = _read_renamed(data.get("renamed", {}), source)
        try:
            return cls(name, tuple(names), tuple(colors), ignore, display, described, renamed)
        except UniLabelError as error:
            raise UniLabelError(f"{source}: {error}") from None

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> LabelSpace:
        """Read a ``classes.json`` or one of ``unilabel/label_spaces/*.json``."""
        return cls.from_dict(read_json(path), os.fspath(path))


def _check_count(name: str, classes: int) -> None:
    if not 1 <= classes <= MAX_CLASSES:
        raise UniLabelError(
            f"label space {name!r} has {classes} classes, expected 1 to {MAX_CLASSES}: decoded "
            'label maps have 8 bits. Merge classes (several ids in the "values" of one class of '
            "classes.json) or train on a part of them."
        )


def _read_renamed(value: Any, source: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise UniLabelError(f'{source}: "renamed" is {value!r}, expected {{old name: new name}}.')
    return tuple(value.items())


def read_color(value: Any, where: str) -> tuple[int, int, int]:
    """Three integers 0..255 or "#rrggbb", or :class:`UniLabelError` naming ``where``."""
    if isinstance(value, str) and re.fullmatch(r"#([0-9a-fA-F]{3}){1,2}", value):
        digits = value[1:] if len(value) == 7 else "".join(2 * digit for digit in value[1:])
        value = list(bytes.fromhex(digits))
    ok = isinstance(value, list | tuple) and len(value) == 3
    if not ok or any(type(v) is not int or not 0 <= v <= 255 for v in value):
        raise UniLabelError(
            f'{where}["color"] is {value!r}, expected [red, green, blue] of 0..255 or "#rrggbb".'
        )
    red, green, blue = value
    return red, green, blue


class LabelSpaceSet(Sequence[LabelSpace]):
    """The label spaces of K datasets, in a fixed order (L, the union of the paper).

    Attributes:
        class_offsets: K + 1 positions; dataset i owns ``class_offsets[i]:class_offsets[i + 1]`` in
            everything that concatenates the classes of all datasets.
    """

    def __init__(self, label_spaces: Iterable[LabelSpace]) -> None:
        """Keep ``label_spaces`` in their order; each name may come once."""
        self._spaces = tuple(label_spaces)
        if not self._spaces:
            raise UniLabelError("no dataset is given; name at least one in DATASETS.")
        names = self.names
        double = sorted({n for n in names if names.count(n) > 1})
        if double:
            raise UniLabelError(
                f"the dataset {double[0]!r} is named twice; name each dataset once (for a second "
                'copy with other images change "name" in its classes.json).'
            )
        self.class_offsets = [0]
        for space in self._spaces:
            self.class_offsets.append(self.class_offsets[-1] + space.num_classes)

    def __len__(self) -> int:
        return len(self._spaces)

    @overload
    def __getitem__(self, index: int) -> LabelSpace: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[LabelSpace]: ...
    def __getitem__(self, index: int | slice) -> LabelSpace | Sequence[LabelSpace]:
        return self._spaces[index]

    def __iter__(self) -> Iterator[LabelSpace]:
        return iter(self._spaces)

    @property
    def names(self) -> list[str]:
        """K dataset names."""
        return [space.name for space in self._spaces]

    @property
    def num_classes(self) -> list[int]:
        """C_i of every dataset."""
        return [space.num_classes for space in self._spaces]

    @property
    def total(self) -> int:
        """C, the number of classes of all datasets."""
        return self.class_offsets[-1]

    def dataset_index(self, name: str) -> int:
        """Position of a dataset.

        Raises:
            UniLabelError: the name is unknown.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise UniLabelError(
                f"unknown dataset {name!r}; this label space knows: {', '.join(self.names)}."
            ) from None

    def get(self, name: str) -> LabelSpace:
        """Label space of a dataset by name."""
        return self._spaces[self.dataset_index(name)]

    def split(self, tensor: Tensor, dim: int = -1) -> list[Tensor]:
        """Cut a tensor of size C along ``dim`` into K tensors of size C_i."""
        return list(tensor.split(self.num_classes, dim=dim))

    def label_names(self) -> list[str]:
        """C names ``dataset:class``."""
        return [f"{space.name}:{name}" for space in self._spaces for name in space.class_names]

    def places(self) -> dict[tuple[str, str], int]:
        """(dataset, class) -> position in 0..C-1."""
        pairs = ((space.name, name) for space in self for name in space.class_names)
        return {pair: position for position, pair in enumerate(pairs)}

    def to_list(self) -> list[dict[str, Any]]:
        """The JSON form."""
        return [space.to_dict() for space in self._spaces]

    @classmethod
    def from_list(cls, data: Any, source: str = "label spaces") -> LabelSpaceSet:
        """Read the JSON form of :meth:`to_list`."""
        if not isinstance(data, list):
            raise UniLabelError(f"{source}: expected a list of label spaces.")
        spaces = [LabelSpace.from_dict(d, f"{source}[{i}]") for i, d in enumerate(data)]
        try:
            return cls(spaces)
        except UniLabelError as error:
            raise UniLabelError(f"{source}: {error}") from None
