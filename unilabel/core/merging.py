"""Node selection: how many unified labels there are, and which labels they merge (Appendix B).

Every label of every dataset goes into exactly one cluster, a cluster holds at most one label of a
dataset, and a cluster becomes a unified label. Whether two labels belong together is measured by
the multi-head network: how well the head of one dataset finds the pixels of the other's label.

Letters: K datasets, C_i classes of dataset i, C = sum of C_i, N unified labels.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from unilabel.core.clique_partition import Limits, partition_cliques
from unilabel.core.clique_search import Bools, CliqueGraph, Floats, Ints
from unilabel.core.errors import UniLabelError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeSelection:
    """Result of `select_nodes`.

    Attributes:
        matrix: (N, C) bool, which labels each unified label merges; every column sum is 1.
        clusters: the same as indices into the concatenation of the label spaces, sorted.
        objective: value of Eq. (10), merge costs plus ``node_penalty * N``.
        gap: proven relative distance to the optimum, ``(objective - bound) / |objective|``;
            0.0 when the solution is optimal.
        num_columns: candidate merges given to the integer program.
        seconds: wall-clock time.
    """

    matrix: Bools
    clusters: list[tuple[int, ...]]
    objective: float
    gap: float
    num_columns: int
    seconds: float


def cross_score(
    confusion: Mapping[tuple[int, int], ArrayLike] | ArrayLike,
    class_offsets: Sequence[int],
    kind: Literal["recall", "iou"] = "recall",
) -> Floats:
    """Turn cross-head confusion counts into scores R[a, b] of label a under head label b.

    Args:
        confusion: pixel counts, rows: true label, columns: label that a head answered. Either the
            (C, C) matrix whose block (i, j) is head j on the images of dataset i, or a mapping from
            (i, j) to that (C_i, C_j) block.
        class_offsets: (K + 1) first index of every dataset in the concatenation, and C.
        kind: ``"iou"`` as in Eq. (11), or ``"recall"``, which does not blame a head for answering
            the label on pixels that its own dataset would also call so.

    Returns:
        (C, C) scores in [0, 1]; 0 where the true label has no pixels.

    Raises:
        UniLabelError: a block is missing, has the wrong shape or holds negative counts, or ``kind``
            is unknown.
    """
    if kind not in ("recall", "iou"):
        raise UniLabelError(f"kind is {kind!r}, expected 'recall' or 'iou'.")
    counts = _confusion_matrix(confusion, _check_offsets(class_offsets))
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise UniLabelError("the cross-head confusion holds negative or non-finite counts.")
    score = np.zeros_like(counts)
    for rows, columns in _block_slices(class_offsets):
        block = counts[rows, columns]
        total = block.sum(1, keepdims=True)
        if kind == "iou":
            total = total + block.sum(0, keepdims=True) - block
        np.divide(block, total, out=score[rows, columns], where=total > 0)
    return score


def select_nodes(
    score: ArrayLike,
    class_offsets: Sequence[int],
    node_penalty: float = 0.5,
    tau: float | None = 0.4,
    *,
    max_pair_cost: float | None = None,
    admissible: ArrayLike | None = None,
    max_columns: int = Limits.max_columns,
    max_work: int = Limits.max_work,
    time_limit: float = Limits.time_limit,
) -> NodeSelection:
    """Merge the labels of all datasets into unified labels, Eq. (10) with the costs of Eq. (11).

    The loss of a cluster is a sum over its pairs, ``w_ab = [R(a,a) - R(a,b)] + [R(b,b) - R(b,a)]``,
    so this is a partition into cliques of least weight plus ``node_penalty`` per clique
    (see `clique_partition`). It is solved exactly; on instances beyond the budgets the solution is
    valid and ``gap`` says how far it may be from the optimum.

    Args:
        score: (C, C) scores R[a, b] of label a (row) under head label b (column), see
            `cross_score`; the diagonal holds the own scores.
        class_offsets: (K + 1) first index of every dataset in the concatenation, and C.
        node_penalty: price lambda of a unified label, in units of the score.
        tau: labels a and b may share a cluster only if both cross scores exceed
            ``max(own score - tau, 0)``; None: all pairs of labels of different datasets may.
            Without it any two labels with low own scores are cheap to merge.
        max_pair_cost: pairs with ``w_ab / 2`` above this may not share a cluster (the authors'
            code uses 0.05); None: no such rule.
        admissible: (C, C) bool, further restriction of the pairs (symmetric); None: none.
        max_columns: candidate merges of one integer program.
        max_work: pairs of clique candidates that are looked at per connected component, see
            `clique_partition.Limits`.
        time_limit: seconds of one integer program.

    Returns:
        The selection. It is deterministic unless the time limit strikes.

    Raises:
        UniLabelError: shapes disagree, scores are not finite or a penalty is negative.
    """
    start = time.perf_counter()
    offsets = _check_offsets(class_offsets)
    matrix = _check_square(score, offsets[-1], "the cross score")
    if not np.isfinite(matrix).all():
        raise UniLabelError("the cross score holds NaN or infinity: recompute it by cross_score.")
    if not node_penalty >= 0:
        raise UniLabelError(f"node_penalty is {node_penalty}, expected a number of at least 0.")
    allowed = None
    if admissible is not None:
        allowed = _check_square(admissible, offsets[-1], "the admissible matrix") != 0

    graph = _merge_graph(_PairCosts(matrix, offsets, tau, max_pair_cost, allowed), node_penalty)
    limits = Limits(max_columns, max_work, time_limit)
    partition = partition_cliques(graph, node_penalty, limits)

    merged = {label for cluster in partition.clusters for label in cluster}
    alone: list[tuple[int, ...]] = [(label,) for label in range(offsets[-1]) if label not in merged]
    clusters = sorted(partition.clusters + alone)
    selected = np.zeros((len(clusters), offsets[-1]), dtype=bool)
    for row, cluster in enumerate(clusters):
        selected[row, list(cluster)] = True
    if not (selected.sum(0) == 1).all():
        raise RuntimeError("node selection did not give a partition of the labels")
    constant = node_penalty * offsets[-1]
    objective = constant + partition.cost
    distance = partition.cost - partition.bound
    gap = 0.0 if distance <= 0 else distance / max(abs(objective), np.finfo(float).tiny)
    seconds = time.perf_counter() - start
    logger.info(
        "%d labels merged into %d unified labels: objective %.4f, gap %.2g, %d columns, %.2f s",
        offsets[-1], len(clusters), objective, gap, partition.num_columns, seconds,
    )  # fmt: skip
    return NodeSelection(selected, clusters, objective, gap, partition.num_columns, seconds)


@dataclass(frozen=True)
class _PairCosts:
    """Costs w_ab of all admissible pairs, made block by block to keep the memory low."""

    score: Floats  # (C, C)
    offsets: Sequence[int]
    tau: float | None
    max_pair_cost: float | None
    admissible: Bools | None

    def blocks(self) -> Iterator[tuple[int, int, Floats]]:
        """Yield the offsets and the (C_i, C_j) costs of all dataset pairs i < j.

        Pairs that may not share a cluster cost infinity.
        """
        own = np.diag(self.score)
        for rows, columns in _block_slices(self.offsets):
            if rows.start >= columns.start:
                continue
            there, back = self.score[rows, columns], self.score[columns, rows].T
            cost = own[rows, None] - there + (own[columns] - back)
            refused = np.zeros(cost.shape, dtype=bool)
            if self.tau is not None:
                refused |= there <= np.maximum(own[rows, None] - self.tau, 0)
                refused |= back <= np.maximum(own[columns] - self.tau, 0)
            if self.max_pair_cost is not None:
                refused |= cost / 2 > self.max_pair_cost
            if self.admissible is not None:
                refused |= ~(self.admissible[rows, columns] & self.admissible[columns, rows].T)
            yield rows.start, columns.start, np.where(refused, np.inf, cost)


def _merge_graph(costs: _PairCosts, node_penalty: float) -> CliqueGraph:
    """Collect the pairs that can share a cluster of an optimal partition.

    A pair is useless when its cost is above the penalty even after the most that the other datasets
    can take off by negative costs.
    """
    num_labels = costs.offsets[-1]
    parts = np.repeat(np.arange(len(costs.offsets) - 1), np.diff(costs.offsets))
    negative = np.zeros(num_labels)
    for a, b, cost in costs.blocks():
        negative[a : a + cost.shape[0]] += np.minimum(cost.min(1), 0)
        negative[b : b + cost.shape[1]] += np.minimum(cost.min(0), 0)
    first: list[Ints] = []
    second: list[Ints] = []
    weight: list[Floats] = []
    for a, b, cost in costs.blocks():
        rows, columns = cost.shape
        others_a = negative[a : a + rows] - np.minimum(cost.min(1), 0)
        others_b = negative[b : b + columns] - np.minimum(cost.min(0), 0)
        useful = cost + np.maximum(others_a[:, None], others_b) <= node_penalty
        at_a, at_b = np.nonzero(useful)
        first.append(at_a + a)
        second.append(at_b + b)
        weight.append(cost[at_a, at_b])
    empty = np.zeros(0, dtype=np.int64)
    return CliqueGraph(
        parts,
        np.concatenate([empty, *first]),
        np.concatenate([empty, *second]),
        np.concatenate([np.zeros(0), *weight]),
    )


def _block_slices(class_offsets: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of all K * K blocks."""
    spans = [slice(*pair) for pair in itertools.pairwise(class_offsets)]
    for rows in spans:
        for columns in spans:
            yield rows, columns


