"""Decoders of label files: one for each way in which datasets store labels.

Each is called with a path and returns (H, W) uint8 contiguous class ids, 255 (ignore) elsewhere.
All raise :class:`UniLabelError` for a file that cannot be read, and :class:`UnknownLabelError` for
a value that the dataset's table does not know: guessing a class for it would spoil training
silently. They are plain data, so that they can be sent to the worker processes of a loader.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
from PIL import Image, ImageDraw

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.label_space import IGNORE
from unilabel.data.headers import MAX_PIXELS
from unilabel.data.images import read_image
from unilabel.data.label_files import find_codes, pack_colors, read_id_png
from unilabel.data.mat_files import read_array
from unilabel.data.value_decoder import UNKNOWN, UnknownLabelError, ranges

MAX_PANOPTIC_BYTES = 2 * 2**30  # that of COCO train2017 has about 0.4 GB


@dataclass(frozen=True)
class IdDecoder:
    """8-bit PNG of raw ids, single-channel or palette (the index is the id)."""

    ids: Mapping[int, int]
    dataset: str

    @cached_property
    def _table(self) -> np.ndarray:
        table = np.full(256, UNKNOWN, np.uint8)
        for raw, class_id in self.ids.items():
            if raw < 256:
                table[raw] = class_id
        return table

    def __call__(self, path: str) -> np.ndarray:
        """Decode one file."""
        raw = read_id_png(path)
        ids: np.ndarray = cv2.LUT(raw, self._table)
        if (ids == UNKNOWN).any():
            _raise_unknown(raw, ids, path, self.dataset, sorted(self.ids))
        return ids


@dataclass(frozen=True)
class MatDecoder:
    """MATLAB file with a 2-D array of raw ids, for example ``LabelMap`` of PASCAL Context."""

    ids: Mapping[int, int]
    dataset: str
    variable: str = "LabelMap"

    @cached_property
    def _table(self) -> np.ndarray:
        table = np.full(2**16, UNKNOWN, np.uint8)
        for raw, class_id in self.ids.items():
            table[raw] = class_id
        return table

    def __call__(self, path: str) -> np.ndarray:
        """Decode one file."""
        raw = self._read(path)
        ids: np.ndarray = self._table[raw]
        if (ids == UNKNOWN).any():
            _raise_unknown(raw, ids, path, self.dataset, sorted(self.ids))
        return ids

    def _read(self, path: str) -> np.ndarray:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise UniLabelError(f"cannot read {path}: {error.strerror or error}.") from error
        try:
            raw = read_array(content, self.variable)
        except KeyError as error:
            raise UniLabelError(
                f"{path} has no variable {self.variable!r}; take the file from the official "
                "archive."
            ) from error
        except ValueError as error:
            raise UniLabelError(
                f"{path} cannot be decoded as a MATLAB label file ({error}); it is damaged or "
                "truncated: fetch it again."
            ) from error
        if raw.ndim != 2 or not np.issubdtype(raw.dtype, np.integer):
            raise UniLabelError(
                f"{path}: {self.variable!r} has the shape {raw.shape} and type {raw.dtype}, "
                "expected a 2-D array of integers; take the file from the official archive."
            )
        if raw.min() < 0 or raw.max() > 65535:  # would wrap around to the id of another class
            raise UniLabelError(
                f"{path}: {self.variable!r} holds {raw.min()}..{raw.max()}, expected ids of "
                "0..65535; take the file from the official archive."
            )
        return raw.astype(np.uint16)


@dataclass(frozen=True)
class ColorDecoder:
    """RGB PNG in which each colour is a class."""

    colors: Mapping[tuple[int, int, int], int]
    dataset: str

    @cached_property
    def _codes(self) -> tuple[np.ndarray, np.ndarray]:
        pairs = sorted((r + 256 * g + 65536 * b, c) for (r, g, b), c in self.colors.items())
        return np.array([p[0] for p in pairs], np.uint32), np.array([p[1] for p in pairs], np.uint8)

    def __call__(self, path: str) -> np.ndarray:
        """Decode one file."""
        codes = pack_colors(read_image(path))
        ids = find_codes(codes, *self._codes, UNKNOWN)
        if (ids == UNKNOWN).any():
            code = int(codes[ids == UNKNOWN][0])
            color = (code & 255, code >> 8 & 255, code >> 16)
            raise UnknownLabelError(
                f"{path}: colour {color} on {int((codes == code).sum())} pixels is none of the "
                f"{len(self.colors)} label colours of dataset {self.dataset!r}; the file is no "
                "label image of it, was resized with interpolation or saved as JPEG: take it from "
                "the official archive."
            )
        return ids


@dataclass(frozen=True)
class PanopticDecoder:
    """COCO panoptic PNG: segment id = R + 256 G + 65536 B, 0 is void.

    The file ``<folder>.json`` beside the folder of the PNGs, or in ``annotations`` beside it, gives
    the category of each segment. It is parsed once per process and kept.
    """

    ids: Mapping[int, int]
    dataset: str

    @cached_property
    def _key(self) -> tuple[tuple[int, int], ...]:
        return tuple(sorted(self.ids.items()))

    def index(self, folder: str | os.PathLike[str]) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
        """File name -> (segment ids ascending, class ids) of the JSON file of a folder of PNGs."""
        path = _json_of(os.fspath(folder))
        try:
            status = path.stat()
        except OSError as error:
            raise UniLabelError(
                f"{path} is missing: it tells the class of every segment in {folder}; unpack it "
                "from the archive of the panoptic annotations."
            ) from error
        return _panoptic_index(str(path), status.st_mtime_ns, self._key, self.dataset)

    def __call__(self, path: str) -> np.ndarray:
        """Decode one file."""
        folder, name = os.path.split(path)
        index = self.index(folder)
        if name not in index:
            raise UniLabelError(
                f"{path} has no entry in {_json_of(folder)}; the PNGs and the JSON file belong to "
                "different releases, or the JSON file is incomplete: unpack both again."
            )
        codes = pack_colors(read_image(path))
        ids = find_codes(codes, *index[name], UNKNOWN)
        if (ids == UNKNOWN).any():
            code = int(codes[ids == UNKNOWN][0])
            raise UnknownLabelError(
                f"{path}: segment {code} on {int((codes == code).sum())} pixels is not in "
                f"{_json_of(folder)}; the PNG is no panoptic map of dataset {self.dataset!r} or "
                "was changed: unpack it again."
            )
        return ids


def _json_of(folder: str) -> Path:
    """The JSON file of a folder of PNGs, as the archive has it or as Detectron2 wants it."""
    beside = Path(f"{folder}.json")
    apart = beside.parent / "annotations" / beside.name
    return apart if apart.is_file() and not beside.is_file() else beside


@lru_cache(maxsize=8)
def _panoptic_index(
    path: str, modified: int, ids: tuple[tuple[int, int], ...], dataset: str
) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """``modified`` makes an edited file be read again."""
    data = read_json(path, max_bytes=MAX_PANOPTIC_BYTES)
    known = dict(ids)
    index: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    try:
        for entry in data["annotations"]:
            segments = {0: known.get(0, IGNORE)}  # WildDash 2 has a label 0, "unlabeled"
            for segment in entry["segments_info"]:
                category = segment["category_id"]
                if category not in known:
                    raise UnknownLabelError(
                        f"{path}: {entry['file_name']} has a segment of category {category}, which "
                        f"is none of the {len(known)} categories of dataset {dataset!r}; take the "
                        "JSON file from the official archive."
                    )
                segments[segment["id"]] = known[category]
            order = sorted(segments)
            classes = np.array([segments[s] for s in order], np.uint8)
            index[entry["file_name"]] = (np.array(order, np.uint32), classes)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, UniLabelError):
            raise
        raise UniLabelError(
            f"{path} is no panoptic annotation file ({type(error).__name__}: {error}); expected "
            '{"annotations": [{"file_name", "segments_info": [{"id", "category_id"}]}]}.'
        ) from error
    return index


@dataclass(frozen=True)
class PolygonDecoder:
    """Cityscapes-style polygon JSON, drawn in file order as the AutoNUE tools draw it.

    Deleted objects and polygons of fewer than three points are left out.

    Args:
        names: object name -> class id or 255; the pixels of no polygon are void.
    """

    names: Mapping[str, int]
    dataset: str

    def __call__(self, path: str) -> np.ndarray:
        """Decode one file."""
        data = read_json(path)
        try:
            size = (int(data["imgWidth"]), int(data["imgHeight"]))
            if size[0] * size[1] > MAX_PIXELS:
                raise ValueError(f"{size[0]}x{size[1]} pixels, expected at most {MAX_PIXELS}")
            canvas = Image.new("L", size, IGNORE)
            draw = ImageDraw.Draw(canvas)
            for item in data["objects"]:
                if item.get("deleted") or len(item["polygon"]) < 3:  # as AutoNUE leaves them out
                    continue
                points = [(x, y) for x, y in item["polygon"]]
                class_id = self._class_of(item["label"], path)
                if not np.isfinite(np.array(points, np.float64)).all():
                    raise ValueError(f"a polygon of {item['label']!r} has no finite coordinates")
                draw.polygon(points, fill=class_id)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, UniLabelError):
                raise
            raise UniLabelError(
                f"{path} is no polygon file ({type(error).__name__}: {error}); expected "
                '{"imgWidth", "imgHeight", "objects": [{"label", "polygon": [[x, y], ...]}]}: take '
                "it from the official archive."
            ) from error
        return np.array(canvas)  # a copy: tensors need writable memory

    def _class_of(self, label: str, path: str) -> int:
        for name in (label, label.removesuffix("group")):  # "cargroup" counts as "car"
            if name in self.names:
                return self.names[name]
        raise UnknownLabelError(
            f"{path}: object label {label!r} is none of the {len(self.names)} labels of dataset "
            f"{self.dataset!r}; the file is of another dataset or was edited: take it from the "
            "official archive."
        )


@dataclass(frozen=True)
class ChoiceDecoder:
    """Several decoders for one dataset; what the path below ``root`` contains tells which.

    Args:
        root: the dataset's folder.
        choices: (text in the path, decoder) pairs; the first that fits is used.
    """

    root: str
    choices: tuple[tuple[str, Callable[[str], np.ndarray]], ...]

    def __call__(self, path: str) -> np.ndarray:
        """Decode one file."""
        below = path.removeprefix(self.root).replace(os.sep, "/")
        for text, decoder in self.choices:
            if text in below:
                return decoder(path)
        raise UniLabelError(
            f"{path}: this kind of label file is not known for the dataset in {self.root}; see "
            "datasets/README.md."
        )


def _raise_unknown(
    raw: np.ndarray, ids: np.ndarray, path: str, dataset: str, known: list[int]
) -> NoReturn:
    value = int(raw[ids == UNKNOWN][0])
    raise UnknownLabelError(
        f"{path}: label id {value} on {int((raw == value).sum())} pixels, expected "
        f"{ranges(known)} for dataset {dataset!r}; the file is of another dataset or kind of "
        "label (train ids, instances, colours), or was edited: take it from the official archive."
    )
