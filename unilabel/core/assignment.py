"""The exact alternative to transport and repair: a maximum-weight many-to-one assignment.

Letters: N unified labels, C_i classes of one dataset.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError


def solve_exact(
    weights: NDArray[np.floating],
    allow_unlinked: bool,
    threshold: float,
    dataset: str = "",
) -> NDArray[np.bool_]:
    """Links of largest total weight under the constraints of Section 3.1.

    Maximises the sum over links of (weight - threshold) so that every class has a unified label and
    every unified label at most one class. Left to itself a unified label takes its best class, or
    none if even that one lies under the threshold; only C_i of them are forced elsewhere, and which
    ones is a linear assignment of classes to unified labels whose cost is what is lost against the
    free choice.

    Args:
        weights: (N, C_i), finite.
        allow_unlinked: a unified label may have no class; else each has exactly one.
        threshold: weight under which a unified label prefers no class.
        dataset: name for messages.

    Returns:
        (N, C_i) bool.

    Raises:
        UniLabelError: N < C_i, or a weight is not finite.
    """
    weights = np.asarray(weights, dtype=np.float64)
    unified, classes = weights.shape
    if unified < classes:
        raise UniLabelError(
            f"dataset {dataset!r} has {classes} classes, but there are only {unified} unified "
            "labels; every class needs one of its own: raise UNIFY.SCORE_THRESHOLD, so that "
            "fewer classes are merged."
        )
    if not np.isfinite(weights).all():
        raise UniLabelError(f"the edge weights of dataset {dataset!r} are not all finite.")
    best = weights.argmax(1)
    gain = weights - threshold if allow_unlinked else weights
    free = gain[np.arange(unified), best]
    linked = free >= 0 if allow_unlinked else np.ones(unified, dtype=bool)
    free = np.where(linked, free, 0.0)
    links = np.zeros((unified, classes), dtype=bool)
    links[np.flatnonzero(linked), best[linked]] = True
    from scipy.optimize import linear_sum_assignment  # slow to import

    columns, rows = linear_sum_assignment((free[:, None] - gain).T)  # class -> unified label
    links[rows] = False
    links[rows, columns] = True
    return links
