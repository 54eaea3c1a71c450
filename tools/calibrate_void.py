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
from collections.abc import Sequence

from unilabel.submission.arguments import add_model_options, build_labeller, size_note
from unilabel.submission.known_images import add_image_options, known_images


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    add_image_options(parser)
    parser.add_argument("--output", metavar="FILE", help="write all thresholds as JSON")
    return parser


if __name__ == "__main__":
    _parser().parse_args()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from tqdm import tqdm  # noqa: E402

from unilabel.core.io import write_json  # noqa: E402
from unilabel.submission.calibration import (  # noqa: E402
    KEPT,
    SweepPoint,
    ThresholdSweep,
    best_point,
)
from unilabel.submission.formats import get_benchmark  # noqa: E402
from unilabel.submission.running import run_tool  # noqa: E402
from unilabel.submission.wilddash import DATASET  # noqa: E402

SHOWN = range(0, 100, 10)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    return run_tool(lambda: calibrate(args))


def calibrate(args: argparse.Namespace) -> int:
    """Sweep, print, write.

    Raises:
        UniLabelError: an option or a file is wrong, or one kind of pixels is missing.
    """
    labeller = build_labeller(args, get_benchmark(DATASET))
    print(size_note(labeller))
    sweep = ThresholdSweep(labeller)
    for image in tqdm(known_images(args, print), unit="image", dynamic_ncols=True):
        sweep.add(*image.load())
    weight = args.negative_weight
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


if __name__ == "__main__":
    sys.exit(main())
