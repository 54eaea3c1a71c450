"""The table and the plot of a learning curve, from its cells."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unilabel.core.io import atomic_path

ORDER = (
    "add_dataset", "map_unseen", "linear_head", "single", "multi_head", "multi_head_refit", "ours",
)  # fmt: skip


def grouped(cells: Sequence[dict[str, Any]]) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    """(dataset, method, photos) -> its cells."""
    found: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for cell in cells:
        found[cell["dataset"], cell["method"], cell["photos"]].append(cell)
    return found


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for each dataset and method, mean and range over models and draws."""
    groups = grouped(cells)
    datasets = sorted({key[0] for key in groups})
    photos = sorted({key[2] for key in groups})
    lines = [
        "| dataset | method | " + " | ".join(map(str, photos)) + " | seconds |",
        "| --- " * (len(photos) + 3) + "|",
    ]
    for dataset in datasets:
        for method in (m for m in ORDER if any(k[:2] == (dataset, m) for k in groups)):
            row = [_entry(groups.get((dataset, method, count), [])) for count in photos]
            spent = [c["seconds"] for k in photos for c in groups.get((dataset, method, k), [])]
            seconds = f"{statistics.median(spent):.1f}" if spent else "-"
            lines.append(f"| {dataset} | {method} | {' | '.join(row)} | {seconds} |")
    models = sorted({c["model"] for c in cells})
    lines += [
        "",
        f"Columns: labelled photos; mIoU on all validation photos of {', '.join(models)}: one cell "
        "(draw of photos), or the mean of several with their range. Seconds: CPU time of fitting, "
        "median; the photos go through the network once before it. Of rows trained from scratch: "
        "of the whole training.",
        "Made by `benchmarks/learning_curve.py`.",
    ]
    return "\n".join(lines) + "\n"


def _entry(cells: Sequence[dict[str, Any]]) -> str:
    values = [cell["miou"] for cell in cells]
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    mean = statistics.mean(values)
    return f"{mean:.1f} ({min(values):.1f} to {max(values):.1f}, {len(values)} cells)"


def plot(cells: Sequence[dict[str, Any]], path: Path) -> None:
    """One panel for each dataset: mean mIoU against photos, logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = grouped(cells)
    datasets = sorted({key[0] for key in groups})
    figure, axes = plt.subplots(1, len(datasets), figsize=(4 * len(datasets), 3.4), squeeze=False)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        for method in ORDER:
            counts = sorted(k[2] for k in groups if k[:2] == (dataset, method))
            means = [statistics.mean(c["miou"] for c in groups[dataset, method, k]) for k in counts]
            if counts:
                axis.plot(counts, means, marker="o", label=method)
        axis.set(title=dataset, xlabel="labelled photos", xscale="log")
    axes[0][0].set_ylabel("mIoU, %")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)
