#!/usr/bin/env python
"""Print the results of several runs as a Markdown table, or put it into a document.

Examples:
  python tools/results_table.py output/toy output/toy_multi_head
  python tools/results_table.py output/toy_seed*  --into README.md --name toy
  python tools/results_table.py --by-folder output/no_refit_0 output/no_refit_1 output/refit_0
  python tools/results_table.py --text output/compare/table.md --into docs/RESULTS.md --name compare

With --into the text between `<!-- table:NAME -->` and `<!-- end:NAME -->` is replaced. Runs of the
same configuration and different seeds become one row, mean and range.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import put_table, read_json

COLUMNS = (
    ("mean mIoU", ("mean_miou",), 1),
    ("mIoU of the unified argmax", ("mean_unified_miou",), 1),
    ("unified labels", ("num_unified",), 0),
    ("relation F1", ("relations", "f1"), 3),
    ("atom mIoU", ("unified", "atom_miou"), 3),
    ("hidden IoU", ("unified", "hidden_iou"), 3),
)


def read_runs(folders: list[str], by_folder: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Results grouped by configuration, or by folder without the seed, in the order given."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for folder in folders:
        results = read_json(Path(folder) / "results.json")
        name = re.sub(r"_\d+$", "", Path(folder).name) if by_folder else results["config"]
        groups.setdefault(Path(name).stem, []).append(results)
    return groups


def cell(runs: list[dict[str, Any]], path: tuple[str, ...], digits: int) -> str:
    """Mean of a value over runs, with its range where there are several."""
    values = []
    for run in runs:
        value: Any = run
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            values.append(value)
    if not values:
        return "-"
    mean = f"{sum(values) / len(values):.{digits}f}"
    if len(values) == 1 or min(values) == max(values):
        return mean
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(groups: dict[str, list[dict[str, Any]]], datasets: bool = False) -> str:
    """The Markdown table; with a column for each dataset if wished."""
    columns: list[tuple[str, tuple[str, ...], int]] = list(COLUMNS)
    if datasets:
        names = dict.fromkeys(n for runs in groups.values() for r in runs for n in r["datasets"])
        columns[:0] = [(name, ("datasets", name, "miou"), 1) for name in names]
    shown = [c for c in columns if any(cell(runs, c[1], c[2]) != "-" for runs in groups.values())]
    lines = [
        "| " + " | ".join(["configuration", "seeds", *(name for name, _, _ in shown)]) + " |",
        "| " + " | ".join(["---"] * (len(shown) + 2)) + " |",
    ]
    for name, runs in groups.items():
        seeds = ", ".join(str(run["seed"]) for run in runs)
        cells = [cell(runs, path, digits) for _, path, digits in shown]
        lines.append("| " + " | ".join([name, seeds, *cells]) + " |")
    first = next(iter(groups.values()))[0]
    versions = first["versions"]
    commits = ", ".join(dict.fromkeys(run["git"] for runs in groups.values() for run in runs))
    lines += [
        "",
        f"unilabel {versions['unilabel']} ({commits}), torch {versions['torch']}, "
        f"{first['device']}. Made by `tools/results_table.py` from the runs' `results.json`.",
    ]
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", help="folders of finished runs (OUTPUT_DIR)")
    parser.add_argument(
        "--by-folder", action="store_true", help="a row per folder, NAME_1 and NAME_2 together"
    )
    parser.add_argument("--datasets", action="store_true", help="a column for each dataset")
    parser.add_argument("--text", type=Path, help="a finished table in place of runs")
    parser.add_argument("--into", type=Path, help="document to update")
    parser.add_argument("--name", default="results", help="name of the markers")
    args = parser.parse_args()
    if bool(args.runs) == bool(args.text):
        parser.error("give folders of runs, or one --text FILE")
    try:
        if args.text:
            text = args.text.read_text(encoding="utf-8").strip()
        else:
            text = table(read_runs(args.runs, args.by_folder), args.datasets)
        if args.into:
            put_table(args.into, args.name, text)
    except (UniLabelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
