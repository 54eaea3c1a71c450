#!/usr/bin/env python
r"""Choose the threshold of `--void threshold=T` on images of which it is known what is void.

Examples:
  # public WildDash 2 frames for the classes, any images without road scenes for void
  python tools/calibrate_void.py --weights output/7ds/model_final.pth --datasets wilddash2 \
      --negative indoor_photos

  # own folders (images/, labels/, classes.json): classes that WildDash 2 does not score are void
  python tools/calibrate_void.py --weights model_final.pth --folders mini/camvid11 mini/msrc21 \
      --void-classes unknown

Classes of these datasets are WildDash classes by their name. Those that the policy of WildDash 2
calls unlabeled are known to be void; classes with a name that it does not know are left out unless
--void-classes names them (or says "unknown": all of them).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from unilabel.data.builtin import builtin_source, datasets_root
from unilabel.submission.arguments import add_model_options, build_labeller, size_note


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    parser.add_argument(
        "--datasets", nargs="+", default=[], metavar="NAME", help="built-in datasets"
    )
    parser.add_argument("--root", type=Path, default=datasets_root(), help="folder of all datasets")
    parser.add_argument(
        "--folders",
        nargs="+",
        default=[],
        metavar="DIR",
        help="own datasets: images, labels, classes.json",
    )
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument(
        "--void-classes",
        nargs="+",
        default=[],
        metavar="CLASS",
        help="more classes that are void: DATASET:CLASS, or unknown",
    )
    parser.add_argument(
        "--negative", nargs="+", default=[], metavar="DIR", help="images that are void altogether"
    )
    parser.add_argument(
        "--limit", type=int, default=0, metavar="N", help="images of each set (default: all)"
    )
    parser.add_argument(
        "--negative-weight",
        type=float,
        metavar="W",
        default=1.0,
        help="how often each pixel known to be void counts in the score (default: 1, as they "
        "occur)",
    )
    parser.add_argument("--output", metavar="FILE", help="write all thresholds as JSON")
    return parser


if __name__ == "__main__":
    _parser().parse_args()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

import numpy as np  # noqa: E402
from tqdm import tqdm  # noqa: E402

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import write_json  # noqa: E402
from unilabel.core.label_space import LabelSpaceSet  # noqa: E402
from unilabel.data.folders import folder_source  # noqa: E402
from unilabel.data.images import read_image  # noqa: E402
from unilabel.data.sources import DatasetSource, Sample, load_sample  # noqa: E402
from unilabel.submission.calibration import (  # noqa: E402
    IGNORED,
    SweepPoint,
    ThresholdSweep,
    best_point,
)
from unilabel.submission.class_names import meanings_by_name  # noqa: E402
from unilabel.submission.formats import get_benchmark  # noqa: E402
from unilabel.submission.frames import list_frames  # noqa: E402
from unilabel.submission.running import run_tool  # noqa: E402
from unilabel.submission.wilddash import DATASET, VOID  # noqa: E402

SHOWN = range(0, 100, 10)
KEPT = 0.9  # share of the labelled pixels below which a threshold is warned of


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    return run_tool(lambda: calibrate(args))


def calibrate(args: argparse.Namespace) -> int:
    """Sweep, print, write.

    Raises:
        UniLabelError: an option or a file is wrong, or one kind of pixels is missing.
    """
    weight = args.negative_weight
    if not 0 <= weight < float("inf"):
        raise UniLabelError(f"--negative-weight {weight}: expected 0 or more.")
    labeller = build_labeller(args, get_benchmark(DATASET))
    print(size_note(labeller))
    sweep = ThresholdSweep(labeller)
    for image, truth in tqdm(list(_pairs(args)), unit="image", dynamic_ncols=True):
        sweep.add(*_load(image, truth))
    points = sweep.points(weight)
    best, mild = best_point(points), best_point(points, KEPT)
    print(f"{'threshold':>9} {'mIoU':>7} {'void':>7} {'kept':>7} {'score':>7}")
    for i in sorted({*SHOWN, points.index(best), points.index(mild)}):
        p = points[i]
        values = " ".join(f"{100 * v:7.2f}" for v in (p.miou, p.void, p.kept, p.score))
        print(f"{p.threshold:>9.2f} {values}{'   best' if p is best else ''}")
    print(
        "score: mIoU where a class written on a pixel known to be void is a false pixel of it; "
        f"each such pixel counts {weight:g} times"
    )
    words = str(sweep.labeller.void)
    print(f"use: --void {_option(words, best)}")
    if mild is not best:
        print(
            f"warning: threshold={best.threshold:g} keeps {100 * best.kept:.1f} % of the labelled "
            f"pixels ({100 * points[0].kept:.1f} % without a threshold), and their mIoU falls from "
            f"{100 * points[0].miou:.1f} to {100 * best.miou:.1f}. If the benchmark has fewer "
            "negative frames than these images, choose a smaller --negative-weight; the best that "
            f"keeps {100 * KEPT:.0f} % of them: --void {_option(words, mild)}"
        )
    if args.output:
        write_json(
            args.output,
            {
                "threshold": best.threshold,
                "threshold_that_keeps": mild.threshold,
                "negative_weight": weight,
                "void": words,
                "points": [p.__dict__ for p in points],
            },
        )
    return 0


def _option(words: str, point: SweepPoint) -> str:
    return f"{'' if words == 'none' else words + ' '}threshold={point.threshold:g}"


# a sample of a dataset whose class ids the table turns into WildDash ids; None: all is void
Truth = tuple[DatasetSource, Sample, np.ndarray] | None


def _pairs(args: argparse.Namespace) -> Iterator[tuple[str, Truth]]:
    sources = [builtin_source(name, args.root) for name in args.datasets]
    for source in [*sources, *map(folder_source, args.folders)]:
        table = wilddash_ids(source, args.void_classes)
        for sample in _spread(source.samples(args.split), args.limit):
            yield sample.image, (source, sample, table)
    for folder in args.negative:
        for frame in _spread(list_frames(folder, get_benchmark(DATASET)), args.limit):
            yield frame.path, None


def _spread(items: list, limit: int) -> list:
    if not 0 < limit < len(items):
        return items
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, limit)]


def wilddash_ids(source: DatasetSource, void_classes: Sequence[str]) -> np.ndarray:
    """(256,) class id of a dataset -> id of WildDash 2, 0 for void, 255 for not known."""
    space = source.label_space
    named = [c for c in void_classes if c.startswith(f"{space.name}:")]
    void = {space.index(c.split(":", 1)[1]) for c in named}
    ids = get_benchmark(DATASET).ids
    table = np.full(256, IGNORED, np.uint8)
    words: dict[str, list[str]] = {"void": [], "not used": []}
    for i, meaning in enumerate(meanings_by_name(LabelSpaceSet([space]))):
        unknown = meaning is not None and not meaning.known
        if i in void or (unknown and "unknown" in void_classes):
            table[i] = VOID
        elif meaning is not None and meaning.known:
            table[i] = VOID if meaning.scored is None else ids[meaning.scored]
        if table[i] in (VOID, IGNORED):
            words["void" if table[i] == VOID else "not used"].append(space.class_names[i])
    for word, names in words.items():
        print(f"{space.name}: {word}: {', '.join(names) or '-'}")
    return table


def _load(image: str, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    if truth is None:
        pixels = read_image(image)
        return pixels, np.full(pixels.shape[:2], VOID, np.uint8)
    source, sample, table = truth
    pixels, ids = load_sample(source, sample)
    return pixels, table[ids]


if __name__ == "__main__":
    sys.exit(main())
