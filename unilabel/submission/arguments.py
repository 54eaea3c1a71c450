"""Command line options that the tools of this package share: which model, mapping and void."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from unilabel.core.errors import UniLabelError
from unilabel.submission.formats import Benchmark
from unilabel.submission.void import SYNTAX, VoidPolicy
from unilabel.submission.wilddash import DATASET

if TYPE_CHECKING:  # the network is slow to import; the command line is read before
    from unilabel.predictor import UniLabelPredictor
    from unilabel.submission.label_table import LabelTable
    from unilabel.submission.labeller import Labeller

LEARNED, ZERO_SHOT, AUTO = "learned", "zero-shot", "auto"


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose a model and what its labels are written as."""
    parser.add_argument("--weights", metavar="FILE", help="model_final.pth of a training run")
    parser.add_argument(
        "--label-space", metavar="FILE", help="edited label_space.json of this model"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:index] (default: cpu)")
    parser.add_argument(
        "--mapping",
        default=AUTO,
        metavar="WAY",
        help="learned (the benchmark is a dataset of the model), zero-shot (WildDash 2 by label "
        "names), a mapping file FILE.json, or auto: learned where possible (default: auto)",
    )
    parser.add_argument(
        "--relations", metavar="FILE", help="zero-shot: relations.json that knows wilddash2"
    )
    parser.add_argument(
        "--text-encoder",
        metavar="SPEC",
        help="zero-shot: let label text decide about classes with unknown names (minilm, hashed, "
        "...)",
    )
    parser.add_argument(
        "--space", help="zero-shot with one head per dataset: the dataset whose head answers"
    )
    parser.add_argument(
        "--void",
        nargs="+",
        default=None,
        metavar="WORD",
        help=f"when a pixel is void: {SYNTAX} (default: unmapped, or none where the benchmark has "
        "no void)",
    )
    parser.add_argument(
        "--short-side",
        type=int,
        metavar="PIXELS",
        help="resize the short side for the network; 0: keep the size (default: as the model was "
        "tested, INPUT.TEST_SHORT_SIDE of its training)",
    )
    parser.add_argument("--tta", action="store_true", help="three scales and mirror images")
    parser.add_argument(
        "--window", type=int, default=0, metavar="PIXELS", help="side of overlapping windows"
    )


def build_labeller(args: argparse.Namespace, benchmark: Benchmark) -> Labeller:
    """Model, mapping and void of the command line.

    Raises:
        UniLabelError: an option is wrong, or a file is missing or does not fit.
    """
    from unilabel.predictor import build_predictor
    from unilabel.submission.labeller import InferenceOptions, Labeller

    if not args.weights:
        raise UniLabelError("--weights is missing: name the model_final.pth of a training run.")
    predictor = build_predictor(args.weights, args.device, args.label_space)
    if args.void is None:
        void = VoidPolicy(unmapped=benchmark.void is not None)
    else:
        void = VoidPolicy.parse(args.void)
    options = InferenceOptions(args.short_side, args.tta, args.window)
    return Labeller(predictor, benchmark, label_table(args, benchmark, predictor), void, options)


def label_table(
    args: argparse.Namespace, benchmark: Benchmark, predictor: UniLabelPredictor
) -> LabelTable:
    """The mapping that ``--mapping`` names."""
    from unilabel.submission.label_table import learned_table, read_table
    from unilabel.submission.zero_shot import class_meanings, zero_shot_table

    spaces, own = predictor.model.label_spaces, predictor.label_space
    way = args.mapping
    if way == AUTO:
        way = LEARNED if benchmark.name in spaces.names else ZERO_SHOT
    if way == LEARNED:
        return learned_table(benchmark, spaces, own)
    if way == ZERO_SHOT:
        if benchmark.name != DATASET:
            raise UniLabelError(
                f"there is a zero-shot mapping to {DATASET} only. The model was trained on "
                f"{', '.join(spaces.names)}; for {benchmark.name} train on it or write a mapping "
                "file."
            )
        meanings = class_meanings(spaces, args.relations, args.text_encoder)
        return zero_shot_table(spaces, own, meanings, args.space)
    if not way.lower().endswith(".json"):
        raise UniLabelError(
            f"--mapping {way!r}: expected {LEARNED}, {ZERO_SHOT}, {AUTO} or a file *.json."
        )
    return read_table(way, benchmark, spaces, own)


def size_note(labeller: Labeller) -> str:
    """At which size the model is asked, and why, in words."""
    tested, options = labeller.predictor.test_size.short_side, labeller.options
    size = f"short side {labeller.short_side} pixels" if labeller.short_side else "each image's own"
    if options.short_side is None:
        why = f"as the model was tested (INPUT.TEST_SHORT_SIDE {tested}); --short-side changes it"
    elif labeller.short_side == tested:
        why = "as --short-side says, and as the model was tested"
    else:
        own = f"a short side of {tested} pixels" if tested else "each image's own size"
        why = f"as --short-side says; the model was tested at {own}"
    more = [f"in windows of {options.window} pixels"] if options.window else []
    more += ["at three scales and mirrored"] if options.tta else []
    return f"size of the images for the network: {', '.join([size, *more])}: {why}"
