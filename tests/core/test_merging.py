"""Node selection against all columns, by hand, and by its constraints."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csc_matrix

from unilabel.core import clique_partition
from unilabel.core.errors import UniLabelError
from unilabel.core.merging import NodeSelection, cross_score, select_nodes

SMALL_TASK = (2, 5, 3, 2, 2, 11, 10)  # 35 labels, 85,500 possible merges


def offsets_of(sizes: tuple[int, ...]) -> list[int]:
    return [0, *itertools.accumulate(sizes)]


def random_score(sizes: tuple[int, ...], seed: int, noise: float = 0.15) -> np.ndarray:
    """Cross scores of labels that share concepts; some heads beat the label's own one."""
    rng = np.random.default_rng(seed)
    num_labels = sum(sizes)
    concept = np.concatenate([rng.permutation(max(sizes) + 3)[:size] for size in sizes])
    own = rng.uniform(0.2, 0.95, num_labels)
    same = concept[:, None] == concept
    seen = own[:, None] * np.clip(1 - np.abs(rng.normal(0, noise, same.shape)), 0, 1)
    confused = rng.beta(0.3, 2.0, same.shape)
    score = np.where(same, seen, confused)
    np.fill_diagonal(score, own)
    return score


def pair_costs(score: np.ndarray) -> np.ndarray:
    loss = np.diag(score)[:, None] - score
    return loss + loss.T


def best_objective(
    score: np.ndarray, sizes: tuple[int, ...], penalty: float, tau: float | None
) -> float:
    """Eq. (10) by an integer program over all merges of labels of different datasets."""
    num_labels = len(score)
    own = np.diag(score)
    cost = np.zeros((num_labels + 1, num_labels + 1))  # the last label stands for "none"
    cost[:-1, :-1] = pair_costs(score)
    good = np.ones(cost.shape, dtype=bool)
    if tau is not None:
        close = score > np.maximum(own - tau, 0)[:, None]
        good[:-1, :-1] = close & close.T
    choices = [[*range(a, b), num_labels] for a, b in itertools.pairwise(offsets_of(sizes))]
    merges = np.stack([axis.ravel() for axis in np.meshgrid(*choices, indexing="ij")], axis=1)
    pairs = list(itertools.combinations(range(len(sizes)), 2))
    inside = sum(cost[merges[:, i], merges[:, j]] for i, j in pairs)
    allowed = np.all([good[merges[:, i], merges[:, j]] for i, j in pairs], axis=0)
    size = (merges < num_labels).sum(1)
    value = inside - penalty * (size - 1)
    # A merge that is dearer than its labels alone is never chosen, whatever the rest is.
    useful = (size > 1) & allowed & (value < 0)
    if not useful.any():
        return penalty * num_labels
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
    assert result.status == 0
    return float(result.fun) + penalty * num_labels


def check_partition(selection: NodeSelection, score: np.ndarray, sizes: tuple[int, ...]) -> None:
    assert selection.matrix.dtype == bool
    assert selection.matrix.shape == (len(selection.clusters), len(score))
    assert (selection.matrix.sum(0) == 1).all()
    for start, end in itertools.pairwise(offsets_of(sizes)):
        assert (selection.matrix[:, start:end].sum(1) <= 1).all()
    rows = [tuple(np.flatnonzero(row)) for row in selection.matrix]
    assert rows == selection.clusters == sorted(selection.clusters)


def value_of(selection: NodeSelection, score: np.ndarray, penalty: float) -> float:
    cost = pair_costs(score)
    inside = sum(cost[np.ix_(c, c)].sum() / 2 for c in selection.clusters)
    return float(inside + penalty * len(selection.clusters))


def test_curb_and_barrier_by_hand() -> None:
    # 0 = IDD curb (kerb stones and barriers); 1 = Mapillary curb, 2 = Mapillary barrier.
    # w(0,1) = (.80-.60) + (.70-.65) = .25 and w(0,2) = (.80-.30) + (.60-.55) = .55.
    # Merging 0 and 1 costs .25 + 2 * .5 = 1.25, 0 and 2 1.55, nothing 1.5. One cluster of all three
    # is not allowed: node selection cannot say that IDD's curb is wider, the mapping has to.
    score = np.array([[0.80, 0.60, 0.30], [0.65, 0.70, 0.10], [0.55, 0.05, 0.60]])
    selection = select_nodes(score, [0, 1, 3], node_penalty=0.5, tau=None)
    assert selection.clusters == [(0, 1), (2,)]
    assert selection.matrix.tolist() == [[True, True, False], [False, False, True]]
    assert selection.objective == pytest.approx(1.25)
    assert selection.gap == 0.0


