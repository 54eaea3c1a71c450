"""Solver of unbalanced optimal transport with entropic regularisation.

Problem: ``min_P <P, cost> + reg * KL(P | r s^T) + reg_m * (KL(P 1 | a) + KL(P^T 1 | b))`` over
P >= 0. With dual potentials f and g the solution is ``P = r s^T exp((f + g - cost) / reg)``, and it
is reached when ``P 1 = a exp(-f / reg_m)`` and ``P^T 1 = b exp(-g / reg_m)``. The *fixed-point
error* is the sum of both L1 distances over the mass of P: what another Sinkhorn update would still
change.

Method, all in float64 on the CPU (some ten thousand entries, too few for another device):

* scaling updates on an absorbed kernel ``exp((f + g - cost) / reg)``: as quick as the plain ones,
  and as safe as the log domain, because the potentials are kept apart from the scalings;
* after each update the best shift ``f + t, g - t`` in closed form (Sejourne, Vialard and Peyre,
  "Faster Unbalanced Optimal Transport", 2022); without it the total mass converges at the rate
  ``(reg_m / (reg_m + reg))^2`` only;
* from coarse to fine ``reg``; where the updates stay slow, Newton steps on the concave dual.

Letters: N rows (unified labels), C columns (classes of one dataset).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COARSE = 50.0  # the first regularisation is at least the range of the cost over this
REFINE = 4.0  # ratio of two regularisations
COARSE_TOLERANCE = 1e-2
LEVEL_ITERATIONS = 100  # Sinkhorn updates per regularisation, before Newton takes over
NEWTON_ITERATIONS = 50
CHECK_EVERY = 10
# Kernel entries below this count as 0: products with them would be denormal, hundreds of times
# slower, and no absorbed scaling (at most e^50) makes them matter.
SMALLEST = np.log(1e-200)
MAX_LOG_SCALING = 50.0


@dataclass(frozen=True)
class TransportProblem:
    """Data of the problem; see the module for the letters."""

    cost: Floats  # (N, C)
    a: Floats  # (N,) positive
    b: Floats  # (C,) positive
    reg: float
    reg_m: float
    reference: tuple[Floats, Floats]  # (N,) r and (C,) s

    def log_plan(self, f: Floats, g: Floats) -> Floats:
        """(N, C) logarithm of the plan of two potentials."""
        r, s = self.reference
        exponent: Floats = (f[:, None] + g - self.cost) / self.reg
        return exponent + np.log(r)[:, None] + np.log(s)

    def error(self, plan: Floats, f: Floats, g: Floats) -> float:
        """Fixed-point error of potentials and their plan."""
        rows, columns = plan.sum(1), plan.sum(0)
        distance = np.abs(rows - self.a * np.exp(-f / self.reg_m)).sum()
        distance += np.abs(columns - self.b * np.exp(-g / self.reg_m)).sum()
        mass = rows.sum()
        return float(distance / mass) if mass > 0 and np.isfinite(distance) else float("inf")


def solve_transport(problem: TransportProblem, tol: float) -> tuple[Floats, Floats, int, float]:
    """Solve by Sinkhorn updates from coarse to fine, then by Newton steps if still needed.

    Returns:
        Potentials (N,) and (C,), the number of iterations and the fixed-point error, which is above
        ``tol`` (or not a number) if that was out of reach.
    """
    # A constant in the cost moves both potentials alike; without it nothing underflows early.
    least = float(problem.cost.min())
    moved = least * problem.reg_m / (2 * problem.reg_m + problem.reg)
    problem = replace(problem, cost=problem.cost - least)
    f, g = np.zeros(len(problem.a)), np.zeros(len(problem.b))
    levels = [problem.reg]
    while levels[0] < problem.cost.max() / COARSE:
        levels.insert(0, min(levels[0] * REFINE, problem.cost.max() / COARSE))
    total = 0
    for reg in levels:
        wanted = COARSE_TOLERANCE if reg > problem.reg else tol / 2
        f, g, count, error = _sinkhorn(problem, f, g, reg, wanted)
        total += count
    if error > tol / 2:
        f, g, count = _newton(problem, f, g, tol / 2)
        total += count
    error = problem.error(np.exp(problem.log_plan(f, g)), f, g)
    return f + moved, g + moved, total, error


def _sinkhorn(
    problem: TransportProblem, f: Floats, g: Floats, reg: float, tol: float
) -> tuple[Floats, Floats, int, float]:
    """Translation-invariant scaling updates of the potentials at one regularisation."""
    (r, s), reg_m = problem.reference, problem.reg_m
    power = reg_m / (reg_m + reg)
    error, count, fresh = np.inf, 0, True
    while count < LEVEL_ITERATIONS and error > tol:
        if fresh:
            exponent = (f[:, None] + g - problem.cost) / reg
            kernel = np.where(exponent > SMALLEST, np.exp(np.maximum(exponent, SMALLEST)), 0)
            transposed = np.ascontiguousarray(kernel.T)
            # Marginals that the current potentials ask for; u and v scale what is absorbed.
            rows, columns = problem.a * np.exp(-f / reg_m), problem.b * np.exp(-g / reg_m)
            u, v = np.ones_like(f), np.ones_like(g)
        u = (rows / (r * (kernel @ (s * v)))) ** power
        v = (columns / (s * (transposed @ (r * u)))) ** power
        asked = ((rows * u ** (-reg / reg_m)).sum(), (columns * v ** (-reg / reg_m)).sum())
        shift = (asked[0] / asked[1]) ** (reg_m / reg / 2)
        u, v = u * shift, v / shift
        count += 1
        if count % CHECK_EVERY == 0:
            given = (r * u * (kernel @ (s * v)), s * v * (transposed @ (r * u)))
            distance = np.abs(given[0] - rows * u ** (-reg / reg_m)).sum()
            distance += np.abs(given[1] - columns * v ** (-reg / reg_m)).sum()
            error = float(distance / given[0].sum())
        scaling = max(np.abs(np.log(u)).max(), np.abs(np.log(v)).max())
        fresh = bool(scaling > MAX_LOG_SCALING)
        if fresh or count == LEVEL_ITERATIONS or error <= tol:
            f, g = f + reg * np.log(u), g + reg * np.log(v)
    return f, g, count, error


def _newton(
    problem: TransportProblem, f: Floats, g: Floats, tol: float
) -> tuple[Floats, Floats, int]:
    """Damped Newton steps on the dual, whose gradient is the distance from the fixed point.

    The system has N + C unknowns; those of the unified labels are eliminated (their block is
    diagonal), so a step costs N * C^2.
    """
    reg, reg_m = problem.reg, problem.reg_m

    def evaluate(f: Floats, g: Floats) -> tuple[float, Floats, Floats, Floats]:
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # a step that is too long: refused by its value
            plan = np.exp(problem.log_plan(f, g))
            rows, columns = problem.a * np.exp(-f / reg_m), problem.b * np.exp(-g / reg_m)
            value = -reg_m * (rows.sum() + columns.sum()) - reg * plan.sum()
        return float(value), plan, rows, columns

    value, plan, rows, columns = evaluate(f, g)
    for count in range(NEWTON_ITERATIONS):
        if problem.error(plan, f, g) <= tol:
            return f, g, count
        slope_f, slope_g = rows - plan.sum(1), columns - plan.sum(0)
        block_f = rows / reg_m + plan.sum(1) / reg
        block_g = columns / reg_m + plan.sum(0) / reg
        cross = plan / reg
        schur = np.diag(block_g) - cross.T @ (cross / block_f[:, None])
        scale = 1 / np.sqrt(block_g)  # marginals may differ by many orders of magnitude
        scaled = schur * scale[:, None] * scale + 1e-12 * np.eye(len(scale))
        right = scale * (slope_g - cross.T @ (slope_f / block_f))
        step_g = scale * np.linalg.solve(scaled, right)
        step_f = (slope_f - cross @ step_g) / block_f
        gain, length = float(slope_f @ step_f + slope_g @ step_g), 1.0
        while length > 1e-8:
            trial = evaluate(f + length * step_f, g + length * step_g)
            if trial[0] >= value + 1e-4 * length * gain - 1e-13 * abs(value):
                break
            length /= 2
        else:
            return f, g, count
        f, g = f + length * step_f, g + length * step_g
        value, plan, rows, columns = trial
    return f, g, NEWTON_ITERATIONS
