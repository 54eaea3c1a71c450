"""Command line options that several tools share: which label spaces."""

from __future__ import annotations

import argparse

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpaceSet
from unilabel.text.label_tables import builtin_names, load_label_spaces
from unilabel.text.prompts import with_descriptions


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose the label spaces."""
    parser.add_argument(
        "--datasets",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"published datasets: {', '.join(builtin_names())}; NAME@VARIANT leaves classes out "
        "(mapillary@paper_64)",
    )
    parser.add_argument(
        "--folders",
        nargs="+",
        default=[],
        metavar="DIR",
        help="own datasets: folders with a classes.json",
    )
    parser.add_argument(
        "--descriptions",
        metavar="FILE",
        help="JSON {dataset: {class: description}} in place of the tables' own descriptions",
    )


def selected_label_spaces(args: argparse.Namespace) -> LabelSpaceSet:
    """The label spaces of ``--datasets`` and ``--folders``, in this order."""
    specs = [*args.datasets, *args.folders]
    if not specs:
        raise UniLabelError("no dataset is given; use --datasets NAME ... or --folders DIR ...")
    spaces = load_label_spaces(specs)
    return with_descriptions(spaces, args.descriptions) if args.descriptions else spaces
