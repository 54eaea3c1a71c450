"""Links that typed relations speak for: a label of the narrower class is the wider class too.

A shirt is part of a person. Its unified label stands for *shirt*; where another dataset says
*person*, it stands for that as well. Pixels of the two may never look alike enough to show it
(shirts on studio photos, pedestrians in a street), so node selection leaves the label without a
class there, and a person's pixel that answers as *shirt* would count as wrong. With the link it is
right.

Letters: C classes of all datasets, N unified labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.typed_relations import TypedRelation

__all__ = ["related_links"]


def related_links(mapping: LabelMapping, relations: Sequence[TypedRelation]) -> Tensor:
    """Confidence of the links to add.

    Every unified label of a class that lies within another one, or equals it, is linked to that
    one, unless it has a class of that dataset already: the surer relation comes first, and nothing
    follows from links that are added here. An overlap names no part that the two share.

    Args:
        mapping: links of N unified labels.
        relations: between classes of ``mapping``.

    Returns:
        (N, C) weight of the relation where a link is to be added, 0 elsewhere.
    """
    spaces = mapping.label_spaces
    links = mapping.stacked()
    place = spaces.places()
    sizes = zip(spaces.class_offsets, spaces.num_classes, strict=False)
    columns = dict(zip(spaces.names, sizes, strict=True))
    taken = links.clone()
    weights = torch.zeros(links.shape)
    for relation in sorted(relations, key=lambda r: -r.weight):
        steps = []
        if relation.type in ("subset", "equal"):
            steps.append((relation.a, relation.b))
        if relation.type in ("superset", "equal"):
            steps.append((relation.b, relation.a))
        for narrow, wide in steps:
            start, count = columns[wide[0]]
            free = links[:, place[narrow]] & ~taken[:, start : start + count].any(1)  # (N,)
            taken[free, place[wide]] = True
            weights[free, place[wide]] = relation.weight
    return weights
