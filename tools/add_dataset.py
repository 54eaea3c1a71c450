#!/usr/bin/env python
r"""Teach a finished model one more dataset from a few labelled photos, in about a minute.

The network and all its old classifiers stay. The new classes are compared with the unified labels
(pixels in both directions, names, descriptions): a class may be several unified labels, part of
one, or new. The file that is written answers in all old label spaces exactly as before, in the new
one, and in the extended unified one.

Examples:
  # ten labelled photos of a folder (images/, labels/, classes.json)
  tools/add_dataset.py --weights output/mini/model_final.pth --dataset my_streets --photos 10 \
      --output output/mine/model.pth --report output/mine/report.html

  # no photo at all: by names and descriptions
  tools/add_dataset.py --weights model.pth --dataset my_streets --photos 0 --output new.pth

docs/ADD_DATASET.md tells more. KEY VALUE pairs at the end override the configuration in the model
file (INPUT.TEST_SHORT_SIDE, for example).
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence


def build_parser() -> argparse.ArgumentParser:
    """Options of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", required=True, metavar="FILE", help="model_final.pth with unified labels")
    add(
        "--dataset", required=True, metavar="DIR|NAME", help="a folder with a classes.json, or a "
        "built-in dataset; NAME@VARIANT for a variant",
    )  # fmt: skip
    add("--output", required=True, metavar="FILE", help="model file to write")
    add(
        "--photos", type=int, metavar="K", help="use K random training photos (default: all); 0: "
        "names and descriptions only",
    )  # fmt: skip
    add(
        "--finetune", type=int, default=0, metavar="N", help="train on for N iterations with all "
        "datasets that are at hand; the others are kept by distillation. Old answers change then",
    )  # fmt: skip
    add("--report", metavar="FILE", help="web page to write: what is believed, with crops")
    add("--seed", type=int, default=0, help="of the draw of photos")
    add("--device", default="cpu", help="cpu, cuda or auto")
    add("--encoder", default="", help="text encoder (default: that of the model)")
    add("--descriptions", default="", metavar="FILE", help="JSON {dataset: {class: description}}")
    add(
        "--label-space", metavar="FILE", help="reviewed label space of the model to go on from; "
        '"inside": the one in the model file, whatever lies beside it',
    )  # fmt: skip
    add("opts", nargs="*", metavar="KEY VALUE", help="configuration overrides")
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from unilabel.adding.base import check_new, read_base  # noqa: E402
from unilabel.adding.finetune import finetune  # noqa: E402
from unilabel.adding.job import add_dataset, read_source, write_model  # noqa: E402
from unilabel.adding.report import write_report  # noqa: E402
from unilabel.adding.words import lines  # noqa: E402
from unilabel.config import merge_overrides  # noqa: E402
from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.engine.segmentor import device_of  # noqa: E402
from unilabel.engine.side_files import check_output  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Add, print and write; returns the exit status."""
    args = build_parser().parse_args(argv)
    start, processor = time.perf_counter(), time.process_time()
    try:
        base = read_base(args.weights, str(device_of(args.device)), args.label_space)
        merge_overrides(base.cfg, args.opts)
        check_output(base.weights, args.output)
        source = read_source(args.dataset, args.descriptions)
        check_new(base, source.name)
        added = add_dataset(base, source, args.photos, args.seed, args.encoder)
        print("\n".join(lines(added.learned, added.photos, base.space)))
        if args.finetune:
            tuned = finetune(added, args.finetune, args.seed)
            added = tuned.added
            print("\n".join(tuned.lines()))
        path, side = write_model(added, args.output)
        if args.report:
            write_report(added, args.report)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    spent = f"{time.perf_counter() - start:.0f} s ({time.process_time() - processor:.0f} s of CPU)"
    print(f"{path} and {side} written in {spent}; answers in {', '.join(added.predictor().spaces)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
