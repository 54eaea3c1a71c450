"""Label files of a person's own folder as class ids, as its ``classes.json`` says.

What does not fit is refused with the very lines that would make it fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE
from unilabel.data.class_list import ClassList, hex_color, pack
from unilabel.data.label_files import LabelImage, find_codes, pack_colors, read_label

UNKNOWN = 254  # marks values without a meaning while a file is decoded; no class has that id
_SHOWN = 12  # values and classes that a message lists


class UnknownLabelError(UniLabelError):
    """A label file holds a value that belongs to no class and is not void either."""


@dataclass(frozen=True)
class ValueDecoder:
    """Ids or colours of a label file -> (H, W) uint8 class ids, 255 where ignored.

    Attributes:
        classes: content of ``classes.json``.
    """

    classes: ClassList

    def __getstate__(self) -> dict[str, Any]:
        """Without look-up tables: every worker process makes its own."""
        return {"classes": self.classes}

    @cached_property
    def _narrow(self) -> np.ndarray:
        return self._wide[:256].copy()

    @cached_property
    def _wide(self) -> np.ndarray:
        table = np.full(2**16, UNKNOWN, np.uint8)
        for class_id, values in enumerate(self.classes.values):
            table[list(values)] = class_id
        table[list(self.classes.ignored)] = IGNORE
        return table

    @cached_property
    def _codes(self) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(v, i) for i, values in enumerate(self.classes.values) for v in values]
        pairs = sorted(pairs + [(v, IGNORE) for v in self.classes.ignored])
        return np.array([p[0] for p in pairs], np.uint32), np.array([p[1] for p in pairs], np.uint8)

    def __call__(self, path: str) -> np.ndarray:
        """Decode one file.

        Raises:
            UniLabelError: it cannot be read.
            UnknownLabelError: it holds values that ``classes.json`` does not explain.
        """
        image = read_label(path, self.classes.max_pixels)
        raw = image.colors() if self.classes.colors else image.ids()
        if raw is None:
            raise self._other_kind(image, path)
        if self.classes.colors:
            raw = pack_colors(raw)
            decoded = find_codes(raw, *self._codes, UNKNOWN)
        elif raw.dtype == np.uint8:
            decoded = cv2.LUT(raw, self._narrow)
        else:
            decoded = self._wide[raw]
        if image.clear is not None:
            decoded = self._without_clear(decoded, image.clear, path)
        wrong = decoded == UNKNOWN
        if wrong.any():
            raise self._unknown(raw, wrong, path)
        return decoded

    def _without_clear(self, decoded: np.ndarray, clear: np.ndarray, path: str) -> np.ndarray:
        if not self.classes.clear_ignored:
            raise UnknownLabelError(
                f"{path}: {int(clear.sum())} pixels are transparent. If they are unlabelled, add "
                f'to {self.classes.path}: "ignore_values": ["transparent"]; else save the labels '
                "without transparency."
            )
        return np.where(clear, np.uint8(IGNORE), decoded)

    def _other_kind(self, image: LabelImage, path: str) -> UnknownLabelError:
        name = self.classes.space.name
        if self.classes.colors:
            return UnknownLabelError(
                f"{path} holds ids of 16 bits, but {self.classes.path} gives colours for the "
                f'classes of {name!r}; give ids as "values".'
            )
        codes, counts = np.unique(pack_colors(image.values), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        found = [(int(codes[i]), 100 * counts[i] / counts.sum()) for i in order]
        seen = ", ".join(f"{hex_color(c)} ({s:.1f} %)" for c, s in found[:_SHOWN])
        soft = ""
        if len(found) > self.classes.space.num_classes + _SHOWN:
            soft = (
                " So many come from soft edges (resizing with interpolation, JPEG): write the "
                "labels again from their source, with hard edges. Then say"
            )
        return UnknownLabelError(
            f"{path} holds colours, but {self.classes.path} says ids for the classes of {name!r}. "
            f"{len(found)} colours occur: {seen}.{soft or ' Say'} which colour is which class:\n"
            + self._color_lines([c for c, _ in found])
        )

    def _color_lines(self, codes: list[int]) -> str:
        space = self.classes.space
        known = [pack(color) for color in space.colors]
        rest = [c for c in codes if c not in known]
        drawn = 2 * len(rest) <= len(codes)  # in the colours that classes.json gives
        lines = [
            f'  {{"id": {i}, "name": "{name}", "values": '
            f'["{hex_color(known[i]) if drawn else "#......"}"]}},'
            for i, name in enumerate(space.class_names[:_SHOWN])
        ]
        if len(space.class_names) > _SHOWN:
            lines.append("  ...")
        void = [c for c in rest if c in (0, 0xFFFFFF)] or rest[:1] or [0]
        lines.append(f'  "ignore_values": ["{hex_color(void[0])}"]   (if it means unlabelled)')
        return "\n".join(lines)

    def _unknown(self, raw: np.ndarray, wrong: np.ndarray, path: str) -> UnknownLabelError:
        classes = self.classes
        value = int(raw[wrong][0])
        count = int((raw == value).sum())
        if classes.colors:
            return UnknownLabelError(
                f"{path}: colour {hex_color(value)} on {count} pixels is none of the colours of "
                f"dataset {classes.space.name!r}. If it means unlabelled, add to {classes.path}: "
                f'"ignore_values": ["{hex_color(value)}"]; if it belongs to a class, add it to the '
                '"values" of that class. Colours that nobody chose come from resizing with '
                "interpolation or from JPEG."
            )
        known = sorted(v for of_class in classes.values for v in of_class)
        message = (
            f"{path}: label id {value} on {count} pixels, expected {ranges(known)} or "
            f"{', '.join(map(str, classes.ignored)) or 'nothing else'} (ignore) for dataset "
            f"{classes.space.name!r}; add the class to classes.json or correct the label file. "
        )
        return UnknownLabelError(message + self._lines(np.unique(raw).tolist(), value))

    def _lines(self, found: list[int], value: int) -> str:
        """The lines of ``classes.json`` under which the file would be read."""
        names = self.classes.space.class_names
        if len(found) > len(names) + _SHOWN and found[-1] <= IGNORE:
            return self._smooth(found)
        seen = f"This file holds {ranges(found)}. "
        rest = [v for v in found if v not in self.classes.ignored]
        if found[-1] > IGNORE and not any(v % 257 for v in found):
            return (
                f"{seen}They look like ids of 8 bits that were stretched to 16. If so, write\n"
                + "\n".join(
                    f'  {{"name": "{name}", "values": [{257 * i}]}},'
                    for i, name in enumerate(names[:_SHOWN])
                )
                + ("\n  ..." if len(names) > _SHOWN else "")
                + '\n  "ignore_values": [65535]'
            )
        if len(names) == 1 and set(found) <= {0, 1}:
            return (
                f"{seen}Is 0 the background and 1 the class? Then write\n"
                f'  {{"id": 0, "name": "background"}}, {{"id": 1, "name": "{names[0]}"}}\n'
                f"or, if 0 was not labelled,\n"
                f'  {{"name": "{names[0]}", "values": [1]}}  and  "ignore_values": [0]'
            )
        if max(rest) == len(names) and set(rest) <= set(range(len(names) + 1)):
            return (
                f"{seen}The ids seem to run from 1. If so, write\n"
                + self._pairs([*range(1, len(names) + 1)])
                + '\n  "ignore_values": [0]'
            )
        for values in (rest, found):  # 255 may be the last class
            if len(values) == len(names) and not (values == found and self.classes.says_ignored):
                ordered = f"{seen}If the classes have these ids in this order, write\n"
                return ordered + self._pairs(values)
        return (
            f"{seen}To read it, give the ids of each class, "
            f'{{"name": "{names[-1]}", "values": [{len(names) - 1}, {value}]}} for example, or add '
            f'"ignore_values": [{value}]. Ids that nobody chose come from resizing with '
            "interpolation: then write the labels again from their source."
        )

    def _smooth(self, found: list[int]) -> str:
        """What to do about a mask with soft edges."""
        names = self.classes.space.class_names
        seen = (
            f"This file holds {len(found)} values from {found[0]} to {found[-1]}: soft edges, from "
            "resizing with interpolation, a soft brush or JPEG. Write the labels again from their "
            "source, with hard edges"
        )
        if len(names) > 2:
            return f"{seen}."
        pair = names if len(names) == 2 else ("background", names[0])
        return (
            f"{seen}, or cut the values in the middle:\n"
            f'  {{"name": "{pair[0]}", "values": ["0..127"]}}, '
            f'{{"name": "{pair[1]}", "values": ["128..255"]}}'
        )

    def _pairs(self, values: list[int]) -> str:
        names = self.classes.space.class_names
        lines = [
            f'  {{"id": {v}, "name": "{name}"}},'
            for v, name in zip(values[:_SHOWN], names, strict=False)
        ]
        return "\n".join(lines + (["  ..."] if len(names) > _SHOWN else []))


def ranges(values: list[int]) -> str:
    """[0, 1, 2, 5] -> "0..2, 5"."""
    parts: list[list[int]] = []
    for value in values:
        if parts and value == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], value]
        else:
            parts.append([value])
    return ", ".join(f"{p[0]}..{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
