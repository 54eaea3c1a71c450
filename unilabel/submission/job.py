"""Predicting all frames of a benchmark: resumable after a kill, one frame in memory at a time.

While it works, results lie in ``<output>.work/frames``; the archive appears under its name only
when it is complete and checked. Several machines may predict a part each (``--shard``).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.core.io import (
    atomic_path,
    file_digest,
    read_json,
    remove_unfinished,
    write_json,
)
from unilabel.core.settings import require_same_settings
from unilabel.data.images import read_image
from unilabel.data.shards import Shard
from unilabel.submission.archive import write_archive
from unilabel.submission.checking import ArchiveReport, check_archive
from unilabel.submission.formats import Benchmark
from unilabel.submission.frames import Frame
from unilabel.submission.label_png import encode_png
from unilabel.submission.lock import OutputLock

LabelImage = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]  # (H, W, 3) RGB -> (H, W) values

_STATE = "job.json"
_SHOWN = 3


@dataclass(frozen=True)
class FrameDone:
    """One frame is finished.

    Attributes:
        frame: which one.
        problem: why there is no result, or None.
    """

    frame: Frame
    problem: str | None = None


class SubmissionJob:
    """Makes one archive; in a ``with`` block no other process works on the same output.

    Attributes:
        output: the archive.
        side_file: ``<name>.json`` beside it: how it was made.
        problems: frames without a result.
        replaced: stems of images that have changed since an interrupted run; their results are
            made again.
        lock: ``<output>.lock``.
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        frames: list[Frame],
        benchmark: Benchmark,
        settings: dict[str, Any],
        folder: str | None = None,
        shard: Shard = Shard(),  # noqa: B008  (frozen)
    ) -> None:
        """Where the archive goes and what belongs into it; nothing is written yet.

        Args:
            output: the archive.
            frames: the images.
            benchmark: its format.
            settings: everything else that the results depend on, in JSON form; a resumed job must
                have the same.
            folder: folder inside the archive, "" for its root; None: that of the benchmark.
            shard: the part of the frames that this process predicts, beside others.

        Raises:
            UniLabelError: the output is no .zip file, or the folder is not a plain name.
        """
        self.output = Path(output)
        if self.output.suffix.lower() != ".zip":
            raise UniLabelError(f"--output is {self.output}, expected a file name ending in .zip.")
        self.folder = benchmark.folder if folder is None else folder
        if self.folder and (self.folder.startswith(".") or set(self.folder) & set('/\\:*?"<>|')):
            raise UniLabelError(f"--layout folder {self.folder!r}: expected a plain folder name.")
        self.side_file = self.output.with_suffix(".json")
        self.frames = frames
        self.benchmark = benchmark
        self.settings = json.loads(json.dumps(settings))
        self.work = self.output.with_name(f"{self.output.name}.work")
        self.problems: list[FrameDone] = []
        self.replaced: list[str] = []
        self.shard = shard
        self._whole = OutputLock(self.output.with_name(f"{self.output.name}.lock"))
        self.lock = self._whole
        if shard.count > 1:
            part = f"{self.output.name}.{shard.number}_of_{shard.count}.lock"
            self.lock = OutputLock(self.output.with_name(part))

    def __enter__(self) -> SubmissionJob:
        """Lock the output.

        Raises:
            UniLabelError: another process works on it.
        """
        self.lock.acquire()
        others = [self._whole]
        if self.lock is self._whole:
            parts = self.output.parent.glob(f"{self.output.name}.*_of_*.lock")
            others = [OutputLock(path) for path in sorted(parts)]
        try:
            for other in others:
                other.check_free()
        except UniLabelError:
            self.lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the output free."""
        self.lock.release()

    @cached_property
    def contents(self) -> dict[str, str]:
        """Stem -> digest of the content of every image; reads all of them once."""
        return {frame.stem: file_digest(frame.path)[:16] for frame in self.frames}

    def start(self, resume: bool) -> int:
        """Prepare the work folder.

        Args:
            resume: continue what another process left.

        Returns:
            number of frames that are there already.

        Raises:
            UniLabelError: something is in the way, or the job to resume was another one.
        """
        state = self.work / _STATE
        beside = self.shard.count > 1
        if (resume or beside) and state.is_file():
            old = read_json(state)
            _require_same(old, self.settings, self.contents, self.work)
            self.replaced = [s for s, digest in self.contents.items() if old["images"][s] != digest]
            for frame in self.frames:
                if frame.stem in self.replaced:
                    self._result(frame).unlink(missing_ok=True)
            if self.replaced:
                write_json(state, self._state())
        else:
            for path in (self.output, self.work):
                if path.exists() and (path == self.output or _holds_files(path)):
                    raise UniLabelError(
                        f"{path} exists already and is not this job interrupted; give another "
                        "--output, or remove it."
                        if resume
                        else f"{path} exists already; give --resume to continue an interrupted "
                        "run, another --output, or remove it."
                    )
            write_json(state, self._state())
        self._results().mkdir(parents=True, exist_ok=True)
        if not beside:
            for folder in (self.work, self._results()):
                remove_unfinished(folder)
        return sum(self._result(frame).is_file() for frame in self.mine)

    @property
    def mine(self) -> list[Frame]:
        """The frames of this process's part."""
        return self.shard.of(self.frames)

    def require_all(self, allow_missing: bool) -> None:
        """Note the frames without a result, which other processes should have predicted.

        Raises:
            UniLabelError: there are some, and they are not allowed to be missing.
        """
        missing = [frame for frame in self.frames if not self._result(frame).is_file()]
        self.problems = [FrameDone(f, f"{f.path} has no result.") for f in missing]
        if missing and not allow_missing:
            shown = ", ".join(f.stem for f in missing[:_SHOWN])
            raise UniLabelError(
                f"{len(missing)} of {len(self.frames)} frames have no result yet ({shown}"
                f"{', ...' if len(missing) > _SHOWN else ''}); run the shards that are missing "
                "(the same command with --shard I/N), or all that is left with --resume."
            )

    def finished(self) -> bool:
        """Whether an earlier process finished this very job; what it left over is removed."""
        if not (self.output.is_file() and self.side_file.is_file()):
            return False
        side = read_json(self.side_file)
        done = (
            isinstance(side, dict)
            and side.get("settings") == self.settings
            and side.get("images") == self.contents
            and side.get("sha256") == file_digest(self.output)
        )
        if done and self.work.exists():
            shutil.rmtree(self.work)
        return done

    def predict(
        self, label: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    ) -> Iterator[FrameDone]:
        """Predict and store the frames that have no result yet; bad frames are noted and skipped.

        Args:
            label: (H, W, 3) RGB -> (H, W) values.
        """
        for frame in self.mine:
            result = self._result(frame)
            if result.is_file():
                continue
            try:
                image = read_image(frame.path)
            except UniLabelError as error:
                done = FrameDone(frame, str(error))
                self.problems.append(done)
            else:
                data = encode_png(label(image))
                with atomic_path(result) as temporary:
                    temporary.write_bytes(data)
                done = FrameDone(frame)
            self.lock.beat()
            yield done

    def finish(self, notes: dict[str, Any], allow_missing: bool) -> ArchiveReport:
        """Pack, check, and put the archive and its side file into place.

        Args:
            notes: more for the side file.
            allow_missing: make an archive although frames have no result.

        Raises:
            UniLabelError: frames have no result, or the archive has a fault.
        """
        if self.problems and not allow_missing:
            listed = "; ".join(done.problem or "" for done in self.problems[:_SHOWN])
            raise UniLabelError(
                f"{len(self.problems)} of {len(self.frames)} frames have no result, so no archive "
                f"is made: {listed} Mend them and run again with --resume, or give "
                "--allow-missing."
            )
        present = [frame for frame in self.frames if self._result(frame).is_file()]
        if not present:
            raise UniLabelError("no frame has a result; there is nothing to pack.")
        packed = self.work / "archive.zip"
        prefix = f"{self.folder}/" if self.folder else ""
        write_archive(packed, ((prefix + f.file_name, self._result(f)) for f in present))
        report = check_archive(packed, self.benchmark, self.frames, self.folder)
        faults = [f for f in report.faults if not (allow_missing and f.kind == "missing")]
        if faults:
            raise UniLabelError(
                f"the archive would be rejected: {'; '.join(map(str, faults[:_SHOWN]))}. The "
                f"results are kept in {self.work}."
            )
        side = {
            **notes,
            "archive": self.output.name,
            "bytes": packed.stat().st_size,
            "sha256": file_digest(packed),
            "results": len(present),
            "missing": [done.frame.stem for done in self.problems],
            "pixel_share": _shares(report, self.benchmark),
            **self._state(),
        }
        write_json(self.side_file, side)
        os.replace(packed, self.output)
        shutil.rmtree(self.work)
        return report

    def _state(self) -> dict[str, Any]:
        """What the results depend on."""
        return {"settings": self.settings, "images": self.contents}

    def _results(self) -> Path:
        return self.work / "frames"

    def _result(self, frame: Frame) -> Path:
        return self._results() / frame.file_name


def _holds_files(folder: Path) -> bool:
    """Whether there is something in a folder besides what another process writes just now."""
    return any(not path.name.startswith(".") for path in folder.iterdir())


def _require_same(old: Any, settings: dict[str, Any], contents: dict[str, str], work: Path) -> None:
    parts = [old.get(k) if isinstance(old, dict) else None for k in ("settings", "images")]
    if not all(isinstance(part, dict) for part in parts):
        raise UniLabelError(f"{work / _STATE} is no job of this program; remove {work}.")
    before, images = parts
    also = [] if images.keys() == contents.keys() else ["images"]
    require_same_settings(before, settings, str(work), "remove the folder to start again", also)


def _shares(report: ArchiveReport, benchmark: Benchmark) -> dict[str, float]:
    total = max(sum(report.pixels.values()), 1)
    return {
        benchmark.class_of(value) or "void": round(count / total, 6)
        for value, count in sorted(report.pixels.items())
    }
