#!/usr/bin/env python
r"""Which classes of several label lists are related, by text alone? Methods against known truth.

A method gives unified labels; two classes are related if they share one. Each pair of classes
counts once. "left out" says whether the threshold carries over: for every pair of datasets the best
one of SHARES is chosen on all other pairs and scored on the one left out; the hits of all pairs
give one F1. "types" is how many known typed relations (equal, subset, superset) of those that were
found have their type. --add enters another method: its label_space.json, or a list of relations in
the form of the known ones.

Example:
  python benchmarks/relations.py --datasets cityscapes mapillary sunrgbd37 bdd100k idd26 ade20k150 \
      coco_panoptic133 --relations mseg_relations.json --pairs > table.md
  python tools/results_table.py --text table.md --into docs/RELATIONS.md --name lists
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch
from torch import Tensor

import unilabel
from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.relations import RelationTruth
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.text.arguments import add_label_options, selected_label_spaces
from unilabel.text.encoders import build_text_encoder
from unilabel.text.prompts import label_texts
from unilabel.text.taxonomy import (
    SIBLING_SHARE,
    TextMerge,
    cluster_nodes,
    merge_by_text,
    name_nodes,
    sibling_threshold,
)

SHARES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95)
Hits = tuple[int, int, int]  # found and true, found, true


@dataclass(frozen=True)
class Entry:
    """One method: (C, C) bool pairs it relates, per threshold, and what its default gives."""

    name: str
    found: Tensor
    by_share: dict[float, Tensor]
    merge: TextMerge | None = None


class Remembered:
    """A text encoder that encodes no text twice."""

    def __init__(self, spec: str) -> None:
        """``spec``: see :mod:`unilabel.text.encoders`."""
        self.encoder = build_text_encoder(spec)
        self.rows: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(n, T) features."""
        new = [text for text in dict.fromkeys(texts) if text not in self.rows]
        if new:
            self.rows.update(zip(new, self.encoder.encode(new), strict=True))
        return torch.stack([self.rows[text] for text in texts])


def together(links: Tensor) -> Tensor:
    """(C, C) bool: classes that share a unified label; ``links`` is (N, C) bool."""
    return (links.T.float() @ links.float()) > 0


def entries(spaces: LabelSpaceSet, encode: Callable[[Sequence[str]], Tensor]) -> list[Entry]:
    """The methods of this package that need no photos."""
    features = encode(label_texts(spaces, "description"))
    clusters = {
        share: together(
            cluster_nodes(spaces, features, 1 - sibling_threshold(spaces, features, share))
        )
        for share in SHARES
    }
    merges = {share: merge_by_text(spaces, encode, share) for share in SHARES}
    merged = {share: together(merge.links) for share, merge in merges.items()}
    return [
        Entry("names", together(name_nodes(spaces)), {}),
        Entry("text_cluster", clusters[SIBLING_SHARE], clusters),
        Entry("text_ilp", merged[SIBLING_SHARE], merged, merges[SIBLING_SHARE]),
    ]


def read_entry(spec: str, spaces: LabelSpaceSet) -> Entry:
    """A method from ``NAME=FILE``.

    Raises:
        UniLabelError: the text has another form, or the file names unknown classes.
    """
    name, mark, path = spec.partition("=")
    if not mark or not name or not path:
        raise UniLabelError(f"--add {spec}: expected NAME=FILE, e.g. mine=label_space.json.")
    data = read_json(path)
    if isinstance(data, dict) and isinstance(data.get("relations"), list):
        return Entry(name, RelationTruth.from_json(path, spaces).related, {})
    space = UnifiedLabelSpace.load(path)
    known = {label: i for i, label in enumerate(spaces.label_names())}
    found = torch.zeros(spaces.total, spaces.total, dtype=torch.bool)
    names = space.label_spaces.label_names()
    for a, b in torch.nonzero(space.mapping.links()).tolist():
        if names[a] in known and names[b] in known:
            found[known[names[a]], known[names[b]]] = True
    return Entry(name, found, {})


def hits(found: Tensor, truth: RelationTruth, rows: slice, columns: slice) -> Hits:
    """Counts of one pair of datasets."""
    scored = truth.scored[rows, columns]
    answer, true = found[rows, columns] & scored, truth.related[rows, columns] & scored
    return int((answer & true).sum()), int(answer.sum()), int(true.sum())


