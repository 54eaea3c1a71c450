"""Photos and masks that a ``metadata.jsonl`` or ``metadata.csv`` of Hugging Face names."""

from __future__ import annotations

import csv
import json
import posixpath
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.importers.splits import read_lines, split_of_path
from unilabel.importers.tree import PHOTO_SUFFIXES, Tree, suffix_of

PHOTO_KEYS = ("file_name", "image_file_name", "image")
MASK_WORDS = ("annotation", "label", "mask", "segmentation", "target")


def files(tree: Tree) -> list[str]:
    """Metadata files that name a mask for each photo."""
    found = []
    for path in tree.named("metadata.jsonl", "metadata.csv"):
        text = tree.sniff(path).split("\n")[0].lower()
        if "file_name" in text and any(word in text for word in MASK_WORDS):
            found.append(path)
    return found


def pairs(tree: Tree) -> list[tuple[str, str, str]]:
    """(photo, mask, split) of every row.

    Raises:
        UniLabelError: a row is damaged, or a file that it names is missing.
    """
    found: list[tuple[str, str, str]] = []
    for file in files(tree):
        lines = read_lines(tree.path(file))
        rows = csv.DictReader(lines) if suffix_of(file) == ".csv" else map(_row, lines)
        for number, row in enumerate(rows, 1):
            where = f"{tree.path(file)}: row {number}"
            photo = next((row[k] for k in PHOTO_KEYS if k in row), None)
            masks = [v for k, v in row.items() if _is_mask(k, v)]
            if not isinstance(photo, str) or len(masks) != 1:
                raise UniLabelError(
                    f'{where} names no photo and mask, expected {{"file_name": ..., '
                    '"mask_file_name": ...}.'
                )
            places = [
                posixpath.normpath(posixpath.join(posixpath.dirname(file), name))
                for name in (photo, masks[0])
            ]
            for place in places:
                if place not in tree.files:
                    raise UniLabelError(f"{where}: {place} is not in {tree.root}; fetch it again.")
            found.append((places[0], places[1], split_of_path(file) or split_of_path(places[0])))
    return found


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    return row if isinstance(row, dict) else {}


def _is_mask(key: str | None, value: object) -> bool:
    named = isinstance(key, str) and any(word in key.lower() for word in MASK_WORDS)
    return named and isinstance(value, str) and suffix_of(value) in PHOTO_SUFFIXES
