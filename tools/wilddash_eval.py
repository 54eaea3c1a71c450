#!/usr/bin/env python
r"""Score predictions for labelled WildDash 2 frames on this machine.

Examples:
  python tools/wilddash_eval.py --pred val.zip --gt datasets/wilddash --split val
  python tools/wilddash_eval.py --pred val.zip --gt datasets/wilddash --split val \
      --negative indoor.zip --output scores.json

The formulas are those of Cityscapes; the average instance sizes are measured on the scored frames,
the server's are not public. --negative takes predictions for images that show nothing to label:
from them come stand-ins for the columns "Negative" and "Meta Avg", not the server's numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import write_json
from unilabel.data.split_rules import WILDDASH_BENCHMARK
from unilabel.submission.frames import country_split
from unilabel.submission.negatives import count_negatives, joint_miou, share_weight
from unilabel.submission.reported import TABLE_4
from unilabel.submission.results import ResultSet
from unilabel.submission.running import run_tool
from unilabel.submission.truth import open_truth
from unilabel.submission.wilddash import DISPUTED_CLASS
from unilabel.submission.wilddash_scores import count_frames, percent, read_tags

COLUMNS = ("meta", "miou_class", "iiou_class", "miou_category", "iiou_category", "negative")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    return run_tool(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    report = evaluate(args)
    if args.output:
        write_json(args.output, report)
    print_report(report)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pred", required=True, metavar="PATH", help="zip or folder of results")
    parser.add_argument(
        "--gt",
        required=True,
        metavar="DIR",
        help="folder with panoptic.json and panoptic/, or with label PNGs of ids 0..80",
    )
    parser.add_argument(
        "--split",
        choices=("all", "train", "val"),
        default="all",
        help="countries to score, as in training (default: all)",
    )
    parser.add_argument(
        "--benchmark-images",
        metavar="DIR",
        help="frames of the benchmark; public frames among them are left out (default: "
        f"{' or '.join(WILDDASH_BENCHMARK)} below --gt)",
    )
    parser.add_argument("--subset", action="store_true", help="frames without a result are fine")
    parser.add_argument(
        "--negative", metavar="PATH", help="zip or folder of results for images without any class"
    )
    parser.add_argument(
        "--negative-gt",
        metavar="DIR",
        help="ground truth of these images, in a form of --gt (default: all void)",
    )
    parser.add_argument(
        "--negative-share",
        type=float,
        metavar="S",
        help="Meta stand-in: let negative images be this share of all, 0..1 (default: as they are)",
    )
    parser.add_argument(
        "--tags", metavar="FILE", help='JSON {"frame": {"hazard": "none", "low" or "high"}}'
    )
    parser.add_argument("--output", metavar="FILE", help="write the scores as JSON")
    return parser


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """All scores.

    Raises:
        UniLabelError: files are missing, damaged or do not belong together.
    """
    results, truth = ResultSet(args.pred), open_truth(args.gt)
    shared = benchmark_stems(args)
    stems = country_split(truth.stems, args.split)
    excluded = [] if shared is None else [stem for stem in stems if stem in shared]
    stems = [stem for stem in stems if stem not in excluded]
    missing = sorted(set(stems) - set(results.stems))
    if missing and not args.subset:
        raise UniLabelError(
            f"{len(missing)} of {len(stems)} frames have no result in {args.pred}, {missing[0]!r} "
            "for example; predict them, choose the same --split, or give --subset."
        )
    stems = [stem for stem in stems if stem not in missing]
    tags = read_tags(args.tags) if args.tags else None
    if not args.negative and (args.negative_gt or args.negative_share is not None):
        raise UniLabelError("--negative-gt and --negative-share need --negative.")
    scores, counts = count_frames(results, truth, stems, tags)
    report: dict[str, Any] = {
        "predictions": args.pred,
        "split": args.split,
        "without_result": len(missing),
        "benchmark_frames_excluded": excluded if shared is not None else None,
        **scores,
    }
    if args.negative:
        real = open_truth(args.negative_gt) if args.negative_gt else None
        negative, false = count_negatives(ResultSet(args.negative), real)
        weight = share_weight(len(stems), negative["images"], args.negative_share)
        negative["weight"] = round(weight, 6)
        report["negative_stand_in"] = negative
        report["meta_stand_in"] = percent(joint_miou(counts, false, weight))
    return report


def benchmark_stems(args: argparse.Namespace) -> set[str] | None:
    """Names of the benchmark's frames, None if they are not known."""
    folders = [Path(args.gt) / folder for folder in WILDDASH_BENCHMARK]
    if args.benchmark_images:
        folders = [Path(args.benchmark_images)]
        if not folders[0].is_dir():
            raise UniLabelError(f"no such folder: {folders[0]}.")
    folder = next((f for f in folders if f.is_dir()), None)
    return None if folder is None else {path.stem for path in folder.iterdir()}