def _confusion_matrix(
    confusion: Mapping[tuple[int, int], ArrayLike] | ArrayLike, offsets: Sequence[int]
) -> Floats:
    """Lay blocks out as one (C, C) matrix."""
    if not isinstance(confusion, Mapping):
        return _check_square(confusion, offsets[-1], "the cross-head confusion")
    counts = np.zeros((offsets[-1], offsets[-1]))
    num_datasets = len(offsets) - 1
    for index, (rows, columns) in enumerate(_block_slices(offsets)):
        pair = divmod(index, num_datasets)
        if pair not in confusion:
            raise UniLabelError(
                f"the cross-head confusion has no block {pair}: head {pair[1]} was not evaluated "
                f"on the images of dataset {pair[0]}."
            )
        block = np.asarray(confusion[pair], dtype=np.float64)
        expected = (rows.stop - rows.start, columns.stop - columns.start)
        if block.shape != expected:
            raise UniLabelError(
                f"block {pair} of the cross-head confusion has shape {block.shape}, expected "
                f"{expected}, the numbers of classes of the two datasets."
            )
        counts[rows, columns] = block
    return counts


def _check_offsets(class_offsets: Sequence[int]) -> list[int]:
    offsets = [int(offset) for offset in class_offsets]
    if len(offsets) < 2 or offsets[0] != 0 or min(np.diff(offsets)) < 1:
        raise UniLabelError(
            f"class_offsets is {offsets}, expected 0 and then the rising ends of the label spaces."
        )
    return offsets


def _check_square(values: ArrayLike, size: int, name: str) -> Floats:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.shape != (size, size):
        raise UniLabelError(
            f"{name} has shape {matrix.shape}, expected {(size, size)} for {size} labels in all."
        )
    return matrix
