"""The label policy of WildDash 2: which ids are scored, and what the labelled ids fold into.

Read from ``unilabel/label_spaces/wilddash2.json``; ``docs/WILDDASH.md`` says how certain each fact
is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unilabel.core.tables import read_table

DATASET = "wilddash2"
VOID = 0  # id of a pixel that is none of the scored classes
BENCHMARK_FRAMES = 812  # of which 36 are public frames too
MAX_RAW_ID = 80
# Ids of the beta phase, whose truth the benchmark keeps (ozendelait/rvc_devkit, issues 54 and 60).
MAX_EVAL_ID = 38

# wd0000_100000 ... wd0775_100000, and country-coded names of the frames that are public too
BENCHMARK_NAME = re.compile(r"wd0[0-7]\d\d_100000|(?!wd)[a-z]{2}\d{4}_100000")

# The policy calls these things too, but the older table of the Robust Vision Challenge, which tells
# what has instances, does not. Cityscapes, whose formulas WildDash follows, does not either.
_NO_INSTANCE_SCORE = frozenset({"pole", "trafficlight", "trafficsign", "billboard", "streetlight"})
# Left out of the 25 classes: part of the public sources does not score it.
DISPUTED_CLASS = "onrails"


@dataclass(frozen=True)
class ScoredClass:
    """A class that WildDash 2 scores.

    Attributes:
        name: as in the policy.
        id: value in result files.
        category: one of the seven categories.
        has_instances: whether it has a part in the instance scores.
        color: for display.
    """

    name: str
    id: int
    category: str
    has_instances: bool
    color: tuple[int, int, int]


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return read_table(DATASET)


@lru_cache(maxsize=1)
def scored_classes() -> tuple[ScoredClass, ...]:
    """The 26 classes in the order of their ids."""
    return tuple(
        ScoredClass(
            c["name"],
            c["submission_id"],
            c["supercategory"],
            c["isthing"] and c["name"] not in _NO_INSTANCE_SCORE,
            tuple(c["color"]),
        )
        for c in _table()["classes"]
    )


@lru_cache(maxsize=1)
def policy_names() -> dict[str, str | None]:
    """Each of the 81 labels of the policy -> the scored class that it folds into, None: void."""
    return {label["name"]: label["evaluated_as"] for label in _table()["raw_policy"]}


@lru_cache(maxsize=1)
def folding() -> NDArray[np.uint8]:
    """(81,) id in result files of every id in the label files; 0 for void."""
    ids = {c.name: c.id for c in scored_classes()}
    table = np.zeros(MAX_RAW_ID + 1, np.uint8)
    for label in _table()["raw_policy"]:
        table[label["id"]] = ids.get(label["evaluated_as"], VOID)
    return table
