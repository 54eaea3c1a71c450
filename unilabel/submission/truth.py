"""Ground truth of WildDash 2 in the ids of result files, with instances.

Letters: H x W image size, K instances of an image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.data.label_files import pack_colors, read_id_png, read_label
from unilabel.submission.scorer import NO_INSTANCES, cityscapes_instances
from unilabel.submission.wilddash import MAX_RAW_ID, folding

_MAX_PANOPTIC_BYTES = 2**30
_LABEL_SUFFIX = "_labelIds"
_INSTANCE_SUFFIX = "_instanceIds"

Truth = tuple[NDArray[np.uint8], tuple[NDArray[np.int64], NDArray[np.int64]]]


class TruthSource(Protocol):
    """Ground truth of many frames."""

    stems: list[str]

    def load(self, stem: str) -> Truth:
        """(H, W) ids, and instances as in :meth:`CityscapesScorer.add`."""
        ...

    def knows_instances(self, stem: str) -> bool:
        """Whether instances of this frame are known, even if it has none."""
        ...


def open_truth(folder: str | os.PathLike[str]) -> TruthSource:
    """Ground truth in any form in which WildDash 2 is given out.

    Args:
        folder: one that holds ``panoptic.json`` and ``panoptic/``, or label PNGs of ids 0..80
            (``NAME.png`` or ``NAME_labelIds.png``) with or without ``NAME_instanceIds.png``.

    Raises:
        UniLabelError: there is neither.
    """
    root = Path(folder)
    if (root / "panoptic.json").is_file():
        return PanopticTruth(root)
    for place in (root, root / "labels"):
        if place.is_dir() and any(place.glob("*.png")):
            return IdTruth(place)
    raise UniLabelError(
        f"{root} has neither panoptic.json (unpack wd_public_v2p0.zip) nor label PNGs."
    )


class PanopticTruth:
    """``panoptic.json`` and ``panoptic/*.png`` (segment id = R + 256 G + 65536 B)."""

    def __init__(self, root: Path) -> None:
        """Read the JSON file; PNGs are read when they are asked for."""
        path = root / "panoptic.json"
        data = read_json(path, max_bytes=_MAX_PANOPTIC_BYTES)
        self._folder = root / "panoptic"
        self._segments: dict[str, tuple[str, list[tuple[int, int, bool]]]] = {}
        try:
            things = {c["id"]: bool(c.get("isthing", 1)) for c in data.get("categories", [])}
            for entry in data["annotations"]:
                segments = [
                    (int(s["id"]), int(s["category_id"]), _is_instance(s, things))
                    for s in entry["segments_info"]
                ]
                name = entry["file_name"]
                self._segments[Path(name).stem] = (name, segments)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UniLabelError(
                f"{path} is no panoptic annotation file ({type(error).__name__}: {error})."
            ) from error
        self.stems = sorted(self._segments)

    def load(self, stem: str) -> Truth:
        """Ids and instances of one frame."""
        name, segments = self._segments[stem]
        path = self._folder / name
        rgb = read_label(str(path)).colors()
        if rgb is None:
            raise UniLabelError(f"{path} has 16 bits, expected the colours of panoptic segments.")
        codes = pack_colors(rgb)
        known = sorted([(0, 0, False), *segments])
        numbers = np.array([segment for segment, _, _ in known], np.uint32)
        position = np.searchsorted(numbers, codes).clip(max=len(numbers) - 1)
        if (numbers[position] != codes).any():
            code = int(codes[numbers[position] != codes][0])
            raise UniLabelError(f"{path}: segment {code} is not in panoptic.json.")
        classes = _fold(np.array([category for _, category, _ in known]), path)
        instance = np.array([is_instance for _, _, is_instance in known])
        order = np.where(instance, np.cumsum(instance), 0)
        owners = np.concatenate([[0], classes[instance]]).astype(np.int64)
        return classes[position], (order[position], owners)

    def knows_instances(self, stem: str) -> bool:
        """Yes: every segment says whether it is an instance."""
        return stem in self._segments


def _is_instance(segment: Mapping[str, Any], things: Mapping[int, bool]) -> bool:
    """Whole things; groups and stuff are no instances."""
    return things.get(segment["category_id"], True) and not segment.get("iscrowd", 0)


class IdTruth:
    """Label PNGs of ids 0..80, and 16-bit PNGs of instances (id * 1000 + number) if there are."""

    def __init__(self, folder: Path) -> None:
        """List the label PNGs."""
        files = sorted(f for f in folder.glob("*.png") if not f.stem.endswith(_INSTANCE_SUFFIX))
        self._files = {f.stem.removesuffix(_LABEL_SUFFIX): f for f in files}
        self.stems = sorted(self._files)

    def load(self, stem: str) -> Truth:
        """Ids and instances of one frame."""
        path = self._files[stem]
        ids = _fold(read_id_png(str(path)), path)
        instance_file = self._instance_file(stem)
        if not instance_file.is_file():
            return ids, NO_INSTANCES
        values = read_label(str(instance_file)).values.astype(np.int64)
        if values.shape != ids.shape:
            raise UniLabelError(f"{instance_file} and {path} differ in size.")
        numbers, classes = cityscapes_instances(values)
        return ids, (numbers, _fold(classes, instance_file).astype(np.int64))

    def knows_instances(self, stem: str) -> bool:
        """Whether there is a PNG of instances."""
        return self._instance_file(stem).is_file()

    def _instance_file(self, stem: str) -> Path:
        return self._files[stem].with_name(f"{stem}{_INSTANCE_SUFFIX}.png")


def _fold(raw: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if raw.size and (raw.min() < 0 or raw.max() > MAX_RAW_ID):
        wrong = int(raw.max() if raw.max() > MAX_RAW_ID else raw.min())
        raise UniLabelError(f"{path}: label id {wrong}, expected 0..{MAX_RAW_ID} of WildDash 2.")
    folded: NDArray[np.uint8] = folding()[raw]
    return folded
