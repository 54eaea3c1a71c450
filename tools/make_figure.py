#!/usr/bin/env python
"""Draw one row per dataset: photo, its own label map, and the model's unified prediction.

Example:
  python tools/make_figure.py --weights output/toy/model_final.pth --output docs/figures/toy.png

The images are the first validation images (or --index N) of the datasets of the model's training
configuration; folders are looked up as in training.
"""

from __future__ import annotations

import argparse
import sys
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
from unilabel.visual.overlay import color_map


def draw(weights: str, output: Path, index: int) -> None:
    """Make the figure and write it."""
    cfg = config_of(load_file(weights)["config"], weights)
    sources = build_sources(cfg)
    predictor = build_predictor(weights)
    figure = Figure(figsize=(8.4, 2.2 * len(sources)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(sources), 3, squeeze=False)
    shown: dict[int, float] = {}
    for row, source in enumerate(sources):
        samples = source.samples("val")
        image, label = load_sample(source, samples[index % len(samples)])
        space = source.label_space
        answer = predictor.predict(image, space="unified", short_side=cfg.INPUT.TEST_SHORT_SIDE)
        own = color_map(
            np.where(label == 255, space.num_classes, label), [*space.colors, (0, 0, 0)]
        )
        unified = color_map(answer.labels, answer.colors)
        for entry in np.unique(answer.labels):
            shown[int(entry)] = shown.get(int(entry), 0) + float((answer.labels == entry).mean())
        for axis, picture in zip(axes[row], (image, own, unified), strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        axes[row, 0].set_ylabel(space.display_name, fontsize=9)
    for axis, title in zip(
        axes[0],
        ("photo", "its own labels", "prediction, unified labels"),
        strict=True,
    ):
        axis.set_title(title, fontsize=10)
    space = predictor.label_space
    order = sorted(shown, key=lambda i: -shown[i])[:24]
    handles = [
        Patch(fc=np.array(space.colors[i]) / 255, ec="0.6", label=space.names[i]) for i in order
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=7, fontsize=8, frameon=False)
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=110, format=output.suffix[1:])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="model_final.pth with a unified space")
    parser.add_argument("--output", type=Path, required=True, help="PNG, SVG or PDF")
    parser.add_argument("--index", type=int, default=0, help="validation image of each dataset")
    args = parser.parse_args()
    try:
        draw(args.weights, args.output, args.index)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
