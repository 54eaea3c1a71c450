"""Solving the label mapping of a dataset by unbalanced optimal transport (Algorithm 2).

Letters: N unified labels, C_i classes of one dataset. Matrices are (N, C_i).
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unilabel.core.errors import UniLabelError
from unilabel.core.sinkhorn import Floats, TransportProblem, solve_transport

logger = logging.getLogger(__name__)

Bools = NDArray[np.bool_]
RegType = Literal["kl", "entropy"]
Method = Literal["sinkhorn", "pot"]


@dataclass(frozen=True)
class TransportPlan:
    """Result of `transport_plan`.

    Attributes:
        plan: (N, C_i) plan, not normalised: its mass is part of the problem.
        log_plan: (N, C_i) its logarithm, exact where the plan underflows.
        iterations: Sinkhorn updates and Newton steps.
        error: fixed-point error (see `sinkhorn`), relative to the mass.
    """

    plan: Floats
    log_plan: Floats
    iterations: int
    error: float


@dataclass(frozen=True)
class MappingSolution:
    """Result of `solve_mapping`.

    Attributes:
        matrix: (N, C_i) bool; every row sum is at most 1, every column sum at least 1.
        plan: (N, C_i) transport plan, normalised to mass 1.
        class_marginal: (C_i,) marginal for the next solve.
        iterations: of the transport.
        error: fixed-point error of the transport.
    """

    matrix: Bools
    plan: Floats
    class_marginal: Floats
    iterations: int
    error: float


def solve_mapping(
    soft: ArrayLike,
    class_marginal: ArrayLike | None = None,
    reg: float = 0.01,
    reg_m: float = 0.05,
    prune_ratio: float = 1.0,
    marginal_momentum: float = 0.7,
    *,
    descending: bool = True,
    tol: float = 1e-6,
    reg_type: RegType = "kl",
    method: Method = "sinkhorn",
    dataset: str = "",
) -> MappingSolution:
    """Turn the soft mapping of one dataset into a valid boolean one, Algorithm 2.

    Every unified label takes its best class of the transport plan, classes without unified label
    steal one (`repair_mapping`), and links of little mass are dropped, except the best one of a
    class.

    Args:
        soft: (N, C_i) soft mapping; the transport cost is ``(1 - soft) / 2``.
        class_marginal: (C_i,) marginal beta, sum 1; None: uniform. That of the unified labels is
            uniform.
        reg: entropic regularisation, in units of the cost.
        reg_m: weight of the marginals; small values let unified labels and classes go without mass.
        prune_ratio: links with less than this times the mean mass ``1 / (N * C_i)`` are dropped;
            0 keeps all. Not in the paper, but in the authors' code.
        marginal_momentum: mu of Algorithm 2, share of the old class marginal in the new one.
        descending: steal the unified label of highest preference first, as the paper says; False:
            of the lowest, as the authors' code does.
        tol: fixed-point error of the transport. Newton steps make a small one cheap, while 1e-4
            lets a near tie between two classes fall to the wrong side now and then.
        reg_type: "kl" or "entropy", see `transport_plan`; POT changed its default from the second
            to the first in 0.9.5.
        method: "sinkhorn" or "pot", see `transport_plan`.
        dataset: name for messages.

    Raises:
        UniLabelError: N < C_i, or an input is not finite, negative or of the wrong shape.
    """
    weights = np.asarray(soft, dtype=np.float64)
    _check_size(weights, dataset)
    unified, classes = weights.shape
    if class_marginal is None:
        marginal = np.full(classes, 1 / classes)
    else:
        marginal = np.asarray(class_marginal, dtype=np.float64)
    transport = transport_plan(
        (1 - weights) / 2,
        np.full(unified, 1 / unified),
        marginal,
        reg,
        reg_m,
        tol,
        reg_type=reg_type,
        method=method,
        dataset=dataset,
    )
    share = np.exp(transport.log_plan - transport.log_plan.max())
    share /= share.sum()
    matrix = np.zeros(share.shape, dtype=bool)
    matrix[np.arange(unified), transport.log_plan.argmax(1)] = True
    matrix = repair_mapping(matrix, transport.log_plan, descending, dataset)
    weak = matrix & (share < prune_ratio / share.size)
    weak[np.where(matrix, transport.log_plan, -np.inf).argmax(0), np.arange(classes)] = False
    updated = marginal_momentum * marginal + (1 - marginal_momentum) * share.sum(0)
    updated = np.maximum(updated, np.finfo(np.float64).tiny)  # a class never dies out
    return MappingSolution(matrix & ~weak, share, updated, transport.iterations, transport.error)


def repair_mapping(
    matrix: ArrayLike, preference: ArrayLike, descending: bool = True, dataset: str = ""
) -> Bools:
    """Give every class a unified label, the greedy loop of Algorithm 2.

    Each class without one, in order, takes the unified label that prefers it most among those that
    are free or whose class keeps another one.

    Args:
        matrix: (N, C_i) bool, row sums at most 1.
        preference: (N, C_i), for example the transport plan or its logarithm.
        descending: highest preference first (the paper); False: lowest first (the authors' code).
        dataset: name for messages.

    Returns:
        (N, C_i) bool with row sums at most 1 and column sums at least 1.

    Raises:
        UniLabelError: N < C_i, the shapes differ, or a row sum is above 1.
    """
    links: Bools = np.asarray(matrix) != 0
    values = np.asarray(preference, dtype=np.float64)
    _check_size(links, dataset)
    if values.shape != links.shape or (links.sum(1) > 1).any():
        raise UniLabelError(
            f"dataset {dataset!r}: expected a mapping with at most one class per unified label and "
            f"preferences of the same shape; found {links.shape} with {links.sum(1).max()} classes "
            f"in a row, and {values.shape}."
        )
    links = links.copy()
    count = links.sum(0)
    choice = np.where(links.any(1), links.argmax(1), -1)
    for column in np.flatnonzero(count == 0):
        candidates = np.flatnonzero((choice < 0) | (count[choice] > 1))
        ranked = values[candidates, column]
        taken = candidates[ranked.argmax() if descending else ranked.argmin()]
        if choice[taken] >= 0:
            links[taken, choice[taken]] = False
            count[choice[taken]] -= 1
        links[taken, column] = True
        choice[taken], count[column] = column, 1
    return links


def transport_plan(
    cost: ArrayLike,
    unified_marginal: ArrayLike,
    class_marginal: ArrayLike,
    reg: float,
    reg_m: float,
    tol: float = 1e-6,
    *,
    reg_type: RegType = "kl",
    method: Method = "sinkhorn",
    dataset: str = "",
) -> TransportPlan:
    """Solve unbalanced optimal transport with Kullback-Leibler terms for the marginals.

    Minimises ``<P, cost> + reg * KL(P | r s^T) + reg_m * (KL(P 1 | a) + KL(P^T 1 | b))``, where
    (r, s) is (a, b) for the ``reg_type`` "kl" and ones for "entropy".

    Args:
        cost: (N, C_i) finite costs.
        unified_marginal: (N,) positive weights a.
        class_marginal: (C_i,) positive weights b.
        reg: entropic regularisation; any positive value, also where ``exp(-cost / reg)`` is 0.
        reg_m: weight of both marginals.
        tol: fixed-point error that is accepted.
        reg_type: "kl" or "entropy".
        method: "sinkhorn" (ours) or "pot", ``ot.unbalanced.sinkhorn_knopp_unbalanced`` with 1000
            iterations, which stops early for small ``reg / reg_m`` and underflows for small
            ``reg``.
        dataset: name for messages.

    Returns:
        The plan; when ``error`` is above ``tol`` a warning was logged.

    Raises:
        UniLabelError: an input is not finite, not positive or of the wrong shape, or ``reg_m`` is
            so small that the masses underflow.
    """
    problem = _checked_problem(
        cost, unified_marginal, class_marginal, reg, reg_m, reg_type, dataset
    )
    if method == "pot":
        f, g, iterations, error = _solve_by_pot(problem, reg_type)
    elif method == "sinkhorn":
        f, g, iterations, error = solve_transport(problem, tol)
    else:
        raise UniLabelError(f"method is {method!r}, expected 'sinkhorn' or 'pot'.")
    log_plan = problem.log_plan(f, g)
    if not np.isfinite(log_plan).all():
        raise UniLabelError(
            f"dataset {dataset!r}: the transport with reg {reg} and reg_m {reg_m} underflows; "
            "raise reg_m, or use the method 'sinkhorn' instead of 'pot'."
        )
    if not error <= tol:
        logger.warning(
            "transport of dataset %r stopped at the fixed-point error %.2g after %d iterations "
            "(wanted %.2g)", dataset, error, iterations, tol,
        )  # fmt: skip
    return TransportPlan(np.exp(log_plan), log_plan, iterations, error)


def _checked_problem(
    cost: ArrayLike,
    unified_marginal: ArrayLike,
    class_marginal: ArrayLike,
    reg: float,
    reg_m: float,
    reg_type: RegType,
    dataset: str,
) -> TransportProblem:
    values = np.asarray(cost, dtype=np.float64)
    a = np.asarray(unified_marginal, dtype=np.float64)
    b = np.asarray(class_marginal, dtype=np.float64)
    if values.ndim != 2 or values.shape != (*a.shape, *b.shape) or not values.size:
        raise UniLabelError(
            f"dataset {dataset!r}: the cost has shape {values.shape}, the marginals {a.shape} and "
            f"{b.shape}; expected (N, C), (N,) and (C,)."
        )
    if not np.isfinite(values).all():
        raise UniLabelError(f"dataset {dataset!r}: the soft mapping holds NaN or infinity.")
    for name, numbers in (
        ("unified marginal", a),
        ("class marginal", b),
        ("reg", np.asarray(reg)),
        ("reg_m", np.asarray(reg_m)),
    ):
        if not (np.isfinite(numbers).all() and (numbers > 0).all()):
            raise UniLabelError(
                f"dataset {dataset!r}: {name} must be positive and finite, found {numbers.min()}."
            )
    if reg_type not in ("kl", "entropy"):
        raise UniLabelError(f"reg_type is {reg_type!r}, expected 'kl' or 'entropy'.")
    reference = (a, b) if reg_type == "kl" else (np.ones_like(a), np.ones_like(b))
    return TransportProblem(values, a, b, float(reg), float(reg_m), reference)


def _solve_by_pot(
    problem: TransportProblem, reg_type: RegType
) -> tuple[Floats, Floats, int, float]:
    import ot  # slow to import, and only this option needs it

    with warnings.catch_warnings():
        # What it warns of is in the fixed-point error, which transport_plan reports.
        warnings.simplefilter("ignore")
        log = ot.unbalanced.sinkhorn_knopp_unbalanced(
            problem.a,
            problem.b,
            problem.cost,
            problem.reg,
            problem.reg_m,
            reg_type=reg_type,
            stopThr=1e-6,
            log=True,
        )[1]
    f, g = problem.reg * log["logu"], problem.reg * log["logv"]
    return f, g, len(log["err"]), problem.error(np.exp(problem.log_plan(f, g)), f, g)


def _check_size(matrix: Floats | Bools, dataset: str) -> None:
    if matrix.ndim != 2 or not matrix.size:
        raise UniLabelError(
            f"dataset {dataset!r}: the mapping has shape {matrix.shape}, expected (N, C)."
        )
    if matrix.shape[0] < matrix.shape[1]:
        raise UniLabelError(
            f"dataset {dataset!r} has {matrix.shape[1]} classes, but there are only "
            f"{matrix.shape[0]} unified labels; every class needs one of its own: raise "
            "UNIFY.SCORE_THRESHOLD, so that fewer classes are merged."
        )
