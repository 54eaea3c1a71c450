"""Which images belong to train and val where a dataset's folders do not say it.

Official lists are read from the dataset's own archive; where there is no official split, a rule on
the file names gives one, the same on every machine. ``datasets/README.md`` tells them in words.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.data.raw_labels import load_raw_labels

WILDDASH_BENCHMARK = ("test/images", "wd_both_02/images", "../wd_both_02/images")
WILDDASH_KEEP_BENCHMARK = "with_benchmark_frames"


@dataclass(frozen=True)
class ListFile:
    """Keys, or their first folder, are the lines of a text file.

    Args:
        files: choices per split, below the dataset's folder; the first that exists is used.
        cure: where to get the file.
        by_folder: a line names the first folder of keys (a scene), not a key.
    """

    files: dict[str, tuple[str, ...]]
    cure: str
    by_folder: bool = False

    def __call__(self, root: Path, split: str, keys: set[str]) -> set[str]:
        """Keys of a split; keys that were not found are kept, so that they are reported."""
        choices = [root / f for f in self.files[split]]
        path = next((c for c in choices if c.is_file()), None)
        if path is None:
            raise UniLabelError(f"the list of the split is missing: {choices[0]}; {self.cure}")
        names = _first_words(path)
        if not self.by_folder:
            return names
        return {key for key in keys if key.split("/")[0] in names}


@dataclass(frozen=True)
class HeldOut:
    """A text file lists the frames of val, as names or paths of images; the others are train.

    Args:
        file: below the dataset's folder.
        cure: where to get it.
        first: looks at the dataset's folder before anything else.
    """

    file: str
    cure: str
    first: Callable[[Path], None] | None = None

    def __call__(self, root: Path, split: str, keys: set[str]) -> set[str]:
        """Keys of a split; frames of the list that were not found are kept for val."""
        if self.first is not None:
            self.first(root)
        path = root / self.file
        if not path.is_file():
            raise UniLabelError(f"the list of the split is missing: {path}; {self.cure}")
        words = (re.split("[,;]", word)[0] for word in _first_words(path))
        val = {re.sub(r"(_L|_P)*$", "", Path(word).name.split(".")[0]) for word in words}
        return val if split == "val" else keys - val


def _first_words(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return {line.split()[0] for line in lines if line.strip()}


def kitti_split(root: Path, split: str, keys: set[str]) -> set[str]:
    """KITTI has 200 labelled images ``NNNNNN_10``; the last 50 are val."""
    return {key for key in keys if (int(key[:6]) >= 150) == (split == "val")}


def camvid_split(root: Path, split: str, keys: set[str]) -> set[str]:
    """The usual test part of CamVid is val: sequence Seq05VD, and 0001TP from frame 8550 on."""

    def in_test(key: str) -> bool:
        sequence, _, frame = key.partition("_")
        return sequence == "Seq05VD" or (sequence == "0001TP" and frame >= "008550")

    return {key for key in keys if in_test(key) == (split == "val")}


def fastai_split(root: Path, split: str, keys: set[str]) -> set[str]:
    """The usual test part of CamVid, not the ``valid.txt`` of fast.ai.

    Raises:
        UniLabelError: see :func:`check_fastai_codes`.
    """
    check_fastai_codes(root)
    return camvid_split(root, split, keys)


def check_fastai_codes(root: Path) -> None:
    """Compare ``codes.txt``, whose line i names the objects of value i, with what is expected.

    Raises:
        UniLabelError: the file is missing or names other objects.
    """
    path = root / "codes.txt"
    expected = list(load_raw_labels("camvid11").alphabet)
    found = path.read_text(encoding="utf-8", errors="replace").split() if path.is_file() else []
    if found != expected:
        pairs = list(zip_longest(found, expected, fillvalue="nothing"))
        number = next(i for i, (name, right) in enumerate(pairs) if name != right)
        raise UniLabelError(
            f"{path} names {pairs[number][0]!r} as label {number}, expected {pairs[number][1]!r}: "
            "the 32 objects of CamVid in alphabetical order; take the file and the labels from one "
            "archive."
        )


def wilddash_country_is_val(country: str) -> bool:
    """One of five country codes, by a fixed hash, so that no place is in both splits."""
    return zlib.crc32(country.encode()) % 5 == 0


def wilddash_split(root: Path, split: str, keys: set[str]) -> set[str]:
    """WildDash 2 without the frames that are also inputs of its benchmark.

    Raises:
        UniLabelError: the benchmark archive, which tells these frames, is not there.
    """
    folder = next((root / f for f in WILDDASH_BENCHMARK if (root / f).is_dir()), None)
    if folder is None:
        raise UniLabelError(
            "the benchmark frames of WildDash 2 are not in "
            f"{' nor '.join(str(root / f) for f in WILDDASH_BENCHMARK)}; 36 of "
            "them are public frames too and are left out of train and val. Unpack wd_both_02.zip "
            f"to {root / 'test'}, or choose the variant {WILDDASH_KEEP_BENCHMARK!r}, which keeps "
            "them: then no result of the benchmark may be called unseen."
        )
    shared = {path.stem for path in folder.iterdir()}
    return wilddash_split_all(root, split, keys - shared)


def wilddash_split_all(root: Path, split: str, keys: set[str]) -> set[str]:
    """WildDash 2 by country, benchmark frames included."""
    return {key for key in keys if wilddash_country_is_val(key[:2]) == (split == "val")}
