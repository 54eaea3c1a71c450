"""Node selection: proven gap, seconds and validity, against brute force.

    python benchmarks/node_selection.py --labels 448 --seeds 5 --json node_selection.json

The instances are synthetic cross evaluations with the sizes and strengths of the seven datasets of
the paper: every label belongs to a latent concept, heads of other datasets find the labels of that
concept nearly as well as the label's own head, and answer a few confusable concepts otherwise.
``reference`` is the program over all columns (35 labels), or the same solver on the authors' graph
of pairs with a cost of at most 0.05 (all labels).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence

import numpy as np
from common import Report
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csc_matrix

from unilabel.core.merging import NodeSelection, select_nodes

# Cityscapes, Mapillary, SUN RGB-D, BDD, IDD, ADE20K, COCO: classes, mean own recall, street scenes
DATASETS = (
    (19, 0.82, True),
    (64, 0.50, True),
    (37, 0.60, False),
    (19, 0.74, True),
    (26, 0.78, True),
    (150, 0.50, False),
    (133, 0.55, False),
)
PAPER_LABELS = 448
STREET_CONCEPTS, DAILY_CONCEPTS, SHARED = 70, 200, 0.45
CONFUSABLE = 5


def cross_evaluation(
    scale: float = 1.0,
    concepts: float = 1.0,
    seed: int = 0,
    profiles: Sequence[tuple[int, float, bool]] = DATASETS,
) -> tuple[np.ndarray, list[int]]:
    """Make cross scores (C, C), rows true labels and columns head labels, and class offsets.

    Args:
        scale: number of classes of a dataset, relative to its profile.
        concepts: number of latent concepts, relative to about 240.
        seed: of everything.
        profiles: number of classes, mean own recall and street scenes or not, of every dataset.
    """
    rng = np.random.default_rng(seed)
    sizes = [max(2, int(profile[0] * scale + 1e-9)) for profile in profiles]
    concept = _draw_concepts(rng, profiles, sizes, concepts)
    near = _neighbours(rng, int(concept.max()) + 1)
    strength = np.repeat([profile[1] for profile in profiles], sizes)
    own = np.clip(rng.beta(5 * strength, 5 * (1 - strength)), 0.02, 0.98)

    offsets = [0, *itertools.accumulate(sizes)]
    score = np.empty((offsets[-1], offsets[-1]))
    dataset = np.repeat(np.arange(len(profiles)), sizes)
    for label in range(offsets[-1]):
        for head, (start, end) in enumerate(itertools.pairwise(offsets)):
            answer = 0.9 * _spread(rng, end - start, 0.05)  # what is left goes anywhere
            if head == dataset[label]:
                row = answer * (1 - own[label])
                row[label - start] = own[label]
            else:
                row = np.zeros(end - start)
                found = np.flatnonzero(concept[start:end] == concept[label])[:1]
                row[found] = own[label] * np.clip(1 - abs(rng.normal(0, 0.15)), 0, 1)
                similar = np.flatnonzero(np.isin(concept[start:end], near[concept[label]]))
                if len(similar):
                    share = (1 - row.sum()) * rng.uniform(0.3, 0.95)
                    row[similar] += share * _spread(rng, len(similar), 0.5)
                row += answer * (1 - row.sum())
            score[label, start:end] = row
    return score, offsets


def _draw_concepts(
    rng: np.random.Generator, profiles: Sequence, sizes: list[int], concepts: float
) -> np.ndarray:
    """Concepts of all labels; frequent ones are in many datasets."""
    longest = {
        kind: max(s for p, s in zip(profiles, sizes, strict=True) if p[2] is kind)
        for kind in (True, False)
    }
    street = max(round(STREET_CONCEPTS * concepts), longest[True])
    daily = max(round(DAILY_CONCEPTS * concepts), longest[False])
    shared = round(SHARED * street)
    pools = {
        True: np.arange(street),
        False: np.concatenate((np.arange(shared), street + np.arange(daily - shared))),
    }
    drawn = []
    for profile, size in zip(profiles, sizes, strict=True):
        pool = pools[profile[2]]
        weight = (1.0 + np.arange(len(pool))) ** -0.6
        drawn.append(rng.choice(pool, size, replace=False, p=weight / weight.sum()))
    return np.concatenate(drawn)


def _neighbours(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, CONFUSABLE) nearest concepts in a random space."""
    place = rng.random((count, 8))
    near = np.empty((count, CONFUSABLE), dtype=np.int64)
    for index in range(count):
        distance = ((place - place[index]) ** 2).sum(1)
        distance[index] = np.inf
        near[index] = np.argpartition(distance, CONFUSABLE)[:CONFUSABLE]
    return near


