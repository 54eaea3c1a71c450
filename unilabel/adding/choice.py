"""Which classifiers a few photos can afford: cross-validation inside them.

"near" reads through the unified labels, their rows held near X_u; "own" gives every class a row of
its own, held near zero (a linear head). The penalty says how near; between them lie all mixtures.

Letters: C classes of the new dataset, N unified labels, D embedding dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unilabel.adding.fit import FitOptions, Pixels, Reading, fit_reading
from unilabel.core.metrics import mean_iou

KINDS = ("near", "own")
PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001)
FOLDS = 5
FOLD_PIXELS = 3_000  # to fit on, in cross-validation
FOLD_STEPS = 40
FINAL_PIXELS = 12_000
CLEAR = 0.3  # points of mIoU that another choice than the nearest must be better by


@dataclass(frozen=True)
class Choice:
    """A way to fit.

    Attributes:
        kind: of :data:`KINDS`.
        penalty: how near the rows are held.
        score: mIoU in percent on left-out photos (strips of a single one); None: not measured.
    """

    kind: str
    penalty: float
    score: float | None = None


@dataclass(frozen=True)
class Start:
    """What a fit begins with.

    Attributes:
        rows: (N, D) X_u.
        links: (N, C) bool.
    """

    rows: Tensor
    links: Tensor

    def of(self, kind: str, present: Tensor) -> tuple[Tensor, Tensor]:
        """Rows to stay near to, and links that take part.

        Args:
            kind: of :data:`KINDS`.
            present: (C,) bool, classes with pixels; the others keep the rows of X_u.
        """
        if kind == "near":
            return self.rows, self.links
        first = self.links.int().argmax(0)  # (C,) one unified label of each class
        only = torch.zeros_like(self.links)
        columns = present.nonzero().flatten()
        only[first[columns], columns] = True
        own = only.any(1)
        links = torch.where(present, only, self.links)
        return torch.where(own[:, None], 0.0, self.rows), links


def fit(pixels: Pixels, start: Start, choice: Choice, options: FitOptions) -> Reading:
    """Fit by a choice; classes without pixels keep what the model knows."""
    present = pixels.counts(start.links.shape[1]) > 0
    base, links = start.of(choice.kind, present)
    return fit_reading(pixels, base, links, choice.penalty, options, present)


def choose(
    pixels: Pixels,
    classes: int,
    start_of: Callable[[Pixels], Start],
    options: FitOptions,
    seed: int,
) -> list[Choice]:
    """Every choice with its score on left-out groups; the best one first.

    A choice nearer to the unified labels is taken unless another one is clearly better.

    Args:
        pixels: of all photos.
        classes: C.
        start_of: what a fit on some pixels begins with. It has not seen the others: rows of new
            unified labels that have would make every choice near to them look good.
        options: of the fits.
        seed: of folds and draws.
    """
    options = replace(options, steps=FOLD_STEPS)
    folds = _folds(pixels.groups, seed)
    tried = [Choice(kind, penalty) for kind in KINDS for penalty in PENALTIES]
    if len(folds) < 2:
        return tried
    confusion = [torch.zeros(classes, classes, dtype=torch.float64) for _ in tried]
    for left_out in folds:
        out = torch.isin(pixels.groups, left_out)
        train = pixels.select(~out).thinned(FOLD_PIXELS, seed)
        start = start_of(train)
        known = train.counts(classes) > 0  # what nobody could learn says nothing about the choice
        test = pixels.select(out & known[pixels.labels]).thinned(2 * FOLD_PIXELS, seed)
        for number, choice in enumerate(tried):
            answer = fit(train, start, choice, options).answers(test, start.links, options.mode)
            flat = test.labels * classes + answer
            counts = torch.bincount(flat, test.weights.double(), minlength=classes**2)
            confusion[number] += counts.view(classes, classes)
    scored = [replace(c, score=float(mean_iou(m))) for c, m in zip(tried, confusion, strict=True)]
    return sorted(scored, key=lambda c: -_preference(c))


def _preference(choice: Choice) -> float:
    """Score with a bonus for what stays near to the unified labels."""
    assert choice.score is not None
    steps = PENALTIES.index(choice.penalty) / (len(PENALTIES) - 1)
    return choice.score - CLEAR * ((choice.kind == "own") + steps)


def _folds(groups: Tensor, seed: int) -> Sequence[Tensor]:
    found = groups.unique()
    order = found[torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))]
    return order.tensor_split(min(FOLDS, len(found))) if len(found) > 1 else []
