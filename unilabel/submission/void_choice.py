"""Choosing when a pixel is void on known images: which rule, and which threshold.

Letters: C rules that are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from unilabel.core.errors import UniLabelError
from unilabel.submission.calibration import KEPT, SweepPoint, ThresholdSweep, best_point
from unilabel.submission.known_images import KnownImage
from unilabel.submission.labeller import Labeller
from unilabel.submission.void import VoidPolicy
from unilabel.submission.wilddash import DATASET, scored_classes


@dataclass(frozen=True)
class VoidChoice:
    """One rule with one threshold.

    Attributes:
        policy: the rule, its threshold included.
        point: what it does on the known images.
    """

    policy: VoidPolicy
    point: SweepPoint


def void_rules(labeller: Labeller) -> list[VoidPolicy]:
    """The rules that a model allows, without thresholds: none, unmapped, learned void classes."""
    rules = [VoidPolicy(unmapped=False), VoidPolicy(unmapped=True)]
    spaces = labeller.predictor.model.label_spaces
    if DATASET in spaces.names:
        scored = {c.name for c in scored_classes()}
        learned = [n for n in spaces.get(DATASET).class_names if n not in scored]
        classes = tuple((DATASET, name) for name in learned)
        if classes:
            rules.append(VoidPolicy(unmapped=False, classes=classes))
    return rules


def compare_rules(
    labeller: Labeller,
    rules: Sequence[VoidPolicy],
    images: Iterable[KnownImage],
    void_weight: float = 1.0,
) -> list[VoidChoice]:
    """Each rule without a threshold and with its best one that keeps the labelled pixels.

    Args:
        labeller: of one of the rules; the others share its model and mapping.
        rules: C rules without thresholds.
        images: known images; each is loaded once.
        void_weight: how often each pixel known to be void counts.

    Returns:
        2 C choices, or fewer where the best threshold is none.

    Raises:
        UniLabelError: there are no pixels of one of the two kinds.
    """
    if not rules:
        raise UniLabelError("there is no rule to compare.")
    sweeps = [
        ThresholdSweep(
            Labeller(labeller.predictor, labeller.benchmark, labeller.table, rule, labeller.options)
        )
        for rule in rules
    ]
    for image in images:
        pixels, truth = image.load()
        for sweep in sweeps:
            sweep.add(pixels, truth)
    choices = []
    for rule, sweep in zip(rules, sweeps, strict=True):
        points = sweep.points(void_weight)
        best = best_point(points, KEPT)
        choices.append(VoidChoice(rule, points[0]))
        if best is not points[0]:
            choices.append(VoidChoice(replace(rule, threshold=best.threshold), best))
    return choices


def best_choice(choices: Sequence[VoidChoice]) -> VoidChoice:
    """The highest score; among equal ones the first, which is the simplest."""
    return max(choices, key=lambda choice: choice.point.score)
