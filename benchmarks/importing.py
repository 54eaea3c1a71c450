"""How long an import takes and how much memory it needs, for every form of export.

    python benchmarks/importing.py [--photos 1000] [--workers 2] [--markdown docs/IMPORT.md]

Exports of drawn photos are made in a temporary folder and imported by tools/import_dataset.py, each
in a process of its own. Memory is the peak of the resident set of the main process, and of the
largest of its worker processes, above what the program has after its imports. Photos that are
imported are counted, so that a form that loses some does not look fast. The seconds are those of
all processes on a processor: they do not grow while others use the machine, and leave out waiting
for the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "importers")]  # the makers of exports

import export_makers as makers  # noqa: E402
import export_pictures as scenes  # noqa: E402
from common import hardware  # noqa: E402

from unilabel.core.io import put_table  # noqa: E402
from unilabel.importers.detect import BY_NAME  # noqa: E402

# Runs in the measured process.
MEASURED = """
import json, resource, sys
sys.path.insert(0, "tools")
import import_dataset
def high_water():  # ru_maxrss would count the process before it became this program
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
base = high_water()
before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
code = import_dataset.main(sys.argv[1:])
busy = sum(sum(resource.getrusage(who)[:2]) for who in
           (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) - before
print(json.dumps({"code": code, "seconds": busy, "base": base,
                  "peak": high_water(),
                  "worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024}))
"""


def measure(form: str, folder: Path, photos: int, workers: int) -> dict[str, Any]:
    """Make an export of a form, import it, and return CPU seconds and MiB."""
    val = photos // 5
    export = folder / "export"
    makers.MAKERS[form](export, scenes.draw(photos - val, val, 320, 240))
    command = [sys.executable, "-c", MEASURED, str(export), str(folder / "data")]
    command += ["--workers", str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    found = json.loads(done.stdout.strip().split("\n")[-1])
    written = len(list((folder / "data" / "labels").rglob("*.png")))
    if found["code"] != 0 or written != photos:
        raise SystemExit(f"{form}: {written} of {photos} photos were written: {done.stdout}")
    above = {key: max(found[key] - found["base"], 0) for key in ("peak", "worker")}
    return {"form": form, **{k: found[k] for k in ("seconds", "base")}, **above}


def table(rows: Sequence[dict[str, Any]], photos: int, workers: int) -> str:
    """The rows as Markdown, with the machine."""
    machine = hardware()
    lines = [
        "| form | CPU seconds | MB, main process | MB, largest worker |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        name = f"`{row['form']}` ({BY_NAME[row['form']].title})"
        lines.append(f"| {name} | {row['seconds']:.1f} | {row['peak']:.0f} | {row['worker']:.0f} |")
    base = max(row["base"] for row in rows)
    lines += [
        "",
        f"{photos} photos, {workers} processes, {machine['cpu']}. Seconds of all processes; memory "
        f"above the {base:.0f} MB that the program has after its imports.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; with ``--markdown`` also replace the table of a page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=1000, help="of each form")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--forms", nargs="+", choices=list(makers.MAKERS), default=None)
    parser.add_argument("--markdown", type=Path, help="page whose table is replaced")
    args = parser.parse_args(arguments)
    rows = []
    for form in args.forms or makers.MAKERS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(form, Path(folder), args.photos, args.workers))
        print(rows[-1], flush=True)
    text = table(rows, args.photos, args.workers)
    print(text)
    if args.markdown:
        put_table(args.markdown, "importing", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
