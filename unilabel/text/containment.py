"""Evidence from text that two classes are the same, or that one holds the other.

Names, dictionary and descriptions each know something else: "sofa" and "couch" are one word to the
dictionary, a swivel chair is a chair by its name, and that a bike lane counts as road stands in the
description of the road. Descriptions that are alike count only where each is the other's nearest in
its dataset: other than that likeness tells relatedness, not sameness.

Letters: C classes of all datasets. All matrices are (C, C), row a, column b, 0 within a dataset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unilabel.core.label_space import LabelSpaceSet
from unilabel.text.meanings import NamePart
from unilabel.text.mentions import Role, mentions
from unilabel.text.names import dataset_indices, in_common, kinds_of
from unilabel.text.nouns import load_nouns

# Order of trust: an equal name, an equal meaning, a description that names the class, a name that
# says its kind ("swivel chair"), a description that names a part. All are above the threshold.
# Likeness counts as much as its share of siblings, and never more than what somebody wrote down.
SAME_NAME, SAME_MEANING, INCLUDED, KIND, PART = 1.0, 0.97, 0.96, 0.95, 0.9
LIKENESS_LIMIT = 0.96
# A description is believed about classes that are among the two nearest of their dataset: a "bed"
# of gravel is not the furniture, and rails of tracks are no guard rails.
BELIEVED_RANKS = 2
# "Trees" in a description holds palms: steps in the dictionary that are followed down.
STEPS_DOWN = 3


@dataclass(frozen=True)
class RelationEvidence:
    """What text says about all pairs.

    Attributes:
        same: symmetric, in 0..1: a and b are the same thing.
        inside: in 0..1: b holds a, all of it; at least ``same``.
        excluded: bool: the description of b leaves a out.
    """

    same: np.ndarray
    inside: np.ndarray
    excluded: np.ndarray


def relation_evidence(
    label_spaces: LabelSpaceSet,
    meanings: list[tuple[NamePart, ...]],
    likeness: np.ndarray,
    cosines: Iterable[np.ndarray],
) -> RelationEvidence:
    """Collect the evidence.

    Args:
        label_spaces: K label spaces.
        meanings: C results of :func:`unilabel.text.meanings.name_meanings`.
        likeness: share of labels whose nearest sibling is less alike than a and b.
        cosines: of text features, one after the other; a pair's rank is the best that one of them
            gives it, and the first decides who is nearest.
    """
    dataset_of = dataset_indices(label_spaces)
    other = dataset_of[:, None] != dataset_of[None]
    near = np.zeros(other.shape, bool)
    for number, cosine in enumerate(cosines):
        near |= nearest_classes(cosine, dataset_of, BELIEVED_RANKS)
        if number == 0:
            nearest = nearest_classes(cosine, dataset_of, 1)
    nearest &= nearest.T.copy()
    names = _names(meanings)
    said = _said(label_spaces, meanings)
    alone = np.array([len(parts) == 1 for parts in meanings])

    # In place: with thousands of classes a matrix of all pairs is large.
    same = np.minimum(likeness, LIKENESS_LIMIT)
    same[~nearest] = 0.0
    _at_least(same, SAME_MEANING, names.meaning & alone[:, None] & alone[None])
    _at_least(same, SAME_NAME, names.equal)
    same *= other
    inside = same.copy()
    _at_least(inside, SAME_NAME, names.shared)
    _at_least(inside, SAME_MEANING, names.meaning & alone[:, None])
    _at_least(inside, KIND, names.kind)
    _at_least(inside, INCLUDED, said[Role.INCLUDED] & near)
    _at_least(inside, PART, said[Role.PART] & near)
    excluded = said[Role.EXCLUDED] & ~names.shared & ~names.shared.T
    inside[excluded] = 0.0
    inside *= other
    return RelationEvidence(same, inside, excluded & other)


def _at_least(values: np.ndarray, least: float, where: np.ndarray) -> None:
    """Raise values to ``least``, in place, where a bool matrix says so."""
    np.maximum(values, least, out=values, where=where)


def nearest_classes(cosine: np.ndarray, dataset_of: np.ndarray, count: int) -> np.ndarray:
    """(C, C) bool: b is among the ``count`` classes of its dataset that are most like a."""
    found = np.zeros(cosine.shape, bool)
    rows = np.arange(len(cosine))
    for dataset in range(dataset_of.max() + 1):
        columns = np.flatnonzero(dataset_of == dataset)
        left = cosine[:, columns]
        for _ in range(min(count, len(columns))):
            best = left.argmax(1)
            found[rows, columns[best]] = True
            left[rows, best] = -np.inf
    return found


@dataclass(frozen=True)
class _Names:
    """(C, C) bool: what names and dictionary say.

    ``equal``: all parts; ``shared``: a part of a, and b lists no fewer; ``meaning``: a part's
    meaning; ``kind``: a is a kind of b by its words.
    """

    equal: np.ndarray
    shared: np.ndarray
    meaning: np.ndarray
    kind: np.ndarray


def _names(meanings: list[tuple[NamePart, ...]]) -> _Names:
    # Without spaces: "trafficlight" and "traffic light" are one word.
    keys = [{part.words.replace(" ", "") for part in parts} for parts in meanings]
    senses = [{p.meaning for p in parts if p.whole and p.meaning is not None} for parts in meanings]
    whole = [{frozenset(parts)} for parts in keys]
    count = np.array([len(parts) for parts in keys])
    return _Names(
        equal=in_common(whole, whole),
        shared=in_common(keys, keys) & (count[None] >= count[:, None]),
        meaning=in_common(senses, senses),
        kind=kinds_of([[part.words for part in parts] for parts in meanings]),
    )


class _Index:
    """Finds the classes that a phrase of a description names."""

    def __init__(self, meanings: list[tuple[NamePart, ...]]) -> None:
        self.nouns = load_nouns()
        self.by_words: dict[str, set[int]] = defaultdict(set)
        self.by_last_words: dict[str, set[int]] = defaultdict(set)
        self.by_meaning: dict[int, set[int]] = defaultdict(set)
        self.by_kind: dict[int, set[int]] = defaultdict(set)
        for row, parts in enumerate(meanings):
            for part in parts:
                words = part.words.split()
                self.by_words["".join(words)].add(row)
                for start in range(1, len(words)):
                    self.by_last_words["".join(words[start:])].add(row)
                if part.meaning is not None:
                    if part.whole:
                        self.by_meaning[part.meaning].add(row)
                    for kind, steps in self.nouns.kinds_above(part.meaning).items():
                        if steps <= STEPS_DOWN:
                            self.by_kind[kind].add(row)

    def named(self, words: tuple[str, ...]) -> set[int]:
        """Classes of that name or meaning."""
        found = set(self.by_words.get("".join(words), ()))
        for meaning in self.nouns.meanings(" ".join(words))[:3]:
            found |= self.by_meaning.get(meaning, set())
        return found

    def kinds(self, words: tuple[str, ...]) -> set[int]:
        """Classes that are a kind of it, by their last words."""
        return self.by_last_words.get("".join(words), set())

    def below(self, words: tuple[str, ...]) -> set[int]:
        """Classes that are a kind of it, by the dictionary."""
        found: set[int] = set()
        for meaning in self.nouns.meanings(" ".join(words))[:2]:
            found |= self.by_kind.get(meaning, set())
        return found


def _said(
    label_spaces: LabelSpaceSet, meanings: list[tuple[NamePart, ...]]
) -> dict[Role, np.ndarray]:
    """Per role (C, C) bool: the description of b names a."""
    index = _Index(meanings)
    said = {role: np.zeros((len(meanings), len(meanings)), bool) for role in Role}
    texts = [
        text for space in label_spaces for text in (space.descriptions or ("",) * space.num_classes)
    ]
    for column, (text, parts) in enumerate(zip(texts, meanings, strict=True)):
        own = [tuple(part.words.split()) for part in parts]
        for mention in mentions(text, [*own, *(words[-1:] for words in own)]):
            found = set(index.named(mention.words))
            if mention.role in (Role.INCLUDED, Role.EXCLUDED):
                found |= index.kinds(mention.words)
            if mention.role is Role.INCLUDED:
                found |= index.below(mention.words)
            said[mention.role][sorted(found), column] = True
    return said
