"""Typed relations out of texts, for classes that share no unified label.

Letters: C classes of all datasets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.typed_relations import TypedRelation
from unilabel.text.containment import INCLUDED, PART
from unilabel.text.kinds import TextInclusions, text_inclusions
from unilabel.text.taxonomy import HEARSAY


def find_typed_relations(
    spaces: LabelSpaceSet,
    linked: Tensor,
    encode: Callable[[Sequence[str]], Tensor],
    cross: Tensor | None = None,
) -> tuple[TypedRelation, ...]:
    """Relations that texts state or that follow, of classes without a unified label in common.

    Args:
        spaces: label spaces with their descriptions.
        linked: (C, C) bool, classes that share a unified label.
        encode: text encoder, texts to (n, T) features.
        cross: (C, C) of :func:`unilabel.core.evidence.cross_prediction`, told beside as what pixels
            say; it decides nothing. A class of other scenes has nothing like its own to answer, so
            shoes are cars to a head that has seen streets only.
    """
    return typed_relations(text_inclusions(spaces, encode), spaces, linked, cross)


def typed_relations(
    found: TextInclusions, spaces: LabelSpaceSet, linked: Tensor, cross: Tensor | None = None
) -> tuple[TypedRelation, ...]:
    """The same where the inclusions are known; ``linked`` is (C, C) bool."""
    names = [(space.name, name) for space in spaces for name in space.class_names]
    held = found.kind | found.part
    wanted = torch.from_numpy(np.triu(held | held.T)) & ~linked
    relations = []
    for a, b in torch.nonzero(wanted).tolist():
        kind, why, narrow, wide = _type(found, a, b)
        weight = INCLUDED if why == "kind" else PART
        weight *= 1.0 if found.direct[narrow, wide] else HEARSAY
        pixels = None
        if cross is not None:
            pixels = round(float(cross[a, b]), 4), round(float(cross[b, a]), 4)
        relations.append(
            TypedRelation(names[a], names[b], kind, why, "text", round(weight, 4), pixels)
        )
    return tuple(relations)


def _type(found: TextInclusions, a: int, b: int) -> tuple[str, str, int, int]:
    """Type seen from a, reason, the narrower and the wider class; kinds go before parts."""
    if found.kind[a, b] and found.kind[b, a]:
        return "equal", "kind", a, b
    for why in ("kind", "part"):
        inside = getattr(found, why)
        if inside[a, b] and inside[b, a]:
            return "overlap", why, a, b
        if inside[a, b]:
            return "subset", why, a, b
        if inside[b, a]:
            return "superset", why, b, a
    raise ValueError("the classes are not related")
