"""WildDash 2 for a model that never saw it: unified labels through the classes they stand for.

Letters: C classes of all training datasets, N unified labels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import UNIFIED, LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.submission.class_names import (
    ClassMeaning,
    add_relations,
    add_text,
    meanings_by_name,
)
from unilabel.submission.formats import get_benchmark
from unilabel.submission.label_table import LabelTable
from unilabel.submission.wilddash import DATASET

_MIN_WEIGHT = 0.5  # of the best link of a unified label; weaker links have no vote


@dataclass(frozen=True)
class _Vote:
    width: int  # unified labels of the class: the fewer, the more exactly it is meant
    known: bool
    scored: str | None
    weight: float
    reason: str


def class_meanings(
    label_spaces: LabelSpaceSet,
    relations: str | os.PathLike[str] | None = None,
    text_encoder: str | None = None,
) -> list[ClassMeaning | None]:
    """C meanings of all classes: by name, then known relations, then label text.

    Args:
        label_spaces: the training datasets.
        relations: a ``relations.json``, also between them and ``wilddash2``.
        text_encoder: for classes that stay unknown; None: they stay unknown.
    """
    meanings = meanings_by_name(label_spaces)
    if relations is not None:
        meanings = add_relations(meanings, label_spaces, relations)
    return meanings if text_encoder is None else add_text(meanings, label_spaces, text_encoder)


def zero_shot_table(
    label_spaces: LabelSpaceSet,
    space: UnifiedLabelSpace | None,
    meanings: Sequence[ClassMeaning | None],
    head: str | None = None,
) -> LabelTable:
    """The mapping to WildDash 2 of a model that was not trained on it.

    A unified label stands for at most one class of every dataset. The class with the fewest unified
    labels says most exactly what it is (lane marking against road) and decides; among equally
    exact ones the sum of their link weights does. Everything else is void, as in the paper.

    Args:
        label_spaces: the training datasets.
        space: the unified labels; None: a model with one head per dataset.
        meanings: C meanings, see :func:`class_meanings`.
        head: the dataset whose head answers, for a model without unified labels.

    Raises:
        UniLabelError: no label becomes a class of WildDash 2, or the head is not named.
    """
    parts = dict(zip(label_spaces.names, _split(meanings, label_spaces), strict=True))
    if space is None:
        if head is None:
            raise UniLabelError(
                "this model has one head per dataset; choose the one that answers with --space: "
                f"{', '.join(label_spaces.names)}."
            )
        labels, where = label_spaces.get(head).class_names, head
        decisions = [(m.scored, m.evidence) if m else (None, "too wide") for m in parts[head]]
    else:
        labels, where = space.names, UNIFIED
        decisions = [_decide(row, space, parts) for row in range(len(space.names))]
    classes, evidence = zip(*decisions, strict=True)
    if not any(classes):
        raise UniLabelError(
            "no label of the model is a class of WildDash 2 by its name; give --relations, "
            "--text-encoder or a mapping file."
        )
    return LabelTable(
        get_benchmark(DATASET).name,
        "zero-shot",
        where,
        "",
        tuple(labels),
        tuple(classes),
        tuple(evidence),
    )


def _split(
    meanings: Sequence[ClassMeaning | None], label_spaces: LabelSpaceSet
) -> list[Sequence[ClassMeaning | None]]:
    offsets = label_spaces.class_offsets
    return [meanings[a:b] for a, b in pairwise(offsets)]


def _decide(
    row: int, space: UnifiedLabelSpace, parts: dict[str, Sequence[ClassMeaning | None]]
) -> tuple[str | None, str]:
    votes = _votes(row, space, parts)
    if not votes:
        return None, "no link" if not space.mapping.stacked()[row].any() else "too wide"
    exact = min((v.width, not v.known) for v in votes)
    best = [v for v in votes if (v.width, not v.known) == exact]
    sums: dict[str | None, float] = {}
    for vote in best:
        sums[vote.scored] = sums.get(vote.scored, 0.0) + vote.weight
    winner = max(sums, key=lambda name: (sums[name], name is not None))
    reasons = [v.reason for v in best if v.scored == winner]
    others = sorted({v.scored or "void" for v in best} - {winner or "void"})
    return winner, ", ".join(reasons) + (f" (against {', '.join(others)})" if others else "")


def _votes(
    row: int, space: UnifiedLabelSpace, parts: dict[str, Sequence[ClassMeaning | None]]
) -> list[_Vote]:
    links = [
        (dataset, column, link.weight)
        for (label, dataset, column), link in space.links.items()
        if label == row
    ]
    limit = _MIN_WEIGHT * max((weight for _, _, weight in links), default=0.0)
    votes = []
    for dataset, column, weight in links:
        meaning = parts[dataset][column]
        if meaning is None or weight < limit:
            continue
        width = int(space.mapping[dataset][:, column].sum())
        name = f"{dataset}:{space.label_spaces.get(dataset).class_names[column]}"
        votes.append(
            _Vote(width, meaning.known, meaning.scored, weight, f"{name} ({meaning.evidence})")
        )
    return votes
