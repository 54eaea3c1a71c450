"""A dataset as unilabel sees it: a label space, samples of a split, and a decoder of label files.

Anybody's folder becomes one through :func:`folder_source`; the built-in datasets are in
``unilabel/data/builtin.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace
from unilabel.data import headers

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
JPEG_SUFFIXES = (".jpg", ".jpeg")
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Sample:
    """One image and its label file."""

    image: str
    label: str


@dataclass(frozen=True)
class DatasetSource:
    """Where the images and labels of a dataset come from.

    Attributes:
        label_space: the classes.
        list_samples: split ("train" or "val") -> samples, sorted.
        decode_label: label file -> (H, W) uint8 contiguous class ids, 255 (ignore) elsewhere.
        root: the folder, for messages.
    """

    label_space: LabelSpace
    list_samples: Callable[[str], list[Sample]]
    decode_label: Callable[[str], np.ndarray]
    root: str

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self.label_space.name

    def with_label_space(self, label_space: LabelSpace) -> DatasetSource:
        """The same files under an edited label space (descriptions, for example)."""
        return replace(self, label_space=label_space)

    def samples(self, split: str) -> list[Sample]:
        """Samples of a split.

        Raises:
            UniLabelError: there is none.
        """
        found = self.list_samples(split)
        if not found:
            raise UniLabelError(
                f"dataset {self.name!r} has no images in its split {split!r} below {self.root}; "
                "see datasets/README.md for the expected folders."
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
        "path, absolute or relative to $DETECTRON2_DATASETS."
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


def folder_source(folder: str) -> DatasetSource:
    """A dataset of the form ``images/{train,val}``, ``labels/{train,val}``, ``classes.json``.

    Label files are 8-bit single-channel PNGs of class ids; the ignore label marks other pixels.

    Raises:
        UniLabelError: the folder or its class list is wrong.
    """
    root = resolve_folder(folder)
    space = LabelSpace.from_json(root / "classes.json")

    def list_samples(split: str) -> list[Sample]:
        return pair_by_stem(root / "images" / split, root / "labels" / split, space.name)

    def decode(path: str) -> np.ndarray:
        return check_ids(read_id_png(path), space, path)

    return DatasetSource(space, list_samples, decode, str(root))


def pair_by_stem(images: Path, labels: Path, dataset: str) -> list[Sample]:
    """Images and label PNGs of the same stem.

    Raises:
        UniLabelError: an image without label, a label without image, or two files of one stem.
    """
    image_files = _by_stem(images, IMAGE_SUFFIXES)
    label_files = _by_stem(labels, (".png",))
    for stem in sorted(image_files.keys() ^ label_files.keys()):
        if stem in image_files:
            raise UniLabelError(
                f"dataset {dataset!r}: image {image_files[stem]} has no label "
                f"{labels / (stem + '.png')}; add it or move the image away."
            )
        raise UniLabelError(
            f"dataset {dataset!r}: label {label_files[stem]} has no image in {images}; add it or "
            "move the label away."
        )
    return [Sample(str(image_files[s]), str(label_files[s])) for s in sorted(image_files)]


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    if not folder.is_dir():
        return files
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in suffixes:
            continue
        if path.stem in files:
            raise UniLabelError(f"{files[path.stem]} and {path} have the same stem; rename one.")
        files[path.stem] = path
    return files


_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def read_image(path: str, reduction: int = 1) -> np.ndarray:
    """(H, W, 3) uint8 RGB image, upright (EXIF orientation applied).

    Args:
        path: of the file.
        reduction: 2, 4 or 8 gives the image at that fraction of its size, rounded up; of a JPEG
            the rest is not decoded at all.

    Raises:
        UniLabelError: the file is missing, truncated, no image, or of a form whose decoding would
            change it (16 bits, CMYK, animated).
    """
    data = headers.read_bytes(path)
    headers.check_image(data, path)
    if reduction > 1 and data[:2].tobytes() == b"\xff\xd8":
        rgb = _decode(data, _REDUCED[reduction])
        rgb = None if rgb is None else cv2.cvtColor(rgb, cv2.COLOR_BGR2RGB)
    else:
        rgb = _decode(data, cv2.IMREAD_COLOR_RGB)
        if rgb is not None and reduction > 1:
            size = tuple(-(-side // reduction) for side in rgb.shape[1::-1])
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    if rgb is None:
        raise UniLabelError(
            f"{path} cannot be decoded as an image ({data.size} bytes, {headers.kind_of(data)}); "
            "it is damaged or truncated: fetch it again or remove it together with its label."
        )
    return rgb


def read_id_png(path: str) -> np.ndarray:
    """(H, W) uint8 values of a single-channel or palette PNG, as stored.

    Raises:
        UniLabelError: missing, damaged, no PNG, several channels, or not 8 bits.
    """
    data = headers.read_bytes(path)
    headers.check_label(data, path)
    if headers.is_palette(data):
        return _read_palette(path)  # OpenCV would expand the palette to colours
    ids = _decode(data, cv2.IMREAD_UNCHANGED)
    if ids is None:
        raise UniLabelError(
            f"{path} cannot be decoded as a label map ({data.size} bytes); it is damaged or "
            "truncated: fetch it again."
        )
    if ids.ndim != 2 or ids.dtype != np.uint8:
        channels = 1 if ids.ndim == 2 else ids.shape[2]
        raise UniLabelError(
            f"{path} has {channels} channel(s) of {ids.dtype}, expected an 8-bit single-channel "
            "PNG of class ids (255 = ignore); convert colours to ids first."
        )
    return ids


def _decode(data: np.ndarray, flags: int) -> np.ndarray | None:
    if not data.size or headers.is_truncated(data):
        return None
    try:
        return cv2.imdecode(data, flags)
    except cv2.error:  # a header that promises more pixels than OpenCV accepts
        return None


def _read_palette(path: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.array(image, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UniLabelError(f"{path} cannot be decoded as a label map: {error}.") from error


def check_ids(ids: np.ndarray, space: LabelSpace, path: str) -> np.ndarray:
    """Return ``ids`` with the ignore label as 255.

    Raises:
        UniLabelError: an id belongs to no class.
    """
    counts = cv2.calcHist([ids], [0], None, [256], [0, 256]).ravel()  # float32: > 0 is exact
    allowed = np.zeros(256, bool)
    allowed[: space.num_classes] = True
    allowed[[space.ignore_label, 255]] = True
    wrong = np.flatnonzero((counts > 0) & ~allowed)
    if len(wrong):
        raise UniLabelError(
            f"{path}: label id {wrong[0]} on {np.count_nonzero(ids == wrong[0])} pixels, expected "
            f"0..{space.num_classes - 1} or {space.ignore_label} (ignore) for dataset "
            f"{space.name!r}; add the class to classes.json or correct the label file."
        )
    if space.ignore_label != 255:
        ids = np.where(ids == space.ignore_label, np.uint8(255), ids)
    return ids


def load_sample(source: DatasetSource, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Decode image (H, W, 3) RGB and label (H, W), both uint8.

    Raises:
        UniLabelError: a file is bad, or the two differ in size.
    """
    image = read_image(sample.image)
    label = source.decode_label(sample.label)
    check_sizes(sample, image, label)
    return image, label


def check_sizes(sample: Sample, image: np.ndarray, label: np.ndarray, reduction: int = 1) -> None:
    """Whether an image, perhaps read at a fraction of its size, has the size of its label map.

    Raises:
        UniLabelError: it has another size.
    """
    if image.shape[:2] != tuple(-(-side // reduction) for side in label.shape):
        smaller = "" if reduction == 1 else f" (read at 1/{reduction} of its size)"
        raise UniLabelError(
            f"{sample.image} has the size {image.shape[1]}x{image.shape[0]}{smaller}, its label "
            f"{sample.label} {label.shape[1]}x{label.shape[0]}; both must be equal: resize the "
            "label with nearest neighbour or take the right file."
        )
