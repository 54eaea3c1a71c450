#!/usr/bin/env python
r"""Predict the WildDash 2 benchmark and write the archive for the upload, or check an archive.

Examples:
  # the mapping of a model, to look at or to edit
  python tools/wilddash_submit.py --weights output/7ds/model_final.pth --write-mapping mapping.json

  # the archive; after an interruption the same command with --resume
  python tools/wilddash_submit.py --weights output/7ds/model_final.pth \
      --images wd_both_02/images --output submission.zip --device cuda --void unmapped threshold=0.4

  # on four machines that share the folder, then once
  python tools/wilddash_submit.py --weights model.pth --images wd_both_02/images \
      --output submission.zip --shard 1/4      # 2/4, 3/4, 4/4
  python tools/wilddash_submit.py --weights model.pth --images wd_both_02/images \
      --output submission.zip --finish

  # any archive, also of another program
  python tools/wilddash_submit.py --check-only submission.zip --images wd_both_02/images

  # public frames of the validation countries, for tools/wilddash_eval.py
  python tools/wilddash_submit.py --weights output/rvc/model_final.pth \
      --images datasets/wilddash/images --split val --output val.zip

Exit codes: 0 done, 1 the archive has faults, 2 something is wrong with the call or the files, 130
interrupted.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from unilabel.submission.command import add_submit_options, check, submit  # noqa: E402
from unilabel.submission.formats import Benchmark, get_benchmark  # noqa: E402
from unilabel.submission.running import run_tool, show_progress  # noqa: E402
from unilabel.submission.wilddash import DATASET  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_submit_options(parser)
    parser.add_argument(
        "--split",
        choices=("all", "train", "val"),
        default="all",
        help="public frames: only the countries of a split (default: all)",
    )
    parser.add_argument(
        "--panoptic",
        metavar="FILE",
        help="write a panoptic archive from the label maps as well: things are connected parts",
    )
    args = parser.parse_args(argv)
    benchmark = get_benchmark(DATASET)
    return run_tool(
        lambda: _run(args, benchmark), "the same command with --resume goes on where this one was"
    )


def _run(args: argparse.Namespace, benchmark: Benchmark) -> int:
    if args.check_only:
        return 0 if check(args, benchmark, print) else 1
    submit(args, benchmark, print, show_progress)
    return 0


if __name__ == "__main__":
    sys.exit(main())
