"""An import written to a folder: all of it or nothing, and only once.

Everything goes into a folder beside the target first, with a journal of finished photos, and is
renamed when it is whole. A run that was killed goes on where it stopped; a run that meets an error
leaves nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path, read_json, remove_unfinished, write_json
from unilabel.core.label_space import IGNORE
from unilabel.data.parallel import run_parallel
from unilabel.importers.plan import Options
from unilabel.importers.prepare import NO_VAL, Prepared, Target
from unilabel.importers.splits import VAL

NOTHING = "photos without a labelled pixel"
BURIED_SHARE = 0.01  # of the labelled pixels; above, the order of painting is doubtful
JOURNAL = ".journal"


class BusyError(UniLabelError):
    """Another process writes the same dataset."""


@dataclass
class Summary:
    """What was written.

    Attributes:
        folder: the dataset.
        counts: split -> photos.
        left_out: reason -> number.
        notes: what was guessed or should be known.
        fresh: False if the same import was there already.
    """

    folder: Path
    counts: dict[str, int]
    left_out: Counter[str]
    notes: list[str]
    fresh: bool = True


@dataclass(frozen=True)
class Job:
    """One photo: read its label, write the label map, place the photo."""

    target: Target
    folder: str
    options: Options
    link: str


@dataclass
class Outcome:
    """What came of a job.

    Attributes:
        error: message, "" if all went well.
        written: False if nothing was labelled.
        left_out: reason -> number.
        notes: kind -> 0 or 1.
        buried: pixels of smaller objects that lie under larger ones of another class.
        labelled: pixels of a class.
    """

    error: str = ""
    written: bool = False
    left_out: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    buried: int = 0
    labelled: int = 0


def convert(job: Job) -> Outcome:
    """Do a job; called in other processes."""
    target, folder = job.target, Path(job.folder)
    try:
        frame = target.item.photo.frame()
        painted = target.item.label(frame, job.options)
        labelled = int(np.count_nonzero(painted.ids != IGNORE))
        outcome = Outcome(
            "", labelled > 0, dict(painted.left_out), dict(painted.notes), painted.buried, labelled
        )
        if labelled:
            target.item.photo.place(folder / target.image, job.link)
            _write_label(folder / target.label, painted.ids)
        return outcome
    except UniLabelError as error:
        return Outcome(str(error))


def _write_label(path: Path, ids: np.ndarray) -> None:
    done, data = cv2.imencode(".png", ids)
    if not done:
        raise UniLabelError(f"cannot encode {path}: {ids.shape[1]}x{ids.shape[0]} pixels.")
    with atomic_path(path, flush=False) as temporary:
        data.tofile(temporary)


def finished(folder: Path) -> dict[str, Any] | None:
    """``classes.json`` of a folder that an import wrote, None if it is none."""
    try:
        content = read_json(folder / "classes.json")
    except UniLabelError:
        return None
    written = isinstance(content, dict) and isinstance(content.get("provenance"), dict)
    return content if written else None


def write(prepared: Prepared, folder: Path) -> Summary:
    """Write the dataset, unless the same import is there already.

    Raises:
        UniLabelError: a label or photo is bad, or the folder holds something else; nothing is
            left of what was written.
    """
    folder = folder.expanduser().absolute()
    _check_place(prepared, folder)
    old = finished(folder)
    if old is not None and old["provenance"].get("fingerprint") == prepared.fingerprint:
        return _as_before(folder, old)
    if folder.exists() and old is None and (not folder.is_dir() or any(folder.iterdir())):
        raise UniLabelError(
            f"{folder} exists and was not written by an import; name another folder or remove it."
        )
    stage = folder.with_name(f".{folder.name}.importing")
    try:
        outcomes = _run(prepared, stage)
        summary = _finish(prepared, stage, outcomes)
    except BusyError:
        raise
    except UniLabelError:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    _swap(stage, folder)
    summary.folder = folder
    return summary


def _check_place(prepared: Prepared, folder: Path) -> None:
    source = prepared.tree.root.resolve()
    if folder.resolve() == source or source in folder.resolve().parents:
        raise UniLabelError(
            f"the dataset {folder} would lie in the export {source}; name a folder outside of it."
        )


def _as_before(folder: Path, content: dict[str, Any]) -> Summary:
    provenance = content["provenance"]
    counts = {
        split.name: sum(1 for _ in split.iterdir())
        for split in sorted((folder / "labels").iterdir())
    }
    left_out = Counter(provenance.get("left_out", {}))
    return Summary(folder, counts, left_out, provenance.get("notes", []), fresh=False)


def _run(prepared: Prepared, stage: Path) -> list[Outcome]:
    """Outcomes of all targets; what the journal of a killed run has is not done again."""
    journal = stage / JOURNAL
    try:
        stage.mkdir(parents=True, exist_ok=True)
        with open(journal, "a", encoding="utf-8") as file:
            _lock(file, stage)
            remove_unfinished(stage, "**/*")
            done = _read_journal(journal, prepared.fingerprint)
            if done is None:  # of another import, or the first run
                for part in ("images", "labels"):
                    shutil.rmtree(stage / part, ignore_errors=True)
                file.truncate(0)
                file.write(json.dumps(prepared.fingerprint) + "\n")
                done = {}
            elif not journal.read_bytes().endswith(b"\n"):  # killed within a line
                file.write("\n")
            for number, outcome in _convert_all(prepared, stage, done):
                if outcome.error:
                    raise UniLabelError(outcome.error)
                done[number] = outcome
                file.write(json.dumps([number, vars(outcome)]) + "\n")
                file.flush()
    except OSError as error:
        raise UniLabelError(
            f"cannot write {stage}: {error.strerror or error}; choose another folder or free some "
            "disk space."
        ) from error
    return [done[number] for number in range(len(prepared.targets))]


def _lock(file: IO[str], stage: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(
            f"another process imports into {stage.parent} just now ({stage.name}); wait for it."
        ) from None


def _convert_all(
    prepared: Prepared, stage: Path, done: dict[int, Outcome]
) -> Iterator[tuple[int, Outcome]]:
    numbers = [n for n in range(len(prepared.targets)) if n not in done]
    jobs = [
        Job(prepared.targets[n], str(stage), prepared.options, prepared.request.link)
        for n in numbers
    ]
    outcomes = run_parallel(convert, jobs, prepared.request.workers, "photos")
    yield from zip(numbers, outcomes, strict=True)


def _read_journal(journal: Path, fingerprint: str) -> dict[int, Outcome] | None:
    """Finished photos of the same import, None if there is none."""
    try:
        lines = journal.read_text(encoding="utf-8").split("\n")
        if json.loads(lines[0]) != fingerprint:
            return None
    except (OSError, ValueError):
        return None
    done = {}
    for line in lines[1:]:
        try:
            number, outcome = json.loads(line)
            done[number] = Outcome(**outcome)
        except ValueError:  # the last line of a killed run
            continue
    return done


def _finish(prepared: Prepared, stage: Path, outcomes: list[Outcome]) -> Summary:
    """Sum up, and write ``classes.json``."""
    left_out = Counter(prepared.plan.left_out)
    notes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for target, outcome in zip(prepared.targets, outcomes, strict=True):
        left_out.update(outcome.left_out)
        notes.update(outcome.notes)
        if outcome.written:
            counts[target.split] += 1
        else:
            left_out[NOTHING] += 1
    if not counts:
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(left_out.items()))
        raise UniLabelError(
            f"{prepared.tree.root} ({prepared.form.title}): nothing is left to train on: {reasons}."
        )
    told = [*prepared.plan.notes, *(f"{n} {kind}" for kind, n in sorted(notes.items()))]
    buried = sum(o.buried for o in outcomes) / max(sum(o.labelled for o in outcomes), 1)
    if buried > BURIED_SHARE:
        told.append(
            f"small objects lie under larger ones that come later ({100 * buried:.1f} % of the "
            "labelled pixels): if they should be seen, use --smaller-on-top"
        )
    if VAL not in counts:
        told.append(NO_VAL)
    write_json(stage / "classes.json", prepared.classes_json(left_out, told))
    (stage / JOURNAL).unlink()
    return Summary(stage, dict(sorted(counts.items())), left_out, told)


def _swap(stage: Path, folder: Path) -> None:
    """Rename the whole dataset to its place; an older import there is removed afterwards."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        if folder.exists():
            os.replace(folder, aside)
        os.replace(stage, folder)
    except OSError as error:
        raise UniLabelError(f"cannot write {folder}: {error.strerror or error}.") from error
    shutil.rmtree(aside, ignore_errors=True)
