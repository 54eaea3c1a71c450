"""``DATASETS.CLASSES``: classes of a dataset merged, renamed or left out by the configuration.

``[[my_streets, {rider: person, sky: ignore}]]`` calls rider person (one class with person if
there is one) and leaves sky unlabelled. ``"*": ignore`` is for all classes that are not named.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE, MAX_TEXT, LabelSpace, clean_text
from unilabel.data.class_list import nearest
from unilabel.data.sources import DatasetSource

logger = logging.getLogger(__name__)

LEFT_OUT = "ignore"
ALL_OTHERS = "*"


@dataclass(frozen=True)
class ChangedDecoder:
    """Decodes label files and then gives the ids their new meaning.

    Attributes:
        decode: label file -> class ids of before.
        table: 256 class ids of now, by the id of before.
    """

    decode: Callable[[str], np.ndarray]
    table: tuple[int, ...]

    def __call__(self, path: str) -> np.ndarray:
        """Decode one file."""
        ids: np.ndarray = cv2.LUT(self.decode(path), np.array(self.table, np.uint8))
        return ids


def read_changes(value: Any, known: list[str]) -> dict[str, dict[str, str]]:
    """Check the key: dataset -> {old name: new name}.

    Raises:
        UniLabelError: it has another form, or names a dataset that does not take part.
    """
    changes: dict[str, dict[str, str]] = {}
    for entry in value:
        pair = isinstance(entry, list | tuple) and len(entry) == 2
        if not pair or not isinstance(entry[1], Mapping):
            raise UniLabelError(
                f"DATASETS.CLASSES holds {entry!r}, expected [dataset, {{old name: new name}}] "
                f"with {LEFT_OUT!r} for a class that is left out."
            )
        name, renames = entry
        if name not in known:
            raise UniLabelError(
                f"DATASETS.CLASSES names {name!r}, expected one of {', '.join(known)}."
                + nearest(str(name), known)
            )
        if name in changes:
            raise UniLabelError(f"DATASETS.CLASSES names {name!r} twice; write all in one place.")
        changes[name] = {
            str(old): clean_text(new, f"DATASETS.CLASSES: {name}: {old}")
            for old, new in renames.items()
        }
    return changes


def change_classes(source: DatasetSource, renames: Mapping[str, str]) -> DatasetSource:
    """The same files with other classes; what was changed is logged.

    Raises:
        UniLabelError: a class does not exist, or none is left.
    """
    space = source.label_space
    for old in renames:
        if old != ALL_OTHERS and old not in space.class_names:
            raise UniLabelError(
                f"DATASETS.CLASSES: dataset {space.name!r} has no class {old!r}."
                f"{nearest(old, list(space.class_names))} It has: {', '.join(space.class_names)}."
            )
    others = renames.get(ALL_OTHERS)
    new_names = [renames.get(n, n if others is None else others) for n in space.class_names]
    kept = list(dict.fromkeys(n for n in new_names if n != LEFT_OUT))
    if not kept:
        raise UniLabelError(f"DATASETS.CLASSES leaves {space.name!r} without a class; keep one.")
    table = [kept.index(n) if n != LEFT_OUT else IGNORE for n in new_names]
    changed = _changed_space(space, new_names, kept)
    logger.info(
        "%s: DATASETS.CLASSES makes %d of %d classes: %s",
        space.name,
        len(kept),
        space.num_classes,
        "; ".join(f"{old} -> {new or LEFT_OUT}" for old, new in changed.renamed) or "no change",
    )
    ids = (*table, *[IGNORE] * (256 - len(table)))
    return replace(
        source, label_space=changed, decode_label=ChangedDecoder(source.decode_label, ids)
    )


def _changed_space(space: LabelSpace, new_names: list[str], kept: list[str]) -> LabelSpace:
    texts = space.descriptions or ("",) * space.num_classes
    colors, descriptions = [], []
    for name in kept:
        members = [i for i, n in enumerate(new_names) if n == name]
        members.sort(key=lambda i, name=name: space.class_names[i] != name)  # its own one first
        colors.append(space.colors[members[0]])
        parts = list(dict.fromkeys(texts[i] for i in members if texts[i]))
        descriptions.append(" ".join(parts)[:MAX_TEXT])
    return replace(
        space,
        class_names=tuple(kept),
        colors=tuple(colors),
        descriptions=tuple(descriptions) if any(descriptions) else (),
        ignore_label=IGNORE,
        renamed=tuple(
            (old, "" if new == LEFT_OUT else new)
            for old, new in zip(space.class_names, new_names, strict=True)
            if old != new
        ),
    )
