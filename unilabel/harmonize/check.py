"""The guarantee, checked on a finished folder against the datasets that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.transfer import TransferMapping
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.parallel import run_parallel
from unilabel.data.sources import DatasetSource
from unilabel.harmonize.job import RESULT, SCHEMA
from unilabel.harmonize.label_png import decode
from unilabel.harmonize.labelling import Part
from unilabel.harmonize.options import Options
from unilabel.harmonize.photos import Photo, list_photos
from unilabel.harmonize.setup import LABEL_SPACE, mapping_file, parts_of, source_of
from unilabel.harmonize.target import Target


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Attributes:
        photos: label maps that were compared.
        labelled: pixels that a person labelled.
        written: of them, those that have a label in the folder.
        faults: what is wrong, one text for each photo.
    """

    photos: int
    labelled: int
    written: int
    faults: list[str]


def check_folder(
    folder: Path, moved: Sequence[DatasetSource] = (), workers: int = 1
) -> CheckReport:
    """Read every harmonised pixel back through the links and compare it with the drawn class.

    Args:
        folder: that ``tools/harmonize.py`` wrote.
        moved: datasets that lie elsewhere now.
        workers: processes.

    Raises:
        UniLabelError: the folder is not complete, or a dataset is gone.
    """
    result = read_json(folder / RESULT) if (folder / RESULT).is_file() else None
    if not isinstance(result, dict) or result.get("settings", {}).get("schema") != SCHEMA:
        raise UniLabelError(
            f"{folder} has no {RESULT} of this program: it is not harmonised, or not finished "
            "(--finish, --resume)."
        )
    settings = result["settings"]
    space = UnifiedLabelSpace.load(folder / LABEL_SPACE)
    if space.mapping.checksum() != settings["label_space"]:
        raise UniLabelError(
            f"{folder / LABEL_SPACE} is not the label space that the folder was written in; it was "
            "edited: harmonise again with it (--space)."
        )
    options = Options(**{**settings["options"], "splits": tuple(settings["options"]["splits"])})
    elsewhere = {source.name: source for source in moved}
    sources = [
        elsewhere[entry["name"]] if entry["name"] in elsewhere else source_of(entry["origin"])
        for entry in result["datasets"]
    ]
    target = Target.of(space, settings["space"])
    files = [folder / f"mapping_{source.name}.json" for source in sources]
    unseen = [TransferMapping.load(file) for file in files if file.is_file()]
    assert all((folder / mapping_file(m)).is_file() for m in unseen)
    parts = parts_of(space, sources, target, options, unseen)
    photos = list_photos(sources, options.splits)

    def compare(photo: Photo) -> tuple[int, int, str]:
        return _compare(photo, parts[photo.dataset], folder, target, options.void_below)

    found = list(run_parallel(compare, photos, workers, "check"))
    faults = [fault for _, _, fault in found if fault] + _extra_files(folder, photos)
    labelled, written = (sum(row[i] for row in found) for i in (0, 1))
    return CheckReport(len(photos), labelled, written, faults)


def _compare(
    photo: Photo, part: Part, folder: Path, target: Target, void_below: float
) -> tuple[int, int, str]:
    """Labelled pixels, those with a label in the folder, and a fault or ""."""
    file = folder / photo.label_file
    try:
        labels = part.source.decode_label(photo.sample.label)
        if not (folder / photo.image_file).exists():
            return 0, 0, f"{folder / photo.image_file} is missing, or its link leads nowhere."
        values = decode(file, target.ignore)
    except UniLabelError as error:
        return 0, 0, str(error)
    if values.shape != labels.shape:
        return 0, 0, f"{file} has the size {values.shape}, {photo.sample.label} {labels.shape}."
    known = labels < len(part.choices.fits)
    bad = part.choices.violations(labels, values, void_below)
    fault = (
        f"{file}: {bad} labelled pixels do not give back the class that was drawn in "
        f"{photo.sample.label}; one of them was changed since."
    )
    return int(known.sum()), int(np.count_nonzero(known & (values >= 0))), fault if bad else ""


def _extra_files(folder: Path, photos: Sequence[Photo]) -> list[str]:
    expected = {photo.label_file for photo in photos}
    present = {p.relative_to(folder).as_posix() for p in folder.glob("labels/*/*.png")}
    return [f"{folder / name} belongs to no photo." for name in sorted(present - expected)]
