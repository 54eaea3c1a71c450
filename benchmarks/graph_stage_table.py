"""Markdown tables of benchmarks/graph_stage.py from its cells."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from cells import spread

Cell = dict[str, Any]
# Training pixels of a class: from, below.
BINS = ((0, 50), (50, 500), (500, None))
GRAPHS = {"messages": "graph", "alone": "graph, no messages"}
FITS = {"fitted": "fitted (shipped)", "fitted from graph": "fitted from the graph's"}
RIVALS = {
    "text": "graph, no messages, text as own feature",
    "nearest, graph": "3 nearest by text, of the graph's rows",
    "nearest, fitted": "3 nearest by text, of fitted rows",
    "all pixels seen": "fitted, with all pixels",
}


def tables(cells: Sequence[Cell]) -> str:
    """One table for each question that has cells, and the processor time of all."""
    parts = [
        make(grouped)
        for part, make in (("links", links), ("rare", rare), ("text_only", text_only))
        if (grouped := by_network(c for c in cells if c["part"] == part))
    ]
    minutes = sum(c["cpu_seconds"] for c in cells) / 60
    parts.append(f"Processor time of these cells, pixels embedded before: {minutes:.1f} minutes.")
    return "\n\n".join(parts)


def by_network(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Cells of each network in the order of their seeds."""
    groups: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda c: (c["network"], c["seed"])):
        groups.setdefault(cell["network"], []).append(cell)
    return groups


def links(groups: dict[str, list[Cell]]) -> str:
    """F1 before and after the stage."""
    head = ["network", "seeds", "links", "changes proposed", "changes kept", "F1 as solved"]
    rows = []
    for network, cells in groups.items():
        found = [c["found"] for c in cells]
        start = [network, str(len(cells))]
        before, completed = (_f1(f[key] for f in found) for key in ("node selection", "no stage"))
        rows.append([*start, "without the stage", "-", "-", before, completed])
        for key, title in GRAPHS.items():
            graph = [f[key] for f in found]
            changes = [spread([g[k] for g in graph], 1) for k in ("proposed", "changed")]
            scores = [_f1(g[k] for g in graph) for k in ("solved", "left")]
            rows.append([*start, title, *changes, *scores])
    return markdown([*head, "F1 as confirmed and completed"], rows)


def _f1(scores: Iterable[dict[str, float]]) -> str:
    return spread([s["f1"] for s in scores], 3)


def rare(groups: dict[str, list[Cell]]) -> str:
    """Mean IoU of classes by their training pixels."""
    ways = {**GRAPHS, **FITS}
    head = ["network", "seeds", "cached pixels", "of the class", "classes", *ways.values()]
    rows = []
    for network, cells in groups.items():
        for kept in cells[0]["found"]:
            for low, high in BINS:
                inside = [in_bin(c["found"][kept], low, high) for c in cells]
                if not any(inside):
                    continue
                name = f"{low} to {high}" if low and high else f"{low} or more"
                name = f"under {high}" if not low else name
                counts = ", ".join(str(len(group)) for group in inside)
                means = [spread([mean(g, "iou", way, 100) for g in inside], 1) for way in ways]
                rows.append([network, str(len(cells)), kept, name, counts, *means])
    return markdown(head, rows)


def in_bin(classes: Sequence[Cell], low: int, high: int | None) -> list[Cell]:
    """Classes with at least ``low`` and fewer than ``high`` training pixels."""
    return [
        c for c in classes if low <= c["train_pixels"] and (not high or c["train_pixels"] < high)
    ]


def mean(classes: Sequence[Cell], score: str, way: str, scale: float) -> float | None:
    """Mean of a score over the classes that have one."""
    values = [c[score][way] for c in classes if c[score][way] is not None]
    return scale * statistics.fmean(values) if values else None


def text_only(groups: dict[str, list[Cell]]) -> str:
    """Mean IoU and AUC of classes without training pixels."""
    head = ["network", "seeds", "folds", "classes", "row of a hidden label", "IoU", "AUC"]
    rows = []
    for network, cells in groups.items():
        found = [c["found"] for c in cells]
        folds, counts = (
            ", ".join(map(str, values))
            for values in ([f["folds"] for f in found], [len(f["classes"]) for f in found])
        )
        for way, title in {**GRAPHS, **RIVALS}.items():
            scores = [
                spread([mean(f["classes"], key, way, scale) for f in found], digits)
                for key, scale, digits in (("iou", 100, 1), ("auc", 1, 3))
            ]
            rows.append([network, str(len(cells)), folds, counts, title, *scores])
    return markdown(head, rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
