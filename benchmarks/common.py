"""What the benchmarks share: alternated timing, the report and its JSON file.

A benchmark is a script (``python benchmarks/NAME.py --json FILE``) that imports this module as
``from common import Report, compare``. Absolute times depend on the machine, so every target is a
ratio of two sides that were measured in one process, in turns.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from unilabel.core.io import write_json

DISTRIBUTIONS = ("unilabel", "numpy", "scipy", "torch", "POT", "detectron2", "timm")


def compare(
    ours: Callable[[], object], reference: Callable[[], object], rounds: int = 5, warmup: int = 1
) -> tuple[float, float]:
    """Time two functions in turns and return the median seconds of each, ``(ours, reference)``.

    Turns (and a change of who goes first) spread the drift of a shared machine over both sides.

    Args:
        ours: called without arguments.
        reference: called without arguments.
        rounds: timed calls of each side.
        warmup: calls of each side before the timing starts.
    """
    return compare_clocks(ours, reference, rounds, warmup)[0]


def compare_clocks(
    ours: Callable[[], object], reference: Callable[[], object], rounds: int = 5, warmup: int = 1
) -> tuple[tuple[float, float], tuple[float, float]]:
    """As :func:`compare`, by the wall clock and by the processor time of this process.

    Processor time does not grow while others use the machine. It compares two sides fairly only if
    both run on one thread.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}, expected at least 1")
    sides = (ours, reference)
    wall: tuple[list[float], list[float]] = ([], [])
    busy: tuple[list[float], list[float]] = ([], [])
    for _ in range(warmup):
        for side in sides:
            side()
    for turn in range(rounds):
        for index in (0, 1) if turn % 2 == 0 else (1, 0):
            start, start_busy = time.perf_counter(), time.process_time()
            sides[index]()
            wall[index].append(time.perf_counter() - start)
            busy[index].append(time.process_time() - start_busy)
    medians = [(statistics.median(s[0]), statistics.median(s[1])) for s in (wall, busy)]
    return medians[0], medians[1]


def hardware() -> dict[str, Any]:
    """Processor, threads, memory and (when a script has loaded torch) accelerator."""
    facts: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        facts["memory_gib"] = round(pages * page_bytes / 2**30, 1)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        facts["accelerator"] = torch.cuda.get_device_name()
    return facts


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that the figures depend on."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # a benchmark of the core runs without the packages of the other layers
    return found


class Report:
    """Rows of one benchmark: printed as a table, written as JSON.

    The file holds ``{"benchmark", "command", "date", "hardware", "versions", "rows"}``; a row holds
    ``case``, ``metric``, ``ours``, ``reference``, ``ratio``, ``target``, ``parity``, ``ok`` and
    ``limit``.
    """

    def __init__(self, name: str) -> None:
        """Start an empty report of the benchmark ``name``."""
        self.name = name
        self.rows: list[dict[str, Any]] = []

    def row(
        self,
        case: str,
        metric: str,
        ours: float | None,
        reference: float | None = None,
        *,
        ratio: float | None = None,
        target: float | str | None = None,
        parity: bool | None = None,
        ok: bool | None = None,
        limit: float | None = None,
    ) -> dict[str, Any]:
        """Add a row and return it.

        Args:
            case: the instance, for example ``"N=217, 7 datasets"``.
            metric: what the numbers are, with the unit, for example ``"mapping solve [s]"``.
            ours: our value.
            reference: value of the other side.
            ratio: how many times better ours is; default ``reference / ours``, right for costs
                (seconds, bytes, errors).
            target: smallest ratio that passes, or a sentence when ``ok`` is given.
            parity: whether both sides gave the same result; False fails the row.
            ok: whether the row passes; default: parity does not fail and the ratio reaches the
                target. None in the file when there is nothing to judge.
            limit: a measured value that ours cannot beat, for example the decoding alone.
        """
        if ratio is None and ours and reference is not None:
            ratio = reference / ours
        if ok is None and (target is not None or parity is not None):
            if isinstance(target, str):
                raise ValueError(f"target {target!r} of {case!r} is a sentence: pass ok as well")
            reached = target is None or (ratio is not None and ratio >= target)
            ok = reached and parity is not False
        values = (case, metric, ours, reference, ratio, target, parity, ok, limit)
        keys = ("case", "metric", "ours", "reference", "ratio", "target", "parity", "ok", "limit")
        self.rows.append({key: _plain(value) for key, value in zip(keys, values, strict=True)})
        return self.rows[-1]

    @property
    def ok(self) -> bool:
        """Whether no row fails."""
        return all(row["ok"] is not False for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "benchmark": self.name,
            "command": " ".join([f"benchmarks/{Path(sys.argv[0]).name}", *_arguments()]),
            "date": datetime.now(timezone.utc).date().isoformat(),
            "hardware": hardware(),
            "versions": versions(),
            "rows": self.rows,
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON form to ``path``, atomically."""
        write_json(path, self.to_dict())

    def print(self) -> None:
        """Print the machine and the rows as an aligned table."""
        print(f"{self.name}: {json.dumps(hardware())}")
        print(_table(self.rows))


def _arguments() -> list[str]:
    """Command line of this script, without the files of reports."""
    arguments = list(sys.argv[1:])
    for option in ("--json", "--reference"):
        while option in arguments:
            at = arguments.index(option)
            del arguments[at : at + 2]
    return [a for a in arguments if not a.startswith(("--json=", "--reference="))]


def _plain(value: Any) -> Any:
    """Turn a NumPy scalar into a Python one and a non-finite number into None, as JSON needs."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(rows: Iterable[dict[str, Any]]) -> str:
    header = ("case", "metric", "ours", "reference", "ratio", "target", "parity", "ok")
    lines = [header, *(tuple(_cell(row[key]) for key in header) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
