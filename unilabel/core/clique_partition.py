"""Cheapest partition of a K-partite graph into cliques, with a price per clique.

Node selection (Eq. 10 and 11 of the paper) is this problem: minimise the sum of the weights inside
the clusters plus ``penalty`` for every cluster, where a cluster holds at most one vertex of a part
and only vertices that are joined pairwise.

A vertex alone costs ``penalty``, so a *column* is a clique S of two or more vertices and its cost
is what it adds to the partition into single vertices, ``w(S) - penalty * (|S| - 1)``. Columns are
chosen by an integer program (set packing), never by its linear relaxation, whose rounding may put
a vertex into two clusters.

* Pruning: in an optimal partition every vertex v of a column has ``w(v, S - v) <= penalty``;
  otherwise v would be cheaper alone.
* Few columns: all of them go into the program, which proves the optimum.
* Many columns: column generation. Let y >= 0 be the duals of the linear program. In a family of
  disjoint cliques of least reduced cost, every vertex has ``w(v, S - v) <= penalty - y_v``, so that
  is the limit of the search; the least reduced cost per first vertex gives a lower bound
  (Lagrange), because disjoint cliques differ in their first vertex. At the end every column whose
  reduced cost is below upper - lower bound is enumerated: if that finishes, the program over them
  is exact, else the two bounds give the gap.

Letters: V vertices, K parts, m columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from unilabel.core.clique_search import CliqueGraph, CliqueSearch, Floats, FoundCliques, Ints

TOLERANCE = 1e-7  # of reduced costs; HiGHS is about as exact as that
SMALL_COMPONENT = 64  # components below this many vertices are solved together
# A component is solved without column generation up to so many columns and so much work.
DIRECT_COLUMNS = 5_000
DIRECT_WORK = 2_000_000
MAX_ROUNDS = 100
ROUND_GAP = 1e-3  # column generation ends at this relative distance of its two bounds
# Rows that a prefix may extend: cheap rounds while these find columns, then complete ones.
WIDTHS = (2, 8, 32, None)


@dataclass(frozen=True)
class Limits:
    """What a solution may cost.

    Attributes:
        max_columns: columns of one integer program.
        max_work: pairs of clique candidates that column generation may look at in one component;
            the searches after it may look at a fifth of that.
        time_limit: seconds of one integer program.
    """

    max_columns: int = 100_000
    max_work: int = 500_000_000
    time_limit: float = 60.0


@dataclass(frozen=True)
class Partition:
    """Result of `partition_cliques`.

    Attributes:
        clusters: clusters of two or more vertices; every other vertex is alone.
        cost: sum of their column costs, at most 0.
        bound: proven lower bound of the best such sum; equal to ``cost`` when that is optimal.
        num_columns: columns given to the last integer programs.
    """

    clusters: list[tuple[int, ...]]
    cost: float
    bound: float
    num_columns: int


def partition_cliques(graph: CliqueGraph, penalty: float, limits: Limits) -> Partition:
    """Find the cheapest partition into cliques, one connected component after the other.

    Args:
        graph: edges between vertices that may share a cluster, with their weights.
        penalty: price of a cluster, at least 0.
        limits: budgets; exceeding them costs the proof of optimality, not the validity.
    """
    parts = []
    for vertices in _components(graph):
        part = _solve(graph.subgraph(vertices), penalty, limits)
        clusters = [tuple(int(vertices[v]) for v in cluster) for cluster in part.clusters]
        parts.append(Partition(clusters, part.cost, part.bound, part.num_columns))
    return Partition(
        clusters=sorted(cluster for part in parts for cluster in part.clusters),
        cost=sum(part.cost for part in parts),
        bound=sum(part.bound for part in parts),
        num_columns=sum(part.num_columns for part in parts),
    )


def _components(graph: CliqueGraph) -> list[Ints]:
    """Vertices of each large component, and of all small ones together."""
    ones = np.ones(len(graph.first))
    shape = (graph.num_vertices, graph.num_vertices)
    matrix = csr_matrix((ones, (graph.first, graph.second)), shape=shape)
    label = connected_components(matrix, directed=False)[1]
    size = np.bincount(label, minlength=1)
    large = np.flatnonzero(size >= SMALL_COMPONENT)
    rest = np.flatnonzero((size[label] > 1) & (size[label] < SMALL_COMPONENT))
    groups = [np.flatnonzero(label == index) for index in large]
    return [group for group in (*groups, rest) if len(group)]


@dataclass
class _Columns:
    """Cliques of several sizes as columns of the packing program."""

    num_vertices: int
    cliques: list[Ints]  # each (m, s)
    costs: list[Floats]  # each (m,)

    @classmethod
    def of(cls, found: FoundCliques, penalty: float, price: Floats) -> _Columns:
        """Take the result of a search, with true instead of reduced costs."""
        costs = [
            reduced - penalty * cliques.shape[1] + price[cliques].sum(1)
            for cliques, reduced in zip(found.cliques, found.costs, strict=True)
        ]
        return cls(len(price), list(found.cliques), costs)

    @property
    def size(self) -> int:
        return sum(len(cliques) for cliques in self.cliques)

    @property
    def cost(self) -> Floats:
        """(m,) all costs."""
        return np.concatenate(self.costs) if self.costs else np.zeros(0)

    def incidence(self) -> csc_matrix:
        """(V, m) which vertex is in which column."""
        rows = np.concatenate([cliques.ravel() for cliques in self.cliques])
        sizes = np.concatenate([np.full(len(c), c.shape[1]) for c in self.cliques])
        pointers = np.concatenate(([0], np.cumsum(sizes)))
        return csc_matrix(
            (np.ones(len(rows)), rows, pointers), shape=(self.num_vertices, len(sizes))
        )

    def cheapest(self, rank_by: list[Floats], count: int) -> _Columns:
        """Keep the columns that are among the ``count`` best of one of their vertices."""
        kept = []
        for cliques, values in zip(self.cliques, rank_by, strict=True):
            vertex = cliques.ravel()
            order = np.lexsort((np.repeat(values, cliques.shape[1]), vertex))
            start = np.searchsorted(vertex[order], vertex[order])
            best = np.arange(len(order)) - start < count
            kept.append(np.unique(order[best] // cliques.shape[1]))
        kept_cliques = [c[rows] for c, rows in zip(self.cliques, kept, strict=True)]
        kept_costs = [c[rows] for c, rows in zip(self.costs, kept, strict=True)]
        return _Columns(self.num_vertices, kept_cliques, kept_costs)

    def below(self, threshold: float, penalty: float, price: Floats) -> _Columns:
        """Keep the columns with a reduced cost below the threshold."""
        reduced = [
            cost + penalty * cliques.shape[1] - price[cliques].sum(1)
            for cliques, cost in zip(self.cliques, self.costs, strict=True)
        ]
        cliques = [c[r < threshold] for c, r in zip(self.cliques, reduced, strict=True)]
        costs = [c[r < threshold] for c, r in zip(self.costs, reduced, strict=True)]
        return _Columns(self.num_vertices, cliques, costs)

    def extend(self, other: _Columns) -> None:
        self.cliques += other.cliques
        self.costs += other.costs


def _solve(graph: CliqueGraph, penalty: float, limits: Limits) -> Partition:
    """Solve one component: all columns when they are few, else by column generation."""
    price = np.full(graph.num_vertices, penalty)
    budget = {"max_columns": DIRECT_COLUMNS, "max_work": DIRECT_WORK}
    # With all duals 0 the reduced cost is the cost; a column that costs 0 or more is not needed.
    found = CliqueSearch(graph, penalty, price, price, 0.0, **budget).run()
    if found.complete:
        return _pack(_Columns.of(found, penalty, price), limits.time_limit)
    return _generate(graph, penalty, limits)


def _pack(columns: _Columns, time_limit: float) -> Partition:
    """Choose disjoint columns of least cost by the integer program."""
    if not columns.size:
        return Partition([], 0.0, 0.0, 0)
    from scipy.optimize import Bounds, LinearConstraint, milp  # slow to import

    cost = columns.cost
    result = milp(
        cost,
        constraints=LinearConstraint(columns.incidence(), -np.inf, 1),
        bounds=Bounds(0, 1),
        integrality=np.ones(len(cost)),
        options={"mip_rel_gap": 0, "time_limit": time_limit},
    )
    # Choosing nothing is a solution too: the one that stays when the time was too short.
    chosen = np.zeros(len(cost), dtype=bool) if result.x is None else result.x > 0.5
    clusters, start = [], 0
    for cliques in columns.cliques:
        picked = cliques[chosen[start : start + len(cliques)]]
        clusters += [tuple(clique) for clique in picked.tolist()]
        start += len(cliques)
    total = float(cost[chosen].sum())
    bound = total if result.status == 0 else _dual_bound(result.mip_dual_bound)
    return Partition(clusters, total, bound, len(cost))


def _dual_bound(value: float | None) -> float:
    return -np.inf if value is None else float(value)


def _generate(graph: CliqueGraph, penalty: float, limits: Limits) -> Partition:
    """Column generation, then the integer program over all columns that can matter."""
    columns, dual, floor, bound = _price_out(graph, penalty, limits.max_work)
    price, least = penalty - dual, floor.min()
    work = limits.max_work // 5

    def search(threshold: float) -> FoundCliques:
        nonlocal work
        # A vertex of a useful column can be taken out of it at a loss of at most the distance
        # between the column's reduced cost and the least one.
        limit = np.minimum(penalty, price + threshold - least + TOLERANCE)
        budget = {"max_columns": limits.max_columns, "max_work": work}
        found = CliqueSearch(graph, penalty, price, limit, threshold, **budget).run()
        work -= found.work
        return found

    # Columns of small reduced cost, in units of what the best pair saves, hold the optimum almost
    # always; if there are too many, fewer of them, and at last only those that were generated.
    small = threshold = 0.1 * float((penalty - graph.weight).max())
    found = search(threshold)
    for _ in range(4):
        if not found.complete:
            threshold /= 2
            found = search(threshold)
    if found.complete:
        columns = _Columns.of(found, penalty, price)
    else:
        columns = columns.below(small, penalty, price)
    best = _pack(columns, limits.time_limit)
    exact = found.complete and best.cost == best.bound
    if exact and best.cost - bound > threshold:
        found = search(best.cost - bound)
        exact = found.complete
        if exact:
            last = _pack(_Columns.of(found, penalty, price), limits.time_limit)
            exact = last.cost == last.bound
            best = min(best, last, key=lambda part: part.cost)
    proven = best.cost if exact else min(bound, best.cost)
    return Partition(best.clusters, best.cost, proven, best.num_columns)


def _price_out(
    graph: CliqueGraph, penalty: float, max_work: int
) -> tuple[_Columns, Floats, Floats, float]:
    """Solve the linear program over all columns, nearly.

    Returns:
        The columns, the duals (V,) of the best lower bound, the least reduced cost per first
        vertex (V,) under these duals, and that lower bound.
    """
    edges = np.flatnonzero(graph.weight < penalty)
    pairs = np.column_stack((graph.first[edges], graph.second[edges]))
    weight = graph.weight[edges]
    columns = _Columns(graph.num_vertices, [pairs], [weight - penalty]).cheapest([weight], 10)
    bound, widths = -np.inf, list(WIDTHS)
    best = (np.zeros(graph.num_vertices), np.full(graph.num_vertices, -np.inf))
    for _ in range(MAX_ROUNDS):
        value, dual = _relax(columns)
        price = penalty - dual
        found = CliqueSearch(
            graph, penalty, price, price, -TOLERANCE, max_work=max_work, width=widths[0]
        ).run()
        max_work -= found.work
        if widths[0] is None:
            # Cliques between -TOLERANCE and 0 are not listed; each holds a first vertex.
            reached = float(found.floor.sum() - dual.sum() - TOLERANCE * graph.num_vertices)
            if reached > bound:
                bound, best = reached, (dual, found.floor)
            if value - bound <= ROUND_GAP * abs(value) or max_work <= 0:
                break
        fresh = _Columns.of(found, penalty, price).cheapest(found.costs, 5)
        if widths[0] is None and not fresh.size:
            break
        if fresh.size < 0.01 * columns.size:
            widths = widths[1:] or widths
        columns.extend(fresh)
    return columns, *best, bound


def _relax(columns: _Columns) -> tuple[float, Floats]:
    """Value and duals (V,), at least 0, of the linear relaxation of the packing program."""
    from scipy.optimize import linprog  # slow to import

    result = linprog(
        columns.cost,
        A_ub=columns.incidence(),
        b_ub=np.ones(columns.num_vertices),
        bounds=(0, None),
        method="highs",
    )
    if result.status != 0:
        raise RuntimeError(f"the linear program of the node selection failed: {result.message}")
    return float(result.fun), np.maximum(-result.ineqlin.marginals, 0)