@pytest.mark.parametrize(
    ("seed", "penalty", "tau", "noise"),
    [(0, 0.5, 0.4, 0.15), (1, 0.5, None, 0.15), (2, 1.0, 0.4, 0.4), (3, 0.25, None, 0.3)],
)
def test_35_labels_equal_the_program_over_all_columns(
    seed: int, penalty: float, tau: float | None, noise: float
) -> None:
    score = random_score(SMALL_TASK, seed, noise)
    selection = select_nodes(score, offsets_of(SMALL_TASK), penalty, tau)
    check_partition(selection, score, SMALL_TASK)
    assert selection.gap == 0.0
    assert selection.objective == pytest.approx(value_of(selection, score, penalty))
    assert selection.objective == pytest.approx(best_objective(score, SMALL_TASK, penalty, tau))


@pytest.mark.parametrize("seed", range(12))
def test_column_generation_equals_all_columns(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (6, 7, 5, 6)
    score = random_score(sizes, seed, noise=0.1 + 0.05 * seed)
    # Scores above the own one give negative costs, which the bounds of the search must survive.
    score = score + (np.random.default_rng(seed).random(score.shape) < 0.05) * 0.5
    penalty = (0.0, 0.3, 0.7)[seed % 3]
    tau = (None, 0.4)[seed % 2]
    monkeypatch.setattr(clique_partition, "DIRECT_COLUMNS", 0)
    selection = select_nodes(score, offsets_of(sizes), penalty, tau)
    check_partition(selection, score, sizes)
    assert selection.gap == 0.0
    assert selection.objective == pytest.approx(
        best_objective(score, sizes, penalty, tau), abs=1e-6
    )


def test_both_ways_agree_on_more_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (30, 40, 25, 35, 45)
    score = random_score(sizes, seed=5)
    direct = select_nodes(score, offsets_of(sizes), 0.4, 0.4)
    monkeypatch.setattr(clique_partition, "DIRECT_COLUMNS", 0)
    generated = select_nodes(score, offsets_of(sizes), 0.4, 0.4)
    assert direct.gap == generated.gap == 0.0
    assert generated.objective == pytest.approx(direct.objective)
    assert generated.num_columns < direct.num_columns


@pytest.mark.parametrize(("max_work", "max_columns"), [(0, 100_000), (3_000, 20), (10**6, 0)])
def test_small_budgets_cost_the_proof_and_not_the_partition(
    max_work: int, max_columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (9, 8, 7, 9)
    score = random_score(sizes, seed=3, noise=0.3)
    best = select_nodes(score, offsets_of(sizes), 0.6, None).objective
    monkeypatch.setattr(clique_partition, "DIRECT_COLUMNS", 0)
    monkeypatch.setattr(clique_partition, "DIRECT_WORK", 0)
    selection = select_nodes(
        score, offsets_of(sizes), 0.6, None, max_work=max_work, max_columns=max_columns
    )
    check_partition(selection, score, sizes)
    assert selection.objective == pytest.approx(value_of(selection, score, 0.6))
    assert selection.objective >= best - 1e-9
    assert selection.objective - selection.gap * abs(selection.objective) <= best + 1e-6


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 10_000),
    penalty=st.floats(0, 2),
    tau=st.one_of(st.none(), st.floats(0, 1)),
)
@settings(max_examples=60, deadline=None)
def test_every_selection_is_a_partition_no_worse_than_no_merge(
    sizes: list[int], seed: int, penalty: float, tau: float | None
) -> None:
    score = np.random.default_rng(seed).random((sum(sizes), sum(sizes)))
    selection = select_nodes(score, offsets_of(tuple(sizes)), penalty, tau)
    check_partition(selection, score, tuple(sizes))
    assert selection.objective == pytest.approx(value_of(selection, score, penalty), abs=1e-9)
    assert selection.objective <= penalty * len(score) + 1e-9
    assert selection.gap == 0.0


