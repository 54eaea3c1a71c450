"""TEST.EXPECTED_RESULTS: whether a run scores what somebody has written down for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from unilabel.core.errors import UniLabelError

logger = logging.getLogger(__name__)

# What a row may name besides datasets -> its metrics.
METRICS = {
    "mean": ("miou", "unified_miou"),
    "relations": ("precision", "recall", "f1"),
    "unified": ("atom_accuracy", "atom_miou", "hidden_iou"),
}
DATASET_METRICS = ("miou", "unified_miou")


def check_expectations(rows: Sequence[Any], datasets: Sequence[str]) -> None:
    """Look at the rows before anything is trained.

    Args:
        rows: ``[dataset, metric, value, tolerance]`` each, as in Detectron2; in place of a dataset
            also mean, relations, unified.
        datasets: names.

    Raises:
        UniLabelError: a row names something else.
    """
    known = {**dict.fromkeys(datasets, DATASET_METRICS), **METRICS}
    for row in rows:
        name, metric = row[:2]
        if name not in known:
            raise UniLabelError(
                f"TEST.EXPECTED_RESULTS: the row {list(row)} is about {name!r}, expected one of "
                f"{', '.join(known)}."
            )
        if metric not in known[name]:
            raise UniLabelError(
                f"TEST.EXPECTED_RESULTS: the row {list(row)} names the metric {metric!r}, expected "
                f"one of {', '.join(known[name])}."
            )


def verify_results(rows: Sequence[Any], results: dict[str, Any]) -> None:
    """Compare the content of ``results.json`` with the expected values.

    Raises:
        UniLabelError: names every row that does not hold, with what was found.
    """
    wrong = []
    for name, metric, value, tolerance in rows:
        if name == "mean":
            found = results.get(f"mean_{metric}")
        elif name in METRICS:
            found = results.get(name, {}).get(metric)
        else:
            found = results["datasets"].get(name, {}).get(metric)
        if found is None:
            wrong.append(f"[{name}, {metric}, {value}, {tolerance}]: there is no such result")
        elif not abs(found - value) <= tolerance:
            wrong.append(f"[{name}, {metric}, {value}, {tolerance}]: found {found}")
    if wrong:
        raise UniLabelError(f"TEST.EXPECTED_RESULTS do not hold: {'; '.join(wrong)}.")
    if rows:
        logger.info("TEST.EXPECTED_RESULTS: all %d hold", len(rows))
