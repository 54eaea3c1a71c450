#!/usr/bin/env python
r"""Make ONE dataset of many: every photo in one label space, never against its own labels.

Inside a class that a person drew only the labels that are linked to it may win, so what comes out
is finer where the labels were coarse, and nowhere contradicts them.

Examples:
  # all datasets of a model, in its unified labels
  python tools/harmonize.py --weights output/mini/model_final.pth --output merged

  # two of them, in the classes of a third one; unlabelled pixels where the model is sure
  python tools/harmonize.py --weights output/mini/model_final.pth --output merged \
      --datasets camvid7 iddlite --space camvid11 --fill-ignored 0.9

  # two models that agree on links, or in the classes of a dataset that both know
  python tools/harmonize.py --weights run_0/model_final.pth run_1/model_final.pth \
      --output merged --space camvid11

  # on four machines, then once
  python tools/harmonize.py --weights model.pth --output merged --shard 1/4      # 2/4, 3/4, 4/4
  python tools/harmonize.py --weights model.pth --output merged --finish

  # the guarantee: every labelled pixel gives back the class that a person drew
  python tools/harmonize.py --check merged

Writes images/, labels/ (8-bit palette PNGs, 16-bit with more than 254 labels), classes.json,
label_space.json, harmonize.json (what became of the pixels) and report.html (where the datasets
disagree). An interrupted run goes on with --resume. docs/HARMONIZE.md tells more.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from unilabel.data.parallel import default_workers
from unilabel.data.shards import SHARD_HELP, Shard
from unilabel.data.sources import SPLITS
from unilabel.importers.links import LINKS

EXPORTS = ("coco", "voc", "yolo")  # of unilabel.harmonize.exports


def build_parser() -> argparse.ArgumentParser:
    """Options of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--weights", nargs="+", metavar="FILE", help="model_final.pth with unified labels; of "
        "several the probabilities are averaged, and the links are those of the first",
    )  # fmt: skip
    add("--output", metavar="DIR", type=Path, help="folder to write")
    add("--datasets", nargs="+", default=[], metavar="NAME", help="of the model (default: all)")
    add(
        "--folders", nargs="+", default=[], metavar="DIR", help="folders of datasets, instead of "
        "where the model's configuration looks for them",
    )  # fmt: skip
    add(
        "--mapping", nargs="+", default=[], metavar="FILE", help="mappings of tools/map_unseen.py, "
        "for --folders that the model was not trained on",
    )  # fmt: skip
    add(
        "--space", default="unified", help='"unified" (default), a dataset of the model, or an '
        "edited label_space.json, or label_space.json:DATASET",
    )  # fmt: skip
    add("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    add(
        "--fill-ignored", type=float, metavar="P", help="label pixels that nobody labelled where "
        "the probability is at least P (default: they stay ignored)",
    )  # fmt: skip
    add(
        "--void-below", type=float, default=0.0, metavar="P", help="ignore decided pixels of a "
        "probability under P",
    )  # fmt: skip
    add(
        "--open-background", action="store_true", help="background classes may be all that no "
        "named class of their dataset claims",
    )  # fmt: skip
    add("--link", choices=LINKS, default="symlink", help="how photos get there")
    add(
        "--also", nargs="+", choices=EXPORTS, default=[], help="other forms, written below the "
        "output: COCO panoptic, VOC, YOLO outlines",
    )  # fmt: skip
    add("--confidence", action="store_true", help="also write maps of the probabilities, 8-bit")
    add("--tta", action="store_true", help="average three scales and mirror images")
    add("--short-side", type=int, metavar="PIXELS", help="for the network; 0: as it is")
    add("--window", type=int, default=0, metavar="PIXELS", help="cut large images into windows")
    add("--device", default="cpu", help="cpu or cuda")
    add("--workers", type=int, default=default_workers(), help="processes, on a CPU")
    add("--resume", action="store_true", help="go on with an interrupted run")
    add("--shard", metavar="I/N", help=SHARD_HELP)
    add("--finish", action="store_true", help="all shards are there: write the tables and report")
    add("--check", metavar="DIR", type=Path, help="check a finished folder, and do nothing else")
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.label_space import UNIFIED  # noqa: E402
from unilabel.core.transfer import TransferMapping  # noqa: E402
from unilabel.data.build import build_sources  # noqa: E402
from unilabel.data.folders import folder_source  # noqa: E402
from unilabel.data.sources import DatasetSource  # noqa: E402
from unilabel.engine.checkpoint import load_file  # noqa: E402
from unilabel.engine.loading import config_of  # noqa: E402
from unilabel.harmonize.check import check_folder  # noqa: E402
from unilabel.harmonize.exports import export  # noqa: E402
from unilabel.harmonize.finish import finish  # noqa: E402
from unilabel.harmonize.job import HarmonizeJob  # noqa: E402
from unilabel.harmonize.options import Options  # noqa: E402
from unilabel.harmonize.setup import prepare  # noqa: E402
from unilabel.predictor import build_predictor  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Harmonise or check; 1 if a check found faults, 2 after a wrong argument or file."""
    args = build_parser().parse_args(arguments)
    try:
        return check(args) if args.check else run(args)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command with --resume goes on", file=sys.stderr)
        return 130


def check(args: argparse.Namespace) -> int:
    """Check a finished folder."""
    moved = [folder_source(folder) for folder in args.folders]
    report = check_folder(args.check, moved, args.workers)
    for fault in report.faults:
        print(fault)
    print(
        f"{report.photos} photos, {report.labelled} labelled pixels, {report.written} of them with "
        f"a label here; {len(report.faults)} faults"
    )
    return 1 if report.faults else 0


def run(args: argparse.Namespace) -> int:
    """Make the photos, of one shard or all; then the tables."""
    for name in ("weights", "output"):
        if not getattr(args, name):
            raise UniLabelError(f"--{name} is missing; it is needed for all but --check.")
    shard = Shard.parse(args.shard)
    if args.device != "cpu" and args.workers > 1:
        args.workers = 1  # one process feeds the device
    job = make_job(args)
    job.start(args.resume or bool(args.shard) or args.finish)
    if job.finished:
        print(f"nothing to do, {args.output} is complete")
        say_exports(args)
        return 0
    if not args.finish:
        made = job.run(max(args.workers, 1), shard)
        print(f"{made} photos made of {len(shard.of(job.photos))}")
        if shard.count > 1:
            print("when all shards are there: the same command with --finish instead of --shard")
            return 0
    for line in finish(job, max(args.workers, 1)):
        print(line)
    print(f"wrote {job.output}")
    say_exports(args)
    return 0


def make_job(args: argparse.Namespace) -> HarmonizeJob:
    """The job of the arguments."""
    predictor, *others = (build_predictor(file, args.device) for file in args.weights)
    space = args.space
    if ".json" in space.lower():
        predictor, space = predictor.resolve(space)
    options = Options(
        tuple(s for s in SPLITS if s in args.splits),
        args.fill_ignored,
        args.void_below,
        args.open_background,
        args.confidence,
        args.tta,
        args.short_side,
        args.window,
        args.link,
    )
    unseen = [TransferMapping.load(file) for file in args.mapping]
    return prepare(
        predictor,
        args.weights[0],
        find_sources(args),
        args.output,
        space or UNIFIED,
        options,
        unseen,
        list(zip(others, args.weights[1:], strict=True)),
    )


def find_sources(args: argparse.Namespace) -> list[DatasetSource]:
    """The datasets: those of --folders, and those of --datasets or all of the model."""
    folders = [folder_source(folder) for folder in args.folders]
    named = [name for name in args.datasets if name not in {s.name for s in folders}]
    if folders and not named:
        return folders
    cfg = config_of(load_file(args.weights[0])["config"], args.weights[0])
    if named:
        cfg.DATASETS.ONLY = named
    return [*build_sources(cfg), *folders]


def say_exports(args: argparse.Namespace) -> None:
    """Write the other forms."""
    for line in export(args.output, args.also, max(args.workers, 1)):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
