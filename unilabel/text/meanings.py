"""Which of a word's dictionary meanings a class name has: the nearest to its description.

Letters: C classes of all datasets, T text feature dim.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from unilabel.core.label_space import LabelSpaceSet
from unilabel.text.names import name_parts
from unilabel.text.nouns import load_nouns

# A rarer meaning has to be that much nearer, per place in the order of frequency, up to five.
RARITY_PRICE = 0.03


@dataclass(frozen=True)
class NamePart:
    """One kind of thing that a class name lists.

    Attributes:
        words: its name.
        meaning: see :mod:`unilabel.text.nouns`; None where the dictionary has no such word.
        whole: whether the meaning is that of all words, not of the last ones alone.
    """

    words: str
    meaning: int | None
    whole: bool


def name_meanings(
    label_spaces: LabelSpaceSet,
    text_features: Tensor,
    encode: Callable[[Sequence[str]], Tensor],
) -> list[tuple[NamePart, ...]]:
    """Name parts of all classes with their meanings.

    Args:
        label_spaces: K label spaces, C classes.
        text_features: (C, T) encoding of names and descriptions.
        encode: the encoder that made them; it is asked for definitions.

    Returns:
        C tuples.
    """
    nouns = load_nouns()
    candidates = [
        [(part, *_meanings_of(part, name)) for part in name_parts(name)]
        for space in label_spaces
        for name in space.class_names
    ]
    wanted = sorted({m for parts in candidates for _, of, _ in parts if len(of) > 1 for m in of})
    near: dict[int, np.ndarray] = {}
    if wanted:
        texts = [f"{nouns.words[m][0]}: {nouns.definitions[m]}" for m in wanted]
        cosine = _unit(encode(texts)) @ _unit(text_features).T
        near = dict(zip(wanted, cosine, strict=True))

    def best(meanings: tuple[int, ...], row: int) -> int | None:
        if len(meanings) < 2:
            return meanings[0] if meanings else None
        return max(meanings, key=lambda m: near[m][row] - RARITY_PRICE * min(meanings.index(m), 5))

    return [
        tuple(NamePart(words, best(of, row), whole) for words, of, whole in parts)
        for row, parts in enumerate(candidates)
    ]


def _meanings_of(part: str, name: str) -> tuple[tuple[int, ...], bool]:
    """Meanings of the most words at the end of a name part, and whether these are all of them."""
    nouns = load_nouns()
    as_written = " ".join(re.findall(r"[^\W_]+", name.lower()))
    if len(name_parts(name)) == 1 and nouns.meanings(as_written):
        return nouns.meanings(as_written), True  # "glasses" are not glass
    words = part.split()
    for start in range(len(words)):
        found = nouns.meanings(" ".join(words[start:]))
        if found:
            return found, start == 0
    return (), False


def _unit(features: Tensor) -> np.ndarray:
    values = features.double().numpy()
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True).clip(min=1e-12))
