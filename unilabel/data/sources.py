"""A dataset as unilabel sees it: a label space, samples of a split, readers of photos and labels.

Anybody's folder becomes one through ``unilabel/data/folders.py``; the built-in datasets are in
``unilabel/data/builtin.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace
from unilabel.data.images import ImageReader, orientation, read_image

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Sample:
    """One image and its label file."""

    image: str
    label: str


def no_remarks() -> list[str]:
    """Nothing to say about the files of a dataset."""
    return []


@dataclass(frozen=True)
class DatasetSource:
    """Where the images and labels of a dataset come from.

    All parts are plain data or functions with a name, so that a source travels to the worker
    processes of a loader however they are started.

    Attributes:
        label_space: the classes.
        list_samples: split ("train" or "val") -> samples, sorted; none of val where a dataset has
            no such part.
        decode_label: label file -> (H, W) uint8 contiguous class ids, 255 (ignore) elsewhere.
        root: the folder, for messages.
        read_image: photo -> (H, W, 3) uint8 RGB.
        remarks: what a person should know about the files: unused ones, no val part.
    """

    label_space: LabelSpace
    list_samples: Callable[[str], list[Sample]]
    decode_label: Callable[[str], np.ndarray]
    root: str
    read_image: ImageReader = read_image
    remarks: Callable[[], list[str]] = no_remarks

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self.label_space.name

    def with_label_space(self, label_space: LabelSpace) -> DatasetSource:
        """The same files under an edited label space (descriptions, for example)."""
        return replace(self, label_space=label_space)

    def has(self, split: str) -> bool:
        """Whether there are samples of a split."""
        return bool(self.list_samples(split))

    def samples(self, split: str) -> list[Sample]:
        """Samples of a split.

        Raises:
            UniLabelError: there is none.
        """
        found = self.list_samples(split)
        if not found:
            raise UniLabelError(
                f"dataset {self.name!r} has no images in its split {split!r} below {self.root}; "
                "docs/CUSTOM_DATASET.md (own folders) and datasets/README.md draw what is expected."
            )
        return found


def resolve_folder(folder: str) -> Path:
    """Absolute path of a custom folder: as given, or below $DETECTRON2_DATASETS.

    Raises:
        UniLabelError: it is in neither place.
    """
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    given = Path(folder).expanduser()
    for candidate in (given, root / given):
        if (candidate / "classes.json").is_file():
            return candidate.resolve()
    raise UniLabelError(
        f"DATASETS.CUSTOM: no classes.json in {given} nor in {root / given}; give the folder's "
        "path, absolute or relative to $DETECTRON2_DATASETS. The file classes.json names the "
        'classes, {"0": "road", "1": "car"} is enough; see docs/CUSTOM_DATASET.md. What an '
        "annotation tool exported becomes such a folder by tools/import_dataset.py."
    )


def resolve_file(file: str) -> Path:
    """Path of a side file: as given, or below $DETECTRON2_DATASETS.

    Raises:
        UniLabelError: it is in neither place.
    """
    given = Path(file).expanduser()
    below = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")) / given
    for candidate in (given, below):
        if candidate.is_file():
            return candidate
    raise UniLabelError(f"no such file: neither {given} nor {below}.")


def load_sample(source: DatasetSource, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Decode image (H, W, 3) RGB and label (H, W), both uint8.

    Raises:
        UniLabelError: a file is bad, or the two differ in size.
    """
    image = source.read_image(sample.image)
    label = source.decode_label(sample.label)
    check_sizes(sample, image, label)
    return image, label


def check_sizes(sample: Sample, image: np.ndarray, label: np.ndarray, reduction: int = 1) -> None:
    """Whether an image, perhaps read at a fraction of its size, has the size of its label map.

    Raises:
        UniLabelError: it has another size.
    """
    wanted = tuple(-(-side // reduction) for side in label.shape)
    if image.shape[:2] == wanted:
        return
    smaller = "" if reduction == 1 else f" (read at 1/{reduction} of its size)"
    turn = orientation(sample.image)
    if turn >= 5 and image.shape[1::-1] == wanted:
        cure = (
            f"the photo has the EXIF orientation {turn} and is shown turned, the label fits its "
            "stored pixels: turn the label in the same way, or remove the orientation tag from the "
            "photo (exiftool -Orientation= FILE), but do not resize the label."
        )
    else:
        cure = (
            "both must be equal: take the file that belongs to it; a label that was made on a "
            "smaller copy of the photo may be resized with nearest neighbour."
        )
    raise UniLabelError(
        f"{sample.image} has the size {image.shape[1]}x{image.shape[0]}{smaller}, its label "
        f"{sample.label} {label.shape[1]}x{label.shape[0]}; {cure}"
    )
