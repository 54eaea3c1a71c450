"""How the classes of a new dataset relate to the unified labels of a model.

Pixels speak in both directions: what the model answers on the pixels of a class, and which classes
the pixels of an answer have. Names and descriptions speak beside them, and alone where no pixel
does. A class may be several unified labels, part of one, or new.

Letters: N unified labels of the model, C classes of the new dataset, M new unified labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unilabel.core.evidence import two_sided_pairs

LEAST_SCORE = 0.3  # of a link, pixels and text together: without text, clear pixels suffice
LEAST_TEXT = 0.5  # similarity of a link that no pixel speaks for
TEXT_TRUST = 0.8  # what similarity counts of a class without pixels, against pixels and text
DOUBT = 0.1  # share that other classes, of which there is no photo yet, may have in any answer
LEAST_SHARE = 0.15  # of the pixels of a class that its unified labels must find, else a new one
PART_OF = 0.5  # share of the pixels of a new class that one unified label takes in
RARE = 0.002  # share of all pixels under which an answer is chance


@dataclass(frozen=True)
class NewLabel:
    """A unified label that the model does not have yet.

    Attributes:
        of_class: class of the new dataset.
        near: unified label that it begins as a copy of.
        part: whether the class is a part of what that label stands for: it then has its links.
        seen: whether pixels of the class are known; if not, it is never answered.
    """

    of_class: int
    near: int
    part: bool
    seen: bool = True


@dataclass(frozen=True)
class Relations:
    """What is believed about a new dataset.

    Attributes:
        links: (N, C) bool of the old unified labels; at most one class each.
        new: M new unified labels.
        score: (N, C) confidence of every pair, 0..1.
        forward: (C, N) share of a class's pixels that the model answers with a label.
        backward: (C, N) share of an answer that each class has, classes weighed by the root of
            their pixels.
        text: (N, C) similarity of names and descriptions, 0..1.
        pixels: (C,) labelled pixels.
    """

    links: Tensor
    new: tuple[NewLabel, ...]
    score: Tensor
    forward: Tensor
    backward: Tensor
    text: Tensor
    pixels: Tensor

    def all_links(self) -> Tensor:
        """(N + M, C) bool: those of the old unified labels, then of the new ones."""
        added = torch.zeros(len(self.new), self.links.shape[1], dtype=torch.bool)
        for row, label in enumerate(self.new):
            added[row, label.of_class] = True
        return torch.cat([self.links, added])

    def heard(self) -> Tensor:
        """(N + M, C) bool: the same without new labels of classes that no pixel shows."""
        links = self.all_links()
        for row, label in enumerate(self.new, len(self.links)):
            links[row, label.of_class] &= label.seen
        return links

    def found(self) -> Tensor:
        """(C,) share of each class's pixels that its linked old labels find."""
        return (self.forward * self.links.T).sum(1)


def find_relations(counts: Tensor, text: Tensor, text_weight: float) -> Relations:
    """Decide on links and new unified labels.

    Args:
        counts: (C, N) pixels of each class and the model's plain answer; all 0: text alone.
        text: (N, C) similarity of names and descriptions, 0 (unrelated) to 1 (the same).
        text_weight: share of the text in the score of a link, 0..1.
    """
    counts, text = counts.double(), text.double().clamp(0, 1)
    pixels = counts.sum(1)
    seen = pixels > 0
    forward = counts / pixels.clamp(min=1)[:, None]
    # Neither pixels (a rare class would never have a label) nor classes (a rare one would take what
    # is mostly another) are weighed alike, but the root of the pixels, as in the class weights.
    size = pixels.sqrt() / pixels.sqrt()[seen].mean() if bool(seen.any()) else pixels
    weighed = forward * size[:, None]
    backward = weighed / (weighed.sum(0) + DOUBT)
    visual = two_sided_pairs(forward, backward).T  # (N, C)
    mixed = (1 - text_weight) * visual + text_weight * text
    score = torch.where(seen, mixed, TEXT_TRUST * text)
    answered = counts.sum(0) > RARE * counts.sum()
    heard = answered[:, None] & seen  # pixels speak for or against these pairs
    enough = torch.where(heard, score >= LEAST_SCORE, text >= LEAST_TEXT)
    best = torch.where(enough, score, 0.0)
    links = (best == best.max(1, keepdim=True).values) & enough
    links &= links.int().cumsum(1) == 1  # of two alike the first
    found = (forward * links.T).sum(1)
    needed = ~links.any(0) | (seen & (found < LEAST_SHARE))
    new = [_new_label(int(c), forward, text, links) for c in needed.nonzero().flatten()]
    return Relations(links, tuple(new), score, forward, backward, text, pixels)


def _new_label(of_class: int, forward: Tensor, text: Tensor, links: Tensor) -> NewLabel:
    if not bool(forward[of_class].any()):
        return NewLabel(of_class, int(text[:, of_class].argmax()), False, False)
    near = int(forward[of_class].argmax())
    others = links[near].clone()
    others[of_class] = False
    part = bool(forward[of_class, near] >= PART_OF) and bool(others.any())
    return NewLabel(of_class, near, part)


def answer_counts(
    answers: Tensor, labels: Tensor, weights: Tensor, shape: tuple[int, int]
) -> Tensor:
    """(C, N) weighted counts of answers (P,) on pixels of classes (P,)."""
    flat = np.asarray(labels * shape[1] + answers)
    found = np.bincount(flat, np.asarray(weights.double()), minlength=shape[0] * shape[1])
    return torch.from_numpy(found).view(shape)
