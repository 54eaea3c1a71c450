#!/usr/bin/env python
"""Draw one row per dataset: photo, its own label map, and the model's answers.

Examples:
  python tools/make_figure.py --weights output/toy/model_final.pth --output docs/figures/toy.png
  # camvid7 photos in finer labels, without the photos themselves (where they may not be passed on)
  python tools/make_figure.py --weights output/mini/model_final.pth --datasets camvid7 \
      --index 0 10 20 --columns own unified camvid11 --output finer.png
  # labels as people drew them, and as tools/harmonize.py writes them
  python tools/make_figure.py --weights output/toy/model_final.pth \
      --columns photo truth harmonized --output docs/figures/harmonized.png

The images are the first validation images (or --index N) of the datasets of the model's training
configuration; folders are looked up as in training.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

PHOTO, TRUTH, OWN, HARMONIZED = "photo", "truth", "own", "harmonized"


def build_parser() -> argparse.ArgumentParser:
    """Options of this tool."""
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
        help="photo, truth, own (answer in the dataset's labels), unified, harmonized (the best "
        "unified labels that the drawn classes allow), or a dataset's name",
    )
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

import numpy as np  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

import unilabel.modeling  # noqa: E402, F401  registers the model
from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import atomic_path  # noqa: E402
from unilabel.core.label_space import IGNORE, UNIFIED  # noqa: E402
from unilabel.data.build import build_sources  # noqa: E402
from unilabel.data.sources import DatasetSource, load_sample  # noqa: E402
from unilabel.engine.checkpoint import load_file  # noqa: E402
from unilabel.engine.loading import config_of  # noqa: E402
from unilabel.harmonize.labelling import Labeller  # noqa: E402
from unilabel.harmonize.options import Options  # noqa: E402
from unilabel.harmonize.setup import parts_of  # noqa: E402
from unilabel.harmonize.target import Target  # noqa: E402
from unilabel.predictor import UniLabelPredictor, build_predictor  # noqa: E402
from unilabel.visual.fonts import ID_NOTE, drawable_names, title_of  # noqa: E402
from unilabel.visual.overlay import Color, color_map  # noqa: E402

TITLES = {
    PHOTO: "photo",
    TRUTH: "its own labels",
    OWN: "prediction, its own labels",
    HARMONIZED: "harmonised, unified labels",
}
MOST_LINES = 4  # of the legend of a label space


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
    names = {HARMONIZED: UNIFIED}
    asked = [[s.name if c == OWN else names.get(c, c) for c in columns] for s, _ in rows]
    labeller = harmoniser(predictor, sources) if HARMONIZED in columns else None
    spaces = [name for column in zip(*asked, strict=True) for name in column]
    spaces = [name for name in dict.fromkeys(spaces) if name not in (PHOTO, TRUTH)]
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    shown: dict[str, Counter[tuple[str, Color]]] = defaultdict(Counter)  # shares of the pixels
    pictures = figure.add_gridspec(len(rows) + len(spaces), len(columns))
    for line, (source, index) in enumerate(rows):
        samples = source.samples("val")
        image, label = load_sample(source, samples[index % len(samples)])
        space = source.label_space
        for place, (column, name) in enumerate(zip(columns, asked[line], strict=True)):
            if column == PHOTO:
                picture = image
            elif column == TRUTH:
                ids = np.where(label == IGNORE, space.num_classes, label)
                picture = color_map(ids, [*space.colors, (0, 0, 0)])
            elif labeller is not None and column == HARMONIZED:
                target = labeller.target
                found = labeller.label(sources.index(source), image, label).values
                picture = color_map(found, target.colors)
                for i, pixels in enumerate(np.bincount(found[found >= 0])):
                    if pixels:
                        shown[UNIFIED][target.names[i], target.colors[i]] += pixels / found.size
            else:
                answer = predictor.predict(image, name)
                picture = color_map(answer.labels, answer.colors)
                for entry, color, share in answer.legend():
                    shown[name][entry, color] += share
            axis = figure.add_subplot(pictures[line, place])
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if place == 0:
                axis.set_ylabel(title_of(space.name) or f"#{line}", fontsize=9)
            if line == 0:
                title = TITLES.get(column, f"prediction, {column} labels")
                axis.set_title(title, fontsize=10)
    heights = [2.2] * len(rows)
    per_line = 2 * len(columns) + 1
    for line, name in enumerate(spaces, len(rows)):
        axis = figure.add_subplot(pictures[line, :])
        axis.set_title("" if len(spaces) == 1 else f"{name} labels", loc="left", fontsize=9)
        names_here = predictor.labels_of(name)[0]
        heights.append(0.2 * add_legend(axis, names_here, shown[name], per_line))
    pictures.set_height_ratios(heights)
    titles = 0.3 * (len(spaces) + 1)
    figure.set_size_inches(2.8 * len(columns), sum(heights) + titles)
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=110, format=output.suffix[1:])


def harmoniser(predictor: UniLabelPredictor, sources: Sequence[DatasetSource]) -> Labeller:
    """Labels photos as tools/harmonize.py does by default.

    Raises:
        UniLabelError: the model has no unified labels.
    """
    own = predictor.label_space
    if own is None:
        raise UniLabelError("the model has one head per dataset and no unified labels.")
    target, options = Target.of(own), Options()
    return Labeller(predictor, parts_of(own, sources, target, options), target, options)


def add_legend(
    axis: Axes, names: Sequence[str], shown: Counter[tuple[str, Color]], per_line: int
) -> int:
    """The legend of one label space, since two spaces may give a name different colours.

    Args:
        axis: where it goes.
        names: all labels of the space; one that the font lacks is shown by its id.
        shown: shares of the labels that occur.
        per_line: entries of a line.

    Returns:
        its number of lines.
    """
    entries = [entry for entry, _ in shown.most_common(MOST_LINES * per_line)]
    drawn = dict(zip(names, drawable_names(names), strict=True))
    handles = [Patch(fc=np.array(c) / 255, ec="0.6", label=drawn[name]) for name, c in entries]
    if any(drawn[name] != name for name, _ in entries):
        handles.append(Patch(fc="none", ec="none", label=ID_NOTE))
    axis.set_axis_off()
    axis.legend(
        handles=handles,
        loc="upper left", ncols=per_line, fontsize=8, frameon=False, borderaxespad=0,
    ).set_in_layout(False)  # fmt: skip
    return -(-len(handles) // per_line)


def main() -> int:
    """Command line."""
    args = build_parser().parse_args()
    try:
        draw(args.weights, args.output, args.index, args.columns, args.datasets)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
