"""The images of a benchmark: which results are wanted, and of what size."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.data.dataset_files import walk_files
from unilabel.data.images import IMAGE_SUFFIXES
from unilabel.data.split_rules import wilddash_country_is_val
from unilabel.submission.formats import Benchmark


@dataclass(frozen=True)
class Frame:
    """One image and the result that is wanted for it.

    Attributes:
        path: the image.
        stem: name of the result without ``.png``.
    """

    path: str
    stem: str

    @property
    def file_name(self) -> str:
        """Name of the result file."""
        return f"{self.stem}.png"


def list_frames(
    folder: str | os.PathLike[str], benchmark: Benchmark, only: Collection[str] | None = None
) -> list[Frame]:
    """All images below a folder, sorted by the name of their result.

    Args:
        folder: folder of images, also in subfolders and behind links to folders.
        benchmark: names the results.
        only: stems of results to keep; None: all.

    Raises:
        UniLabelError: there is no image, two images would have one result, or a stem of ``only``
            is not there.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UniLabelError(f"no such folder of images: {root}.")
    found: dict[str, Frame] = {}
    for path in sorted(map(Path, walk_files(root))):
        below = path.relative_to(root)
        hidden = any(part.startswith(".") for part in below.parts)
        if hidden or path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        frame = Frame(str(path), benchmark.result_stem(below))
        if frame.stem in found:
            raise UniLabelError(
                f"{found[frame.stem].path} and {path} would both have the result "
                f"{frame.file_name}; move one of them away."
            )
        found[frame.stem] = frame
    if not found:
        raise UniLabelError(f"no image ({', '.join(IMAGE_SUFFIXES)}) in {root}.")
    if only is not None:
        absent = sorted(set(only) - found.keys())
        if absent:
            raise UniLabelError(
                f"{len(absent)} of the chosen frames are not in {root}, {absent[0]!r} for example."
            )
    return [found[stem] for stem in sorted(found if only is None else only)]


def frame_notes(frames: list[Frame], benchmark: Benchmark) -> list[str]:
    """What a person should know about this set of frames, in words."""
    notes = []
    if benchmark.frames is not None and len(frames) != benchmark.frames:
        notes.append(
            f"the folder has {len(frames)} images, the benchmark {benchmark.name} has "
            f"{benchmark.frames}: an archive of these is no complete submission"
        )
    if benchmark.official_name is not None:
        odd = [f.stem for f in frames if not benchmark.official_name.fullmatch(f.stem)]
        if odd:
            notes.append(
                f"{len(odd)} names are none of the benchmark {benchmark.name}, {odd[0]!r} for "
                "example"
            )
    return notes


def country_split(stems: Iterable[str], split: str) -> list[str]:
    """Public frames of WildDash 2 that belong to "train", "val" or "all", by country.

    Raises:
        UniLabelError: the split leaves nothing.
    """
    kept = [
        stem
        for stem in stems
        if split == "all" or wilddash_country_is_val(stem[:2]) == (split == "val")
    ]
    if not kept:
        raise UniLabelError(f"no frame belongs to the split {split!r}.")
    return kept
