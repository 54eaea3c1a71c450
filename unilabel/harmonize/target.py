"""The label space that a harmonised dataset is written in.

Letters: N unified labels, T labels of the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE, IGNORE_WIDE, MAX_CLASSES, MAX_TEXT, UNIFIED
from unilabel.core.unified_space import UnifiedLabelSpace


@dataclass(frozen=True)
class Target:
    """Labels to write, and which unified labels make them up.

    Attributes:
        name: "unified" or the dataset.
        names: T names.
        colors: T colours.
        descriptions: T texts, or none.
        columns: bool (N, T) links of the dataset; None: the unified labels themselves (T = N).
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    descriptions: tuple[str, ...]
    columns: Tensor | None

    @property
    def wide(self) -> bool:
        """Whether label maps need 16 bits."""
        return len(self.names) > MAX_CLASSES

    @property
    def ignore(self) -> int:
        """Value of pixels without a label."""
        return IGNORE_WIDE if self.wide else IGNORE

    @classmethod
    def of(cls, space: UnifiedLabelSpace, name: str = UNIFIED) -> Target:
        """The unified labels, or one dataset's classes through its links.

        Raises:
            UniLabelError: the model has no such dataset.
        """
        if name == UNIFIED:
            return cls(UNIFIED, space.names, space.colors, _meanings(space), None)
        if name not in space.label_spaces.names:
            raise UniLabelError(
                f"--space {name!r}: expected {UNIFIED!r}, a label_space.json, or a dataset of the "
                f"model: {', '.join(space.label_spaces.names)}."
            )
        own = space.label_spaces.get(name)
        columns = space.mapping[name]
        return cls(name, own.class_names, own.colors, own.descriptions, columns)

    def to_dict(self, dataset: str) -> dict[str, Any]:
        """The content of ``classes.json`` of a dataset called ``dataset``."""
        classes: list[dict[str, Any]] = []
        for i, (name, color) in enumerate(zip(self.names, self.colors, strict=True)):
            entry: dict[str, Any] = {"id": i, "name": name, "color": list(color)}
            if self.descriptions:
                entry["description"] = self.descriptions[i]
            classes.append(entry)
        return {"name": dataset, "ignore_label": self.ignore, "classes": classes}


def _meanings(space: UnifiedLabelSpace) -> tuple[str, ...]:
    """What every unified label is in the datasets, in words."""
    texts = []
    for row in range(space.mapping.num_unified):
        parts = []
        for own in space.label_spaces:
            column = int(space.mapping.class_of(own.name)[row])
            if column >= 0:
                parts.append(f"{own.class_names[column]} ({own.name})")
        text = f"What is {', '.join(parts)}." if parts else "No dataset has it."
        texts.append(text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…")
    return tuple(texts)