def test_the_same_scores_give_the_same_selection() -> None:
    score = random_score((12, 15, 9), seed=1)
    first, second = (select_nodes(score, [0, 12, 27, 36]) for _ in range(2))
    assert first.clusters == second.clusters
    assert first.objective == second.objective


def test_tau_and_pair_cost_and_mask_forbid_merges() -> None:
    # w = (.5 - .45) + (.6 - .15) = .5: the second head misses most of label 1.
    score = np.array([[0.5, 0.45], [0.15, 0.6]])
    merged = [(0, 1)]
    assert select_nodes(score, [0, 1, 2], 0.6, tau=None).clusters == merged
    assert select_nodes(score, [0, 1, 2], 0.6, tau=0.46).clusters == merged
    assert select_nodes(score, [0, 1, 2], 0.6, tau=0.44).clusters == [(0,), (1,)]
    assert select_nodes(score, [0, 1, 2], 0.6, None, max_pair_cost=0.26).clusters == merged
    assert select_nodes(score, [0, 1, 2], 0.6, None, max_pair_cost=0.24).clusters != merged
    mask = np.array([[1, 1], [0, 1]])  # has to hold both ways
    assert select_nodes(score, [0, 1, 2], 0.6, None, admissible=mask).clusters != merged
    assert select_nodes(score, [0, 1, 2], 0.4, tau=None).clusters == [(0,), (1,)]


def test_labels_without_pixels_are_not_merged() -> None:
    counts = np.array([[80, 20, 90, 10], [0, 0, 0, 0], [70, 30, 100, 0], [50, 50, 0, 100]])
    score = cross_score(counts, [0, 2, 4])
    assert select_nodes(score, [0, 2, 4]).clusters == [(0, 2), (1,), (3,)]


def test_cross_score_by_hand() -> None:
    # Dataset 0 has the classes 0, 1, dataset 1 the class 2.
    blocks = {
        (0, 0): np.array([[6, 2], [0, 4]]),
        (0, 1): np.array([[8], [4]]),
        (1, 0): np.array([[1, 3]]),
        (1, 1): np.array([[5]]),
    }
    recall = [[6 / 8, 2 / 8, 1.0], [0.0, 1.0, 1.0], [1 / 4, 3 / 4, 1.0]]
    # Union of true label a and answer b inside one block: row sum + column sum - hits.
    iou = [[6 / 8, 2 / 12, 8 / 12], [0 / 10, 4 / 6, 4 / 12], [1 / 4, 3 / 4, 1.0]]
    assert cross_score(blocks, [0, 2, 3]) == pytest.approx(np.array(recall))
    assert cross_score(blocks, [0, 2, 3], kind="iou") == pytest.approx(np.array(iou))
    matrix = np.array([[6, 2, 8], [0, 4, 4], [1, 3, 5]])
    assert cross_score(matrix, [0, 2, 3], "iou") == pytest.approx(np.array(iou))


def test_cross_score_of_absent_classes_is_zero() -> None:
    score = cross_score(np.zeros((3, 3)), [0, 1, 3], kind="iou")
    assert (score == 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cross_score(np.ones((2, 2)), [0, 1, 2], kind="f1"), "kind is 'f1'"),
        (lambda: cross_score(-np.ones((2, 2)), [0, 1, 2]), "negative or non-finite"),
        (lambda: cross_score({(0, 0): [[1]]}, [0, 1, 2]), r"no block \(0, 1\): head 1"),
        (lambda: cross_score({(0, 0): [[1, 2]]}, [0, 1]), r"shape \(1, 2\), expected \(1, 1\)"),
        (lambda: select_nodes(np.ones((3, 3)), [0, 1, 2]), r"shape \(3, 3\), expected \(2, 2\)"),
        (lambda: select_nodes(np.full((2, 2), np.nan), [0, 1, 2]), "NaN or infinity"),
        (lambda: select_nodes(np.ones((2, 2)), [0, 2, 2]), r"class_offsets is \[0, 2, 2\]"),
        (lambda: select_nodes(np.ones((2, 2)), [0, 1, 2], -1.0), "node_penalty is -1.0"),
    ],
)
def test_wrong_input_is_named(call, message: str) -> None:
    with pytest.raises(UniLabelError, match=message):
        call()
