"""Order and place the nodes of a label graph so that few edges cross.

The graph is drawn in columns: one per dataset with its classes, one with the unified labels. Rows
are counted from the top; a unified label has one row, a class lies at the mean of its unified
labels' rows.

Letters: K datasets, C_i classes of dataset i, N unified labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from unilabel.core.label_mapping import LabelMapping

_SWEEPS = 16

# One colour per dataset, told apart on white; repeats after twelve.
DATASET_COLORS = (
    "#1f77b4",
    "#d62728",
    "#2ca02c",
    "#9467bd",
    "#e07b00",
    "#00868b",
    "#c2185b",
    "#6d4c41",
    "#5b6b00",
    "#3f51b5",
    "#b8860b",
    "#607d8b",
)


@dataclass(frozen=True)
class GraphLayout:
    """Where every node lies.

    Attributes:
        unified_order: N unified labels from top to bottom.
        unified_rows: (N,) row of each unified label.
        class_orders: dataset -> C_i class ids from top to bottom.
        class_rows: dataset -> (C_i,) row of each class, at least one row apart.
        left: datasets in columns left of the unified labels, outermost first.
        right: datasets right of them, innermost first.
    """

    unified_order: tuple[int, ...]
    unified_rows: NDArray[np.float64]
    class_orders: dict[str, tuple[int, ...]]
    class_rows: dict[str, NDArray[np.float64]]
    left: tuple[str, ...]
    right: tuple[str, ...]


def layout_graph(mapping: LabelMapping) -> GraphLayout:
    """Order the nodes by repeated barycentres, each connected component for itself.

    Components lie below each other, so edges of different components never cross.
    """
    matrices = {n: m.numpy() for n, m in mapping.matrices.items()}
    order = np.concatenate(
        [_order_component(matrices, rows) for rows in _components(mapping)], dtype=np.int64
    )
    unified_rows = np.empty(len(order))
    unified_rows[order] = np.arange(len(order))
    class_orders, class_rows = {}, {}
    for name, matrix in matrices.items():
        targets = _class_means(matrix, unified_rows)
        ranking = np.argsort(targets, kind="stable")
        rows = np.empty(len(targets))
        rows[ranking] = place(targets[ranking], 1.0, len(order) - 1.0)
        class_orders[name] = tuple(ranking.tolist())
        class_rows[name] = rows
    left, right = _sides(mapping)
    return GraphLayout(tuple(order.tolist()), unified_rows, class_orders, class_rows, left, right)


def count_crossings(one: NDArray[np.float64], two: NDArray[np.float64]) -> int:
    """Crossings of straight edges between two columns.

    Args:
        one: (E,) row of each edge in the first column.
        two: (E,) row of each edge in the second column.
    """
    return _inversions(np.unique(two, return_inverse=True)[1][np.lexsort((two, one))])


def _inversions(values: NDArray[np.intp]) -> int:
    """Pairs of a larger value before a smaller one; the work grows as E log(E)^2.

    Two values differ first, from the top, in one binary digit: each digit is asked among the values
    that agree in all above it, which lie beside each other in their old order.
    """
    found = 0
    for digit in reversed(range(int(values.max(initial=0)).bit_length())):
        group = values >> (digit + 1)
        values = values[np.argsort(group, kind="stable")]
        group = np.sort(group, kind="stable")
        ones = (values >> digit) & 1
        before = np.cumsum(ones) - ones
        within = before - before[np.searchsorted(group, group)]
        found += int(within[ones == 0].sum())
    return found


def place(
    targets: Sequence[float] | NDArray[np.float64], gap: float, last: float
) -> NDArray[np.float64]:
    """Positions nearest to ``targets`` in least squares, in order and at least ``gap`` apart.

    With ``x_i = y_i - i gap`` this is isotonic regression (pool adjacent violators); bounds are met
    by clipping it.

    Args:
        targets: (n,) wanted positions, ascending.
        gap: least distance of neighbours.
        last: largest position; raised where n nodes do not fit into 0..last.

    Returns:
        (n,) positions in 0..last.
    """
    count = len(targets)
    last = max(last, (count - 1) * gap)
    blocks: list[tuple[float, int]] = []  # mean and size of pooled neighbours
    for index, target in enumerate(targets):
        mean, size = float(target) - index * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, number = blocks.pop()
            mean = (mean * size + before * number) / (size + number)
            size += number
        blocks.append((mean, size))
    pooled = np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])
    return np.clip(pooled, 0.0, last - (count - 1) * gap) + np.arange(count) * gap


def _components(mapping: LabelMapping) -> list[NDArray[np.int64]]:
    """Unified labels of each connected component; those of the first classes come first."""
    matrix = mapping.stacked().numpy()
    count, total = matrix.shape
    rows, columns = np.nonzero(matrix)
    graph = csr_array((np.ones(len(rows)), (rows, columns + count)), shape=(count + total,) * 2)
    label = connected_components(graph, directed=False)[1][:count]
    groups = [np.flatnonzero(label == value) for value in np.unique(label)]
    largest = max(mapping.label_spaces, key=lambda space: space.num_classes).name
    first = mapping.class_of(largest).numpy()

    def key(group: NDArray[np.int64]) -> tuple[bool, bool, int, int]:
        classes = first[group][first[group] >= 0]
        unlinked = not bool(matrix[group].any())
        return unlinked, len(classes) == 0, int(classes.min(initial=len(first))), int(group[0])

    return sorted(groups, key=key)


def _order_component(
    matrices: dict[str, NDArray[np.bool_]], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Unified labels of one component, ordered."""
    if len(rows) < 3:
        return rows
    parts = []
    for matrix in matrices.values():
        row, column = np.nonzero(matrix[rows])
        if len(row):
            parts.append(_Links(row, np.unique(column, return_inverse=True)[1]))
    widest = max(parts, key=lambda part: part.classes)
    first = np.full(len(rows), widest.classes)
    first[widest.rows] = widest.columns
    order = np.lexsort((np.arange(len(rows)), first))
    best, best_crossings = order, _crossings(parts, order)
    for _ in range(_SWEEPS):
        if best_crossings == 0:
            break
        order = _sweep(parts, order)
        crossings = _crossings(parts, order)
        if crossings < best_crossings:
            best, best_crossings = order, crossings
    return rows[best]


