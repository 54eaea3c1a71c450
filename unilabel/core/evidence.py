"""Evidence for relations between labels, measured on cached pixel embeddings.

Letters: K datasets, C_i classes of dataset i, C = sum of C_i, P_i sampled pixels of dataset i,
D embedding dim, N unified labels. All (C, C) matrices follow the order of the label spaces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def confusion_counts(
    embeddings: Sequence[Tensor], labels: Sequence[Tensor], heads: Sequence[Tensor]
) -> Tensor:
    """Cross-head evaluation of Appendix B: what every head answers on every dataset's pixels.

    Args:
        embeddings: K tensors (P_i, D).
        labels: K tensors (P_i,) of class ids, without ignored pixels.
        heads: K tensors (C_j, D), the multi-head classifiers.

    Returns:
        (C, C) float64 counts; row: true label, column: answer of a head.
    """
    rows = []
    for pixels, truth, own in zip(embeddings, labels, heads, strict=True):
        blocks = []
        for head in heads:
            answer = (pixels @ head.T).argmax(1)
            index = truth * len(head) + answer
            counts = torch.bincount(index, minlength=len(own) * len(head))
            blocks.append(counts.view(len(own), len(head)))
        rows.append(torch.cat(blocks, 1))
    return torch.cat(rows).double()


def cross_prediction(
    embeddings: Sequence[Tensor],
    labels: Sequence[Tensor],
    heads: Sequence[Tensor],
    prior_power: float = 1.0,
) -> Tensor:
    """Soft cross-head predictions: mean probability that a head gives on a label's pixels.

    Dividing the softmax by the head's class prior (logit adjustment) lets rare classes answer at
    all, which plain arg max hides.

    Args:
        embeddings: see :func:`confusion_counts`.
        labels: see there.
        heads: see there.
        prior_power: 0 leaves the prior in, 1 divides it out.

    Returns:
        (C, C) in 0..1, each row sums to 1 within each dataset's columns (0 for unseen labels).
    """
    rows = []
    priors = []
    for truth, head in zip(labels, heads, strict=True):
        count = torch.bincount(truth, minlength=len(head)).float() + 1
        priors.append(prior_power * (count / count.sum()).log())
    for pixels, truth, own in zip(embeddings, labels, heads, strict=True):
        blocks = []
        count = torch.bincount(truth, minlength=len(own)).float().clamp(min=1)
        for head, prior in zip(heads, priors, strict=True):
            p = F.softmax(pixels @ head.T - prior, dim=1)
            total = p.new_zeros(len(own), len(head)).index_add_(0, truth, p)
            blocks.append(total / count[:, None])
        rows.append(torch.cat(blocks, 1))
    return torch.cat(rows)


def class_mean_similarity(
    embeddings: Sequence[Tensor], labels: Sequence[Tensor], num_classes: Sequence[int], ridge: float
) -> Tensor:
    """Cosine of class-mean embeddings, centred per dataset, whitened by within-class covariance.

    Args:
        embeddings: see :func:`confusion_counts`.
        labels: see there.
        num_classes: C_i.
        ridge: share of the mean variance that is added to the covariance.

    Returns:
        (C, C) in -1..1; 0 for labels without pixels.
    """
    centred, residuals = [], []
    for pixels, truth, classes in zip(embeddings, labels, num_classes, strict=True):
        count = torch.bincount(truth, minlength=classes)
        total = pixels.new_zeros(classes, pixels.shape[1]).index_add_(0, truth, pixels)
        mean = total / count.clamp(min=1)[:, None]
        seen = count > 0
        centre = mean[seen].mean(0)
        centred.append(torch.where(seen[:, None], mean - centre, 0.0))
        residuals.append(pixels - mean[truth])
    within = torch.cat(residuals)
    dim = within.shape[1]
    covariance = within.T @ within / len(within)
    covariance = covariance + ridge * covariance.diagonal().mean() * torch.eye(dim)
    values, vectors = torch.linalg.eigh(covariance.double())
    whiten = (vectors * values.clamp(min=1e-12).rsqrt()) @ vectors.T
    means = F.normalize(torch.cat(centred).double() @ whiten, dim=1)
    return (means @ means.T).float()


def text_similarity(text_features: Tensor) -> Tensor:
    """(C, C) cosine of label text features (C, T)."""
    unit = F.normalize(text_features.float(), dim=1)
    return unit @ unit.T


def fused_score(visual: Sequence[Tensor], text: Tensor | None, text_weight: float = 0.5) -> Tensor:
    """Mean of the visual scores, then weighted mean with the text score where there is one.

    Args:
        visual: (C, C) scores about 0..1.
        text: (C, C) or None.
        text_weight: share of the text, 0..1.

    Returns:
        (C, C) symmetric.
    """
    score = torch.stack([*visual]).mean(0)
    if text is not None:
        score = (1 - text_weight) * score + text_weight * text
    return (score + score.T) / 2


def two_sided(cross: Tensor, back_power: float = 0.25) -> Tensor:
    """max(R_ab, R_ba) * min(R_ab, R_ba) ** back_power.

    One direction alone cannot tell a subset from foreign content: a head must name something on
    every pixel, so R(a -> b) is high for content that dataset b has never seen; the way back is
    then next to zero. Of a true subset the way back is only small (its share of the wider class),
    which a small power forgives.

    Args:
        cross: (C, C) of :func:`cross_prediction`.
        back_power: weight of the weaker direction; 1 gives the plain product.

    Returns:
        (C, C) symmetric, 0..1.
    """
    return two_sided_pairs(cross, cross.T, back_power)


def two_sided_pairs(there: Tensor, back: Tensor, back_power: float = 0.25) -> Tensor:
    """The same where the two directions are measured apart: two tensors of one shape, 0..1."""
    strong, weak = torch.maximum(there, back), torch.minimum(there, back)
    return strong * weak.clamp(min=0) ** back_power


def label_tuples(score: Tensor, num_classes: Sequence[int], threshold: float) -> Tensor:
    """Unified labels as tuples: each label with its best allowed partner in every other dataset.

    All pairs inside a tuple must reach the threshold. A tuple that is part of another one is left
    out. A class that is the best partner of several labels gets several unified labels: this is
    how granularity (one road, several road parts) is expressed.

    Args:
        score: (C, C) symmetric.
        num_classes: C_i.
        threshold: least score of a pair.

    Returns:
        (N, C) bool links, N <= C, every class in at least one row.
    """
    total = score.shape[0]
    values = score.detach().numpy()
    dataset_of = np.repeat(np.arange(len(num_classes)), num_classes).tolist()
    tuples: set[frozenset[int]] = set()
    for label in range(total):
        members, taken = [label], {dataset_of[label]}
        # only what may go with the label itself: all pairs would be lists of C * C numbers
        partners = np.flatnonzero(values[:, label] >= threshold)
        for other in partners[np.argsort(-values[label, partners], kind="stable")].tolist():
            if dataset_of[other] in taken or not (values[other, members] >= threshold).all():
                continue
            members.append(other)
            taken.add(dataset_of[other])
        tuples.add(frozenset(members))
    kept = sorted(sorted(t) for t in _largest(tuples))
    links = torch.zeros(len(kept), total, dtype=torch.bool)
    for row, columns in enumerate(kept):
        links[row, columns] = True
    return links


def _largest(sets: Collection[frozenset[int]]) -> Iterator[frozenset[int]]:
    """The sets that are no part of another one."""
    holding: dict[int, list[frozenset[int]]] = defaultdict(list)
    for one in sets:
        for member in one:
            holding[member].append(one)
    for one in sets:  # a larger set holds every member of it, so also the rarest
        rarest = min((holding[member] for member in one), key=len)
        if not any(one < other for other in rarest):
            yield one
