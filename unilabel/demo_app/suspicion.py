"""Which links of a label space a person should look at first.

Letters: N unified labels, C classes of all datasets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unilabel.core.evidence import text_similarity
from unilabel.core.label_space import LabelSpaceSet
from unilabel.demo_app.editing import Draft
from unilabel.text.encoders import build_text_encoder
from unilabel.text.prompts import label_texts

LOW_WEIGHT = 0.5  # links with less image evidence are suspicious
TEXT_FIT = 0.5  # similarity from which a name fits a unified label
TEXT_MARGIN = 0.25  # by which it must fit another one better


@dataclass(frozen=True)
class Suspicion:
    """Why a link may be wrong.

    Attributes:
        score: 0..1, larger is more suspicious.
        reason: a sentence.
    """

    score: float
    reason: str


def class_similarity(label_spaces: LabelSpaceSet, encoder: str = "hashed") -> NDArray[np.float64]:
    """(C, C) cosine of the classes' texts: their names, or descriptions for a language model."""
    described = all(space.described for space in label_spaces)
    # without a model of meaning, shared words of whole sentences say little
    mode = "description" if described and not encoder.startswith("hashed") else "name"
    features = build_text_encoder(encoder).encode(label_texts(label_spaces, mode))
    return text_similarity(features).double().numpy()


def suspicious_links(
    draft: Draft, label_spaces: LabelSpaceSet, similarity: NDArray[np.float64]
) -> dict[tuple[int, str], Suspicion]:
    """Links with weak image evidence, or whose text fits another unified label clearly better.

    Links that a person made and those of checked labels are left out.

    Args:
        draft: the links.
        label_spaces: the datasets.
        similarity: (C, C) of :func:`class_similarity`.

    Returns:
        (unified label, dataset) -> suspicion.
    """
    offsets = dict(zip(label_spaces.names, label_spaces.class_offsets, strict=False))
    dataset_of = np.repeat(np.arange(len(label_spaces)), label_spaces.num_classes)
    matrix = np.zeros((len(draft.names), label_spaces.total), bool)
    for (row, dataset), (column, _) in draft.links.items():
        matrix[row, offsets[dataset] + column] = True
    support = _support(matrix, similarity, dataset_of)
    found = {}
    for (row, dataset), (column, link) in draft.links.items():
        if link.source == "human" or row in draft.checked:
            continue
        index = offsets[dataset] + column
        low = max(0.0, 1 - link.weight / LOW_WEIGHT)
        reason = "weak evidence in the images" if low else ""
        score = low
        own = support[index, row]
        others = np.where(matrix[:, index], -1.0, support[index])
        best = int(others.argmax())
        margin = float(others[best] - own)
        fits = others[best] >= TEXT_FIT and margin >= TEXT_MARGIN
        if np.isfinite(own) and fits and margin > low:
            score = margin
            name = label_spaces.get(dataset).class_names[column]
            reason = f"the name “{name}” fits “{draft.names[best]}” better"
        if score > 0:
            found[row, dataset] = Suspicion(min(1.0, round(score, 4)), reason)
    return found


def _support(
    matrix: NDArray[np.bool_], similarity: NDArray[np.float64], dataset_of: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(C, N) best similarity of a class to the classes of other datasets in a unified label."""
    foreign = np.where(dataset_of[:, None] == dataset_of[None], -np.inf, similarity)
    support = np.full((len(dataset_of), len(matrix)), -np.inf)
    for row, links in enumerate(matrix):
        if links.any():
            support[:, row] = foreign[:, links].max(1)
    return support
