#!/usr/bin/env python
"""Does the threshold of node selection carry over to datasets it was not chosen on?

Reads multi-head networks (the stems of benchmarks/compare.py) and finds the nodes for a range of
thresholds. For every pair of datasets, the threshold is chosen on the true relations of all other
pairs and scored on the one left out; the hits of all pairs give one F1 score.

Example:
  python benchmarks/thresholds.py --weights output/compare/stem_*/model_final.pth
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
from unilabel.core.errors import UniLabelError
from unilabel.core.evidence import label_tuples
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.relations import RelationTruth
from unilabel.data.build import build_sources
from unilabel.engine.checkpoint import load_file
from unilabel.engine.evaluate import relations_file
from unilabel.engine.loading import config_of, load_model
from unilabel.engine.node_selection import propose_nodes
from unilabel.engine.pixel_cache import collect_pixels
from unilabel.text.cache import load_or_encode

THRESHOLDS = tuple(t / 100 for t in range(15, 61, 5))


@dataclass(frozen=True)
class Hits:
    """Counts of related pairs of classes."""

    hits: int = 0
    found: int = 0
    true: int = 0

    def __add__(self, other: Hits) -> Hits:
        return Hits(self.hits + other.hits, self.found + other.found, self.true + other.true)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / max(self.found + self.true, 1)


def evidence_of(weights: str) -> tuple[Tensor, LabelSpaceSet, RelationTruth, float]:
    """Scores (C, C) of a multi-head network, its label spaces, the truth, the default threshold."""
    cfg = config_of(load_file(weights)["config"], weights)
    model, _ = load_model(weights, cfg.MODEL.DEVICE)
    if model.multi_head is None:
        raise UniLabelError(f"{weights} has unified labels; give a multi-head network (stem_*).")
    sources = build_sources(cfg)
    spaces = LabelSpaceSet(s.label_space for s in sources)
    cache = collect_pixels(model, cfg, sources, 1)
    heads = [w.detach().cpu() for w in model.multi_head.weights]
    features = load_or_encode(None, spaces, cfg.TEXT.ENCODER, mode=cfg.TEXT.MODE)
    proposal = propose_nodes(cfg, spaces, cache, heads, features)
    if proposal.score is None or not relations_file(cfg):
        raise UniLabelError(f"{weights}: needs UNIFY.NODES fused and true relations.")
    truth = RelationTruth.from_json(relations_file(cfg), spaces)
    return proposal.score, spaces, truth, cfg.UNIFY.SCORE_THRESHOLD


def count_pairs(
    links: Tensor, truth: RelationTruth, spaces: LabelSpaceSet
) -> dict[tuple[int, int], Hits]:
    """Counts of every pair of datasets that has true relations."""
    together = links.T.float() @ links.float() > 0  # (C, C)
    result = {}
    for a, b in combinations(range(len(spaces)), 2):
        rows = slice(*spaces.class_offsets[a : a + 2])
        columns = slice(*spaces.class_offsets[b : b + 2])
        scored = truth.scored[rows, columns]
        found, true = together[rows, columns] & scored, truth.related[rows, columns]
        if bool(true.any()):
            counts = (int((found & true).sum()), int(found.sum()), int(true.sum()))
            result[a, b] = Hits(*counts)
    return result


def total(pairs: list[Hits]) -> float:
    """F1 of all counts together."""
    return sum(pairs, Hits()).f1


def leave_one_out(score: Tensor, spaces: LabelSpaceSet, truth: RelationTruth) -> tuple[float, str]:
    """F1 with thresholds chosen on other pairs of datasets, and these thresholds."""
    counts = {
        t: count_pairs(label_tuples(score, spaces.num_classes, t), truth, spaces)
        for t in THRESHOLDS
    }
    pairs = list(next(iter(counts.values())))
    held_out, chosen = [], []
    for pair in pairs:
        others = {t: total([h for p, h in c.items() if p != pair]) for t, c in counts.items()}
        best = max(others, key=lambda t: (others[t], -abs(t - statistics.median(THRESHOLDS))))
        held_out.append(counts[best][pair])
        chosen.append(best)
    return total(held_out), f"{min(chosen):.2f} to {max(chosen):.2f}"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", nargs="+", required=True, metavar="FILE")
    args = parser.parse_args()
    print("| network | F1, left-out pairs | thresholds chosen | F1, default threshold |")
    print("| --- | --- | --- | --- |")
    try:
        for weights in args.weights:
            torch.manual_seed(0)
            score, spaces, truth, default = evidence_of(weights)
            f1, chosen = leave_one_out(score, spaces, truth)
            links = label_tuples(score, spaces.num_classes, default)
            fixed = total(list(count_pairs(links, truth, spaces).values()))
            print(f"| {weights} | {f1:.3f} | {chosen} | {fixed:.3f} ({default:.2f}) |", flush=True)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
