#!/usr/bin/env python
r"""What the GNN stage itself gives on a frozen network, against the same stage without messages.

Three questions, each with the same start, pixels and steps for every variant of the label graph:

  links      F1 before the stage, as its edges are solved, and as Unifier.leave confirms them.
  rare       IoU on validation pixels by how many training pixels a class has, in its dataset's own
             labels: X_u of the graph, or fitted on cached pixels, from the heads or from the graph,
             all for the links of node selection. With all cached pixels, and one in 30 of them.
  text_only  IoU of classes whose pixels the stage never saw: unified labels are dealt into folds,
             all classes linked to a label of the fold are hidden in every dataset. The network has
             seen them, the graph has their texts and links. Beside it the AUC of their score (how
             surely a pixel of the class has a higher one than another), which no bias between seen
             and unseen labels touches. Simplest rival: the mean of the 3 textually nearest rows.

Without messages, X_u comes from a unified label's own learned features alone; text_only also asks
for these features to be the mean text of its classes ("text"). The networks are those of
benchmarks/compare.py after MULTI_HEAD (``stem_SEED``), NAME is that of configs/NAME.yaml. One in 4
validation pixels is scored. Cells that are in --cells are not measured again.

Example:
  python benchmarks/graph_stage.py --networks mini=output/mini/stem_{0,1,2} \
      real=output/real/stem_{0,1,2} --cache output/graph_stage \
      --cells benchmarks/results/graph_stage > table.md
  python tools/results_table.py --text table.md --into docs/RESULTS.md --name graph_stage
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from frozen_pixels import FrozenNetwork, class_iou, read_network, rounded, thinned
from graph_stage_hidden import FOLDS, text_only_cell
from graph_stage_start import VARIANTS, Start
from graph_stage_table import tables

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json, write_json
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.stages import Stage
from unilabel.engine.fitting import fit_label_embedding, initial_embedding
from unilabel.engine.links import relation_scores
from unilabel.engine.pixel_cache import PixelCache
from unilabel.engine.unifier import Unifier

FEW = 30  # one in so many cached pixels is kept to make classes rare


def links_cell(begin: Start) -> dict[str, Any]:
    """Agreement with known relations, before the stage and after it."""
    net = begin.net
    without = begin.fresh(net.train)
    without.propose(replace(net.segment, stage=Stage.SEG), net.segment.start)
    start, completed = (
        LabelMapping.from_stacked(net.spaces, begin.proposal.links),
        without.mapping(),
    )
    result: dict[str, Any] = {
        "node selection": relation_scores(net.cfg, start),
        "no stage": relation_scores(net.cfg, completed),
    }
    for variant in VARIANTS:
        unifier = begin.learned(variant, net.train)
        solved = solved_links(unifier, net)
        unifier.leave(net.segment, net.segment.stop - 1)
        left = unifier.mapping()
        result[variant] = {
            "solved": relation_scores(net.cfg, solved),
            "left": relation_scores(net.cfg, left),
            "proposed": int((solved.stacked() != start.stacked()).sum()),
            "changed": int((left.stacked() != completed.stacked()).sum()),
        }
    return result


def solved_links(unifier: Unifier, net: FrozenNetwork) -> LabelMapping:
    """What the stage's edges say, unconfirmed; the solver's memory stays as it was."""
    marginals = dict(unifier.marginals)
    links = unifier.solve(unifier.learner.result()[1], net.segment.stop - 1)
    unifier.marginals = marginals
    return LabelMapping.from_stacked(net.spaces, links)


def rare_cell(begin: Start) -> dict[str, Any]:
    """IoU of every class by every X_u, with all training pixels and with few."""
    net = begin.net
    return {
        "all": rare_classes(begin, net.train),
        f"1 in {FEW}": rare_classes(begin, thinned(net.train, FEW, net.seed)),
    }


def rare_classes(begin: Start, pixels: PixelCache) -> list[dict[str, Any]]:
    """Classes with their training and validation pixels and IoU by every way to get X_u."""
    net, links = begin.net, begin.proposal.links
    mapping = LabelMapping.from_stacked(net.spaces, links)
    rows = {v: begin.learned(v, pixels, True).learner.result()[0] for v in VARIANTS}
    heads = initial_embedding(links, list(net.model.multi_head.weights))
    for way, start in (("fitted", heads), ("fitted from graph", rows["messages"])):
        rows[way], _ = fit_label_embedding(
            net.cfg, net.spaces, pixels, mapping, start, net.cfg.MODEL.MAPPING_MODE, net.cfg.SEED
        )
    found = {way: class_iou(net, x, mapping) for way, x in rows.items()}
    sizes = net.spaces.num_classes
    counts, val = (torch.cat(c.class_counts(sizes)) for c in (pixels, net.val))
    return [
        {
            "class": name,
            "train_pixels": int(counts[i]),
            "val_pixels": int(val[i]),
            "iou": {way: rounded(iou[i]) for way, iou in found.items()},
        }
        for i, name in enumerate(net.spaces.label_names())
        if val[i] > 0
    ]


def measure(args: argparse.Namespace, name: str, folder: Path) -> None:
    """Fill the missing cells of a network."""
    begin, start = None, time.process_time()
    parts: dict[str, Callable[[Start], dict[str, Any]]] = {
        "links": links_cell,
        "rare": rare_cell,
        "text_only": partial(text_only_cell, folds=args.folds),
    }
    for part, function in parts.items():
        file = args.cells / f"{name}_{folder.name.rpartition('_')[2]}_{part}.json"
        if file.is_file():
            continue
        if begin is None:
            begin = Start(read_network(name, folder, args.cache))
            seconds = time.process_time() - start
            print(f"{name} {begin.net.seed}: read, {seconds:.0f} s", file=sys.stderr, flush=True)
        start = time.process_time()
        found = function(begin)
        seconds = round(time.process_time() - start, 1)
        known = {"network": name, "seed": begin.net.seed, "part": part, "cpu_seconds": seconds}
        write_json(file, {**known, "found": found})
        print(f"{file.stem}: {seconds:.0f} s", file=sys.stderr, flush=True)


def build_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--networks", nargs="+", default=[], metavar="NAME=DIR", help="stem_SEED folders")
    add("--cells", type=Path, required=True, metavar="DIR", help="where results are kept")
    add("--cache", type=Path, metavar="DIR", help="where embedded pixels are kept")
    add("--folds", type=int, default=FOLDS, help=f"how many of {FOLDS} to measure (text_only)")
    add("--table-only", action="store_true", help="of the cells that there are")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Fill the cells and print the tables; returns the exit status."""
    args = build_parser().parse_args(argv)
    torch.set_num_threads(1)
    try:
        for spec in [] if args.table_only else args.networks:
            name, mark, folder = spec.partition("=")
            if not (mark and name and folder and args.cache):
                raise UniLabelError(f"--networks {spec}: expected NAME=DIR, and --cache DIR.")
            measure(args, name, Path(folder))
        cells = [read_json(file) for file in sorted(args.cells.glob("*.json"))]
        if not cells:
            raise UniLabelError(f"no finished cell in {args.cells}; give --networks.")
        print(tables(cells))
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
