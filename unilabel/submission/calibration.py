"""Choosing the void threshold on pixels of which it is known whether they are void.

Letters: B steps of the threshold, L ids 0..L-1 of the benchmark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE
from unilabel.submission.wilddash import VOID, scored_classes

if TYPE_CHECKING:  # the network is slow to import; the command line is read before
    from unilabel.submission.labeller import Labeller

STEPS = 100
KEPT = 0.9  # share of the labelled pixels below which a threshold loses too much


@dataclass(frozen=True)
class SweepPoint:
    """What one threshold does.

    Attributes:
        threshold: pixels whose best class is less probable become void.
        miou: mean IoU of the classes that the ground truth holds, 0..1, on labelled pixels.
        void: share of the pixels known to be void that are written as void, 0..1.
        kept: share of the other labelled pixels that keep a class, 0..1.
        score: the same mean IoU, where a class that is written on a pixel known to be void is a
            false pixel of that class; see :func:`unilabel.submission.negatives.joint_miou`.
    """

    threshold: float
    miou: float
    void: float
    kept: float
    score: float


class ThresholdSweep:
    """All thresholds in one pass over the images."""

    def __init__(self, labeller: Labeller) -> None:
        """``labeller`` without a threshold; its void by unmapped labels is kept."""
        if labeller.void.threshold:
            raise UniLabelError("the threshold is what is to be found; leave it out of --void.")
        self.labeller = labeller
        self._scored = np.array([c.id for c in scored_classes()])
        self._size = int(self._scored.max()) + 1
        self._counts = np.zeros((STEPS + 1, self._size, self._size), np.int64)

    def add(self, image: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Count one image.

        Args:
            image: (H, W, 3) RGB.
            truth: (H, W) ids of WildDash 2; 0: known to be void; 255: not known.
        """
        for part in self.labeller.decide(image):
            rows = truth[part.top : part.top + len(part.values)]
            values = part.values.masked_fill(part.void, VOID).cpu().numpy()
            # rounded down: a pixel of bin b stays a class for the thresholds up to b / STEPS
            bins = (part.confidence.cpu().numpy() * STEPS).astype(np.int64).clip(0, STEPS)
            known = rows != IGNORE
            joint = (bins[known] * self._size + rows[known]) * self._size + values[known]
            self._counts += np.bincount(joint, minlength=self._counts.size).reshape(
                self._counts.shape
            )

    def points(self, void_weight: float = 1.0) -> list[SweepPoint]:
        """Every threshold, in ascending order.

        Args:
            void_weight: how often each pixel known to be void counts in the score.

        Raises:
            UniLabelError: there are no pixels of one of the two kinds.
        """
        total = self._counts.sum(0)
        if not total[self._scored].sum() or not total[VOID].sum():
            missing = "with a class" if not total[self._scored].sum() else "known to be void"
            raise UniLabelError(
                f"there are no pixels {missing}; a threshold needs both kinds: give labelled "
                "images for classes, and --negative or --void-classes for void."
            )
        points = []
        for step in range(STEPS):
            below = self._counts[:step].sum(0)  # these become void
            confusion = total - below
            confusion[:, VOID] += below.sum(1)
            void = confusion[VOID, VOID] / confusion[VOID].sum()
            labelled = confusion[self._scored]  # (classes, L)
            miou = _mean_iou(labelled, self._scored)
            false = void_weight * confusion[VOID, self._scored]
            score = _mean_iou(labelled, self._scored, false)
            kept = 1 - labelled[:, VOID].sum() / labelled.sum()
            points.append(SweepPoint(step / STEPS, miou, float(void), float(kept), float(score)))
        return points


def _mean_iou(
    labelled: NDArray[np.int64],
    columns: NDArray[np.int64],
    false: NDArray[np.float64] | float = 0.0,
) -> float:
    """Mean IoU of the classes that the ground truth holds.

    Args:
        labelled: (classes, L) counts.
        columns: (classes,) ids.
        false: (classes,) more false pixels.
    """
    truth = labelled.sum(1)
    hit = labelled[:, columns].diagonal()
    union = truth + labelled[:, columns].sum(0) - hit + false
    return float((hit / np.maximum(union, 1))[truth > 0].mean())


def best_point(points: list[SweepPoint], kept: float = 0.0) -> SweepPoint:
    """The highest score; of equal ones the lowest threshold.

    Args:
        points: of :meth:`ThresholdSweep.points`; the first has no threshold.
        kept: only thresholds that keep this share of the labelled pixels that keep a class without
            a threshold.
    """
    usable = [point for point in points if point.kept >= kept * points[0].kept]
    return max(usable, key=lambda point: (point.score, -point.threshold))
