"""Class names compared as words: plural, compounds, alternatives, head nouns.

Letters: C classes of all datasets.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from unilabel.core.label_space import LabelSpaceSet
from unilabel.text.plurals import singular

# Words that datasets add to a class name to say what is left over, not what it is.
FILLERS = frozenset({"merged", "other", "stuff", "general", "plain"})
PREFIXES = frozenset({"non", "semi", "anti"})


def canonical_name(name: str) -> str:
    """Lower-case singular words with single spaces: ``Traffic_Signs`` -> ``traffic sign``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return " ".join(singular(word) for word in re.findall(r"[^\W_]+", spaced.lower()))


def name_parts(name: str) -> tuple[str, ...]:
    """The kinds of things that a class name lists, each as words with the head noun last.

    ``bridge or tunnel`` -> ``bridge``, ``tunnel``; ``Lane Marking - Crosswalk`` -> ``crosswalk lane
    marking`` and ``wall-brick`` -> ``brick wall`` (general word first); ``rug-merged`` -> ``rug``.
    """
    parts = []
    for part in re.split(r"\bor\b|[,/]", name):
        pieces = [canonical_name(piece) for piece in re.split(r"\s+-\s+|(?<=\w)-(?=\w)", part)]
        if len(pieces) == 2 and pieces[0] not in PREFIXES and (" - " in part or " " not in part):
            pieces.reverse()
        words = " ".join(pieces).split()
        kept = [word for word in words if word not in FILLERS] or words
        if kept:
            parts.append(" ".join(kept))
    return tuple(parts) or (canonical_name(name),)


def is_kind_of(part: str, other: str) -> bool:
    """Whether the words of ``part`` end with those of ``other``: a swivel chair is a chair."""
    return part != other and part.endswith(" " + other)


def same_name(label_spaces: LabelSpaceSet) -> np.ndarray:
    """(C, C) bool, symmetric: classes of different datasets with a name part in common."""
    dataset_of = dataset_indices(label_spaces)
    # Without spaces: "trafficlight" and "traffic light" are one word.
    names = [
        {part.replace(" ", "") for part in name_parts(name)}
        for space in label_spaces
        for name in space.class_names
    ]
    return in_common(names, names) & (dataset_of[:, None] != dataset_of[None])


def kind_of(label_spaces: LabelSpaceSet) -> np.ndarray:
    """(C, C) bool: by its name class a is a kind of class b of another dataset."""
    dataset_of = dataset_indices(label_spaces)
    parts = [name_parts(n) for s in label_spaces for n in s.class_names]
    return kinds_of(parts) & (dataset_of[:, None] != dataset_of[None])


def kinds_of(parts: Sequence[Sequence[str]]) -> np.ndarray:
    """(C, C) bool: a part of a is a kind of a part of b by its words, see :func:`is_kind_of`."""
    heads = [
        {part[at + 1 :] for part in own for at, letter in enumerate(part) if letter == " "}
        for own in parts
    ]
    return in_common(heads, parts)


def in_common(
    own: Sequence[Iterable[Hashable]], others: Sequence[Iterable[Hashable]]
) -> np.ndarray:
    """(A, B) bool: pairs of A and B collections that have something in common."""
    holders: dict[Hashable, list[int]] = defaultdict(list)
    for column, things in enumerate(others):
        for thing in things:
            holders[thing].append(column)
    found = np.zeros((len(own), len(others)), bool)
    for row, things in enumerate(own):
        for thing in things:
            if thing in holders:
                found[row, holders[thing]] = True
    return found


def dataset_indices(label_spaces: LabelSpaceSet) -> np.ndarray:
    """(C,) index of the dataset of every class."""
    return np.repeat(np.arange(len(label_spaces)), label_spaces.num_classes)
