"""The course of the scores over a run, as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unilabel.core.io import atomic_path
from unilabel.visual.fonts import title_of


def draw_curves(
    curves: Mapping[str, Sequence[tuple[int, float | None]]],
    stages: Sequence[tuple[str, int]],
    path: str | os.PathLike[str],
    best: int | None = None,
) -> None:
    """Write a PNG of mIoU over iterations, atomically.

    Args:
        curves: name -> (iteration, mIoU in percent or None) in order; "mean" is drawn thick.
        stages: name and first iteration of every stage; they become vertical lines.
        path: of the PNG.
        best: iteration of the model that is kept, marked on "mean".
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (name, points) in enumerate(curves.items(), 1):
        known = [(x, y) for x, y in points if y is not None]
        if not known:
            continue
        mean = name == "mean"
        xs, ys = zip(*known, strict=True)
        label = title_of(name, f"dataset {number}")
        axes.plot(xs, ys, ".-", label=label, lw=2.2 if mean else 1, color="black" if mean else None)
        if mean and best is not None:
            axes.plot(best, dict(known)[best], "o", ms=9, mfc="none", color="black", label="kept")
    for name, start in stages:
        axes.axvline(start, color="0.85", lw=0.8, zorder=0)
        axes.annotate(
            name, (start, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
            textcoords="offset points", fontsize=7, color="0.5",
        )  # fmt: skip
    axes.set_xlabel("iteration")
    axes.set_ylabel("mIoU [%]")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="lower right")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
