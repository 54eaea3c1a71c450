"""Which classes are kinds and which are parts of others, by dictionary and descriptions.

Node selection asks texts whether two classes may share a unified label. Here they are asked more: a
garment is no person, but persons are drawn "with their clothes", a shirt is a kind of clothing, and
a pedestrian's description speaks of people. Each statement is an inclusion of pixels: they chain.

Letters: C classes of all datasets. All matrices are (C, C): row a, column b.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor

from unilabel.core.background import is_background
from unilabel.core.label_space import LabelSpaceSet
from unilabel.text.containment import BELIEVED_RANKS, nearest_classes
from unilabel.text.meanings import NamePart, name_meanings
from unilabel.text.mentions import Mention, Role, mentions
from unilabel.text.names import dataset_indices
from unilabel.text.nouns import load_nouns
from unilabel.text.taxonomy import cosine_of, merge_texts, name_texts

# Meanings with fewer above them, such as object, artifact and living thing, say next to nothing.
LEAST_DEPTH = 5


@dataclass(frozen=True)
class _Concepts:
    """Dictionary meanings that stand for a class.

    Attributes:
        names: of the whole name.
        alike: the same, and what the dictionary defines by them.
        kinds: for every kind of thing that the class's name lists, all meanings that it is below.
        covers: meanings that it holds, with all that is below them.
        parts: meanings of which it has some as parts.
        owners: meanings that it is a part of, and what the dictionary defines by them.
        wholes: the same and all above them.
        left_out: meanings that it does not hold.
    """

    names: frozenset[int]
    alike: frozenset[int]
    kinds: tuple[frozenset[int], ...]
    covers: frozenset[int]
    parts: frozenset[int]
    owners: frozenset[int]
    wholes: frozenset[int]
    left_out: frozenset[int]


@dataclass(frozen=True)
class TextInclusions:
    """What texts say of whole classes.

    Attributes:
        kind: bool: every a is a b.
        part: bool: a is a part of b, or worn by it; never where ``kind`` is.
        direct: bool: said of the two themselves, not followed from what is said of others.
    """

    kind: np.ndarray
    part: np.ndarray
    direct: np.ndarray


def text_inclusions(
    label_spaces: LabelSpaceSet, encode: Callable[[Sequence[str]], Tensor]
) -> TextInclusions:
    """Inclusions that names, dictionary and descriptions state, and what follows from them.

    Args:
        label_spaces: K label spaces.
        encode: text encoder, texts to (n, T) features.
    """
    features = encode(merge_texts(label_spaces))
    dataset_of = dataset_indices(label_spaces)
    near = np.zeros((label_spaces.total,) * 2, bool)
    for texts in (features, encode(name_texts(label_spaces))):
        near |= nearest_classes(cosine_of(texts), dataset_of, BELIEVED_RANKS)
    return inclusions_of(label_spaces, name_meanings(label_spaces, features, encode), near)


def inclusions_of(
    label_spaces: LabelSpaceSet, meanings: list[tuple[NamePart, ...]], near: np.ndarray
) -> TextInclusions:
    """The same where meanings are known.

    Args:
        label_spaces: K label spaces.
        meanings: C results of :func:`unilabel.text.meanings.name_meanings`.
        near: bool: b is among the classes of its dataset that are most like a. Others are not
            believed to hold a: a "bed" of gravel is not the furniture.
    """
    dataset_of = dataset_indices(label_spaces)
    names = [name for space in label_spaces for name in space.class_names]
    texts = [
        text for space in label_spaces for text in (space.descriptions or ("",) * space.num_classes)
    ]
    concepts = [_read(t, m) for t, m in zip(texts, meanings, strict=True)]
    named = np.array([not is_background(name) for name in names])
    able = near & (dataset_of[:, None] != dataset_of[None]) & named[:, None] & named[None]
    listed, part = np.zeros_like(able), np.zeros_like(able)
    for a, b in np.argwhere(able).tolist():  # few: near classes alone
        one, two = concepts[a], concepts[b]
        if _left_out(one, two):
            able[a, b] = False
            continue
        listed[a, b] = _all(one.kinds, two.covers)
        part[a, b] = _all(one.kinds, two.parts) or not (
            one.wholes.isdisjoint(two.covers) and one.owners.isdisjoint(two.names)
        )
    same = np.zeros_like(able)
    for a, b in _same_names(concepts):
        if dataset_of[a] != dataset_of[b] and named[a] and named[b]:
            same[a, b] = not _left_out(concepts[a], concepts[b])
    kind, parts = _closed(*map(csr_array, (same, listed, part, able)))
    return TextInclusions(kind, parts, same | listed | (part & ~kind))


def _closed(
    same: csr_array, listed: csr_array, part: csr_array, able: csr_array
) -> tuple[np.ndarray, np.ndarray]:
    """What follows: a kind of a kind is a kind; a part of a part or of a kind is a part.

    Datasets that use one name differ in the kinds that they list under it ("vehicle" with or
    without boats), hardly in the parts that go with a thing. So parts pass from name to name, kinds
    do not.
    """
    kind = listed
    for _ in range(same.shape[0]):
        before = kind.nnz + part.nnz
        kind = kind + _chained(kind, kind, able)
        holds = kind + same
        part = part + _chained(holds + part, part, able) + _chained(part, holds, able)
        if kind.nnz + part.nnz == before:
            break
    kinds = (kind + same).toarray()
    return kinds, part.toarray() & ~kinds


def _chained(first: csr_array, second: csr_array, able: csr_array) -> csr_array:
    """Bool: from a to b in two steps, where it is believed."""
    steps = first.astype(np.int32) @ second.astype(np.int32)
    found = steps.astype(bool).multiply(able).tocsr()
    found.eliminate_zeros()
    return found


def _same_names(concepts: list[_Concepts]) -> Iterator[tuple[int, int]]:
    """Pairs of classes whose names mean the same, found by meaning."""
    having: dict[int, list[int]] = defaultdict(list)
    for b, two in enumerate(concepts):
        for name in two.names:
            having[name].append(b)
    for a, one in enumerate(concepts):
        for name in one.alike:
            for b in having.get(name, ()):
                yield a, b


def _left_out(one: _Concepts, two: _Concepts) -> bool:
    """Whether the description of one of two classes leaves the other out."""
    return _all(one.kinds, two.left_out) or _all(two.kinds, one.left_out)


def _all(kinds: tuple[frozenset[int], ...], held: frozenset[int]) -> bool:
    """Whether every kind of thing of a class is below something that is held."""
    return bool(kinds) and not any(kind.isdisjoint(held) for kind in kinds)


def _read(text: str, parts: tuple[NamePart, ...]) -> _Concepts:
    own = [tuple(part.words.split()) for part in parts]
    said = mentions(text, [*own, *(words[-1:] for words in own)])
    genus = [_above(m) for m in said[:1] if m.role is Role.FIRST or m.one]
    heads = {words[-1:] for words, part in zip(own, parts, strict=True) if not part.whole}
    listed = _said([m for m in said if not m.one and m.words not in heads], Role.INCLUDED)
    content = frozenset().union(*map(_kinds, listed))
    kinds = []
    for part in parts:
        named = _kinds(part.meaning) if part.meaning is not None else frozenset()
        if not part.whole and listed:  # a "two wheeler" is no wheeler where bicycles are listed
            named &= content
        kinds.append(named.union(*(g for g in genus if _agree(named, g) and len(parts) == 1)))
    whole = {part.meaning for part in parts if part.whole and part.meaning is not None}
    owners = _said(said, Role.OWNER)
    return _Concepts(
        names=frozenset(whole),
        alike=_alike(whole),
        kinds=tuple(kinds),
        covers=listed or frozenset(whole),
        parts=_said(said, Role.PART),
        owners=_alike(owners),
        wholes=frozenset().union(*map(_kinds, owners)),
        left_out=_said(said, Role.EXCLUDED),
    )


def _said(said: list[Mention], role: Role) -> frozenset[int]:
    return frozenset(meaning for m in said if m.role is role for meaning in _meaning(m))


def _alike(meanings: Iterable[int]) -> frozenset[int]:
    return frozenset(other for one in meanings for other in load_nouns().alike(one))


def _agree(named: frozenset[int], genus: frozenset[int]) -> bool:
    """Whether a description's first noun says what the name says, more widely or more closely.

    "A round red fruit" is read as a red: the name knows better.
    """
    nouns = load_nouns()
    return not named or any(len(nouns.kinds_above(m)) >= LEAST_DEPTH for m in named & genus)


def _kinds(meaning: int) -> frozenset[int]:
    """A meaning, all above it, and those that the dictionary defines by one of them."""
    return _alike(load_nouns().kinds_above(meaning))


def _above(mention: Mention) -> frozenset[int]:
    """All meanings that the last words of a mention are below."""
    for start in range(len(mention.words)):
        found = load_nouns().meanings(" ".join(mention.words[start:]))
        if found:
            return _kinds(found[0])
    return frozenset()


def _meaning(mention: Mention) -> set[int]:
    """The most common meaning of a mention; "clothes" are what the dictionary calls clothing."""
    nouns = load_nouns()
    words = " ".join(mention.words)
    found = set(nouns.meanings(words)[:1])
    for meaning in tuple(found):
        for above in nouns.parents[meaning]:
            if _stem(words) in {_stem(word) for word in nouns.words[above]}:
                found.add(above)
    return found


def _stem(words: str) -> str:
    return re.sub(r"(ing|es|s)$", "", words)
