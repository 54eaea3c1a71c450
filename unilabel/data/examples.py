"""Pictures that show what a model is for: their paths and energies, kept beside the model.

Only paths are kept, not pixels: whether a photo may be passed on is its owner's to say.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json, write_json

FILE = "examples.json"
_SCHEMA = "unilabel/examples"


@dataclass(frozen=True)
class Example:
    """A picture of a dataset.

    Attributes:
        dataset: its name.
        path: where the picture was when the model was trained.
        energy: see :mod:`unilabel.core.familiarity`.
    """

    dataset: str
    path: str
    energy: float


def save_examples(path: str | os.PathLike[str], examples: Sequence[Example]) -> None:
    """Write the file."""
    content = {"schema": _SCHEMA, "pictures": [asdict(example) for example in examples]}
    write_json(path, content)


def load_examples(path: str | os.PathLike[str]) -> list[Example]:
    """Read the file.

    Raises:
        UniLabelError: it is not what :func:`save_examples` writes.
    """
    content = read_json(path)
    pictures = content.get("pictures") if isinstance(content, dict) else None
    if not isinstance(pictures, list) or content.get("schema") != _SCHEMA:
        raise UniLabelError(
            f'{path} has not the schema "{_SCHEMA}" with a list of pictures; it is written by a '
            "training: remove it, or copy it again."
        )
    return [_example(path, index, entry) for index, entry in enumerate(pictures)]


def _example(path: str | os.PathLike[str], index: int, entry: Any) -> Example:
    kinds = {"dataset": str, "path": str, "energy": float}
    if not isinstance(entry, dict) or any(
        not isinstance(entry.get(key), kind) for key, kind in kinds.items()
    ):
        raise UniLabelError(
            f"{path}: picture {index} is {entry!r:.80}, expected dataset, path and energy; copy "
            "the file again from the folder of the training."
        )
    return Example(*(entry[key] for key in kinds))


def spread_out(paths: Sequence[str], count: int) -> list[str]:
    """At most ``count`` of the paths, at even steps: neighbours are often frames of one video."""
    if len(paths) <= count:
        return list(paths)
    return [paths[index * len(paths) // count] for index in range(count)]


def beside(weights: str | os.PathLike[str]) -> Path:
    """Where the examples of a model file are."""
    return Path(weights).with_name(FILE)
