#!/usr/bin/env python
"""Draw the links that a model found between the classes of its datasets against known relations.

A square for every pair of classes of different datasets: found and known, missed, found but not
known. Pairs of one dataset and those that the file lists as neither right nor wrong stay grey.

Example:
  python tools/relation_figure.py --label-space output/mini/label_space.json \
      --relations datasets/relations.json --output docs/figures/relations.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def build_parser() -> argparse.ArgumentParser:
    """Options of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--label-space", required=True, help="label_space.json of a run")
    parser.add_argument("--relations", required=True, help="relations.json, the known ones")
    parser.add_argument("--output", type=Path, required=True, help="PNG, SVG or PDF")
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

import numpy as np  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.colors import ListedColormap  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import atomic_path  # noqa: E402
from unilabel.core.relations import RelationTruth  # noqa: E402
from unilabel.core.unified_space import UnifiedLabelSpace  # noqa: E402
from unilabel.visual.fonts import ID_NOTE, drawable_names, title_of  # noqa: E402

KINDS = (
    ("not related", "#ffffff"),
    ("not scored", "#e4e4e4"),
    ("found and known", "#2c7fb8"),
    ("missed", "#f4a582"),
    ("found, not known", "#b2182b"),
)


def draw(label_space: str, relations: str, output: Path) -> dict[str, int]:
    """Write the figure; the number of pairs of every kind.

    Raises:
        UniLabelError: a file is missing or wrong, or they name other classes.
    """
    space = UnifiedLabelSpace.load(label_space)
    spaces = space.label_spaces
    truth = RelationTruth.from_json(relations, spaces)
    found = space.mapping.links()
    kind = np.zeros((spaces.total, spaces.total), dtype=int)
    kind[~truth.scored.numpy()] = 1
    for value, pairs in (
        (2, found & truth.related),
        (3, ~found & truth.related),
        (4, found & ~truth.related),
    ):
        kind[(pairs & truth.scored).numpy()] = value
    side = 0.16 * spaces.total + 1.6
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colors = ListedColormap([color for _, color in KINDS])
    axes.pcolormesh(kind, cmap=colors, vmin=0, vmax=len(KINDS) - 1, edgecolors="0.9", lw=0.3)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    names = [name for s in spaces for name in drawable_names(s.class_names)]
    if names != [name for s in spaces for name in s.class_names]:
        figure.supxlabel(ID_NOTE, fontsize=7, color="0.4")
    ticks = np.arange(spaces.total) + 0.5
    axes.set_xticks(ticks, names, rotation=90, fontsize=7)
    axes.set_yticks(ticks, names, fontsize=7)
    axes.tick_params(length=0, pad=14)
    for start, stop, s in zip(
        spaces.class_offsets[:-1], spaces.class_offsets[1:], spaces, strict=True
    ):
        for line in (axes.axhline, axes.axvline):
            line(stop, color="0.3", lw=0.8)
        middle = (start + stop) / 2
        title = title_of(s.name, s.display_name) or f"#{spaces.dataset_index(s.name)}"
        axes.text(
            -0.3, middle, title, rotation=90, ha="right", va="center", fontsize=7, color="0.4"
        )
        axes.text(middle, spaces.total + 0.3, title, ha="center", va="top", fontsize=7, color="0.4")
    handles = [Patch(fc=color, ec="0.5", label=name) for name, color in KINDS]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=130, format=output.suffix[1:])
    upper = np.triu(kind)
    return {name: int((upper == i).sum()) for i, (name, _) in enumerate(KINDS) if i > 1}


def main() -> int:
    """Command line."""
    args = build_parser().parse_args()
    try:
        counts = draw(args.label_space, args.relations, args.output)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
