"""Check a dataset before training on it: files, sizes, label values, official counts.

    python tools/check_dataset.py --dataset cityscapes [--root DIR] [--output DIR]
    python tools/check_dataset.py --folder my_dataset

Prints what was found, every kind of fault with its cure, and exits with 1 if there is one. With
``--output`` it writes ``report.json`` (all faults), ``report.html`` (one page that needs no other
file: faults, warnings, notes, shares of the classes, samples with their labels) and ``<split>.png``
(the samples alone); ``--html`` writes the page alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path, write_json
from unilabel.data.builtin import builtin_names, datasets_root
from unilabel.data.findings import Finding
from unilabel.data.inspection import (
    CURES,
    Fault,
    SplitReport,
    Target,
    builtin_target,
    count_faults,
    cure_of,
    findings,
    folder_target,
    inspect_split,
    spread,
)
from unilabel.data.parallel import default_workers
from unilabel.data.sources import SPLITS
from unilabel.visual.contact_sheet import contact_sheet
from unilabel.visual.dataset_page import SplitPage, dataset_html
from unilabel.visual.overlay import Image8

SHOWN = 5  # faults of one kind that are printed
SHEET_SAMPLES = 12


def main(argv: Sequence[str] | None = None) -> int:
    """Check, print, and return the exit code: 0 in order, 1 faults, 2 wrong arguments."""
    args = _parse(argv)
    try:
        if args.folder:
            target = folder_target(args.folder)
        else:
            target = builtin_target(args.dataset, args.root, args.variant)
    except UniLabelError as error:
        print(error, file=sys.stderr)
        return 1 if args.folder else 2
    reports = [inspect_split(target, split, args.limit, args.workers) for split in args.splits]
    found = {r.split: len(r.complete) for r in reports}
    general = count_faults(target, found, args.subset)
    for report in reports:
        _print_split(target, report)
    faults = general + [fault for report in reports for fault in report.faults]
    _print_faults(faults, target.own)
    found = findings(target, reports)
    for finding in found:
        print(f"{finding.level}: {finding.message}")
    try:
        _write(args, target, reports, faults, found)
    except UniLabelError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if faults or any(f.level == "fault" for f in found) else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        epilog=f"Built-in datasets: {', '.join(builtin_names())}.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dataset", metavar="NAME", help="a built-in dataset")
    what.add_argument(
        "--folder", metavar="DIR", help="your own dataset: images, labels, classes.json"
    )
    parser.add_argument("--root", type=Path, default=datasets_root(), help="folder of all datasets")
    parser.add_argument("--variant", help="variant of the built-in dataset")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--limit", type=int, default=0, help="open only so many samples of a split")
    parser.add_argument("--subset", action="store_true", help="fewer images than official are fine")
    parser.add_argument(
        "--output", type=Path, help="write report.json, report.html and contact sheets here"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as one page")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes")
    return parser.parse_args(argv)


def _print_split(target: Target, report: SplitReport) -> None:
    print(f"{target.name} {report.split}: {len(report.complete)} images with labels")
    if not report.readable:
        return
    total = int(report.pixels.sum())
    sizes = ", ".join(f"{w}x{h} ({n})" for (w, h), n in report.sizes.most_common(3))
    more = f" and {len(report.sizes) - 3} more" if len(report.sizes) > 3 else ""
    print(f"  sizes: {sizes}{more}")
    print(f"  ignored pixels: {100 * int(report.pixels[-1]) / total:.1f} %")
    if report.unlabelled:
        print(f"  images without a labelled pixel: {report.unlabelled}")
    order = sorted(range(target.space.num_classes), key=lambda i: -report.pixels[i])
    for i in order:
        if report.pixels[i]:
            share = 100 * int(report.pixels[i]) / total
            name = target.space.class_names[i]
            print(f"  {i:4d}  {name:36s} {share:7.3f} %  in {int(report.images[i])} images")


def _print_faults(faults: Sequence[Fault], own: bool) -> None:
    if not faults:
        print("no faults")
        return
    print(f"{len(faults)} fault{'s' if len(faults) > 1 else ''}:")
    for kind in CURES:
        of_kind = [f.message for f in faults if f.kind == kind]
        for message in of_kind[:SHOWN]:
            print(f"  [{kind}] {message}")
        if len(of_kind) > SHOWN:
            print(f"  [{kind}] ... and {len(of_kind) - SHOWN} more (all are in --output DIR)")
        if of_kind:
            print(f"    cure: {cure_of(kind, own)}")


def _write(
    args: argparse.Namespace,
    target: Target,
    reports: Sequence[SplitReport],
    faults: Sequence[Fault],
    found: Sequence[Finding],
) -> None:
    pages = [args.html] if args.html else []
    if args.output:
        pages.append(args.output / "report.html")
    if not pages:
        return
    sheets = {report.split: _sheet(target, report) for report in reports}
    if args.output:
        write_json(args.output / "report.json", _record(target, reports, faults, found))
        for split, sheet in sheets.items():
            if sheet is not None:
                with atomic_path(args.output / f"{split}.png") as temporary:
                    Image.fromarray(sheet).save(temporary, format="PNG")
    messages = {"fault": [(f"[{f.kind}] {f.message}", cure_of(f.kind, target.own)) for f in faults]}
    for finding in found:
        messages.setdefault(finding.level, []).append((finding.message, ""))
    splits = [
        SplitPage(r.split, _facts(r), r.pixels.tolist(), r.images.tolist(), sheets[r.split])
        for r in reports
    ]
    for path in pages:
        with atomic_path(path) as temporary:
            temporary.write_text(dataset_html(target.space, messages, splits), encoding="utf-8")
    print(f"wrote {' and '.join(str(p) for p in (args.output, args.html) if p)}")


def _sheet(target: Target, report: SplitReport) -> Image8 | None:
    shown = [
        (Path(s.image).name, target.read_image(s.image), target.decode(s.label))
        for s in spread(report.readable, SHEET_SAMPLES)
    ]
    return contact_sheet(shown, target.space) if shown else None


def _facts(report: SplitReport) -> list[tuple[str, str]]:
    sizes = ", ".join(f"{w}x{h} ({n})" for (w, h), n in report.sizes.most_common(3))
    return [
        ("images with labels", str(len(report.complete))),
        ("opened without a fault", str(len(report.readable))),
        ("without a labelled pixel", str(report.unlabelled)),
        ("most frequent sizes", sizes or "none"),
    ]


def _record(
    target: Target,
    reports: Sequence[SplitReport],
    faults: Sequence[Fault],
    found: Sequence[Finding],
) -> dict[str, Any]:
    names = target.space.class_names
    splits = {
        report.split: {
            "samples": len(report.complete),
            "opened_without_fault": len(report.readable),
            "without_labelled_pixel": report.unlabelled,
            "sizes": {f"{w}x{h}": n for (w, h), n in report.sizes.most_common()},
            "ignored_pixels": int(report.pixels[-1]),
            "pixels": {n: int(p) for n, p in zip(names, report.pixels[:-1], strict=True)},
            "images": {n: int(p) for n, p in zip(names, report.images, strict=True)},
        }
        for report in reports
    }
    return {
        "dataset": target.name,
        "official": dict(target.counts),
        "splits": splits,
        "faults": [
            {"kind": f.kind, "message": f.message, "cure": cure_of(f.kind, target.own)}
            for f in faults
        ],
        "findings": list(map(asdict, found)),
    }


if __name__ == "__main__":
    sys.exit(main())