def _spread(rng: np.random.Generator, size: int, concentration: float) -> np.ndarray:
    """A Dirichlet sample that also works where all of its gamma samples underflow."""
    sample = rng.standard_gamma(concentration, size)
    total = sample.sum()
    return sample / total if total > 0 else np.full(size, 1 / size)


def brute_force(score: np.ndarray, offsets: list[int], penalty: float, tau: float | None) -> float:
    """Objective of Eq. (10) by an integer program over every merge there is."""
    num_labels = len(score)
    own = np.diag(score)
    cost = np.zeros((num_labels + 1, num_labels + 1))  # the last label stands for "none"
    loss = own[:, None] - score
    cost[:-1, :-1] = loss + loss.T
    good = np.ones(cost.shape, dtype=bool)
    if tau is not None:
        close = score > np.maximum(own - tau, 0)[:, None]
        good[:-1, :-1] = close & close.T
    choices = [[*range(a, b), num_labels] for a, b in itertools.pairwise(offsets)]
    merges = np.stack([axis.ravel() for axis in np.meshgrid(*choices, indexing="ij")], axis=1)
    pairs = list(itertools.combinations(range(len(choices)), 2))
    value = sum(cost[merges[:, i], merges[:, j]] for i, j in pairs)
    useful = np.all([good[merges[:, i], merges[:, j]] for i, j in pairs], axis=0)
    size = (merges < num_labels).sum(1)
    value -= penalty * (size - 1)
    useful &= (size > 1) & (value < 0)
    rows, columns = np.nonzero(merges[useful] < num_labels)
    members = merges[useful][rows, columns]
    incidence = csc_matrix((np.ones(len(rows)), (members, rows)), (num_labels, useful.sum()))
    result = milp(
        value[useful],
        constraints=LinearConstraint(incidence, -np.inf, 1),
        bounds=Bounds(0, 1),
        integrality=np.ones(useful.sum()),
        options={"mip_rel_gap": 0},
    )
    return float(result.fun) + penalty * num_labels


def is_valid(selection: NodeSelection, offsets: list[int]) -> bool:
    """Whether every label is in one cluster and no cluster has two labels of a dataset."""
    per_dataset = np.add.reduceat(selection.matrix, offsets[:-1], axis=1)
    return bool((selection.matrix.sum(0) == 1).all() and per_dataset.max() <= 1)


def exactness_rows(report: Report, seeds: int) -> None:
    """Compare with brute force on 35 labels, several penalties, with and without tau."""
    for seed in range(seeds):
        score, offsets = cross_evaluation(scale=0.08, concepts=0.08, seed=seed)
        penalty = (0.5, 0.25, 1.0)[seed % 3]
        tau = (0.4, None)[seed % 2]
        start = time.perf_counter()
        expected = brute_force(score, offsets, penalty, tau)
        seconds = time.perf_counter() - start
        found = select_nodes(score, offsets, penalty, tau)
        equal = abs(found.objective - expected) < 1e-7
        case = f"{offsets[-1]} labels, seed {seed}, penalty {penalty}, tau {tau}"
        report.row(
            case, "objective", found.objective, expected, ratio=1.0, target="equal", parity=equal,
            ok=equal and found.gap == 0.0,
        )  # fmt: skip
        report.row(case, "seconds", found.seconds, seconds)


def selection_rows(report: Report, labels: int, seeds: int, penalty: float, tau: float) -> None:
    """Gap, seconds and validity at the full size, and what the authors' columns give."""
    for seed in range(seeds):
        score, offsets = cross_evaluation(scale=labels / PAPER_LABELS, seed=seed)
        found = select_nodes(score, offsets, penalty, tau)
        authors = select_nodes(score, offsets, penalty, tau, max_pair_cost=0.05)
        valid = is_valid(found, offsets)
        case = f"{offsets[-1]} labels, seed {seed}: {len(found.clusters)} unified"
        report.row(case, "gap", found.gap, target="0", parity=valid, ok=found.gap == 0.0 and valid)
        report.row(
            case, "seconds", found.seconds, target="<= 1", parity=valid, ok=found.seconds <= 1.0
        )
        report.row(case, "objective", found.objective, authors.objective)


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--labels", type=int, default=PAPER_LABELS, help="labels of the instances")
    parser.add_argument("--seeds", type=int, default=5, help="instances")
    parser.add_argument("--penalty", type=float, default=0.5, help="price of a unified label")
    parser.add_argument("--tau", type=float, default=0.4, help="see select_nodes")
    parser.add_argument("--json", help="write the report to this file")
    args = parser.parse_args()
    report = Report("node_selection")
    exactness_rows(report, args.seeds)
    selection_rows(report, args.labels, args.seeds, args.penalty, args.tau)
    report.print()
    if args.json:
        report.write(args.json)


if __name__ == "__main__":
    main()
