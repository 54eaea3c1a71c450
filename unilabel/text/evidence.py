"""What names and descriptions say about the classes of a dataset and the labels of a model.

Letters: N unified labels, S classes of the model's datasets, C classes of the new dataset.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.text.encoders import TextEncoder
from unilabel.text.taxonomy import inside_score


def class_evidence(label_spaces: LabelSpaceSet, encoder: TextEncoder) -> Tensor:
    """How sure texts are that a class of the model and one of the new dataset share pixels.

    Args:
        label_spaces: of the model, then the new one.
        encoder: of the texts.

    Returns:
        (S, C) float64 in 0..1: the surer of "holds the new class" and "is held by it".
    """
    inside = inside_score(label_spaces, encoder.encode).double()  # (S + C, S + C)
    seen = label_spaces.class_offsets[-2]
    return torch.maximum(inside[:seen, seen:], inside[seen:, :seen].T)


def of_labels(links: Tensor, scores: Tensor) -> Tensor:
    """Scores of unified labels: a label is what all its classes have in common.

    Args:
        links: (N, S) bool.
        scores: (S, C) of classes.

    Returns:
        (N, C) float64, mean over the linked classes; 0 for a label without any.
    """
    weights = links.double()
    return weights @ scores.double() / weights.sum(1, keepdim=True).clamp(min=1)


def text_evidence(
    links: Tensor, label_spaces: LabelSpaceSet, new: LabelSpace, encoder: TextEncoder
) -> Tensor:
    """How sure texts are that a unified label and a new class share pixels.

    Args:
        links: (N, S) bool.
        label_spaces: of the model.
        new: the new dataset, whatever its name.
        encoder: of the texts.

    Returns:
        (N, C) float64 in 0..1, mean over the linked classes.
    """
    spaces = LabelSpaceSet([*label_spaces, replace(new, name=f"new {new.name}")])
    return of_labels(links, class_evidence(spaces, encoder))
