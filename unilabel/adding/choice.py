"""Which classifiers a few photos can afford: cross-validation inside them.

"near" reads through the unified labels, their rows held near X_u; "own" gives every class a row of
its own, held near zero (a linear head). The penalty says how near. All of them are linear and can
be written as rows of the linked unified labels, so their mean by weights is one reading again. The
weights come from the scores on left-out photos: with few photos those differ by chance, and the
mean is better than the one that happens to be first (docs/LOG.md).

Letters: C classes of the new dataset, N unified labels, D embedding dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unilabel.adding.fit import FitOptions, Pixels, Reading, fit_reading
from unilabel.core.metrics import mean_iou
from unilabel.core.projection import MappingMode

KINDS = ("near", "own")
PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001)
FOLDS = 5
FOLD_PIXELS = 3_000  # to fit on, in cross-validation
FOLD_STEPS = 40
FINAL_PIXELS = 12_000
CLEAR = 0.3  # points of mIoU that another choice than the nearest must be better by
FADING = 2.0  # points of mIoU below the best one at which the weight of a choice is 1/e
LEAST_WEIGHT = 0.02  # of the largest one; below, a choice is left out


@dataclass(frozen=True)
class Choice:
    """A way to fit.

    Attributes:
        kind: of :data:`KINDS`.
        penalty: how near the rows are held.
        score: mIoU in percent on left-out photos (strips of a single one); None: not measured.
        weight: in the mean of all choices.
    """

    kind: str
    penalty: float
    score: float | None = None
    weight: float = 1.0


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


def fit_mean(
    pixels: Pixels, start: Start, choices: Sequence[Choice], options: FitOptions
) -> Reading:
    """The mean of the readings of all choices that have a weight."""
    rows = torch.zeros_like(start.rows)
    bias = torch.zeros(len(rows))
    for choice in choices:
        if choice.weight:
            found = fit(pixels, start, choice, options)
            if choice.kind == "own":
                found = _by_unified_labels(found, pixels, start, options.mode)
            rows += choice.weight * found.rows
            bias += choice.weight * found.bias
    return Reading(rows, bias, start.links.any(1))


def _by_unified_labels(
    reading: Reading, pixels: Pixels, start: Start, mode: MappingMode
) -> Reading:
    """An own row of each class as rows of all unified labels that it is linked to.

    They share the class's score: equal rows with log(their number) less of bias where
    probabilities are summed, a part of the row each where logits are.
    """
    rows, bias = reading.rows.clone(), reading.bias.clone()
    for column in (pixels.counts(start.links.shape[1]) > 0).nonzero().flatten().tolist():
        linked = start.links[:, column].nonzero().flatten()
        row, own_bias = reading.rows[linked[0]], reading.bias[linked[0]]
        if mode == "logit_sum":
            rows[linked], bias[linked] = row / len(linked), own_bias / len(linked)
        else:
            rows[linked], bias[linked] = row, own_bias - math.log(len(linked))
    return Reading(rows, bias, reading.heard)


def choose(
    pixels: Pixels,
    classes: int,
    start_of: Callable[[Pixels], Start],
    options: FitOptions,
    seed: int,
) -> list[Choice]:
    """Every choice with its score on left-out groups and its weight; the best one first.

    A choice nearer to the unified labels comes first unless another one is clearly better.

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
    if len(folds) < 2:  # nothing to compare
        return weighted(tried)
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
    return weighted(scored)


def weighted(scored: Sequence[Choice]) -> list[Choice]:
    """The choices with their weights, which sum to 1; the heaviest first.

    Without scores the first one has all the weight.
    """
    if any(c.score is None for c in scored):
        return [replace(c, weight=float(number == 0)) for number, c in enumerate(scored)]
    scores = torch.tensor([_preference(c) for c in scored], dtype=torch.float64)
    heavy = ((scores - scores.max()) / FADING).exp()
    heavy[heavy < LEAST_WEIGHT] = 0
    shares = (heavy / heavy.sum()).tolist()
    found = [replace(c, weight=share) for c, share in zip(scored, shares, strict=True)]
    return sorted(found, key=lambda c: -_preference(c))


def _preference(choice: Choice) -> float:
    """Score with a bonus for what stays near to the unified labels."""
    assert choice.score is not None
    steps = PENALTIES.index(choice.penalty) / (len(PENALTIES) - 1)
    return choice.score - CLEAR * ((choice.kind == "own") + steps)


def _folds(groups: Tensor, seed: int) -> Sequence[Tensor]:
    found = groups.unique()
    order = found[torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))]
    return order.tensor_split(min(FOLDS, len(found))) if len(found) > 1 else []
