#!/usr/bin/env python
r"""From a model to a finished WildDash 2 upload in one command, with the void rule chosen on data.

Examples:
  # labelled street photos of the training datasets say what is kept, any other photos what is void
  python tools/zero_shot_wilddash.py --weights output/7ds/model_final.pth --device cuda \
      --datasets cityscapes idd26 --negative indoor_photos \
      --images datasets/wilddash/test/images --output submission.zip

  # own folders (images/, labels/, classes.json), after an interruption
  python tools/zero_shot_wilddash.py --weights model_final.pth --folders mini/camvid11 \
      --negative pets --images photos --output submission.zip --resume

Works with any model: one that never saw WildDash 2 is mapped to it by the names of its classes, one
that was trained on it by its links. Steps: the mapping is printed and written beside the archive;
every rule of --void that the model allows, with and without a threshold, is scored on the known
images; the best one predicts; the archive is checked. Nothing of WildDash 2 is used unless
--datasets names it. Exit codes are those of tools/wilddash_submit.py.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unilabel.submission.command import add_submit_options
from unilabel.submission.known_images import add_image_options, known_images


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_submit_options(parser)
    add_image_options(parser, "--label-split")
    parser.add_argument(
        "--panoptic", metavar="FILE", help="write a panoptic archive from the label maps as well"
    )
    parser.set_defaults(split="all")
    return parser


if __name__ == "__main__":
    _parser().parse_args()  # --help and wrong options are answered before the slow imports

warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from tqdm import tqdm  # noqa: E402

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.io import read_json, write_json  # noqa: E402
from unilabel.submission.arguments import build_labeller, size_note  # noqa: E402
from unilabel.submission.command import check, submit  # noqa: E402
from unilabel.submission.formats import get_benchmark  # noqa: E402
from unilabel.submission.frames import list_frames  # noqa: E402
from unilabel.submission.job import file_digest  # noqa: E402
from unilabel.submission.running import run_tool, show_progress  # noqa: E402
from unilabel.submission.void import VoidPolicy  # noqa: E402
from unilabel.submission.void_choice import (  # noqa: E402
    best_choice,
    compare_rules,
    void_rules,
)
from unilabel.submission.wilddash import DATASET  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    return run_tool(lambda: _run(args), "the same command with --resume goes on where this one was")


def _run(args: argparse.Namespace) -> int:
    if not args.images or not args.output or not args.weights:
        raise UniLabelError("give --weights FILE, --images DIR and --output FILE.zip.")
    for option in ("check_only", "write_mapping"):
        if getattr(args, option):
            raise UniLabelError(
                f"--{option.replace('_', '-')} is an option of tools/wilddash_submit.py."
            )
    benchmark = get_benchmark(DATASET)
    check_places(args)
    recipe = Path(args.output).with_suffix(".recipe.json")
    args.void = choose_void(args, recipe).split()
    submit(args, benchmark, print, show_progress)
    args.check_only = args.output
    return 0 if check(args, benchmark, print) else 1


def check_places(args: argparse.Namespace) -> None:
    """What would end the run after the choice has been made is told before.

    Raises:
        UniLabelError: there are no images, or an output is in the way.
    """
    list_frames(args.images, get_benchmark(DATASET))
    for option, path in (("--output", args.output), ("--panoptic", args.panoptic)):
        if path is None:
            continue
        if Path(path).suffix.lower() != ".zip":
            raise UniLabelError(f"{option} is {path}, expected a file name ending in .zip.")
        if Path(path).exists() and not (args.resume and option == "--output"):
            cure = "give --resume to continue that run, " if option == "--output" else ""
            raise UniLabelError(
                f"{path} exists already; {cure}give another {option}, or remove it."
            )


def choose_void(args: argparse.Namespace, recipe: Path) -> str:
    """The words of ``--void``: those of the command line, of an interrupted run, or the best.

    Args:
        args: the command line.
        recipe: where the choice is kept.
    """
    if args.void is not None:
        print(f"void: {' '.join(args.void)}, as --void says; nothing is chosen")
        return str(VoidPolicy.parse(args.void))
    settings = choice_settings(args)
    if args.resume and recipe.is_file():
        old = read_json(recipe)
        if isinstance(old, dict) and old.get("settings") == settings:
            print(f"void: {old['void']}, as chosen before ({recipe})")
            return str(VoidPolicy.parse(str(old["void"]).split()))
    labeller = build_labeller(args, get_benchmark(DATASET))
    print(size_note(labeller))
    images = known_images(args, print)
    shown = tqdm(images, unit="image", dynamic_ncols=True)
    choices = compare_rules(labeller, void_rules(labeller), shown, args.negative_weight)
    best = best_choice(choices)
    print(f"{'score':>7} {'mIoU':>7} {'void':>7} {'kept':>7}  --void")
    for choice in choices:
        p = choice.point
        values = " ".join(f"{100 * v:7.2f}" for v in (p.score, p.miou, p.void, p.kept))
        print(f"{values}  {choice.policy}{'   best' if choice is best else ''}")
    print(
        f"on {len(images)} images; score: mIoU where a class written on a pixel known to be void "
        f"is a false pixel of it; each such pixel counts {args.negative_weight:g} times"
    )
    rows = [{"rule": str(c.policy), **c.point.__dict__} for c in choices]
    write_json(recipe, {"void": str(best.policy), "settings": settings, "choices": rows})
    mapping = recipe.with_suffix("").with_suffix(".mapping.json")
    labeller.table.save(mapping)
    print(f"written: {recipe} (the choice), {mapping} (what each label becomes)")
    return str(best.policy)


def choice_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the choice depends on, apart from the content of the known images."""
    names = ("mapping", "relations", "text_encoder", "space", "short_side", "tta", "window",
             "datasets", "folders", "label_split", "void_classes", "negative", "limit",
             "negative_weight")  # fmt: skip
    files = {key: getattr(args, key) for key in ("weights", "label_space")}
    return {
        **{name: getattr(args, name) for name in names},
        **{key: file_digest(path) if path else None for key, path in files.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
