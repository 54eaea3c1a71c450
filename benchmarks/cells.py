"""Tables and figure of a comparison, from the results of its cells (benchmarks/compare.py)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unilabel.core.io import atomic_path, read_json

Cells = dict[str, list[dict[str, Any]]]  # method -> results of its seeds

# Mean mIoU that the paper reports for its seven datasets, HRNet-W48 (Tables 2 and 5).
REPORTED = {
    "single": 50.4,
    "multi_head": 51.8,
    "concat": 52.5,
    "text_cluster": 53.4,
    "no_gnn": 54.9,
    "paper": 56.4,
}

SCORES: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "mean mIoU": lambda run: run["mean_miou"],
    "mIoU of the unified argmax": lambda run: run.get("mean_unified_miou"),
    "link F1": lambda run: run.get("relations", {}).get("f1"),
}


def read_cells(out: Path, kept: Path | None, methods: Iterable[str]) -> Cells:
    """Results of finished cells by method, in the order of ``methods``.

    Args:
        out: folder of the runs, ``METHOD_SEED/results.json``.
        kept: folder of ``METHOD_SEED.json``, read instead where it is given.
        methods: all known ones.
    """
    if kept:
        files = {file.stem: file for file in sorted(kept.glob("*_[0-9]*.json"))}
    else:
        files = {file.parent.name: file for file in sorted(out.glob("*_[0-9]*/results.json"))}
    found: Cells = {}
    for method in methods:
        cells = [read_json(f) for name, f in files.items() if name.rsplit("_", 1)[0] == method]
        if cells:
            found[method] = cells
    return found


def spread(values: Sequence[float | None], digits: int) -> str:
    """Mean and standard deviation over seeds; of fewer than all of them, how many."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    if len(known) < len(values):
        return f"{spread(known, digits)} ({len(known)} of {len(values)})"
    text = f"{statistics.fmean(known):.{digits}f}"
    return f"{text} ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else text


# More F1 scores of links, where a run has them: place in its "relations".
F1_COLUMNS = {
    "F1 definition": ("definition", "f1"),
    "F1 human": ("human", "f1"),
    "F1 with backgrounds": ("with_background", "f1"),
    "F1, mean over pairs of sets": ("pair_mean",),
}