def f1(counts: Sequence[Hits]) -> float:
    """F1 of the hits of several pairs of datasets together."""
    right, found, true = (sum(part) for part in zip(*counts, strict=True))
    return 2 * right / max(found + true, 1)


def left_out(
    entry: Entry, truth: RelationTruth, spaces: LabelSpaceSet
) -> tuple[float, list[float]]:
    """F1 with the threshold of every pair chosen on the others, and the thresholds chosen."""
    blocks = [slice(*ends) for ends in pairwise(spaces.class_offsets)]
    pairs = list(combinations(blocks, 2))
    counts = {
        share: [hits(found, truth, *pair) for pair in pairs]
        for share, found in entry.by_share.items()
    }
    scores, chosen = [], []
    for i in range(len(pairs)):
        best = max(counts, key=lambda share: f1(counts[share][:i] + counts[share][i + 1 :]))
        scores.append(counts[best][i])
        chosen.append(best)
    return f1(scores), sorted(set(chosen))


def typed_share(merge: TextMerge, path: str, spaces: LabelSpaceSet) -> str:
    """How many of the known typed relations were found with their type."""
    position = {name: i for i, name in enumerate(spaces.label_names())}
    right = total = 0
    for entry in read_json(path)["relations"]:
        if "type" not in entry:
            continue
        a, b = (position.get(f"{entry[s]['dataset']}:{entry[s]['label']}") for s in ("a", "b"))
        if a is not None and b is not None and merge.relation(a, b) != "none":
            total += 1
            right += merge.relation(a, b) == entry["type"]
    return f"{right} of {total}" if total else "-"


def table(found: list[Entry], truth: RelationTruth, spaces: LabelSpaceSet, path: str) -> list[str]:
    """Lines of the table of methods."""
    lines = [
        "| method | precision | recall | F1 | F1 definition | mean F1 of pairs of sets | "
        "left out (shares chosen) | types |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in found:
        score = truth.score(entry.found)
        sure = f"{score['definition']['f1']:.3f}" if "definition" in score else "-"
        carried = "-"
        if entry.by_share and len(spaces) > 2:  # there are other pairs to choose on
            value, shares = left_out(entry, truth, spaces)
            carried = f"{value:.3f} ({', '.join(map(str, shares))})"
        types = typed_share(entry.merge, path, spaces) if entry.merge else "-"
        lines.append(
            f"| {entry.name} | {score['precision']:.3f} | {score['recall']:.3f} | "
            f"{score['f1']:.3f} | {sure} | {score['pair_mean']:.3f} | {carried} | {types} |"
        )
    return lines


def pair_table(found: list[Entry], truth: RelationTruth, spaces: LabelSpaceSet) -> list[str]:
    """Lines of the table of F1 per pair of datasets that have relations."""
    blocks = [slice(*ends) for ends in pairwise(spaces.class_offsets)]
    names = " | ".join(entry.name for entry in found)
    lines = ["", f"| pair of sets | known | {names} |", "| --- " * (len(found) + 2) + "|"]
    for i, j in combinations(range(len(blocks)), 2):
        counts = [hits(entry.found, truth, blocks[i], blocks[j]) for entry in found]
        if counts[0][2]:
            cells = " | ".join(f"{f1([c]):.2f}" for c in counts)
            lines.append(f"| {spaces.names[i]}, {spaces.names[j]} | {counts[0][2]} | {cells} |")
    return lines


def build_parser() -> argparse.ArgumentParser:
    """Options of this benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_label_options(parser)
    parser.add_argument("--relations", required=True, metavar="FILE", help="known relations")
    parser.add_argument("--encoder", default="minilm", help="text encoder (default: %(default)s)")
    parser.add_argument("--add", nargs="+", default=[], metavar="NAME=FILE", help="more methods")
    parser.add_argument("--pairs", action="store_true", help="also F1 of every pair of datasets")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and write; returns the exit status."""
    args = build_parser().parse_args(argv)
    try:
        spaces = selected_label_spaces(args)
        truth = RelationTruth.from_json(args.relations, spaces)
        found = entries(spaces, Remembered(args.encoder))
        found += [read_entry(spec, spaces) for spec in args.add]
        lines = table(found, truth, spaces, args.relations)
        lines += pair_table(found, truth, spaces) if args.pairs else []
        known = int(truth.related.triu().sum())
        lines += [
            "",
            f"{spaces.total} classes of {len(spaces)} sets, {known} known relations; "
            f"{args.encoder}, unilabel {unilabel.__version__}.",
        ]
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
