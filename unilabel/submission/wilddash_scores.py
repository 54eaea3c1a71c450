"""Local scores for WildDash 2: the four classic columns, and subsets by hazard."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.submission.results import ResultSet
from unilabel.submission.scorer import CityscapesScorer, ScoredLabel
from unilabel.submission.truth import TruthSource
from unilabel.submission.wilddash import DISPUTED_CLASS, VOID, scored_classes

SEVERITIES = ("none", "low", "high")
Tags = dict[str, dict[str, str]]  # stem -> hazard -> severity


def wilddash_labels() -> list[ScoredLabel]:
    """The 26 classes and void, for the scorer."""
    classes = [
        ScoredLabel(c.id, c.name, c.category, True, c.has_instances) for c in scored_classes()
    ]
    return [ScoredLabel(VOID, "unlabeled", "void", False, False), *classes]


def score_frames(
    results: ResultSet, truth: TruthSource, stems: Iterable[str], tags: Tags | None = None
) -> dict[str, Any]:
    """Scores of :func:`count_frames`."""
    return count_frames(results, truth, stems, tags)[0]


def count_frames(
    results: ResultSet, truth: TruthSource, stems: Iterable[str], tags: Tags | None = None
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Score frames that have a result and ground truth.

    Args:
        results: predictions.
        truth: ground truth.
        stems: the frames to score.
        tags: severities of hazards, for the subsets.

    Returns:
        numbers in percent, None where there is nothing to score: ``classes_26`` and ``classes_25``
        with the four averages and the scores of every class, ``average_sizes``, ``hazards``,
        ``frames_without_instance_truth``. Without any instance in the ground truth there are no
        instance scores; a class without one, beside others that have, scores 0 where it is
        predicted, as in cityscapesScripts. And the (L, L) counts, rows ground truth.
    """
    scorer = CityscapesScorer(wilddash_labels())
    subsets: dict[tuple[str, str], NDArray[np.int64]] = defaultdict(
        lambda: np.zeros_like(scorer.confusion)
    )
    frames = unknown = 0
    for stem in stems:
        ids, instances = truth.load(stem)
        try:
            counts = scorer.add(results.load(stem), ids, instances)
        except UniLabelError as error:
            raise UniLabelError(f"frame {stem}: {error}") from None
        for hazard, severity in (tags or {}).get(stem, {}).items():
            subsets[hazard, severity] += counts
        frames += 1
        unknown += not truth.knows_instances(stem)
    if not frames:
        raise UniLabelError("there is no frame to score.")
    sizes = scorer.average_sizes()
    report: dict[str, Any] = {"frames": frames, "frames_without_instance_truth": unknown}
    for name, void in (("classes_26", ()), ("classes_25", (DISPUTED_CLASS,))):
        scores = scorer.scores(void=void)
        report[name] = {
            **{key: percent(value) for key, value in scores.averages.items()},
            "iou": {key: percent(value) for key, value in scores.iou.items()},
            "iiou": {key: percent(value) for key, value in scores.instance_iou.items()},
            "category_iou": {key: percent(v) for key, v in scores.category_iou.items()},
            "category_iiou": {key: percent(v) for key, v in scores.category_instance_iou.items()},
        }
        if not sizes:
            _forget_instances(report[name])
    report["average_sizes"] = {name: round(size, 1) for name, size in sizes.items()}
    report["hazards"] = _hazards(subsets)
    return report, scorer.confusion


def _forget_instances(scores: dict[str, Any]) -> None:
    """No score of instances without any instance in the ground truth."""
    scores["iiou_class"] = scores["iiou_category"] = None
    for part in ("iiou", "category_iiou"):
        scores[part] = dict.fromkeys(scores[part])


def percent(value: float) -> float | None:
    """0..1 in percent, None for NaN."""
    return None if math.isnan(value) else round(100 * value, 4)


def _hazards(subsets: dict[tuple[str, str], NDArray[np.int64]]) -> dict[str, Any]:
    """Mean IoU of the frames of each severity, and impact: 1 - min(low, high) / max(none, low).

    The formula is recalled from the ECCV 2018 paper, not taken from a public program.
    """
    hazards: dict[str, Any] = {}
    for (hazard, severity), confusion in subsets.items():
        part = CityscapesScorer(wilddash_labels())
        part.confusion += confusion
        value = percent(part.scores().averages["miou_class"])
        hazards.setdefault(hazard, dict.fromkeys(SEVERITIES))[severity] = value
    for values in hazards.values():
        none, low, high = (values[severity] for severity in SEVERITIES)
        values["impact"] = None
        if None not in (none, low, high) and max(none, low) > 0:
            values["impact"] = round(1 - min(low, high) / max(none, low), 4)
    return dict(sorted(hazards.items()))


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """Read ``{"frame": {"hazard": "none" | "low" | "high"}}``.

    Raises:
        UniLabelError: the file has another form.
    """
    source = os.fspath(path)
    data = read_json(path)
    if not isinstance(data, dict) or not all(isinstance(v, dict) for v in data.values()):
        raise UniLabelError(f'{source}: expected {{"frame": {{"hazard": severity}}}}.')
    for stem, hazards in data.items():
        for hazard, severity in hazards.items():
            if severity not in SEVERITIES:
                raise UniLabelError(
                    f"{source}: {stem!r} has {hazard!r} as {severity!r}, expected one of "
                    f"{', '.join(SEVERITIES)}."
                )
    return data
