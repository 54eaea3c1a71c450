#!/usr/bin/env python
"""Draw one row per dataset: photo, its own label map, and the model's answers.

Examples:
  python tools/make_figure.py --weights output/toy/model_final.pth --output docs/figures/toy.png
  # camvid7 photos in finer labels, without the photos themselves (where they may not be passed on)
  python tools/make_figure.py --weights output/mini/model_final.pth --datasets camvid7 \
      --index 0 10 20 --columns own unified camvid11 --output finer.png

The images are the first validation images (or --index N) of the datasets of the model's training
configuration; folders are looked up as in training.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import unilabel.modeling  # noqa: F401  registers the model
from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path
from unilabel.data.build import build_sources
from unilabel.data.sources import load_sample
from unilabel.engine.checkpoint import load_file
from unilabel.engine.loading import config_of
from unilabel.predictor import build_predictor
from unilabel.visual.overlay import Color, color_map

PHOTO, TRUTH, OWN = "photo", "truth", "own"
TITLES = {PHOTO: "photo", TRUTH: "its own labels", OWN: "prediction, its own labels"}
MOST_ENTRIES = 24  # of the legend


def draw(
    weights: str, output: Path, indices: list[int], columns: list[str], datasets: list[str]
) -> None:
    """Make the figure and write it.

    Raises:
        UniLabelError: a dataset or label space that the model does not know.
    """
    cfg = config_of(load_file(weights)["config"], weights)
    predictor = build_predictor(weights)
    sources = build_sources(cfg)
    unknown = sorted(set(datasets) - {s.name for s in sources})
    if unknown:
        names = ", ".join(s.name for s in sources)
        raise UniLabelError(f"{weights} was not trained on {', '.join(unknown)}, but on {names}.")
    sources = [s for s in sources if not datasets or s.name in datasets]
    rows = [(source, index) for source in sources for index in indices]
    figure = Figure(figsize=(2.8 * len(columns), 2.2 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    shown: Counter[tuple[str, Color]] = Counter()  # share of the pixels, over all predictions
    for line, (source, index) in zip(axes, rows, strict=True):
        samples = source.samples("val")
        image, label = load_sample(source, samples[index % len(samples)])
        space = source.label_space
        for axis, column in zip(line, columns, strict=True):
            if column == PHOTO:
                picture = image
            elif column == TRUTH:
                ids = np.where(label == 255, space.num_classes, label)
                picture = color_map(ids, [*space.colors, (0, 0, 0)])
            else:
                asked = space.name if column == OWN else column
                answer = predictor.predict(image, asked, short_side=cfg.INPUT.TEST_SHORT_SIDE)
                picture = color_map(answer.labels, answer.colors)
                for name, color, share in answer.legend():
                    shown[name, color] += share
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(space.name, fontsize=9)
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(TITLES.get(column, f"prediction, {column} labels"), fontsize=10)
    handles = [
        Patch(fc=np.array(color) / 255, ec="0.6", label=name)
        for (name, color), _ in shown.most_common(MOST_ENTRIES)
    ]
    per_line = 2 * len(columns) + 1
    figure.legend(
        handles=handles, loc="outside lower center", ncols=per_line, fontsize=8, frameon=False
    )
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=110, format=output.suffix[1:])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="model_final.pth with a unified space")
    parser.add_argument("--output", type=Path, required=True, help="PNG, SVG or PDF")
    parser.add_argument(
        "--index", type=int, nargs="+", default=[0], help="validation images of each dataset"
    )
    parser.add_argument(
        "--datasets", nargs="+", default=[], help="only these datasets of the model (default: all)"
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[PHOTO, TRUTH, "unified"],
        help="photo, truth, own (answer in the dataset's labels), unified, or a dataset's name",
    )
    args = parser.parse_args()
    try:
        draw(args.weights, args.output, args.index, args.columns, args.datasets)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