def print_report(report: dict[str, Any]) -> None:
    """The scores as tables."""
    excluded = report["benchmark_frames_excluded"]
    if excluded is None:
        print("note: the frames that are also in the benchmark are not known and not excluded")
    else:
        print(f"excluded, because they are also in the benchmark: {len(excluded)} frames")
    if report["without_result"]:
        print(f"note: left out for want of a result: {report['without_result']} frames")
    _print_instance_notes(report)
    print(f"\n{'class':<16} {'IoU':>7} {'iIoU':>7}")
    full = report["classes_26"]
    for name, value in full["iou"].items():
        print(f"{name:<16} {_cell(value)} {_cell(full['iiou'].get(name))}")
    print(f"\n{'category':<16} {'IoU':>7} {'iIoU':>7}")
    for name, value in full["category_iou"].items():
        print(f"{name:<16} {_cell(value)} {_cell(full['category_iiou'].get(name))}")
    heads = ("meta", "class", "i class", "cat.", "i cat.", "neg.")
    print(f"\n{'':<34} {' '.join(f'{head:>7}' for head in heads)}")
    negative = report.get("negative_stand_in")
    stand_ins = {"meta": report.get("meta_stand_in"), "negative": (negative or {}).get("miou")}
    here = f"{report['frames']} frames, {report['split']}"
    for name, text in (("classes_26", "26 classes"), ("classes_25", f"no {DISPUTED_CLASS}")):
        own = {**report[name], **(stand_ins if name == "classes_26" else {})}
        cells = " ".join(_cell(own.get(column)) for column in COLUMNS)
        print(f"{f'here ({here}; {text})':<34} {cells}")
    for row in TABLE_4:
        cells = " ".join(_cell(getattr(row, column)) for column in COLUMNS)
        print(f"{f'reported (server): {row.method}':<34} {cells}")
    for name, values in report["hazards"].items():
        parts = " ".join(f"{k} {_cell(v)}" for k, v in values.items() if k != "impact")
        impact = "-" if values["impact"] is None else f"{100 * values['impact']:.1f} %"
        print(f"hazard {name:<16} mIoU {parts}, impact {impact}")
    if negative:
        print(
            f"void on {negative['images']} negative images: {negative['void_pixels']:.2f} % of the "
            f"pixels, least of an image {negative['least_of_images']:.2f} %\n"
            "meta and neg. of this machine are stand-ins (docs/WILDDASH.md), not the server's "
            f"columns; a negative image counts {negative['weight']:g} times"
        )


def _print_instance_notes(report: dict[str, Any]) -> None:
    unknown, frames = report["frames_without_instance_truth"], report["frames"]
    if not report["average_sizes"]:
        why = (
            "no NAME_instanceIds.png beside the labels"
            if unknown == frames
            else "the ground truth holds no instance"
        )
        print(f"note: no iIoU: {why}")
        return
    if unknown:
        print(
            f"note: {unknown} of {frames} frames have no NAME_instanceIds.png; in the iIoU their "
            "false pixels count, their instances do not"
        )
    full = report["classes_26"]
    empty = [
        name
        for name, value in full["iiou"].items()
        if value is not None and name not in report["average_sizes"]
    ]
    if empty:
        print(
            f"note: predicted, but without an instance in the ground truth, so iIoU 0 (as in "
            f"cityscapesScripts): {', '.join(empty)}"
        )


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:.2f}':>7}"


if __name__ == "__main__":
    sys.exit(main())
