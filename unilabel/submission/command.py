"""What the submission tools do, apart from reading the command line and printing."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import unilabel
from unilabel.core.errors import UniLabelError
from unilabel.data.images import shown_size
from unilabel.data.shards import SHARD_HELP, Shard
from unilabel.submission.arguments import add_model_options, build_labeller, size_note
from unilabel.submission.checking import ArchiveReport, check_archive
from unilabel.submission.formats import Benchmark
from unilabel.submission.frames import (
    Frame,
    country_split,
    frame_notes,
    list_frames,
)
from unilabel.submission.job import SubmissionJob, file_digest
from unilabel.submission.panoptic import MIN_PIXELS, write_panoptic
from unilabel.submission.wilddash import BENCHMARK_NAME, DATASET

if TYPE_CHECKING:  # the network is slow to import; the command line is read before
    from unilabel.submission.labeller import Labeller

_SHOWN_FAULTS = 40
_SHOWN_NAMES = 5

Say = Callable[[str], None]
Item = TypeVar("Item")
Progress = Callable[[Iterable[Item], int, int], Iterable[Item]]


def add_submit_options(parser: argparse.ArgumentParser) -> None:
    """Options of every submission tool."""
    add_model_options(parser)
    parser.add_argument("--images", metavar="DIR", help="the benchmark's images")
    parser.add_argument(
        "--frames", metavar="FILE", help="text file of image names without suffix: only these"
    )
    parser.add_argument("--output", metavar="FILE", help="archive to write, *.zip")
    parser.add_argument(
        "--layout",
        nargs="+",
        metavar="WORD",
        help="where the PNGs lie in the archive: root, or folder NAME (default: as the benchmark)",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument("--shard", metavar="I/N", help=SHARD_HELP)
    parser.add_argument(
        "--finish", action="store_true", help="all shards are there: pack and check the archive"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="pack although frames cannot be read"
    )
    parser.add_argument("--write-mapping", metavar="FILE", help="write the mapping and stop")
    parser.add_argument(
        "--check-only", metavar="ARCHIVE", help="check any archive; no model is needed"
    )


def layout_folder(words: Sequence[str] | None) -> str | None:
    """Folder of ``--layout``; None: that of the benchmark."""
    if words is None:
        return None
    if list(words) == ["root"]:
        return ""
    if len(words) == 2 and words[0] == "folder":
        return words[1]
    raise UniLabelError(f"--layout {' '.join(words)}: expected root, or folder NAME.")


def check(args: argparse.Namespace, benchmark: Benchmark, say: Say) -> bool:
    """``--check-only``: say everything that is wrong; True if nothing is."""
    frames = _frames(args, benchmark) if args.images else None
    for note in frame_notes(frames, benchmark) if frames else []:
        say(f"note: {note}")
    if frames is None:
        say("note: without --images the sizes cannot be checked")
    report = check_archive(Path(args.check_only), benchmark, frames, layout_folder(args.layout))
    for note in report.notes(benchmark):
        say(f"note: {note}")
    _say_faults(report, say)
    if not report.faults:
        say(f"{args.check_only}: {report.files} results, no faults")
    return not report.faults


def _say_faults(report: ArchiveReport, say: Say) -> None:
    for fault in report.faults[:_SHOWN_FAULTS]:
        say(str(fault))
    if len(report.faults) > _SHOWN_FAULTS:
        say(f"... and {len(report.faults) - _SHOWN_FAULTS} more")
    if report.faults:
        count = "1 fault" if len(report.faults) == 1 else f"{len(report.faults)} faults"
        say(f"{count}; {report.files} results are in order")


def submit(
    args: argparse.Namespace, benchmark: Benchmark, say: Say, progress: Progress[Any]
) -> None:
    """Predict all frames and write the archive and its side file.

    Args:
        args: options of :func:`add_submit_options`.
        benchmark: what the archive is for.
        say: takes a line for a person.
        progress: (items, number done before, number of all) -> the same items, shown.

    Raises:
        UniLabelError: an option is wrong, a frame has no result, or a file is in the way.
    """
    shard = Shard.parse(args.shard)
    labeller = build_labeller(args, benchmark)
    table = labeller.table
    say(size_note(labeller))
    for line in table.lines(benchmark):
        say(line)
    if voids := table.voids():
        say(f"labels that become void: {', '.join(voids)}")
    if unused := table.unused(benchmark):
        say(f"classes that nothing becomes: {', '.join(unused)}")
    say(f"mapping: {table.way}; void: {labeller.void}")
    if args.write_mapping:
        table.save(args.write_mapping)
        say(f"mapping written to {args.write_mapping}")
        return
    if not args.images or not args.output:
        raise UniLabelError("give --images DIR and --output FILE.zip.")
    frames = _frames(args, benchmark)
    notes = frame_notes(frames, benchmark)
    with suppress(UniLabelError):  # a frame that cannot be read is named later, with the others
        width, height = shown_size(frames[0].path)
        if fit := labeller.predictor.size_note((height, width), labeller.options.short_side):
            notes.append(f"{frames[0].path}: {fit}")
    for note in notes:
        say(f"note: {note}")
    folder = layout_folder(args.layout)
    settings = _settings(args, labeller)
    with SubmissionJob(args.output, frames, benchmark, settings, folder, shard) as job:
        if job.lock.stale:
            say(f"note: {job.lock.stale} left {job.lock.path} behind; it no longer runs")
        if (args.resume or args.finish or shard.count > 1) and job.finished():
            say(f"{job.output} is complete already")
        else:
            _work(job, args, labeller, notes, say, progress)
    if shard.count == 1:
        _write_panoptic(args, say)


def _write_panoptic(args: argparse.Namespace, say: Say) -> None:
    """``--panoptic``, an option of WildDash 2 alone."""
    target = getattr(args, "panoptic", None)
    if target:
        segments = write_panoptic(args.output, target)
        say(
            f"{target}: {segments} segments; things are connected parts of at least {MIN_PIXELS} "
            "pixels. Look up before the upload: the names inside the archive"
        )


def _work(
    job: SubmissionJob,
    args: argparse.Namespace,
    labeller: Labeller,
    notes: list[str],
    say: Say,
    progress: Progress[Any],
) -> None:
    """Predict what is missing and pack."""
    import torch

    frames, benchmark = job.frames, job.benchmark
    before = job.start(args.resume or args.finish)
    if job.replaced:
        say(f"note: images that have changed since, predicted again: {_listed(job.replaced)}")
    started = time.monotonic()
    computed = 0
    if args.finish:
        job.require_all(args.allow_missing)
    todo = () if args.finish else job.predict(labeller)
    for done in progress(todo, before, len(job.mine)):
        if done.problem:
            say(f"no result: {done.problem}")
        else:
            computed += 1
    seconds = time.monotonic() - started
    if job.shard.count > 1:
        say(f"part {job.shard}: {before + computed} of {len(job.mine)} frames have a result")
        say("when all parts are there: the same command with --finish instead of --shard")
        return
    report = job.finish(
        {
            "benchmark": benchmark.name,
            "verified": benchmark.verified,
            "unverified": benchmark.unverified,
            "notes": notes,
            "weights": str(args.weights),
            "void": str(labeller.void),
            "mapping": labeller.table.to_dict(),
            "versions": {"unilabel": unilabel.__version__, "torch": torch.__version__},
            "frames_per_second": round(computed / seconds, 3) if computed else None,
            **_shared_frames(frames, benchmark),
        },
        args.allow_missing,
    )
    say(
        f"{job.output}: {report.files} results, checked"
        + (f"; {computed} frames in {seconds:.1f} s" if computed else "")
    )
    say(f"{job.side_file}: how it was made")
    say(f"look up before the upload: {benchmark.unverified}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _settings(args: argparse.Namespace, labeller: Labeller) -> dict[str, Any]:
    """Everything that the pixels of the results depend on."""
    table, options = labeller.table, labeller.options
    return {
        "benchmark": labeller.benchmark.name,
        "weights": file_digest(args.weights),
        "label_space": file_digest(args.label_space) if args.label_space else "",
        "space": table.space,
        "bias": table.dataset,
        "classes": list(table.classes),
        "values": table.values(labeller.benchmark),
        "void": str(labeller.void),
        "short_side": labeller.short_side,
        "tta": options.tta,
        "window": options.window,
        "device": args.device,
        "layout": list(args.layout or []),
    }


def _shared_frames(frames: list[Frame], benchmark: Benchmark) -> dict[str, Any]:
    """Benchmark frames of WildDash 2 that are in the public set too: they carry a country code."""
    if benchmark.name != DATASET:
        return {}
    official = [f.stem for f in frames if BENCHMARK_NAME.fullmatch(f.stem)]
    return {"also_public": [stem for stem in official if not stem.startswith("wd")]}


def _frames(args: argparse.Namespace, benchmark: Benchmark) -> list[Frame]:
    """The images that ``--images``, ``--frames`` and ``--split`` choose."""
    only = None
    if args.frames:
        try:
            lines = Path(args.frames).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UniLabelError(f"--frames {args.frames} cannot be read: {error}.") from error
        only = [line.strip() for line in lines if line.strip()]
    frames = list_frames(args.images, benchmark, only)
    kept = set(country_split([f.stem for f in frames], args.split))
    return [frame for frame in frames if frame.stem in kept]
