#!/usr/bin/env python
r"""How well do scores of "these two classes share pixels" find the relations of datasets?

  fused               the score of node selection (unilabel/core/evidence.py), the configuration's
                      TEXT_WEIGHT and SCORE_THRESHOLD
  perceptron          learned on a pair's evidence, both directions; threshold .5
  messages_1          the same with messages through third labels
  messages_2          with two rounds of them (if --scores names it)

The learned ones see graphs that are simulated from cached pixels of one dataset at a time
(benchmarks/simulated_graphs.py), never a relation between two of the datasets. Each is scored
without and with text; simulated labels have no texts, so their text scores are drawn from those of
published label lists with known relations. A third of the datasets gives graphs to score only.

F1 is that of the unified labels that a score leads to (evidence.label_tuples): two classes are
found if they share one. Overlaps, and classes called background, are not counted. "best" has the
threshold that the known relations themselves would choose.

--networks names finished multi-head networks, folders of benchmarks/compare.py (stem_0,
multi_head_1); the number at the end is the seed. Pixels, texts and graphs are kept in --cache, one
result per score and seed in --cells; what is there is not done again.

Example:
  python benchmarks/pair_score.py --networks four_sets=output/compare/stem_{0,1,2} \
      ten_sets=output/real/stem_{0,1,2} --list-relations mseg_relations.json \
      --cache output/pair_score > table.md
  python tools/results_table.py --text table.md --into docs/RELATIONS.md --name pair_score
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cells import spread
from detectron2.config import CfgNode
from pair_cases import Case, known_case, read_network, simulated_graphs, text_draws
from pair_network import learned_score, train
from relations import together
from simulated_graphs import PairGraph
from thresholds import Hits, total
from torch import Tensor

import unilabel
from unilabel.core.errors import UniLabelError
from unilabel.core.evidence import fused_score, label_tuples
from unilabel.core.io import read_json, write_json

SCORES = {"fused": None, "perceptron": 0, "messages_1": 1, "messages_2": 2}  # rounds of messages
TITLES = {
    "fused": "fused score",
    "perceptron": "learned pair score",
    "messages_1": "learned, messages of one round",
    "messages_2": "learned, messages of two rounds",
}
TEXTS = {"no": False, "yes": True}
SIMULATED = "simulated, held out"
LISTS = "cityscapes mapillary sunrgbd37 bdd100k idd26 ade20k150 coco_panoptic133".split()
GRID = tuple(t / 20 for t in range(2, 19))
LEARNED_THRESHOLD = 0.5
CELLS = Path(__file__).parent / "results/pair_score"


def read_networks(specs: Sequence[str]) -> dict[int, dict[str, Path]]:
    """Seed -> name -> folder, from ``NAME=FOLDER_SEED``.

    Raises:
        UniLabelError: another form, or a name is missing for a seed.
    """
    found: dict[int, dict[str, Path]] = {}
    for spec in specs:
        match = re.fullmatch(r"([^=]+)=(.*_(\d+))/?", spec)
        if not match:
            raise UniLabelError(f"--networks {spec}: expected NAME=FOLDER_SEED, ten=real/stem_0.")
        found.setdefault(int(match[3]), {})[match[1]] = Path(match[2])
    names = {name for folders in found.values() for name in folders}
    for seed, folders in found.items():
        if names - set(folders):
            raise UniLabelError(
                f"--networks: seed {seed} has no {', '.join(sorted(names - set(folders)))}; give "
                "every network for every seed."
            )
    return found


def hits(case: Case, score: Tensor, threshold: float) -> Hits:
    """Counts of the pairs that share a unified label of this score and threshold."""
    links = label_tuples(score, case.graph.sizes, threshold)
    upper = case.scored.triu()
    found, true = together(links) & upper, case.related & upper
    return Hits(int((found & true).sum()), int(found.sum()), int(true.sum()))


def judge(cases: Sequence[Case], scores: Sequence[Tensor], threshold: float) -> dict[str, float]:
    """F1 of all pairs together, at a threshold and at the best one."""
    pairs = list(zip(cases, scores, strict=True))
    curve = {t: total([hits(c, s, t) for c, s in pairs]) for t in {*GRID, threshold}}
    best = max(curve, key=lambda t: (curve[t], -abs(t - threshold)))
    return {"f1": curve[threshold], "best": curve[best], "best_threshold": best}


def score_all(
    args: argparse.Namespace,
    method: str,
    text: bool,
    seed: int,
    graphs: Sequence[PairGraph],
    cases: dict[str, list[Case]],
    cfg: CfgNode,
) -> dict[str, dict[str, float]]:
    """What one score reaches on every kind of data."""
    rounds = SCORES[method]
    if rounds is None:
        weight = cfg.UNIFY.TEXT_WEIGHT

        def score(graph: PairGraph) -> Tensor:
            return fused_score([graph.visual], graph.text if text else None, weight)

        threshold = cfg.UNIFY.SCORE_THRESHOLD
    else:
        network = train(graphs, text, rounds, args.epochs, seed)
        threshold = LEARNED_THRESHOLD

        def score(graph: PairGraph) -> Tensor:
            return learned_score(network, graph, text)

    return {
        name: judge(some, [score(case.graph) for case in some], threshold)
        for name, some in cases.items()
    }


def fill_cells(args: argparse.Namespace, seed: int, folders: dict[str, Path]) -> None:
    """All scores of a seed."""
    settings = {k: getattr(args, k) for k in ("graphs", "held_out", "epochs", "lists")}
    files = {m: args.cells / f"{m}_{seed}.json" for m in args.scores}
    for file in files.values():
        if file.is_file() and read_json(file)["settings"] != settings:
            raise UniLabelError(
                f"{file} was made with {read_json(file)['settings']}, not with {settings}; remove "
                "it or name another folder with --cells."
            )
    if all(file.is_file() for file in files.values()):
        return
    networks, seconds = {}, {}
    for name, folder in folders.items():
        networks[name], seconds[f"pixels of {name}"] = read_network(folder, args.cache)
    first = next(iter(networks.values())).cfg
    texts, seconds["texts"] = text_draws(args, first)
    graphs, held_out, seconds["graphs"] = simulated_graphs(args, networks, seed, texts)
    cases = {SIMULATED: [Case.simulated(g) for g in held_out]}
    cases |= {name: [known_case(network)] for name, network in networks.items()}
    write_json(args.cells / f"prepared_{seed}.json", {"seed": seed, "cpu_seconds": seconds})
    for method, file in files.items():
        if file.is_file():
            continue
        start = time.process_time()
        found = {
            name: score_all(args, method, text, seed, graphs, cases, first)
            for name, text in TEXTS.items()
        }
        cost = {"scores": time.process_time() - start}
        cell = {"method": method, "seed": seed, "settings": settings, "cpu_seconds": cost}
        write_json(file, {**cell, "text": found})
        print(f"{file.name}: {cost['scores']:.0f} s", file=sys.stderr, flush=True)


def table(cells: Sequence[dict[str, Any]], seconds: float) -> list[str]:
    """Lines of the table: a row for each score, without and with text."""
    columns = list(next(iter(cells[0]["text"].values())))
    head = ["score", "text", "seeds", *(f"{c}: {what}" for c in columns for what in ("F1", "best"))]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for method, title in TITLES.items():
        mine = [cell for cell in cells if cell["method"] == method]
        seeds = ", ".join(str(cell["seed"]) for cell in mine)
        for text in TEXTS if mine else ():
            found = [cell["text"][text] for cell in mine]
            row = [spread([f[c][k] for f in found], 3) for c in columns for k in ("f1", "best")]
            lines.append("| " + " | ".join([title, text, seeds, *row]) + " |")
    settings = cells[0]["settings"]
    return [
        *lines,
        "",
        f"{settings['graphs']} graphs to learn from and {settings['held_out']} held out for each "
        f"seed. {seconds / 60:.0f} minutes of one CPU core together; "
        f"unilabel {unilabel.__version__}.",
    ]


def spent(kept: Sequence[dict[str, Any]]) -> float:
    """Processor seconds of all files; the texts of the lists are the same for every seed."""
    seconds = [s for file in kept for what, s in file["cpu_seconds"].items() if what != "texts"]
    return sum(seconds) + max((file["cpu_seconds"].get("texts", 0.0) for file in kept), default=0.0)


def build_parser() -> argparse.ArgumentParser:
    """Options of this benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--networks", nargs="+", default=[], metavar="NAME=FOLDER_SEED")
    add("--scores", nargs="+", default=list(SCORES)[:3], choices=SCORES, help="%(default)s")
    add("--lists", nargs="+", default=LISTS, metavar="NAME", help="published label lists")
    add("--list-relations", metavar="FILE", help="known relations of the lists")
    add("--graphs", type=int, default=150, help="simulated graphs to learn from")
    add("--held-out", type=int, default=50, help="simulated graphs to score")
    add("--epochs", type=int, default=10, help="times that a graph is learned from")
    add("--cache", type=Path, help="folder of pixels, texts and graphs")
    add("--cells", type=Path, default=CELLS, metavar="DIR", help="where results are kept")
    add("--table-only", action="store_true", help="the table of the results that are there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Fill the cells and print the table; returns the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.table_only and not (args.networks and args.list_relations and args.cache):
        parser.error("give --networks, --list-relations and --cache, or --table-only")
    try:
        if not args.table_only:
            for seed, folders in sorted(read_networks(args.networks).items()):
                fill_cells(args, seed, folders)
        kept = [read_json(file) for file in sorted(args.cells.glob("*_[0-9]*.json"))]
        cells = [cell for cell in kept if "method" in cell]
        if not cells:
            raise UniLabelError(f"no finished result in {args.cells}.")
        print("\n".join(table(cells, spent(kept))))
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
