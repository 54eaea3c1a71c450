"""Mapping solve of seven datasets: ours against POT with loops over elements.

    OMP_NUM_THREADS=1 python benchmarks/transport.py --n 217 448 --json transport.json

The reference does what the published code of the paper does per solve: POT's
``sinkhorn_knopp_unbalanced`` (reg 0.01, reg_m 5, at most 1000 iterations), then the greedy repair
and the dropping of weak links by Python loops over tensor elements, lowest preference first. Ours
runs with the same settings, so both have to give the same mapping.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Sequence

import numpy as np
import ot
import torch
from common import Report, compare
from torch import Tensor

from unilabel.core.transport import repair_mapping, solve_mapping, transport_plan

CLASSES = (19, 64, 37, 19, 26, 150, 133)
TARGET = 15.0
REG, REG_M = 0.01, 5.0


def soft_mappings(unified: int, seed: int, sizes: Sequence[int] = CLASSES) -> list[np.ndarray]:
    """One (N, C_i) soft mapping per dataset: four nodes in five know their class, some weakly."""
    rng = np.random.default_rng(seed)
    result = []
    for classes in sizes:
        logits = 0.5 * rng.random((unified, classes))
        known = np.flatnonzero(rng.random(unified) < 0.8)
        logits[known, rng.integers(0, classes, len(known))] += 0.6 * rng.random(len(known))
        weights = np.exp((logits - logits.max(1, keepdims=True)) / 0.07)
        result.append(weights / weights.sum(1, keepdims=True))
    return result


def solve_by_loops(soft: np.ndarray) -> Tensor:
    """(N, C_i) links of one dataset, the way of the published code."""
    unified, classes = soft.shape
    uniform = np.full(unified, 1 / unified), np.full(classes, 1 / classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not converge within its 1000 iterations
        plan = ot.unbalanced.sinkhorn_knopp_unbalanced(
            *uniform, (1 - soft + 1e-8) / 2, reg=REG, reg_m=REG_M, reg_type="entropy", stopThr=1e-6
        )
    mass = torch.from_numpy(plan / plan.sum())
    links = torch.zeros(unified, classes)
    for node, best in enumerate(mass.argmax(1)):
        links[node, best] = 1
    repair_by_loops(links, mass)
    for label in range(classes):
        nodes = [node for node in range(unified) if links[node, label] == 1]
        strong = [node for node in nodes if mass[node, label] >= 1 / (unified * classes)]
        if len(nodes) > 1:
            kept = strong or [nodes[int(mass[nodes, label].argmax())]]
            for node in nodes:
                links[node, label] = float(node in kept)
    return links


def repair_by_loops(links: Tensor, mass: Tensor) -> None:
    """Give empty classes a node whose class has another one, element by element, in place."""
    unified, classes = links.shape
    for label in range(classes):
        if any(links[node, label] == 1 for node in range(unified)):
            continue
        for node in torch.sort(mass[:, label])[1]:
            owner = int(links[node].argmax())
            if links[:, owner].sum() > 1:
                links[node, owner] = 0
                links[node, label] = 1
                break


def solve_by_ours(soft: np.ndarray) -> np.ndarray:
    """(N, C_i) links of one dataset with the settings of the published code."""
    return solve_mapping(soft, reg=REG, reg_m=REG_M, descending=False, reg_type="entropy").matrix


def solve_rows(report: Report, unified: int, rounds: int, seed: int) -> None:
    """Seconds of the whole solve and of the repair alone."""
    soft = soft_mappings(unified, seed)
    ours = [solve_by_ours(s) for s in soft]
    reference = [solve_by_loops(s).numpy() != 0 for s in soft]
    equal = all((a == b).all() for a, b in zip(ours, reference, strict=True))
    seconds = compare(
        lambda: [solve_by_ours(s) for s in soft], lambda: [solve_by_loops(s) for s in soft], rounds
    )
    case = f"N={unified}, 7 datasets"
    report.row(case, "mapping solve [s]", *seconds, target=TARGET, parity=equal)

    starts = []
    for s in soft:
        plan = transport_plan((1 - s) / 2, *_uniform(s), REG, REG_M).plan
        starts.append((plan.argmax(1)[:, None] == np.arange(s.shape[1]), plan))
    by_loops = []
    for links, plan in starts:
        by_loops.append(torch.from_numpy(links).float())
        repair_by_loops(by_loops[-1], torch.from_numpy(plan))
    by_ours = [repair_mapping(links, plan, descending=False) for links, plan in starts]
    equal = all((a == (b.numpy() != 0)).all() for a, b in zip(by_ours, by_loops, strict=True))
    seconds = compare(
        lambda: [repair_mapping(links, plan, descending=False) for links, plan in starts],
        lambda: [
            repair_by_loops(torch.from_numpy(links).float(), torch.from_numpy(plan))
            for links, plan in starts
        ],
        rounds,
    )
    report.row(case, "repair [s]", *seconds, parity=equal)


def error_rows(report: Report, unified: int, seed: int) -> None:
    """Largest fixed-point error over the datasets, also where POT underflows."""
    soft = soft_mappings(unified, seed)
    for reg, reg_m in ((0.01, 5.0), (0.01, 0.05), (0.002, 5.0), (5e-4, 5.0), (5e-4, 0.05)):
        plans = {
            method: [
                transport_plan((1 - s) / 2, *_uniform(s), reg, reg_m, method=method) for s in soft
            ]
            for method in ("sinkhorn", "pot")
        }
        error = {method: max(p.error for p in found) for method, found in plans.items()}
        same = [
            (a.log_plan.argmax(1) == b.log_plan.argmax(1)).mean()
            for a, b in zip(plans["sinkhorn"], plans["pot"], strict=True)
        ]
        finite = all(np.isfinite(p.plan).all() for p in plans["sinkhorn"])
        case = f"N={unified}, reg {reg}, reg_m {reg_m}"
        report.row(
            case, "fixed-point error", error["sinkhorn"], error["pot"],
            target="<= 1e-4", parity=finite, ok=error["sinkhorn"] <= 1e-4 and finite,
        )  # fmt: skip
        report.row(case, "arg max equal to POT", float(min(same)))


def _uniform(soft: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.full(size, 1 / size) for size in soft.shape)


def main() -> None:
    """Run all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, nargs="+", default=[217, 448], help="unified labels")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of both sides")
    parser.add_argument("--seed", type=int, default=0, help="of the soft mappings")
    parser.add_argument("--json", help="write the report to this file")
    args = parser.parse_args()
    logging.getLogger("unilabel").setLevel(logging.ERROR)  # POT's errors are in the table
    report = Report("transport")
    for unified in args.n:
        solve_rows(report, unified, args.rounds, args.seed)
        error_rows(report, unified, args.seed)
    report.print()
    if args.json:
        report.write(args.json)


if __name__ == "__main__":
    main()
