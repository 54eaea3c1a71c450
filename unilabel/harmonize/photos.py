"""The photos of several datasets, each with a name of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.data.sources import DatasetSource, Sample


@dataclass(frozen=True)
class Photo:
    """One photo to harmonise.

    Attributes:
        dataset: index of its dataset.
        split: "train" or "val".
        name: ``<dataset>__<name>``, without suffix; distinct in the split.
        sample: image and label.
    """

    dataset: int
    split: str
    name: str
    sample: Sample

    @property
    def image_file(self) -> str:
        """Where the image goes, relative to the output."""
        return f"images/{self.split}/{self.name}{Path(self.sample.image).suffix.lower()}"

    @property
    def label_file(self) -> str:
        """Where the label map goes, relative to the output."""
        return f"labels/{self.split}/{self.name}.png"

    @property
    def confidence_file(self) -> str:
        """Where the confidence map goes, relative to the output."""
        return f"confidence/{self.split}/{self.name}.png"

    def state(self) -> list[int]:
        """Sizes and times of both files: whether they changed since an interrupted run."""
        found: list[int] = []
        for path in (self.sample.image, self.sample.label):
            try:
                status = os.stat(path)
            except OSError as error:
                raise UniLabelError(
                    f"cannot read {path}: {error.strerror or error}; restore it, or remove the "
                    "image together with its label."
                ) from error
            found += [status.st_size, status.st_mtime_ns]
        return found


def list_photos(sources: Sequence[DatasetSource], splits: Sequence[str]) -> list[Photo]:
    """All photos, in a fixed order.

    Raises:
        UniLabelError: a dataset has none, or two would have one name.
    """
    photos: list[Photo] = []
    for index, source in enumerate(sources):
        before = len(photos)
        for split in splits:
            samples = source.list_samples(split)
            names = _distinct([s.image for s in samples])
            photos += [
                Photo(index, split, f"{source.name}__{name}", sample)
                for name, sample in zip(names, samples, strict=True)
            ]
        if len(photos) == before:
            raise UniLabelError(
                f"dataset {source.name!r} has no images in {' or '.join(splits)} below "
                f"{source.root}; see datasets/README.md for the expected folders, or give --splits."
            )
    seen: dict[tuple[str, str], Photo] = {}
    for photo in photos:
        other = seen.setdefault((photo.split, photo.name.lower()), photo)
        if other is not photo:
            raise UniLabelError(
                f"{other.sample.image} and {photo.sample.image} would both be called "
                f"{photo.name} in {photo.split}; rename one."
            )
    return photos


def _distinct(paths: Sequence[str]) -> list[str]:
    """File names without suffix; with as many of their folders as make them distinct."""
    parts = [Path(path).with_suffix("").parts for path in paths]
    depth, deepest = 1, max(map(len, parts), default=1)
    while depth < deepest and len({p[-depth:] for p in parts}) < len(parts):
        depth += 1
    return ["__".join(p[-depth:]) for p in parts]
