"""benchmarks/README.md from the benchmarks' JSON files.

    python benchmarks/report.py
    python benchmarks/report.py --check

Reads every report in benchmarks/results (files that a benchmark wrote with ``--json``), newest
figures of each file, and writes the page. ``--check`` writes nothing and fails if the page is not
the one that the files give.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unilabel.core.io import atomic_path, read_json

HERE = Path(__file__).resolve().parent
KEYS = {"benchmark", "command", "date", "hardware", "versions", "rows"}

INTRODUCTION = """\
# Benchmarks

Made by `python benchmarks/report.py` from the files in `results/`; do not edit this page.

Every figure compares two ways to the same result, measured in turns in one process: ours, and a
reference that does the work in the usual way (each script's first lines say which). Absolute values
depend on the machine and on who else uses it, ratios much less. A ratio above 1 means that ours is
better; the medians of several rounds are compared. Scripts check that both ways agree before they
judge a time ("equal" below). Processor time does not count the time in which other programs ran; it
is given where both ways run on one thread, and where both clocks are given it is the surer one.

`scaling` tells how costs grow with labels, datasets, photos and processes. Its reference, where
there is one, is an earlier state of this repository.

`make bench` measures everything that needs no GPU and writes this page again. One script:

```bash
OMP_NUM_THREADS=1 python benchmarks/head.py --json benchmarks/results/head.json
python benchmarks/report.py
```

Scripts that ask what a part is worth, not how fast it is, have their tables in the documents:

| script | question | table |
| --- | --- | --- |
| `graph_stage.py` | what messages of the GNN stage give | [RESULTS.md](../docs/RESULTS.md) |
| `pair_score.py` | what learned scores of pairs give | [RELATIONS.md](../docs/RELATIONS.md) |
| `photo_spread.py` | what a difference owes to the photos | [RESULTS.md](../docs/RESULTS.md) |
"""

CUDA = """\
## On a CUDA device

{state}

```bash
python benchmarks/head.py --device cuda --dtype bf16 --b 14 --s 768 --datasets 7 \\
    --json benchmarks/results/head_cuda.json
python benchmarks/step.py --device cuda --b 21 --s 768 --json benchmarks/results/step_cuda.json
python benchmarks/step.py --device cuda --b 21 --s 768 --compile \\
    --json benchmarks/results/step_cuda_compiled.json
python benchmarks/hrnet.py --device cuda --b 8 --json benchmarks/results/hrnet_cuda.json
python benchmarks/graph.py --device cuda --json benchmarks/results/graph_cuda.json
```

The float64 reference of `head.py` grows with `--b`; 14 fits a card of 80 GB. The Triton kernels of
the loss are tested on every machine in Triton's interpreter
(`tests/core/test_fused_loss.py`), and on a GPU where one is at hand.
"""


def load_reports(folder: Path) -> dict[str, dict[str, Any]]:
    """File stem -> report, by name; files of another form are left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = read_json(path)
        if isinstance(content, Mapping) and content.keys() >= KEYS:
            found[path.stem] = dict(content)
    return found


def machine(report: Mapping[str, Any]) -> str:
    """The hardware and the versions that matter, in a line."""
    facts, versions = report["hardware"], report["versions"]
    threads = facts.get("omp_num_threads")
    parts = [facts["cpu"], f"{facts['cores']} cores"]
    if threads:
        parts.append(f"{threads} thread" + ("s" if threads != "1" else ""))
    if "accelerator" in facts:
        parts.append(facts["accelerator"])
    names = [name for name in ("python", "torch") if name in versions]
    return ", ".join(parts + [f"{name} {versions[name]}" for name in names])


def number(value: Any, metric: str = "") -> str:
    """A value of a row, short enough for a table."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if metric.endswith("[bytes]"):
        for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{value / size:.3g} {unit}"
        return f"{value:.0f} B"
    if isinstance(value, float) and value >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def target_of(row: Mapping[str, Any]) -> str:
    """What a row has to reach."""
    target = row["target"]
    return target if target is None or isinstance(target, str) else f">= {target:g} x"


def cells(row: Mapping[str, Any]) -> list[str]:
    """Case, metric, ours, reference, ratio, target, limit, ok."""
    metric = row["metric"]
    ratio = None if row["reference"] is None or row["ratio"] is None else f"{row['ratio']:.2f}"
    good = {True: "yes", False: "**no**", None: ""}[row["ok"]]
    if row["ok"] is None and row["parity"] is not None:
        good = "equal" if row["parity"] else "**differs**"
    shown = metric.removesuffix(" [bytes]")
    values = (number(row[key], metric) for key in ("ours", "reference"))
    last = (number(ratio), target_of(row) or "", number(row["limit"], metric), good)
    return [row["case"], shown, *values, *last]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary(reports: Mapping[str, Mapping[str, Any]], machines: Sequence[str]) -> str:
    """Rows that have a target."""
    rows = []
    for report in reports.values():
        place = str(machines.index(machine(report)) + 1)
        for row in report["rows"]:
            if row["target"] is not None:
                case, metric, ours, reference, ratio, target, _, ok = cells(row)
                name = f"{report['benchmark']}: {metric}, {case}"
                rows.append([name, ours, reference, ratio, target, ok, place, report["date"]])
    header = ("metric", "ours", "reference", "ratio", "target", "reached", "machine", "date")
    return table(header, rows)


def details(stem: str, report: Mapping[str, Any]) -> str:
    """All rows of a report."""
    header = ("case", "metric", "ours", "reference", "ratio", "target", "limit", "reached")
    rows = [cells(row) for row in report["rows"]]
    used = [i for i, name in enumerate(header) if name != "limit" or any(row[i] for row in rows)]
    rows = [[row[i] for i in used] for row in rows]
    return (
        f"## {stem}\n\n`python {report['command']}`, {report['date']}, {machine(report)}\n\n"
        + table([header[i] for i in used], rows)
    )


def render(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page."""
    machines = sorted({machine(report) for report in reports.values()})
    on_gpu = any("accelerator" in report["hardware"] for report in reports.values())
    state = "Commands:" if on_gpu else "None was at hand, so these figures are missing. Commands:"
    lines = [f"{i + 1}. {name}" for i, name in enumerate(machines)]
    return "\n".join(
        [
            INTRODUCTION,
            "## Targets\n",
            summary(reports, machines),
            "\nMachines:\n",
            *lines,
            "",
            CUDA.format(state=state),
            "\n\n".join(details(stem, report) for stem, report in reports.items()),
            "",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of reports")
    parser.add_argument("--output", type=Path, default=HERE / "README.md", help="the page")
    parser.add_argument("--check", action="store_true", help="only compare")
    args = parser.parse_args(argv)
    reports = load_reports(args.results)
    if not reports:
        print(f"error: no reports in {args.results}; run make bench", file=sys.stderr)
        return 2
    page = render(reports)
    if args.check:
        same = args.output.is_file() and args.output.read_text(encoding="utf-8") == page
        if not same:
            print(f"{args.output} is not up to date; run benchmarks/report.py", file=sys.stderr)
        return 0 if same else 1
    with atomic_path(args.output) as temporary:
        Path(temporary).write_text(page, encoding="utf-8")
    missed = [r["case"] for report in reports.values() for r in report["rows"] if r["ok"] is False]
    print(f"{args.output}: {len(reports)} reports, {len(missed)} rows miss their target")
    return 0


if __name__ == "__main__":
    sys.exit(main())
