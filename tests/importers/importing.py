"""Imports that tests make, and whether they hold what was drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import export_pictures as scenes
import numpy as np
from export_pictures import NAMES
from PIL import Image

from unilabel.core.label_space import IGNORE
from unilabel.importers.prepare import Request, prepare
from unilabel.importers.write import Summary, write


def run(source: Path, target: Path, **request: Any) -> Summary:
    return write(prepare(source, Request(**request)), target)


def check(folder: Path, counts: dict[str, int] | None = None, background: str = "") -> None:
    """Import and compare the labelled pixels of every photo with those drawn."""
    target = folder.with_name("checked")
    summary = run(folder, target)
    assert summary.counts == (counts or {"train": 3, "val": 2}), summary
    entries = json.loads((target / "classes.json").read_text(encoding="utf-8"))["classes"]
    order = {entry["name"]: entry["id"] for entry in entries}
    assert set(NAMES) <= set(order)
    table = np.full(256, order[background] if background else IGNORE, np.uint8)
    table[: len(NAMES)] = [order[name] for name in NAMES]
    drawn = {p.stem.split()[-1]: p.ids for p in scenes.draw()}
    for path in target.glob("labels/*/*.png"):
        digits = next(d for d in drawn if d in re.split(r"\D+", path.stem))
        labelled = drawn[digits] != scenes.VOID
        got = np.array(Image.open(path))
        np.testing.assert_array_equal(got[labelled], table[drawn[digits]][labelled])


def names_in(folder: Path) -> None:
    """The names that VOC lacks, as a file of a request; a class list that is found elsewhere."""
    folder.with_name("names.txt").write_text("\n".join(NAMES))
