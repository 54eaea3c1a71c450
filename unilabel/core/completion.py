"""Links that node selection left open: what a dataset calls the pixels of a unified label.

Node selection gives a unified label a class of a dataset where the two fit best. A class called
background fits hundreds of labels and is given to few of them; the pixels of the others then win a
unified label that the dataset has no word for. Where nearly all of them have one class, that is it.

Letters: K datasets, C classes of all datasets, C_i of one, N unified labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unilabel.core.background import is_background
from unilabel.core.label_mapping import LabelMapping

__all__ = ["complete_links"]

MIN_SHARE = 0.001  # of a dataset's pixels: fewer pixels say nothing
MIN_PIXELS = 20


def complete_links(
    mapping: LabelMapping,
    usage: Mapping[str, Tensor],
    score: Tensor,
    purity: float,
    min_score: float,
) -> LabelMapping:
    """Add the class of a dataset to unified labels that have none there.

    Args:
        mapping: links of N unified labels.
        usage: (N, C_i) counts per dataset, on how many of its pixels of a class each unified label
            wins (:func:`unilabel.core.pruning.usage_counts`).
        score: (C, C) evidence that two classes share pixels, 0..1.
        purity: least share of one class among the pixels that a unified label wins.
        min_score: least mean score of a class with the label's other classes. Not asked of a class
            that means whatever was not named: it is like everything and nothing.
    """
    spaces = mapping.label_spaces
    unnamed = torch.tensor([is_background(name) for space in spaces for name in space.class_names])
    links = mapping.stacked()
    named = (links & ~unnamed).float()  # (N, C)
    # a label that is background wherever it is linked is compared with those
    members = torch.where(named.any(1, keepdim=True), named, links.float())
    likeness = members @ score.clamp(min=0) / members.sum(1, keepdim=True).clamp(min=1)  # (N, C)
    matrices = {}
    for space, start in zip(spaces, spaces.class_offsets, strict=False):
        count = usage[space.name]
        enough = max(MIN_PIXELS, MIN_SHARE * float(count.sum()))
        top, winner = count.max(1)  # (N,)
        column = start + winner
        rows = torch.arange(len(winner))
        wanted = (
            ~mapping[space.name].any(1)
            & links.any(1)
            & (count.sum(1) >= enough)
            & (top >= purity * count.sum(1))
            & (unnamed[column] | (likeness[rows, column] >= min_score))
        )
        matrix = mapping[space.name].clone()
        matrix[rows[wanted], winner[wanted]] = True
        matrices[space.name] = matrix
    return LabelMapping(spaces, matrices)
