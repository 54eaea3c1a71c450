"""Nouns of WordNet 3.0: which words mean the same thing, and which thing is a kind of which.

The file ``wordnet/nouns.txt.xz`` holds the nouns for physical things (36,740 meanings); the program
that made it from WordNet is ``packaging/wordnet/pack.py``, the licence stands beside it.
A *meaning* is a line number of that file.
"""

from __future__ import annotations

import lzma
import re
from functools import cached_property, lru_cache
from importlib.resources import files

from unilabel.text.plurals import singular


class Nouns:
    """Words and their meanings.

    Attributes:
        words: per meaning, the words for it.
        parents: per meaning, the meanings that it is directly a kind of.
        definitions: per meaning one sentence, empty where all its words have no other meaning.
    """

    def __init__(self, lines: list[str]) -> None:
        """Read the lines of the file, whose form is told in ``packaging/wordnet/pack.py``."""
        self.words: list[tuple[str, ...]] = []
        self.parents: list[tuple[int, ...]] = []
        self.definitions: list[str] = []
        places: dict[str, dict[int, int]] = {}
        for number, line in enumerate(lines):
            words, parents, definition = line.split("\t")
            self.parents.append(tuple(int(p) for p in parents.split()))
            self.definitions.append(definition)
            kept = []
            for entry in words.split("|"):
                word, _, place = entry.partition("=")
                kept.append(word.replace("_", " "))
                places.setdefault(_key(word), {})[number] = int(place or 0)
            self.words.append(tuple(kept))
        self._meanings = {key: tuple(sorted(of, key=of.__getitem__)) for key, of in places.items()}

    def meanings(self, words: str) -> tuple[int, ...]:
        """Meanings of a word or compound, the most common first; blanks and hyphens do not count.

        "street light", "street-light" and "streetlight" are one word.
        """
        return self._meanings.get(_key(words), ())

    def kinds_above(self, meaning: int) -> dict[int, int]:
        """Everything that a meaning is a kind of, itself with 0, with the least number of steps."""
        steps = {meaning: 0}
        edge = [meaning]
        while edge:
            following = [p for m in edge for p in self.parents[m]]
            depth = steps[edge[0]] + 1
            edge = [p for p in dict.fromkeys(following) if p not in steps]
            steps.update(dict.fromkeys(edge, depth))
        return steps

    def alike(self, meaning: int) -> frozenset[int]:
        """Meanings that are defined by the name of this one alone, or it by theirs, and itself.

        "person" and "human being" stand in two places; the one is defined as the other.
        """
        return self._alike.get(meaning, frozenset()) | {meaning}

    @cached_property
    def _alike(self) -> dict[int, frozenset[int]]:
        pairs: dict[int, frozenset[int]] = {}
        for meaning, definition in enumerate(self.definitions):
            found = self.meanings(re.sub("^(an?|the) ", "", definition)) if definition else ()
            if len(found) == 1 and found[0] != meaning:
                for one, two in ((meaning, found[0]), (found[0], meaning)):
                    pairs[one] = pairs.get(one, frozenset()) | {two}
        return pairs

    def singular(self, word: str) -> str:
        """The word without its plural ending, if possible a word of the dictionary."""
        if not word.endswith("s") and self.meanings(word):
            return word
        regular = singular(word)
        others = [word[:-1]] if word.endswith("s") else []
        if word.endswith("es"):
            others += [word[:-2], *(word[:-3] + end for end in ("fe", "f", "y"))]
        return next((w for w in (regular, *others, word) if self.meanings(w)), regular)


@lru_cache(maxsize=1)
def load_nouns() -> Nouns:
    """The nouns that come with the package."""
    packed = (files("unilabel") / "text" / "wordnet" / "nouns.txt.xz").read_bytes()
    return Nouns(lzma.decompress(packed).decode().split("\n"))


def _key(words: str) -> str:
    return re.sub(r"[\W_]+", "", words.lower())
