#!/usr/bin/env python
r"""Build a unified label space from label text alone, without images or training.

Methods (the text rows of Table 5, and ours):
  concat        every class is a unified label
  names         classes of the same name share one (case, plural and fillers do not count)
  text_cluster  DBSCAN on the cosine distance of text features
  text_ilp      exact merge of equal labels, then links from narrow labels to wider classes, by
                names, WordNet, what descriptions include and leave out, and text features

The thresholds come from the labels themselves: two labels of one dataset are never the same thing,
so their similarity shows how alike unrelated labels look. Known relations only score the result.
docs/RELATIONS.md compares the methods.

Examples:
  tools/build_label_space.py --datasets cityscapes idd26 --method text_ilp --encoder minilm \
      --output output/label_space.json

  tools/build_label_space.py --folders datasets/a datasets/b --descriptions descriptions.json \
      --method text_cluster --relations relations.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from unilabel.text.arguments import add_label_options, selected_label_spaces
from unilabel.text.prompts import MODES, label_texts

METHODS = ("concat", "names", "text_cluster", "text_ilp")


def build_parser() -> argparse.ArgumentParser:
    """Options of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_label_options(parser)
    parser.add_argument("--method", choices=METHODS, default="text_ilp", help="default: text_ilp")
    parser.add_argument(
        "--encoder",
        default="minilm",
        help="text encoder of text_cluster and text_ilp: hashed[:DIM], minilm, sentence:<model> or "
        "llama:<model> (default: %(default)s)",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="description",
        help="text of a label for text_cluster (default: %(default)s); text_ilp always takes name "
        "and description",
    )
    parser.add_argument(
        "--eps",
        type=float,
        help="DBSCAN radius of text_cluster, cosine distance (default: found from the labels)",
    )
    parser.add_argument(
        "--sibling-share",
        type=float,
        help="text_ilp: labels that only their text features join must be more similar than this "
        "share of the labels is to its nearest sibling (default: SIBLING_SHARE of "
        "unilabel/text/taxonomy.py)",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:index] (default: cpu)")
    parser.add_argument(
        "--relations",
        metavar="FILE",
        help="known relations, to print precision, recall and F1; never used to build",
    )
    parser.add_argument("--output", metavar="FILE", help="label_space.json to write")
    return parser


if __name__ == "__main__":
    build_parser().parse_args()  # --help and wrong options are answered before the slow imports

from torch import Tensor  # noqa: E402

import unilabel  # noqa: E402
from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.core.label_mapping import LabelMapping  # noqa: E402
from unilabel.core.label_space import LabelSpaceSet  # noqa: E402
from unilabel.core.relations import RelationTruth  # noqa: E402
from unilabel.core.unified_space import UnifiedLabelSpace  # noqa: E402
from unilabel.text.encoders import build_text_encoder  # noqa: E402
from unilabel.text.taxonomy import (  # noqa: E402
    SIBLING_SHARE,
    cluster_nodes,
    concat_nodes,
    merge_by_text,
    name_nodes,
    sibling_threshold,
)


def build_links(
    args: argparse.Namespace, spaces: LabelSpaceSet
) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
    """Links (N, C) bool, their weights or None, and notes on how they were made."""
    notes: dict[str, Any] = {"method": args.method, "unilabel": unilabel.__version__}
    if args.method == "concat":
        return concat_nodes(spaces), None, notes
    if args.method == "names":
        return name_nodes(spaces), None, notes
    encoder = build_text_encoder(args.encoder, args.device)
    notes.update(encoder=encoder.name, model_hash=encoder.model_hash)
    if args.method == "text_cluster":
        features = encoder.encode(label_texts(spaces, args.mode))
        eps = args.eps
        if eps is None:
            eps = 1.0 - sibling_threshold(spaces, features)
        notes.update(mode=args.mode, eps=round(eps, 4))
        return cluster_nodes(spaces, features, eps), None, notes
    share = SIBLING_SHARE if args.sibling_share is None else args.sibling_share
    merge = merge_by_text(spaces, encoder.encode, share)
    notes.update(sibling_share=share, least_cosine=round(merge.threshold, 4))
    return merge.links, merge.weights, notes


def main(argv: Sequence[str] | None = None) -> int:
    """Build, score and write; returns the exit status."""
    args = build_parser().parse_args(argv)
    try:
        spaces = selected_label_spaces(args)
        truth = RelationTruth.from_json(args.relations, spaces) if args.relations else None
        links, weights, notes = build_links(args, spaces)
        mapping = LabelMapping.from_stacked(spaces, links)
        if args.output:
            UnifiedLabelSpace.from_mapping(mapping, weights, "text", notes).save(args.output)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(" ".join(f"{key}={value}" for key, value in notes.items() if key != "model_hash"))
    relations = int(mapping.links().triu().sum())
    print(f"{spaces.total} classes of {len(spaces)} datasets: N = {mapping.num_unified}")
    print(f"{relations} pairs of classes are related")
    if truth is not None:
        found = truth.score(mapping.links())
        print(
            f"precision {found['precision']:.3f} recall {found['recall']:.3f} F1 {found['f1']:.3f} "
            f"against {found['num_related']} known pairs"
        )
    if args.output:
        print(f"written to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
