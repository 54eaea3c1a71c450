#!/usr/bin/env python
r"""How much of the known relations a finished model knows: by its links, and with typed relations.

A link is a unified label that two classes share: a learned one, or one that texts tell (source
"text"). A typed relation of label_space.json needs no common label; most of them became such links.
Each pair of classes counts once. Where a file has no
typed relations they are found now, by the texts that it holds. Rows of one model and several seeds
become one, the mean with the range.

Example:
  python benchmarks/typed_relations.py --relations relations.json \
      --models ten_sets=output/real/ours_0/label_space.json \
      ten_sets=output/real/ours_1/label_space.json > table.md
  python tools/results_table.py --text table.md --into docs/RELATIONS.md --name typed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

import unilabel
from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.relations import RelationTruth
from unilabel.core.typed_relations import TypedRelation, relation_matrix
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.text.encoders import build_text_encoder
from unilabel.text.typed import find_typed_relations

COLUMNS = ("precision", "recall", "f1", "pair_mean", "with backgrounds")
Row = dict[str, float | str]


def typed_of(space: UnifiedLabelSpace, encode: Callable[[Sequence[str]], Tensor]) -> list[Any]:
    """Typed relations: those of the file, or of classes that share no label, found now."""
    if space.relations:
        return [relation for relation in space.relations if relation.type != "none"]
    return list(find_typed_relations(space.label_spaces, space.mapping.links(), encode))


def rows_of(space: UnifiedLabelSpace, typed: Sequence[TypedRelation], path: str) -> dict[str, Row]:
    """Scores of learned and of all links, of typed relations alone and of both."""
    truth = RelationTruth.from_json(path, space.label_spaces)
    links, told = space.mapping.links(), relation_matrix(typed, space.label_spaces)
    kinds = {
        "learned links": space.linked_by("learned", "human"),
        "links": links,
        "typed": told,
        "links and typed": links | told,
    }
    rows = {}
    for name, found in kinds.items():
        score = truth.score(found)
        row: Row = {key: score[key] for key in COLUMNS[:-1]}
        if "with_background" in score:
            row["with backgrounds"] = score["with_background"]["f1"]
        row["pairs"] = float((found & truth.scored).triu().sum())
        rows[name] = row
    right, known = typed_hits(space, typed, path)
    rows["typed"]["types"] = f"{right} of {known}"
    return rows


def typed_hits(
    space: UnifiedLabelSpace, typed: Sequence[TypedRelation], path: str
) -> tuple[int, int]:
    """How many typed relations that are known have the known type."""
    found = {r.ends: r for r in typed}
    right = known = 0
    for entry in read_json(path)["relations"]:
        a, b = ((entry[end]["dataset"], entry[end]["label"]) for end in "ab")
        relation = found.get(frozenset((a, b)))
        if relation is not None and "type" in entry:
            known += 1
            right += relation.seen_from(a[0]).type == entry["type"]
    return right, known


def cell(values: Sequence[float | str], digits: int) -> str:
    """Mean with range, or the texts."""
    numbers = [v for v in values if not isinstance(v, str)]
    if not numbers:
        return ", ".join(map(str, values)) or "-"
    low, high = (f"{v:.{digits}f}" for v in (min(numbers), max(numbers)))
    mean = f"{sum(numbers) / len(numbers):.{digits}f}"
    return mean if low == high else f"{mean} ({low} to {high})"


def table(models: dict[str, list[dict[str, Row]]]) -> list[str]:
    """Lines of the table."""
    names = ("precision", "recall", "F1", "F1, mean over pairs of sets", "F1 with backgrounds")
    lines = [
        f"| model | runs | relations by | pairs | {' | '.join(names)} | types right |",
        "| --- " * (len(names) + 5) + "|",
    ]
    for model, runs in models.items():
        for kind in runs[0]:
            rows = [run[kind] for run in runs]
            cells = [cell([r["pairs"] for r in rows], 0)]
            cells += [cell([r[k] for r in rows if k in r], 3) for k in COLUMNS]
            cells.append(cell([r["types"] for r in rows if "types" in r], 0))
            lines.append(f"| {model} | {len(runs)} | {kind} | {' | '.join(cells)} |")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Read, score and print; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME=label_space.json")
    parser.add_argument("--relations", required=True, metavar="FILE", help="known relations")
    parser.add_argument("--encoder", default="minilm", help="text encoder (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        encoder = build_text_encoder(args.encoder)
        models: dict[str, list[dict[str, Row]]] = {}
        for spec in args.models:
            name, mark, path = spec.partition("=")
            if not (mark and name and path):
                raise UniLabelError(f"--models {spec}: expected NAME=label_space.json.")
            space = UnifiedLabelSpace.load(path)
            typed = typed_of(space, encoder.encode)
            models.setdefault(name, []).append(rows_of(space, typed, args.relations))
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join([*table(models), "", f"{args.encoder}, unilabel {unilabel.__version__}."]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
