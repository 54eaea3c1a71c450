"""Stand-ins for two columns of the WildDash 2 leader board: Negative, and Meta Avg.

The benchmark's negative frames and its program are not public. Its paper and those that report it
say in words: on negative frames unknown content should be void, and the Meta Avg takes the mean
over classes "by weighting negative and positive test cases according to their occurrence". Here
both kinds of frames go into one count, each pixel as often as it occurs, and on negative frames
each class that is written where void belongs is a false pixel of that class. So the Meta stand-in
is never above the classic mIoU, as in all eleven rows of the paper's Table 4.

Letters: L ids 0..L-1, rows of counts are ground truth, columns predictions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.submission.results import ResultSet
from unilabel.submission.scorer import CityscapesScorer, ScoredLabel
from unilabel.submission.truth import TruthSource
from unilabel.submission.wilddash import VOID
from unilabel.submission.wilddash_scores import percent, wilddash_labels

Counts = NDArray[np.integer] | NDArray[np.floating]


def joint_miou(positive: Counts, negative: Counts, weight: float = 1.0) -> float:
    """Meta Avg stand-in, 0..1.

    Args:
        positive: (L, L) counts of frames whose void is not scored.
        negative: (L, L) counts of frames on which void is the right answer where it is the truth.
        weight: how often each pixel of ``negative`` counts.
    """
    scored = np.array([label.id for label in wilddash_labels() if label.scored])
    joint = positive[scored].sum(0)[scored] + weight * negative.sum(0)[scored]  # written as a class
    truth = positive[scored].sum(1) + weight * negative[scored].sum(1)
    hit = (positive + weight * negative).diagonal()[scored]
    union = truth + joint - hit
    return float((hit / np.where(union > 0, union, 1))[union > 0].mean())


def negative_miou(negative: Counts) -> float:
    """Negative mIoU stand-in, 0..1: the mean over void and classes that the ground truth holds.

    On frames that are void altogether it is the share of pixels written as void.
    """
    truth, hit = negative.sum(1), negative.diagonal()
    union = truth + negative.sum(0) - hit
    return float((hit / np.maximum(union, 1))[truth > 0].mean())


def share_weight(positive_frames: int, negative_frames: int, share: float | None) -> float:
    """How often a negative frame counts so that negative ones are this share of all frames.

    Args:
        positive_frames: their number.
        negative_frames: their number.
        share: 0..1 without 1; None: as they occur.

    Raises:
        UniLabelError: the share is out of range.
    """
    if share is None:
        return 1.0
    if not 0 <= share < 1:
        raise UniLabelError(f"the share of negative frames is {share:g}, expected 0 to below 1.")
    return share / (1 - share) * positive_frames / negative_frames


def count_negatives(
    results: ResultSet, truth: TruthSource | None
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Count results of negative frames.

    Args:
        results: predictions.
        truth: their ground truth; None: every pixel is void.

    Returns:
        shares of void in percent (over all pixels, the mean and the least over images), ``miou``
        and the number of images; and the (L, L) counts.

    Raises:
        UniLabelError: a result has no ground truth, or does not fit it.
    """
    # void is a class here, as the others are
    void = ScoredLabel(VOID, "unlabeled", "void", True, False)
    scorer = CityscapesScorer([void, *wilddash_labels()[1:]])
    shares = []
    for stem in results.stems:
        ids = results.load(stem)
        if truth is not None and stem not in truth.stems:
            raise UniLabelError(f"the negative frame {stem} has no ground truth.")
        real = np.zeros_like(ids) if truth is None else truth.load(stem)[0]
        try:
            scorer.add(ids, real)
        except UniLabelError as error:
            raise UniLabelError(f"negative frame {stem}: {error}") from None
        shares.append(float((ids == VOID).mean()))
    counts = scorer.confusion
    return {
        "images": len(shares),
        "void_pixels": round(100 * float(counts[:, VOID].sum() / counts.sum()), 4),
        "mean_of_images": round(100 * float(np.mean(shares)), 4),
        "least_of_images": round(100 * min(shares), 4),
        "miou": percent(negative_miou(counts)),
    }, counts
