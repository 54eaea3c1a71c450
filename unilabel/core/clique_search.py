"""Enumeration of cheap cliques in a K-partite graph, the columns of `clique_partition`.

The reduced cost of a clique S is ``penalty + w(S) - sum of the prices of its vertices``. The search
grows all prefixes of one size at once: two rows (prefix, a) and (prefix, b) whose last vertices are
joined give (prefix, a, b). Three rules cut it, all valid with negative weights too:

* *limits*: no vertex v of a clique may have more than ``limit[v]`` weight to the others;
* *floors*: a row whose descendants cannot come below the threshold is not extended;
* *work*: an explicit budget; the least promising rows go first, their floors are kept as a proof of
  what was not looked at.

Letters: V vertices, E edges, K parts, s vertices of a clique so far, n rows (clique candidates).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LOAD_TOLERANCE = 1e-9
CHUNK = 2_000_000  # pairs of rows looked at in one go: bounds the memory
# Multipliers of the limits in the lower bound of a branch; any set of values >= 0 is valid.
MULTIPLIERS = (0.0, 0.5, 1.0, 2.0)


class CliqueGraph:
    """K-partite graph; vertices of a part are neighbours in number.

    Attributes:
        part: (V,) part of each vertex, ascending.
        first: (E,) smaller vertex of each edge; edges are sorted by (first, second).
        second: (E,) larger vertex, of another part.
        weight: (E,) cost of putting both into one cluster.
        negative: (V, K) least weight, at most 0, between a vertex and each part.
        potential: (V,) its sum, the most that all other vertices can take off.
    """

    def __init__(self, part: Ints, first: Ints, second: Ints, weight: Floats) -> None:
        """Sort the edges and find the negative weights."""
        order = np.lexsort((second, first))
        self.part = part
        self.first, self.second, self.weight = first[order], second[order], weight[order]
        self._keys = self.first * len(part) + self.second
        self.negative = np.zeros((len(part), int(part.max(initial=-1)) + 1))
        np.minimum.at(self.negative, (self.first, part[self.second]), self.weight)
        np.minimum.at(self.negative, (self.second, part[self.first]), self.weight)
        self.potential: Floats = self.negative.sum(1)

    @property
    def num_vertices(self) -> int:
        """V."""
        return len(self.part)

    def find(self, first: Ints, second: Ints) -> tuple[Bools, Floats]:
        """Say which pairs (smaller vertex first) are edges, and their weights."""
        keys = first * self.num_vertices + second
        position = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found = self._keys[position] == keys
        return found, self.weight[position[found]]

    def subgraph(self, vertices: Ints) -> CliqueGraph:
        """Keep some vertices (ascending), renumbered."""
        number = np.full(self.num_vertices, -1)
        number[vertices] = np.arange(len(vertices))
        keep = (number[self.first] >= 0) & (number[self.second] >= 0)
        first, second = number[self.first[keep]], number[self.second[keep]]
        parts = np.unique(self.part[vertices], return_inverse=True)[1]
        return CliqueGraph(parts, first, second, self.weight[keep])


@dataclass(frozen=True)
class _Block:
    """Prefix cliques of s vertices and the rows that extend them by a later vertex.

    Rows are sorted by prefix, then by vertex; a row's vertex is joined to the whole prefix.
    """

    prefix: Ints  # (P, s)
    slack: Floats  # (P, s) weight that each vertex of the prefix may still take
    cost: Floats  # (P,) reduced cost of the prefix
    owner: Ints  # (n,) prefix of the row
    vertex: Ints  # (n,)
    links: Floats  # (n, s) weights between the row's vertex and the prefix

    def keep(self, rows: Bools) -> _Block:
        if rows.all():
            return self
        chosen = (self.owner[rows], self.vertex[rows], self.links[rows])
        return _Block(self.prefix, self.slack, self.cost, *chosen)


@dataclass
class FoundCliques:
    """What a search found: cliques by size, and what it proved."""

    cliques: list[Ints] = field(default_factory=list)  # each (m, s)
    costs: list[Floats] = field(default_factory=list)  # each (m,), reduced
    floor: Floats = field(default_factory=lambda: np.zeros(0))  # (V,), see `CliqueSearch`
    complete: bool = True
    work: int = 0

    @property
    def size(self) -> int:
        """Number of cliques."""
        return sum(len(cliques) for cliques in self.cliques)


class CliqueSearch:
    """Enumerate the cliques with reduced cost below a threshold, level by level.

    The reduced cost of S is ``penalty + w(S) - price(S)``. ``floor[v]`` ends as a lower bound of it
    (at most 0) over all cliques with first vertex v that respect the limits; it is exact unless
    the search was cut.
    """

    def __init__(
        self,
        graph: CliqueGraph,
        penalty: float,
        price: Floats,
        limit: Floats,
        threshold: float,
        max_columns: float = np.inf,
        max_work: float = np.inf,
        width: int | None = None,
    ) -> None:
        """Set up a search.

        Args:
            graph: the graph.
            penalty: price of a cluster.
            price: (V,) subtracted for each vertex of a clique.
            limit: (V,) largest weight between a vertex and the rest of its clique.
            threshold: reduced costs from here on are not wanted.
            max_columns: stop after this many cliques.
            max_work: stop after looking at this many pairs of rows; the least promising branches
                are cut first.
            width: extend only this many of the best rows of a prefix (heuristic).
        """
        self.graph, self.penalty, self.price = graph, penalty, price
        self.limit, self.threshold = limit + LOAD_TOLERANCE, threshold
        self.max_columns, self.max_work, self.width = max_columns, max_work, width
        self.found = FoundCliques(floor=np.zeros(graph.num_vertices))

    def run(self) -> FoundCliques:
        """Search all cliques of two or more vertices."""
        graph = self.graph
        vertices = np.arange(graph.num_vertices)[:, None]
        start = (vertices, self.limit[:, None], self.penalty - self.price)
        self._visit(_Block(*start, graph.first, graph.second, graph.weight[:, None]))
        return self.found

    def _visit(self, block: _Block) -> None:
        block, potential = self._prune(block)
        if not len(block.vertex):
            return
        link = block.links.sum(1)
        cost = block.cost[block.owner] + link - self.price[block.vertex]
        slack = block.slack[block.owner] - block.links

        wanted = (cost < self.threshold) & (link <= self.limit[block.vertex])
        wanted &= (slack >= 0).all(1)
        if wanted.any():
            cliques = np.column_stack((block.prefix[block.owner[wanted]], block.vertex[wanted]))
            self.found.cliques.append(cliques)
            self.found.costs.append(cost[wanted])
            np.minimum.at(self.found.floor, cliques[:, 0], cost[wanted])

        floor, begin, end = self._floors(block, link, potential, slack.sum(1), cost)
        pairs = np.where(floor < self.threshold, end - begin, 0)
        pairs = self._cut(block, pairs, floor, cost)
        self.found.work += int(pairs.sum())
        rows = np.flatnonzero(pairs)
        for some in _chunks(rows, pairs[rows]):
            prefixes = (
                np.column_stack((block.prefix[block.owner[some]], block.vertex[some])),
                np.column_stack((slack[some], self.limit[block.vertex[some]] - link[some])),
                cost[some],
            )
            self._join(block, prefixes, begin[some], pairs[some])

    def _prune(self, block: _Block) -> tuple[_Block, Floats]:
        """Drop rows that no clique within the limits can contain.

        Also returns (n,) the most that vertices of parts outside of the prefix can take off.
        """
        graph = self.graph
        room = self.limit[block.vertex] - block.links.sum(1)
        block = block.keep(room >= graph.potential[block.vertex])
        potential = graph.potential[block.vertex]
        for column in range(block.prefix.shape[1]):
            parts = graph.part[block.prefix[:, column]]
            potential -= graph.negative[block.vertex, parts[block.owner]]
        keep = block.links.sum(1) + potential <= self.limit[block.vertex]
        slack, links = block.slack, block.links
        if graph.potential.any() and len(block.vertex):
            # What the other rows of the same prefix can still take off each prefix vertex.
            starts, segment = _runs(block.owner, graph.part[block.vertex])
            best = np.minimum(np.minimum.reduceat(block.links, starts, axis=0), 0)
            slack = slack.copy()
            np.subtract.at(slack, block.owner[starts], best)
            links = links - best[segment]
        keep &= (links <= slack[block.owner]).all(1)
        return block.keep(keep), potential[keep]

    def _floors(
        self, block: _Block, link: Floats, potential: Floats, slack: Floats, cost: Floats
    ) -> tuple[Floats, Ints, Ints]:
        """Bound the reduced cost of everything that a row can grow into.

        A vertex b adds at least ``link_b + potential_b / 2 - price_b`` (a negative weight between
        two added vertices counts half for each), every part adds at most one vertex, and the links
        of all added vertices together fit into the slack of the prefix; a multiplier m >= 0 adds
        ``m * (links - slack) <= 0``.

        Returns:
            (n,) floors, and (n,) begin and (n,) end of the later rows of the same prefix that lie
            in another part.
        """
        n = len(link)
        starts, segment = _runs(block.owner, self.graph.part[block.vertex])
        bounds = np.append(starts, n)
        owner_starts, group = _runs(block.owner[starts])
        last = np.append(owner_starts[1:], len(starts))[group]  # segment after the owner's last
        added = link + potential / 2 - self.price[block.vertex]
        floor = np.full(n, -np.inf)
        for multiplier in MULTIPLIERS:
            best = np.minimum(np.minimum.reduceat(added + multiplier * link, starts), 0)
            sums = np.concatenate(([0.0], np.cumsum(best)))
            later = sums[last] - sums[np.arange(1, len(starts) + 1)]
            np.maximum(floor, later[segment] - multiplier * slack, out=floor)
        floor += cost + potential / 2
        return floor, bounds[segment + 1], bounds[last[segment]]

    def _cut(self, block: _Block, pairs: Ints, floor: Floats, cost: Floats) -> Ints:
        """Set the pairs of rows to 0 that the width, the work or the columns do not allow."""
        if self.width is not None:
            order = np.lexsort((cost, block.owner))
            starts, group = _runs(block.owner)
            rank = np.empty(len(cost), dtype=np.int64)
            rank[order] = np.arange(len(cost)) - starts[group]
            self.found.complete &= not pairs[rank >= self.width].any()
            pairs = np.where(rank < self.width, pairs, 0)
        if self.found.size > self.max_columns:
            allowed = 0.0
        else:
            allowed = self.max_work - self.found.work
        if pairs.sum() > allowed:
            order = np.argsort(floor, kind="stable")
            dropped = order[np.cumsum(pairs[order]) > allowed]
            dropped = dropped[pairs[dropped] > 0]
            first = block.prefix[block.owner[dropped], 0]
            np.minimum.at(self.found.floor, first, floor[dropped])
            pairs[dropped] = 0
            self.found.complete = False
        return pairs

    def _join(
        self, block: _Block, prefixes: tuple[Ints, Floats, Floats], begin: Ints, pairs: Ints
    ) -> None:
        """Join rows of one prefix: (prefix, a) and (prefix, b) give (prefix, a, b).

        The new prefixes (prefix, a) come with their slack and cost; ``begin`` and ``pairs`` say
        which rows hold the candidates b of each.
        """
        left = np.repeat(np.arange(len(begin)), pairs)
        right = np.arange(len(left)) + np.repeat(begin - (np.cumsum(pairs) - pairs), pairs)
        joined, weight = self.graph.find(prefixes[0][left, -1], block.vertex[right])
        left, right = left[joined], right[joined]
        if len(left):
            links = np.column_stack((block.links[right], weight))
            self._visit(_Block(*prefixes, left, block.vertex[right], links))


def _runs(*keys: Ints) -> tuple[Ints, Ints]:
    """Return where runs of equal keys start, and the run of each entry."""
    change = np.ones(len(keys[0]), dtype=bool)
    change[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(change), np.cumsum(change) - 1


def _chunks(rows: Ints, pairs: Ints) -> list[Ints]:
    total = np.cumsum(pairs)
    if not len(rows):
        return []
    edges = np.arange(CHUNK, total[-1], CHUNK)
    return [part for part in np.split(rows, np.searchsorted(total, edges)) if len(part)]
