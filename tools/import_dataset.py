#!/usr/bin/env python
r"""Make a dataset for unilabel of the folder that an annotation tool exported.

  python tools/import_dataset.py EXPORT                    # writes EXPORT_unilabel beside it
  python tools/import_dataset.py EXPORT my_streets --split val=0.2
  python tools/import_dataset.py EXPORT --dry-run          # says what it believes, writes nothing

The form of the export is found by itself. Photos are linked, labels become 8-bit PNGs of class ids
(255: ignored, at most 254 classes), names and colours go to classes.json. Afterwards:

  python tools/check_dataset.py --folder my_streets
  python train_net.py --config-file configs/mini.yaml DATASETS.CUSTOM "['my_streets']" ...

A second run does nothing if the export is the same; a killed run goes on where it stopped; a run
that meets a fault names the file and writes nothing. docs/IMPORT.md tells more.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.data.parallel import default_workers
from unilabel.importers.detect import BY_NAME, FORMS
from unilabel.importers.links import LINKS
from unilabel.importers.prepare import Request, prepare
from unilabel.importers.write import write


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    forms = "\n".join(f"  {f.name:18s} {f.title}: {f.layout}" for f in FORMS)
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"forms:\n{forms}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="EXPORT", help="folder that the annotation tool wrote")
    parser.add_argument(
        "target", metavar="DATASET", nargs="?", help="folder to write (default: EXPORT_unilabel)"
    )
    parser.add_argument("--form", default="", help=f"one of {', '.join(BY_NAME)} (default: found)")
    parser.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="names of the classes: a name in each line (the first for value 0), or JSON or YAML "
        'such as {"0": "road"} or {"road": [128, 64, 128]}; for forms without names',
    )
    parser.add_argument(
        "--background",
        choices=("class", "ignore"),
        default="",
        help="what pixels are that nobody labelled (default: a class where the form has one: VOC, "
        "CVAT masks, Roboflow masks; else ignored)",
    )
    parser.add_argument(
        "--split",
        default="",
        metavar="val=0.2|by-folder|FILE",
        help="photos for validation: a share, a share of whole folders (scenes), or a list "
        "(default: as the export says)",
    )
    parser.add_argument("--link", choices=LINKS, default="symlink", help="how photos get there")
    parser.add_argument(
        "--smaller-on-top", action="store_true", help="paint large objects first, small ones last"
    )
    parser.add_argument("--dry-run", action="store_true", help="look only, write nothing")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes")
    parser.add_argument("--name", default="", help="of the dataset (default: the folder's name)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Import; the exit code is 2 if the export or an argument is wrong."""
    args = parse_arguments(arguments)
    source = Path(args.source).expanduser()
    try:
        request = Request(
            form=args.form,
            names=args.names,
            background=args.background,
            split=args.split,
            link=args.link,
            smaller_on_top=args.smaller_on_top,
            name=args.name or (Path(args.target).name if args.target else ""),
            workers=max(args.workers, 1),
        )
        prepared = prepare(source, request)
        _say(prepared.belief())
        if args.dry_run:
            _say_rest(prepared.plan.left_out, prepared.plan.notes)
            _say("dry run: nothing was written")
            return 0
        place = source.absolute()
        target = Path(args.target) if args.target else place.with_name(f"{place.name}_unilabel")
        summary = write(prepared, target)
    except UniLabelError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it stopped", file=sys.stderr)
        return 130
    _say_rest(summary.left_out, summary.notes)
    counts = ", ".join(f"{count} {split}" for split, count in summary.counts.items())
    _say(f"{'wrote' if summary.fresh else 'nothing to do, up to date:'} {summary.folder}: {counts}")
    _say(f"next: python tools/check_dataset.py --folder {summary.folder}")
    return 0


def _say_rest(left_out: Counter[str], notes: Sequence[str]) -> None:
    for reason, count in sorted(left_out.items()):
        _say(f"left out: {count} {reason}")
    for note in notes:
        _say(f"note: {note}")


def _say(text: str) -> None:
    print(text)


if __name__ == "__main__":
    sys.exit(main())
