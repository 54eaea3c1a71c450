"""The exact assignment against enumeration and an integer program."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from unilabel.core.assignment import solve_exact
from unilabel.core.errors import UniLabelError


def _best_by_enumeration(weights: np.ndarray, allow_unlinked: bool, threshold: float) -> float:
    unified, classes = weights.shape
    price = threshold if allow_unlinked else 0.0
    best = -np.inf
    for choice in itertools.product(range(-1 if allow_unlinked else 0, classes), repeat=unified):
        if set(range(classes)) <= set(choice):
            value = sum(weights[n, c] - price for n, c in enumerate(choice) if c >= 0)
            best = max(best, value)
    return best


@pytest.mark.parametrize("allow_unlinked", [True, False])
@pytest.mark.parametrize("seed", range(15))
def test_equals_enumeration(seed: int, allow_unlinked: bool) -> None:
    rng = np.random.default_rng(seed)
    weights, threshold = rng.random((5, 3)), rng.random()
    links = solve_exact(weights, allow_unlinked, threshold)
    price = threshold if allow_unlinked else 0.0
    assert (weights[links] - price).sum() == pytest.approx(
        _best_by_enumeration(weights, allow_unlinked, threshold)
    )
    assert (links.sum(1) <= 1).all()
    assert (links.sum(0) >= 1).all()


def test_curb_of_two_unified_labels() -> None:
    # IDD: curb holds Mapillary's curb and barrier; the third unified label is the road.
    weights = np.array([[0.9, 0.1], [0.7, 0.3], [0.05, 0.95]])
    links = solve_exact(weights, True, 0.3)
    assert links.tolist() == [[True, False], [True, False], [False, True]]


def test_weak_unified_label_stays_unlinked_unless_needed() -> None:
    weights = np.array([[0.9, 0.0], [0.2, 0.1], [0.1, 0.25]])
    links = solve_exact(weights, True, 0.3)
    # The second class needs one: the third unified label is best at it; the second stays free.
    assert links.tolist() == [[True, False], [False, False], [False, True]]


def test_too_few_unified_labels_is_refused() -> None:
    with pytest.raises(UniLabelError, match="'small' has 3 classes, but there are only 2"):
        solve_exact(np.ones((2, 3)), True, 0.3, dataset="small")


def test_infinite_weight_is_refused() -> None:
    with pytest.raises(UniLabelError, match="not all finite"):
        solve_exact(np.array([[np.nan, 1.0], [0.0, 1.0]]), True, 0.3)


@pytest.mark.parametrize("allow_unlinked", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_integer_program_on_more_labels(seed: int, allow_unlinked: bool) -> None:
    rng = np.random.default_rng(seed)
    weights, threshold = rng.random((24, 9)) ** 3, 0.4
    price = threshold if allow_unlinked else 0.0
    rows = np.kron(np.eye(24), np.ones(9))  # links of each unified label
    columns = np.kron(np.ones(24), np.eye(9))  # links of each class
    result = milp(
        (price - weights).ravel(),
        constraints=[
            LinearConstraint(rows, 0 if allow_unlinked else 1, 1),
            LinearConstraint(columns, 1, np.inf),
        ],
        bounds=Bounds(0, 1),
        integrality=np.ones(weights.size),
        options={"mip_rel_gap": 0},
    )
    links = solve_exact(weights, allow_unlinked, threshold)
    assert (weights[links] - price).sum() == pytest.approx(-result.fun)


def test_as_many_classes_as_unified_labels_is_a_permutation() -> None:
    # The first column wants every unified label; each other class still gets its best one left.
    weights = np.array([[9.0, 0.0, 1.0], [9.0, 2.0, 0.0], [9.0, 1.0, 1.5]])
    assert solve_exact(weights, False, 0.0).argmax(1).tolist() == [0, 1, 2]
