"""Inputs that people have, as ``make_cases.py`` beside the repository builds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.data.folders import folder_source
from unilabel.data.inspection import folder_target, inspect_split
from unilabel.data.sources import DatasetSource, load_sample

MINI = Path(__file__).parents[3] / "shared/data/mini/camvid11"


Case = Callable[[str], Path]


def change(folder: Path, **keys: object) -> None:
    """Add lines to a ``classes.json``, as its owner would."""
    path = folder / "classes.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def values(folder: Path, of_class: list[object]) -> None:
    """Say the values of every class."""
    data = json.loads((folder / "classes.json").read_text())
    classes = [
        {"name": c["name"], "values": v} for c, v in zip(data["classes"], of_class, strict=True)
    ]
    change(folder, classes=classes)


def refusal(folder: Path) -> str:
    """What training says about the first sample."""
    with pytest.raises(UniLabelError) as caught:
        first(folder_source(str(folder)))
    return str(caught.value)


def first(source: DatasetSource, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    return load_sample(source, source.samples(split)[0])


def truth(source: DatasetSource, split: str = "train") -> list[np.ndarray]:
    """The original label maps of the samples."""
    stems = [Path(s.image).stem for s in source.samples(split)]
    return [np.array(Image.open(MINI / "labels" / split / f"{s}.png")) for s in stems]


def decoded(source: DatasetSource, split: str = "train") -> list[np.ndarray]:
    return [load_sample(source, s)[1] for s in source.samples(split)]


def assert_same_as_truth(folder: Path) -> None:
    source = folder_source(str(folder))
    for split, count in (("train", 6), ("val", 2)):
        assert len(source.samples(split)) == count
        for found, wanted in zip(decoded(source, split), truth(source, split), strict=True):
            assert np.array_equal(found, wanted)


def faults(folder: Path, split: str = "train") -> list[str]:
    report = inspect_split(folder_target(str(folder)), split)
    return [f"[{f.kind}] {f.message}" for f in report.faults]
