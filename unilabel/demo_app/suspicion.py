"""Which links of a label space a person should look at first.

Letters: N unified labels, C classes of all datasets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unilabel.core.evidence import text_similarity
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.unified_space import Link
from unilabel.demo_app.changes import Draft
from unilabel.demo_app.link_evidence import Counts
from unilabel.text.encoders import build_text_encoder
from unilabel.text.prompts import label_texts

LOW_WEIGHT = 0.5  # learned links of less weight are suspicious
PIXEL_MARGIN = 0.25  # share of a label's pixels by which another class must have more
FEW_SHARE = 0.002  # of a class's pixels; a link that carries fewer is suspicious
LEAST_PIXELS = 200  # of a label or class; with fewer nothing is said
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
    draft: Draft,
    label_spaces: LabelSpaceSet,
    counts: Counts | None = None,
    similarity: NDArray[np.float64] | None = None,
) -> dict[tuple[int, str], Suspicion]:
    """Links that pixels speak against, of low weight, or whose text fits another label better.

    Links that a person made and those of checked labels are left out.

    Args:
        draft: the links.
        label_spaces: the datasets.
        counts: dataset -> (C, N) pixels of each drawn class and the label that is read.
        similarity: (C, C) of :func:`class_similarity`; None: texts are not asked.

    Returns:
        (unified label, dataset) -> suspicion.
    """
    support = None if similarity is None else _support(draft, label_spaces, similarity)
    found = {}
    for (row, dataset), (column, link) in draft.links.items():
        if link.source == "human" or row in draft.checked:
            continue
        names = label_spaces.get(dataset).class_names
        reasons = [_weight(link)]
        if counts is not None and dataset in counts:
            reasons.append(_pixels(counts[dataset], row, column, names, draft, link))
        if support is not None:
            index = label_spaces.class_offsets[label_spaces.dataset_index(dataset)] + column
            reasons.append(_text(support[index], draft, row, dataset, names[column], column))
        worst = max(reasons, key=lambda reason: reason.score)
        if worst.score > 0:
            found[row, dataset] = worst
    return found


def _weight(link: Link) -> Suspicion:
    score = max(0.0, 1 - link.weight / LOW_WEIGHT)
    return Suspicion(round(min(1.0, score), 4), f"weak evidence in the images ({link.weight:.2f})")


def _pixels(
    counts: NDArray[np.int64],
    row: int,
    column: int,
    names: Sequence[str],
    draft: Draft,
    link: Link,
) -> Suspicion:
    """What the drawn labels of photos say about a link of a label and a class.

    A link by texts never claimed that the class's photos show the label: few pixels say nothing.
    """
    drawn, read = int(counts[column].sum()), int(counts[:, row].sum())
    share = counts[:, row] / max(read, 1)
    best = int(share.argmax())
    margin = float(share[best] - share[column])
    if read >= LEAST_PIXELS and margin >= PIXEL_MARGIN:
        text = (
            f"of the pixels read as “{draft.names[row]}”, {100 * share[best]:.0f} % are drawn as "
            f"“{names[best]}” and {100 * share[column]:.0f} % as “{names[column]}”"
        )
        return Suspicion(round(margin, 4), text)
    carried = int(counts[column, row])
    if link.source != "text" and drawn >= LEAST_PIXELS and carried < FEW_SHARE * drawn:
        text = f"carries {carried:,} of {drawn:,} pixels drawn as “{names[column]}”"
        return Suspicion(PIXEL_MARGIN, text)
    return Suspicion(0.0, "")


def _text(
    support: NDArray[np.float64], draft: Draft, row: int, dataset: str, name: str, column: int
) -> Suspicion:
    """Whether the text of a class fits another unified label better; ``support`` is (N,)."""
    linked = [draft.links.get((r, dataset), (-1,))[0] == column for r in range(len(support))]
    others = np.where(linked, -1.0, support)
    best = int(others.argmax())
    margin = float(others[best] - support[row])
    if np.isfinite(support[row]) and others[best] >= TEXT_FIT and margin >= TEXT_MARGIN:
        text = f"the text of “{name}” fits “{draft.names[best]}” better"
        return Suspicion(min(1.0, round(margin, 4)), text)
    return Suspicion(0.0, "")


def _support(
    draft: Draft, label_spaces: LabelSpaceSet, similarity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(C, N) best similarity of a class to the classes of other datasets in a unified label."""
    offsets = dict(zip(label_spaces.names, label_spaces.class_offsets, strict=False))
    dataset_of = np.repeat(np.arange(len(label_spaces)), label_spaces.num_classes)
    matrix = np.zeros((len(draft.names), label_spaces.total), bool)
    for (row, dataset), (column, _) in draft.links.items():
        matrix[row, offsets[dataset] + column] = True
    foreign = np.where(dataset_of[:, None] == dataset_of[None], -np.inf, similarity)
    support = np.full((len(dataset_of), len(matrix)), -np.inf)
    for row, links in enumerate(matrix):
        if links.any():
            support[:, row] = foreign[:, links].max(1)
    return support
