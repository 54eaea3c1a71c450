"""Classes that mean "everything that we did not name", told by their names."""

from __future__ import annotations

import re

__all__ = ["is_background"]

# whole names, in lower case, words parted by single blanks
_NAMES = frozenset(
    {
        "background", "other", "others", "other objects", "other stuff", "rest", "misc",
        "miscellaneous", "unlabeled", "unlabelled", "unknown", "undefined", "void", "nothing",
        "none", "none of the above", "everything else", "no class", "clutter background",
    }
)  # fmt: skip


def is_background(class_name: str) -> bool:
    """Whether a class is what a dataset did not name, not a kind of thing of its own.

    Its pixels may be anything that other datasets name. ``other vehicle`` is a kind of thing.
    """
    return " ".join(re.split(r"[\W_]+", class_name.lower())).strip() in _NAMES
