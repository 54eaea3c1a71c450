"""Transport against a log-domain iteration and POT; repair and mapping by hand and in general."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from unilabel.core.errors import UniLabelError
from unilabel.core.transport import repair_mapping, solve_mapping, transport_plan


def soft_mapping(unified: int, classes: int, seed: int, temperature: float = 0.07) -> np.ndarray:
    """Softmax over the classes, most rows with a clear favourite."""
    rng = np.random.default_rng(seed)
    logits = rng.random((unified, classes)) * 0.5
    logits[np.arange(unified), rng.integers(0, classes, unified)] += 0.6 * rng.random(unified)
    logits = np.exp((logits - logits.max()) / temperature)
    return logits / logits.sum(1, keepdims=True)


def random_problem(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    unified, classes = int(rng.integers(3, 12)), int(rng.integers(2, 8))
    return {
        "cost": rng.random((unified, classes)) / 2,
        "unified_marginal": rng.dirichlet(np.full(unified, 5.0)),
        "class_marginal": rng.dirichlet(np.full(classes, 5.0)),
    }


def log_domain_plan(
    cost: np.ndarray,
    unified_marginal: np.ndarray,
    class_marginal: np.ndarray,
    reg: float,
    reg_m: float,
    reg_type: str,
) -> np.ndarray:
    """Plain Sinkhorn iteration on the logarithms (Chizat et al.), until nothing moves."""
    a, b = np.log(unified_marginal), np.log(class_marginal)
    kernel = -cost / reg + (a[:, None] + b if reg_type == "kl" else 0.0)
    f, g = np.zeros(len(a)), np.zeros(len(b))
    power = reg_m / (reg_m + reg)
    for _ in range(20_000):
        new_f = power * (a - logsumexp(kernel + g, axis=1))
        new_g = power * (b - logsumexp(kernel + new_f[:, None], axis=0))
        moved = max(np.abs(new_f - f).max(), np.abs(new_g - g).max())
        f, g = new_f, new_g
        if moved < 1e-12:
            break
    return np.exp(f[:, None] + kernel + g)


@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
@pytest.mark.parametrize(("reg", "reg_m"), [(0.05, 0.5), (0.01, 0.05), (0.3, 0.02)])
@pytest.mark.parametrize("seed", range(3))
def test_plan_equals_the_log_domain_iteration(
    seed: int, reg: float, reg_m: float, reg_type: str
) -> None:
    problem = random_problem(seed)
    expected = log_domain_plan(**problem, reg=reg, reg_m=reg_m, reg_type=reg_type)
    found = transport_plan(**problem, reg=reg, reg_m=reg_m, tol=1e-10, reg_type=reg_type)
    assert found.error <= 1e-10
    assert found.plan == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert np.exp(found.log_plan) == pytest.approx(found.plan)


@pytest.mark.filterwarnings("ignore:If reg_type = entropy")
@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
@pytest.mark.parametrize("seed", range(3))
def test_plan_equals_pot_where_pot_converges(seed: int, reg_type: str) -> None:
    problem = random_problem(10 + seed)
    expected = ot.unbalanced.sinkhorn_knopp_unbalanced(
        problem["unified_marginal"],
        problem["class_marginal"],
        problem["cost"],
        reg=0.05,
        reg_m=0.3,
        reg_type=reg_type,
        numItermax=50_000,
        stopThr=1e-12,
    )
    found = transport_plan(**problem, reg=0.05, reg_m=0.3, tol=1e-10, reg_type=reg_type)
    assert found.plan == pytest.approx(expected, rel=1e-6)
    by_pot = transport_plan(**problem, reg=0.05, reg_m=0.3, reg_type=reg_type, method="pot")
    assert by_pot.plan == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("reg", [0.01, 5e-4, 1e-5])
@pytest.mark.parametrize("reg_m", [5.0, 0.05])
def test_plan_fulfils_the_fixed_point_equations(reg: float, reg_m: float) -> None:
    cost = (1 - soft_mapping(40, 12, seed=2)) / 2
    a, b = np.full(40, 1 / 40), np.full(12, 1 / 12)
    found = transport_plan(cost, a, b, reg, reg_m, tol=1e-8)
    assert found.error <= 1e-8
    # f and g follow from the marginals; together they have to give the plan back.
    f = -reg_m * np.log(found.plan.sum(1) / a)
    g = -reg_m * np.log(found.plan.sum(0) / b)
    logs = (f[:, None] + g - cost) / reg + np.log(a)[:, None] + np.log(b)
    seen = found.plan > 1e-12
    assert found.log_plan[seen] == pytest.approx(logs[seen], abs=1e-5 * reg_m / reg)


@pytest.mark.parametrize(("unified", "classes"), [(217, 150), (217, 19), (448, 133)])
@pytest.mark.parametrize("reg_m", [5.0, 0.05])
def test_small_regularisation_converges(unified: int, classes: int, reg_m: float) -> None:
    soft = soft_mapping(unified, classes, seed=7)
    solution = solve_mapping(soft, reg=5e-4, reg_m=reg_m)
    assert solution.error <= 1e-4
    assert np.isfinite(solution.plan).all()
    assert solution.plan.sum() == pytest.approx(1)
    assert (solution.matrix.sum(1) <= 1).all()
    assert (solution.matrix.sum(0) >= 1).all()


def test_pot_says_that_it_failed_at_small_regularisation(caplog: pytest.LogCaptureFixture) -> None:
    soft = soft_mapping(60, 30, seed=7)
    with caplog.at_level(logging.WARNING):
        solution = solve_mapping(soft, reg=5e-4, reg_m=5.0, method="pot", dataset="rooms")
    assert solution.error > 1e-4
    assert "transport of dataset 'rooms' stopped at the fixed-point error" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert solve_mapping(soft, reg=5e-4, reg_m=5.0, dataset="rooms").error <= 1e-4
    assert caplog.text == ""


@pytest.mark.parametrize("seed", range(4))
def test_mapping_equals_the_one_by_pot(seed: int) -> None:
    soft = soft_mapping(60, 19, seed)
    ours, pot = (
        solve_mapping(soft, reg=0.01, reg_m=5.0, descending=False, method=method)
        for method in ("sinkhorn", "pot")
    )
    assert (ours.matrix == pot.matrix).all()


def test_curb_takes_curb_and_barrier() -> None:
    # Unified labels curb, barrier, road; the classes of IDD are curb (with barriers) and road.
    # Every unified label prefers its own class, no class is empty, so nothing is repaired. With
    # strict marginals (reg_m far above the costs) every row of the plan has about the mass 1/3.
    soft = np.array([[0.9, 0.1], [0.7, 0.3], [0.05, 0.95]])
    solution = solve_mapping(soft, reg_m=5.0)
    assert solution.matrix.tolist() == [[True, False], [True, False], [False, True]]
    assert solution.plan.sum(1) == pytest.approx(np.full(3, 1 / 3), abs=0.02)


def test_update_of_the_class_marginal_by_hand() -> None:
    # At a large reg and reg_m the plan is the product of its marginals, whatever the cost is.
    soft = np.array([[0.9, 0.1], [0.7, 0.3], [0.05, 0.95]])
    solution = solve_mapping(soft, [0.2, 0.8], reg=1e3, reg_m=1e6, marginal_momentum=0.5)
    assert solution.plan == pytest.approx(np.tile([0.2 / 3, 0.8 / 3], (3, 1)), abs=1e-4)
    assert solution.class_marginal == pytest.approx([0.2, 0.8], abs=1e-4)
    kept = solve_mapping(soft, [0.2, 0.8], marginal_momentum=1.0)
    assert kept.class_marginal == pytest.approx([0.2, 0.8])
    moved = solve_mapping(soft, [0.2, 0.8], marginal_momentum=0.0)
    assert moved.class_marginal == pytest.approx(moved.plan.sum(0))


def test_repair_steals_by_preference() -> None:
    # All four unified labels went to class 0. Class 1 takes the one that likes it best, number 2;
    # then class 2 takes the best of the rest, number 0. In ascending order, as in the authors'
    # code, class 1 takes number 3 and class 2 number 1.
    matrix = np.array([[1, 0, 0]] * 4, dtype=bool)
    preference = np.array([[0.5, 0.2, 0.3], [0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.7, 0.1, 0.2]])
    assert repair_mapping(matrix, preference).argmax(1).tolist() == [2, 0, 1, 0]
    assert repair_mapping(matrix, preference, descending=False).argmax(1).tolist() == [0, 2, 0, 1]
    assert matrix.argmax(1).tolist() == [0, 0, 0, 0]


def test_repair_leaves_the_last_unified_label_and_takes_free_ones() -> None:
    # Class 0 has only number 0, which class 2 likes best; number 2 is free.
    matrix = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    preference = np.array([[0.1, 0.0, 0.9], [0.1, 0.8, 0.1], [0.4, 0.3, 0.2]])
    assert repair_mapping(matrix, preference).tolist() == np.eye(3, dtype=bool).tolist()


def test_weak_links_are_dropped_but_not_the_last_one_of_a_class() -> None:
    # Unified label 2 knows neither class; with cheap marginals it gets almost no mass.
    soft = np.array([[0.98, 0.01], [0.02, 0.97], [0.1, 0.0]])
    assert solve_mapping(soft, reg_m=0.01).matrix.tolist() == [
        [True, False],
        [False, True],
        [False, False],
    ]
    assert solve_mapping(soft, reg_m=0.01, prune_ratio=0.0).matrix.sum() == 3
    everything = solve_mapping(soft, reg_m=0.01, prune_ratio=1e9)
    assert everything.matrix.sum(0).tolist() == [1, 1]


@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 6),
    spare=st.integers(0, 6),
    reg=st.sampled_from([0.1, 0.01, 5e-4]),
    reg_m=st.sampled_from([5.0, 0.05]),
    descending=st.booleans(),
)
def test_every_mapping_keeps_the_constraints(
    seed: int, classes: int, spare: int, reg: float, reg_m: float, descending: bool
) -> None:
    soft = soft_mapping(classes + spare, classes, seed)
    solution = solve_mapping(soft, reg=reg, reg_m=reg_m, descending=descending)
    assert (solution.matrix.sum(1) <= 1).all()
    assert (solution.matrix.sum(0) >= 1).all()
    assert (solution.plan >= 0).all()
    assert solution.error <= 1e-4
    again = solve_mapping(torch.from_numpy(soft), reg=reg, reg_m=reg_m, descending=descending)
    assert (again.matrix == solution.matrix).all()
    assert (again.plan == solution.plan).all()


@given(seed=st.integers(0, 10_000), classes=st.integers(1, 6), spare=st.integers(0, 5))
def test_every_repair_changes_only_what_it_must(seed: int, classes: int, spare: int) -> None:
    rng = np.random.default_rng(seed)
    unified = classes + spare
    choice = rng.integers(-1, classes, unified)
    matrix = choice[:, None] == np.arange(classes)
    repaired = repair_mapping(matrix, rng.random(matrix.shape))
    assert (repaired.sum(1) <= 1).all()
    assert (repaired.sum(0) >= 1).all()
    assert (repaired != matrix).any(1).sum() == (matrix.sum(0) == 0).sum()


def test_ties_and_a_single_class_are_fine() -> None:
    assert solve_mapping(np.full((5, 5), 0.2)).matrix.sum(0).min() == 1
    assert solve_mapping(np.ones((3, 1)), prune_ratio=0.0).matrix.all()


def test_very_unequal_marginals_converge() -> None:
    marginal = np.array([1e-150, 1e-30, 0.4, 0.6])
    solution = solve_mapping(soft_mapping(9, 4, seed=0), marginal, reg_m=5.0)
    assert solution.error <= 1e-4
    assert (solution.matrix.sum(0) >= 1).all()
    assert (solution.class_marginal > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solve_mapping(np.ones((2, 3)), dataset="rooms"), "'rooms' has 3 classes, but"),
        (lambda: repair_mapping(np.ones((1, 2)), np.ones((1, 2)), dataset="x"), "only 1 unified"),
        (lambda: repair_mapping(np.ones((2, 2)), np.ones((2, 2))), "at most one class"),
        (lambda: solve_mapping(np.full((3, 2), np.nan), dataset="x"), "'x': the soft mapping"),
        (lambda: solve_mapping(np.ones((3, 2)), [0.5, 0.5, 0.5]), r"expected \(N, C\)"),
        (lambda: solve_mapping(np.ones((3, 2)), [1.0, 0.0]), "class marginal must be positive"),
        (lambda: solve_mapping(np.ones((3, 2)), reg=0.0), "reg must be positive"),
        (lambda: solve_mapping(np.ones((3, 2)), reg_m=-1.0), "reg_m must be positive"),
        (lambda: solve_mapping(np.ones((3, 2)), method="emd"), "method is 'emd'"),
        (lambda: solve_mapping(np.ones((3, 2)), reg_type="l2"), "reg_type is 'l2'"),
        (lambda: solve_mapping(np.ones(3)), r"shape \(3,\), expected"),
    ],
)
def test_wrong_input_is_named(call, message: str) -> None:
    with pytest.raises(UniLabelError, match=message):
        call()
