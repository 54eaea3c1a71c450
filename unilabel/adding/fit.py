"""Fitting what is new on a few labelled photos, the network and all old classifiers frozen.

Letters: P pixels, D embedding dim, N unified labels, C classes of the new dataset.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unilabel.core.losses import class_weights
from unilabel.core.projection import MappingMode, dataset_logits

STEPS = 80  # of L-BFGS; it ends earlier where nothing changes
BIAS_PENALTY = 1e-3  # keeps the bias of rows without pixels at zero
_UNREACHED = 1e-6  # as of unilabel.core.projection


@dataclass(frozen=True)
class Pixels:
    """Labelled pixels of the new dataset.

    Attributes:
        embeddings: (P, D) float32.
        labels: (P,) int64 class ids.
        weights: (P,) how many pixels each one stands for.
        groups: (P,) int64, what is left out together by cross-validation: photos, or strips of one.
    """

    embeddings: Tensor
    labels: Tensor
    weights: Tensor
    groups: Tensor

    def select(self, keep: Tensor) -> Pixels:
        """The pixels in ``keep`` ((P,) bool or indices)."""
        return Pixels(
            self.embeddings[keep], self.labels[keep], self.weights[keep], self.groups[keep]
        )

    def counts(self, classes: int) -> Tensor:
        """(C,) float64 pixels of each class, those that are stood for included."""
        return torch.bincount(self.labels, self.weights.double(), minlength=classes)

    def thinned(self, most: int, seed: int) -> Pixels:
        """At most about ``most`` pixels: of every class of every group equally many, weighted.

        A rare class keeps its pixels, and the weights keep the sums as they were.
        """
        if len(self.labels) <= most:
            return self
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.labels), generator=generator)
        key = self.groups[order] * (int(self.labels.max()) + 1) + self.labels[order]
        _, cell, size = key.unique(return_inverse=True, return_counts=True)
        low, high = 1, int(size.max())
        while low < high:  # the largest number of each cell that fits
            middle = (low + high + 1) // 2
            low, high = (
                (middle, high) if int(size.clamp(max=middle).sum()) <= most else (low, middle - 1)
            )
        by_cell = cell.argsort(stable=True)
        first = (size.cumsum(0) - size)[cell[by_cell]]
        rank = torch.arange(len(cell)) - first
        kept = by_cell[rank < low]
        found = self.select(order[kept])
        scale = (size.float() / size.clamp(max=low))[cell[kept]]
        return replace(found, weights=found.weights * scale)


@dataclass(frozen=True)
class Reading:
    """How the pixels of a dataset are read as its classes.

    Attributes:
        rows: (N, D) classifiers of the unified labels on its photos.
        bias: (N,) their bias there.
        heard: (N,) bool, unified labels that take part.
    """

    rows: Tensor
    bias: Tensor
    heard: Tensor

    def scores(self, embeddings: Tensor, links: Tensor, mode: MappingMode) -> Tensor:
        """(P, D) -> (P, C) scores of the classes; ``links`` is (N, C) bool."""
        chosen = self.heard & links.any(1)
        logits = embeddings @ self.rows[chosen].T + self.bias[chosen]
        return dataset_logits(logits, links[chosen], mode)

    def answers(self, pixels: Pixels, links: Tensor, mode: MappingMode) -> Tensor:
        """(P,) class ids."""
        return self.scores(pixels.embeddings, links, mode).argmax(1)


@dataclass(frozen=True)
class FitOptions:
    """What the loss weighs.

    Attributes:
        mode: how classes collect their unified labels.
        power: classes weigh frequency ** -power.
        steps: of L-BFGS.
    """

    mode: MappingMode = "probability_sum"
    power: float = 0.5
    steps: int = STEPS


def mean_square(embeddings: Tensor) -> float:
    """Mean square of an entry of the embeddings; it makes penalties independent of their scale."""
    return float(embeddings.square().mean().clamp(min=1e-12))


def fit_reading(
    pixels: Pixels,
    base: Tensor,
    links: Tensor,
    penalty: float,
    options: FitOptions,
    present: Tensor | None = None,
) -> Reading:
    """Classifiers of the linked unified labels and their bias, held near ``base``.

    Args:
        pixels: to fit.
        base: (N, D) rows to stay near to; zeros: an own linear head.
        links: (N, C) bool; unified labels without a link take no part.
        penalty: weight of the mean squared change of a score against the loss.
        options: see there.
        present: (C,) bool, classes with pixels. Those without take no part in the fit and keep
            their rows without bias: that a few photos do not show them is no reason to make them
            rare everywhere. None: all have pixels.
    """
    known = links if present is None else links & present
    fitted = known.any(1)
    start, matrix = base[fitted], known[fitted]
    shift = torch.zeros_like(start).requires_grad_()
    bias = torch.zeros(len(start)).requires_grad_()
    weights = _pixel_weights(pixels, matrix.shape[1], options)
    scale = penalty * mean_square(pixels.embeddings)

    def loss() -> Tensor:
        logits = pixels.embeddings @ (start + shift).T + bias
        data = _weighted_loss(logits, matrix, pixels.labels, weights, options.mode)
        return data + scale * shift.square().sum() + BIAS_PENALTY * bias.square().sum()

    _minimise([shift, bias], loss, options.steps)
    rows, all_bias = base.clone(), torch.zeros(len(base))
    rows[fitted] += shift.detach()
    all_bias[fitted] = bias.detach()
    return Reading(rows, all_bias, links.any(1))


def fit_new_rows(
    pixels: Pixels, rows: Tensor, new: Tensor, links: Tensor, penalty: float, options: FitOptions
) -> Tensor:
    """Rows of X_u of the labels in ``new`` for the plain answer in unified labels.

    All other rows stay. Every unified label competes, as it does in that answer.

    Args:
        pixels: to fit.
        rows: (N, D) X_u with a start for the new ones, near which they are held.
        new: (N,) bool.
        links: (N, C) bool.
        penalty: see :func:`fit_reading`.
        options: see there.

    Returns:
        (N, D).
    """
    if not bool(new.any()):
        return rows
    shift = torch.zeros(int(new.sum()), rows.shape[1]).requires_grad_()
    weights = _pixel_weights(pixels, links.shape[1], options)
    scale = penalty * mean_square(pixels.embeddings)
    fixed = pixels.embeddings @ rows.T  # (P, N)
    place = new.nonzero().flatten()

    def loss() -> Tensor:
        logits = fixed.index_add(1, place, pixels.embeddings @ shift.T)
        data = _weighted_loss(logits, links, pixels.labels, weights, options.mode)
        return data + scale * shift.square().sum()

    _minimise([shift], loss, options.steps)
    found = rows.clone()
    found[new] += shift.detach()
    return found


def _pixel_weights(pixels: Pixels, classes: int, options: FitOptions) -> Tensor:
    each = class_weights(pixels.counts(classes), options.power)[pixels.labels]
    weights = each * pixels.weights
    return weights / weights.sum().clamp(min=1e-12)


def _weighted_loss(
    logits: Tensor, links: Tensor, labels: Tensor, weights: Tensor, mode: MappingMode
) -> Tensor:
    found = dataset_logits(logits, links, mode)
    if mode == "logit_sum":
        found = found.log_softmax(1)
    return -(weights * found.gather(1, labels[:, None])[:, 0]).sum()


def _minimise(parameters: list[Tensor], loss, steps: int) -> None:
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=steps, history_size=8, tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
