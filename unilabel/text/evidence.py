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


def text_evidence(
    links: Tensor, label_spaces: LabelSpaceSet, new: LabelSpace, encoder: TextEncoder
) -> Tensor:
    """How sure texts are that a unified label and a new class share pixels.

    A unified label is what all its classes have in common, so all of them are asked whether they
    hold the new class, or it holds them.

    Args:
        links: (N, S) bool.
        label_spaces: of the model.
        new: the new dataset, whatever its name.
        encoder: of the texts.

    Returns:
        (N, C) float64 in 0..1, mean over the linked classes.
    """
    spaces = LabelSpaceSet([*label_spaces, replace(new, name=f"new {new.name}")])
    inside = inside_score(spaces, encoder.encode).double()  # (S + C, S + C)
    seen = links.shape[1]
    related = torch.maximum(inside[:seen, seen:], inside[seen:, :seen].T)  # (S, C)
    weights = links.double()
    return weights @ related / weights.sum(1, keepdim=True).clamp(min=1)