class _Links(NamedTuple):
    """The L links of a component to one dataset.

    Attributes:
        rows: (L,) unified label of each; one has at most one class.
        columns: (L,) its class, 0..c-1.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    @property
    def classes(self) -> int:
        """Their number c."""
        return int(self.columns.max()) + 1

    def class_means(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) of the unified labels -> (c,) means of each class."""
        sums = np.bincount(self.columns, position[self.rows])
        means: NDArray[np.float64] = sums / np.bincount(self.columns)
        return means


def _sweep(parts: list[_Links], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unified labels by the mean rank of their classes, classes by that of their unified labels."""
    position = np.empty(len(order))
    position[order] = np.linspace(0.0, 1.0, len(order))
    total, links = np.zeros(len(order)), np.zeros(len(order))
    for part in parts:
        means = part.class_means(position)
        rank = np.empty(len(means))
        rank[np.argsort(means, kind="stable")] = np.linspace(0.0, 1.0, len(means))
        wanted = (rank + means) / 2  # the mean breaks ties of ranks in columns of few classes
        total[part.rows] += wanted[part.columns]
        links[part.rows] += 1
    return np.lexsort((position, total / links))


def _crossings(parts: list[_Links], order: NDArray[np.int64]) -> int:
    position = np.empty(len(order))
    position[order] = np.arange(len(order))
    found = 0
    for part in parts:
        means = part.class_means(position)
        rank = np.empty(len(means))
        rank[np.argsort(means, kind="stable")] = np.arange(len(means))
        found += count_crossings(position[part.rows], rank[part.columns])
    return found


def _class_means(
    matrix: NDArray[np.bool_], unified_rows: NDArray[np.float64]
) -> NDArray[np.float64]:
    weights = matrix.astype(np.float64)
    means: NDArray[np.float64] = weights.T @ unified_rows / weights.sum(0)
    return means


def _sides(mapping: LabelMapping) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Half of the datasets on each side; those with few classes inside, edges pass between them."""
    spaces = sorted(mapping.label_spaces, key=lambda space: -space.num_classes)
    left = tuple(space.name for space in spaces[::2])
    right = tuple(space.name for space in spaces[1::2])
    return left, tuple(reversed(right))
