"""Convert the official labels of SUN RGB-D to PNGs of class ids, and its split to lists.

From ``SUNRGBD.zip`` and ``SUNRGBDtoolbox.zip``: the 37 classes of all frames are one large HDF5
file (``Metadata/SUNRGBD2Dseg.mat``), the frames' folders and the split two small files. To
``label37.png`` in the folder of every frame, and ``train37.txt`` and ``test37.txt``:

    python datasets/prepare_sunrgbd37.py [--root DIR] [--check]

It needs the package h5py.
"""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prepare_common import Job, run

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path
from unilabel.data.builtin import BuiltinDataset
from unilabel.data.layouts import Decoder

SEGMENTS = "Metadata/SUNRGBD2Dseg.mat"
FRAMES = "Metadata/SUNRGBDMeta.mat"
SPLIT = "traintestSUNRGBD/allsplit.mat"
LABEL = "label37.png"


@dataclass(frozen=True)
class SegmentDecoder:
    """Reads the label map of one frame; a label is called ``<file>#<index>``."""

    ids: Mapping[int, int]

    def __call__(self, label: str) -> np.ndarray:
        """(H, W) uint8 class ids, 255 elsewhere."""
        h5py = _h5py()
        path, _, index = label.rpartition("#")
        try:
            with h5py.File(path, "r") as file:
                group = file["SUNRGBD2Dseg"]
                raw = np.asarray(file[group["seglabel"][int(index)][0]]).T  # MATLAB's order
        except (OSError, KeyError, ValueError, IndexError, TypeError) as error:
            raise UniLabelError(
                f"{path}: the label map of frame {index} cannot be read ({error}); unpack "
                "SUNRGBDtoolbox.zip again."
            ) from error
        table = np.full(int(max(raw.max(), max(self.ids))) + 1, 254, np.uint8)
        table[list(self.ids)] = list(self.ids.values())
        ids: np.ndarray = table[raw]
        if (ids == 254).any():
            raise UniLabelError(
                f"{path}: the label map of frame {index} has the value {raw[ids == 254][0]}, "
                f"expected 0..{max(self.ids)}; unpack SUNRGBDtoolbox.zip again."
            )
        return ids


def find_jobs(dataset: BuiltinDataset) -> tuple[list[Job], Decoder]:
    """A job for every frame, and the decoder of the large file.

    Raises:
        UniLabelError: the archives are not there, or h5py is not.
    """
    _h5py()
    toolbox = _toolbox(dataset)
    frames = [dataset.folder / name for name in _frames(toolbox)]
    absent = [frame for frame in frames if not frame.is_dir()]
    if absent:
        raise UniLabelError(
            f"{len(absent)} of {len(frames)} frames of {toolbox / FRAMES} are not in "
            f"{dataset.folder}, {absent[0]} for example; unpack SUNRGBD.zip there."
        )
    jobs = [
        (f"{toolbox / SEGMENTS}#{index}", str(frame / LABEL)) for index, frame in enumerate(frames)
    ]
    return jobs, SegmentDecoder(dataset.table.ids)


def write_lists(dataset: BuiltinDataset) -> None:
    """Names of the frames' folders by split, once all labels are there."""
    toolbox = _toolbox(dataset)
    train = _read(toolbox / SPLIT, "alltrain")
    in_train = {_below(path) for path in np.atleast_1d(train)}
    names = _frames(toolbox)
    for split, wanted in (("train", True), ("test", False)):
        chosen = [name for name in names if (name in in_train) == wanted]
        with atomic_path(str(dataset.folder / f"{split}37.txt")) as temporary:
            temporary.write_text("".join(f"{name}\n" for name in chosen), encoding="utf-8")


def _toolbox(dataset: BuiltinDataset) -> Path:
    places = [p / "SUNRGBDtoolbox" for p in (dataset.folder, dataset.folder.parent, dataset.root)]
    for place in places:
        if (place / SEGMENTS).is_file():
            return place
    raise UniLabelError(
        f"no {SEGMENTS} in {' nor '.join(map(str, dict.fromkeys(places)))}; unpack "
        "SUNRGBDtoolbox.zip beside SUNRGBD/."
    )


def _frames(toolbox: Path) -> list[str]:
    """Folder of every frame below that of the dataset, in the order of the label maps."""
    frames = np.atleast_1d(_read(toolbox / FRAMES, "SUNRGBDMeta"))
    return [_below(posixpath.dirname(posixpath.dirname(frame.rgbpath))) for frame in frames]


def _below(path: str) -> str:
    """The part of a path of the authors' disk below its folder SUNRGBD."""
    return posixpath.normpath(str(path)).rpartition("/SUNRGBD/")[2]


def _read(path: Path, name: str) -> Any:
    from scipy.io import loadmat

    try:
        return loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=[name])[name]
    except Exception as error:  # SciPy's reader has errors of every kind for a damaged file
        raise UniLabelError(
            f"{path} cannot be read ({error}); unpack SUNRGBDtoolbox.zip again."
        ) from error


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UniLabelError(
            "the label file of SUN RGB-D is HDF5, which needs a package: pip install h5py"
        ) from error
    return h5py


if __name__ == "__main__":
    sys.exit(run("sunrgbd37", "SUN RGB-D labels", find_jobs=find_jobs, finish=write_lists))
