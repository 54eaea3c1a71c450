"""Cost as the work grows: labels, datasets, photos, processes.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py
    python benchmarks/scaling.py --parts texts drawing --labels 448 10000
    python benchmarks/scaling.py --reference earlier.json --json benchmarks/results/scaling.json

Every row is measured in a process of its own, under limits of memory and time; a row that does not
end within them fails. Figures are the seconds of the processor and the memory that the work took at
its peak beyond what its inputs take. The reference, where there is one, is the same row of an
earlier report of the same machine.

Labels are nouns of the dictionary, at most 240 of them in a dataset (a label map has 8 bits), and
about half as many concepts as labels. Evidence is measured on 8,000 pixels of 64 channels for each
dataset; a run has more of both and takes longer in proportion. Photos are empty files: listing a
folder opens none of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import Report
from scaling_work import OF_LABELS, OF_OTHERS, ROOT, World, train_together

from unilabel.core.io import read_json

LABELS = (448, 1000, 3000, 10_000)
DATASETS = (14, 28)  # of the seven datasets' mean size; seven of them are the 448 labels
MEAN_CLASSES, MOST_CLASSES = 64, 240
PHOTOS = (1000, 10_000, 100_000, 1_000_000)
PROCESSES = (1, 2)


def main() -> int:
    """Measure all rows; 1 if one does not end within the limits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--parts", nargs="+", choices=[*OF_LABELS, *OF_OTHERS], default=[*OF_LABELS, *OF_OTHERS])
    add("--labels", type=int, nargs="*", default=LABELS)
    add("--datasets", type=int, nargs="*", default=DATASETS)
    add("--photos", type=int, nargs="*", default=PHOTOS)
    add("--processes", type=int, nargs="*", default=PROCESSES)
    add("--reference", metavar="FILE", help="report of an earlier state of the repository")
    add("--gib", type=float, default=8.0, help="memory that a row may take")
    add("--limit", type=int, default=600, metavar="SECONDS", help="of a processor, for a row")
    add("--json", help="file for the report")
    add("--add", action="store_true", help="to the rows that the file has")
    add("--one", nargs=3, help=argparse.SUPPRESS)  # part, datasets, count: a row, in this process
    args = parser.parse_args()
    if args.one:
        return measure_here(args.one[0], int(args.one[1]), int(args.one[2]))
    report = Report("scaling")
    rows = read_json(args.reference)["rows"] if args.reference else []
    earlier = {(row["case"], row["metric"]): row["ours"] for row in rows}
    if args.add:
        report.rows += read_json(args.json)["rows"]
    for part in args.parts:
        for case, row in rows_of(part, args):
            report.rows = [r for r in report.rows if r["case"] != f"{part}, {case}"]
            add_rows(report, f"{part}, {case}", measure(row, args), earlier)
            if args.json:
                report.write(args.json)  # the last rows take minutes
    report.print()
    return 0 if report.ok else 1


def rows_of(part: str, args: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """Case in words, and the arguments of its process."""
    if part in OF_LABELS:
        sizes = [(max(7, -(-labels // MOST_CLASSES)), labels) for labels in args.labels]
        sizes += [(count, count * MEAN_CLASSES) for count in args.datasets]
        named = [(f"{n} labels of {k} datasets", k, n) for k, n in sizes]
    elif part == "processes":
        named = [(f"{n} processes" if n > 1 else "1 process", 0, n) for n in args.processes]
    else:
        named = [(f"{n} photos", 0, n) for n in args.photos]
    return [(case, [part, str(k), str(n)]) for case, k, n in named]


def add_rows(
    report: Report, case: str, found: dict[str, Any], earlier: dict[tuple[str, str], float | None]
) -> None:
    """Time, memory and what else was measured; or why there is nothing."""
    print(f"{case}: {found}", flush=True)
    for key, metric in (
        ("seconds", "processor time [s]"),
        ("bytes", "peak memory [bytes]"),
        ("images", "images a second"),
    ):
        mine, theirs = found.get(key), earlier.get((case, metric))
        if mine is None and theirs is None:
            continue
        ratio = mine / theirs if key == "images" and mine and theirs else None
        report.row(case, metric, mine, theirs, ratio=ratio, ok="failed" not in found)
    if "failed" in found:
        report.row(case, f"did not end: {found['failed']}", None, ok=False)


def measure(row: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """A row in a process of its own."""
    limits = {resource.RLIMIT_DATA: round(args.gib * 2**30), resource.RLIMIT_CPU: args.limit}

    def set_limits() -> None:
        for kind, limit in limits.items():
            resource.setrlimit(kind, (limit, limit))

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", __file__, "--one", *row]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, preexec_fn=set_limits
    )
    if done.returncode in (-signal.SIGKILL, -signal.SIGXCPU):
        return {"failed": f"{args.limit} s were not enough"}
    if done.returncode:
        error = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        memory = any(word in error[0] for word in ("MemoryError", "allocate memory"))
        return {"failed": f"{args.gib:g} GiB were not enough" if memory else error[0][:200]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def measure_here(part: str, datasets: int, count: int) -> int:
    """Prepare and do the work of a row, print what it took."""
    torch.set_num_threads(1)
    if part == "processes":
        print(json.dumps(train_together(count)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make = OF_LABELS.get(part) or OF_OTHERS[part]
        work = make(World(datasets, count) if part in OF_LABELS else count, Path(folder))
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
        before, start = memory_of("VmRSS"), time.process_time()
        note = work()
        seconds = time.process_time() - start
        print(json.dumps({"seconds": seconds, "bytes": memory_of("VmHWM") - before, "note": note}))
    return 0


def memory_of(key: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
