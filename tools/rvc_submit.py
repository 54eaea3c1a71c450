#!/usr/bin/env python
r"""Write or check the archive of another benchmark of the Robust Vision Challenge.

Example:
  python tools/rvc_submit.py --benchmark cityscapes --weights output/rvc/model_final.pth \
      --images datasets/cityscapes/leftImg8bit/test --output cityscapes.zip --device cuda

The model must have been trained on the benchmark's dataset, or a mapping file be given. What is
known about each format, and from where, is printed by --list. Options and exit codes are those of
tools/wilddash_submit.py.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from unilabel.submission.command import add_submit_options, check, submit  # noqa: E402
from unilabel.submission.formats import Benchmark, benchmark_names, get_benchmark  # noqa: E402
from unilabel.submission.running import run_tool, show_progress  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--benchmark", choices=benchmark_names(), help="which one")
    parser.add_argument("--list", action="store_true", help="print what is known of the formats")
    parser.add_argument(
        "--values",
        metavar="RANGE",
        help="how the values count, where sources disagree: mapillary 1-65 (default) or 0-64",
    )
    add_submit_options(parser)
    parser.set_defaults(split="all")
    args = parser.parse_args(argv)
    if args.list:
        print_formats()
        return 0
    if not args.benchmark:
        parser.error("--benchmark is missing")
    return run_tool(
        lambda: _run(args, get_benchmark(args.benchmark, args.values)),
        "the same command with --resume goes on where this one was",
    )


def _run(args: argparse.Namespace, benchmark: Benchmark) -> int:
    if args.check_only:
        return 0 if check(args, benchmark, print) else 1
    submit(args, benchmark, print, show_progress)
    return 0


def print_formats() -> None:
    """Everything that is known about every format."""
    for name in benchmark_names():
        benchmark = get_benchmark(name)
        ids = sorted(benchmark.ids.values())
        void = "no void" if benchmark.void is None else f"void {benchmark.void}"
        print(f"{name}: {len(ids)} classes, values {ids[0]}..{ids[-1]}, {void}")
        print(f"  images: {benchmark.frames or 'not known for sure'}")
        print(f"  in the archive: {benchmark.folder + '/' if benchmark.folder else ''}NAME.png")
        if benchmark.readings:
            print(f"  --values: {' (default), '.join(benchmark.readings)}")
        print(f"  verified: {benchmark.verified}")
        print(f"  unverified: {benchmark.unverified}")


if __name__ == "__main__":
    sys.exit(main())