def _at(relations: dict[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = relations
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def markdown(cells: Cells) -> str:
    """The table: mIoU per dataset and mean, unified argmax, links, labels, seconds."""
    names = list(next(iter(cells.values()))[0]["datasets"])
    head = ["method", "seeds", *names, "mean mIoU", "unified argmax", "precision", "recall", "F1"]
    known = [c.get("relations", {}) for runs in cells.values() for c in runs]
    extra = {title: path for title, path in F1_COLUMNS.items() if any(path[0] in r for r in known)}
    head += extra
    head += ["labels", "seconds", "paper's mIoU on its 7 datasets (reported)"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for method, runs in cells.items():
        row = [method, str(len(runs))]
        row += [spread([r["datasets"][n]["miou"] for r in runs], 1) for n in names]
        row += [spread([r["mean_miou"] for r in runs], 1)]
        row += [spread([r.get("mean_unified_miou") for r in runs], 1)]
        relations = [r.get("relations", {}) for r in runs]
        row += [spread([r.get(k) for r in relations], 3) for k in ("precision", "recall", "f1")]
        row += [spread([_at(r, path) for r in relations], 3) for path in extra.values()]
        row += [spread([r.get("num_unified") for r in runs], 0)]
        row += [spread([sum(s["seconds"] for s in r["stages"]) for r in runs], 0)]
        row += [str(REPORTED.get(method, "-"))]
        lines.append("| " + " | ".join(row) + " |")
    first = next(iter(cells.values()))[0]
    devices, commits = (
        ", ".join(sorted({str(r[key]) for runs in cells.values() for r in runs}))
        for key in ("device", "git")
    )
    lines += ["", f"Configuration {first['config']}, {devices}, commits {commits}."]
    return "\n".join(lines) + "\n"


def links_markdown(cells: Cells) -> str:
    """F1 of the links after every event that changed them, seed by seed; "" without relations."""
    rows: dict[str, dict[str, list[str]]] = {}
    for method, runs in cells.items():
        for run in runs:
            counted: dict[str, int] = {}
            for entry in run.get("link_scores", []):
                event = entry["after"]
                counted[event] = counted.get(event, 0) + 1
                column = event if counted[event] == 1 else f"{event} {counted[event]}"
                rows.setdefault(method, {}).setdefault(column, []).append(f"{entry['f1']:.3f}")
    longest_first = sorted(rows.values(), key=len, reverse=True)  # it has the order of events
    columns = list(dict.fromkeys(c for row in longest_first for c in row))
    if not columns:
        return ""
    lines = ["| method | " + " | ".join(f"after {c}" for c in columns) + " |"]
    lines += ["|" + " --- |" * (len(columns) + 1)]
    for method, row in rows.items():
        lines.append(
            "| " + " | ".join([method, *(", ".join(row.get(c, ["-"])) for c in columns)]) + " |"
        )
    return "\n".join(lines) + "\n"


def parts_markdown(cells: Cells, base: str = "ours") -> str:
    """How far ``base`` is above every other method, on the seeds that both have; "" without it.

    Seeds differ more than methods do, so only differences on one seed tell what a part is worth.
    """
    others = {method: runs for method, runs in cells.items() if method != base}
    rows = [_differences(m, cells.get(base, []), runs) for m, runs in others.items()]
    return _difference_table(f"{base} above", rows)


def before_markdown(cells: Cells, before: Cells) -> str:
    """How far every method is above what earlier code gave, on the seeds that both have."""
    rows = [_differences(m, runs, before.get(m, [])) for m, runs in cells.items()]
    return _difference_table("present code above that of before", rows)


def _difference_table(title: str, rows: list[list[str]]) -> str:
    rows = [row for row in rows if row]
    lines = [f"| {title} | seeds | mean mIoU | unified argmax | F1 |", "|" + " --- |" * 5]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n" if rows else ""


def _differences(name: str, upper: list[dict[str, Any]], lower: list[dict[str, Any]]) -> list[str]:
    """A row: seeds that both have, and upper minus lower of every score; [] without any."""
    of_upper = {run["seed"]: run for run in upper}
    pairs = [(of_upper[run["seed"]], run) for run in lower if run["seed"] in of_upper]
    row = [name, ", ".join(str(run["seed"]) for _, run in pairs)]
    for digits, read in zip((2, 2, 3), SCORES.values(), strict=True):
        known = [(read(one), read(two)) for one, two in pairs]
        values = [one - two for one, two in known if one is not None and two is not None]
        each = ", ".join(f"{value:+.{digits}f}" for value in values)
        row.append(f"{statistics.fmean(values):+.{digits}f} ({each})" if values else "-")
    return row if pairs else []


def draw(cells: Cells, path: Path) -> None:
    """Mean mIoU, mIoU of the unified argmax and link F1 of every method, as points.

    A dot is a seed, the tick among them the mean, which stands beside them. The axes do not start
    at 0: the methods lie too close together for bars.
    """
    figure = Figure(figsize=(9, 0.27 * len(cells) + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, sharey=True)
    methods = list(cells)[::-1]
    for axis, (title, read) in zip(axes, SCORES.items(), strict=True):
        for position, method in enumerate(methods):
            values = [read(r) for r in cells[method] if read(r) is not None]
            if values:
                color = "tab:blue" if method == "ours" else "0.35"
                mean = statistics.fmean(values)
                axis.plot(values, [position] * len(values), ".", color=color, markersize=5)
                axis.plot(mean, position, "|", color=color, markersize=10, markeredgewidth=2)
                axis.annotate(
                    f"{mean:.2f}" if title == "link F1" else f"{mean:.1f}",
                    (max(values), position), xytext=(6, 0), textcoords="offset points",
                    va="center", fontsize=8, color=color,
                )  # fmt: skip
        axis.set_title(title, fontsize=9)
        axis.set_yticks(range(len(methods)), methods, fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="both", color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.18, y=0.04)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
