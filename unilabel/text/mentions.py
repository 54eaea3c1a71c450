"""What the description of a class says is in it, is a part of it, or is left out.

Descriptions are read by signal words, not understood: "Trees, bushes and other plants with trunks,
such as palms; without grass" holds trees, bushes and palms, has trunks as parts and leaves out
grass. What stands in other places ("beside the road", "for carrying goods") is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from unilabel.text.nouns import load_nouns


class Role(Enum):
    """What a mentioned thing is to the class."""

    FIRST = "first"  # begins a sentence: an enumeration of what is in it, or what it is a kind of
    INCLUDED = "included"
    PART = "part"
    EXCLUDED = "excluded"
    OWNER = "owner"
    ASIDE = "aside"


@dataclass(frozen=True)
class Mention:
    """A thing that a description names.

    Attributes:
        words: its name, in the singular, without article.
        role: what it is to the class.
        one: said with "a": one of its kind, not all of them.
    """

    words: tuple[str, ...]
    role: Role
    one: bool = False


INCLUDES = frozenset({"including", "includes", "include", "also", "even"})
EXCLUDES = frozenset({"without", "than", "neither", "except", "excluding", "no", "not"})
ASIDES = frozenset(
    "on in of for by from to at beside between under over above below behind through near into "
    "against across along around upon off onto like that which who whose where when used made seen "
    "hung hanging worn".split()
)
OWNED = frozenset({"a", "an", "the"})  # "of the house": a part of it; "of glass": made of it
NO_PARTS = frozenset("name form shape kind sort type picture image photo view number".split())
VERBS = frozenset({"do", "does", "can", "is", "are"})
NOT_NAMES = frozenset({"part", "used", "counted"})  # "not part of a building"
RARELY = frozenset({"often", "mostly", "usually", "sometimes"})
PUNCTUATION = frozenset(",;:.()")
ARTICLES = frozenset({"a", "an", "the"})
# Words before a noun that do not make it another thing.
IDLE = ARTICLES | frozenset(
    "its their his her one two some any all several every small large long tall big low high thin "
    "thick upright short".split()
)
MAX_WORDS = 5
OWN_CLASS = re.compile(r"\bclass(es)? of (its|their) own\b|\bcut out of it\b|\bdo(es)? not count\b")


def mentions(description: str, heads: Sequence[tuple[str, ...]] = ()) -> list[Mention]:
    """Things that a description names, in order.

    Args:
        description: one or more sentences.
        heads: names of the class as words. In "a dining, office or folding chair" of a chair the
            first items only tell its kind, they are no things of their own.
    """
    found = []
    for sentence in re.split(r"(?<=[.])\s+", description.strip()):
        found += _Reader(sentence).read()
    nouns = load_nouns()
    named = [
        Mention(
            tuple(nouns.singular(w) for part in m.words for w in part.split("-")),
            m.role,
            m.words[0] in ("a", "an"),
        )
        for m in found
    ]
    kept = _without_kinds(named, heads)
    short = (replace(m, words=tuple(w for w in m.words if w not in IDLE)) for m in kept)
    return [m for m in short if 0 < len(m.words) <= MAX_WORDS]


def _without_kinds(found: list[Mention], heads: Sequence[tuple[str, ...]]) -> list[Mention]:
    """Passes over the short items before one that ends with the class's own name."""
    result = list(found)
    for position, mention in enumerate(found):
        listed = mention.role in (Role.INCLUDED, Role.FIRST)
        if not (listed and _ends_with(mention.words, heads, strictly=True)):
            continue
        for before in range(position - 1, -1, -1):
            item = found[before]
            if (
                item.role is not mention.role
                or len(item.words) > 2
                or _ends_with(item.words, heads)
            ):
                break
            result[before] = replace(item, role=Role.ASIDE)
    return result


def _ends_with(
    words: tuple[str, ...], heads: Sequence[tuple[str, ...]], strictly: bool = False
) -> bool:
    return any(words[-len(h) :] == h and not (strictly and len(words) == len(h)) for h in heads)


@dataclass
class _Reader:
    """Reads one sentence from left to right; ``role`` is that of the words now being read."""

    sentence: str
    role: Role = Role.FIRST
    rarely: bool = False
    enumerated: bool = False  # "and other plants" closes an enumeration
    words: list[str] = field(default_factory=list)
    found: list[Mention] = field(default_factory=list)

    def read(self) -> list[Mention]:
        """The mentions of the sentence."""
        low = self.sentence.lower().replace("'s", "")
        tokens = re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*|[,;:.()]", low)
        at = 0
        while at < len(tokens):
            at = self._step(tokens, at)
        self._close()
        first = [m for m in self.found if m.role is Role.FIRST]
        joined = " and " in re.split(r" with | that ", low)[0]
        listed = len(first) > 2 or (self.enumerated and first) or (len(first) == 2 and joined)
        apart = bool(OWN_CLASS.search(low)) and "without" not in low
        return [self._final(m, bool(listed), apart) for m in self.found]

    @staticmethod
    def _final(mention: Mention, listed: bool, apart: bool) -> Mention:
        if apart:
            return replace(mention, role=Role.EXCLUDED)
        if mention.role is Role.FIRST:
            return replace(mention, role=Role.INCLUDED if listed else Role.FIRST)
        return mention

    def _step(self, tokens: list[str], at: int) -> int:
        """Reads the token at a position; returns the next position."""
        token, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        if token in PUNCTUATION or token in ("and", "or", "nor", "but"):
            return self._break(tokens, at)
        if token == "such" and following == "as":
            return self._turn(Role.INCLUDED, at + 2)
        if token in INCLUDES:
            return self._turn(Role.INCLUDED, at + 1)
        if token == "cannot" or (token in VERBS and following == "not"):
            return self._turn(Role.ASIDE, at + (1 if token == "cannot" else 2))
        if token in VERBS and following in ("no", "neither"):
            return self._turn(Role.EXCLUDED, at + 2)
        if token in EXCLUDES:
            aside = token == "not" and following in NOT_NAMES
            return self._turn(Role.ASIDE if aside else Role.EXCLUDED, at + 1)
        if self.role is Role.EXCLUDED:
            self.words.append(token)
            return at + 1
        return self._inside(token, following, tokens, at)

    def _inside(self, token: str, following: str, tokens: list[str], at: int) -> int:
        """Tokens that matter only in what the class holds."""
        if token in RARELY:
            self.rarely = True
            return self._turn(Role.ASIDE, at + 1)
        if token == "with":
            return self._turn(self.role if self.rarely else Role.PART, at + 1)
        if token == "together":
            return at + 1
        if token == "of" and following in OWNED and self._whole_follows(tokens, at):
            self._forget(token, following)
            return self._turn(Role.OWNER, at + 2)
        if self.role is Role.OWNER and token in ASIDES:
            return self._turn(Role.ASIDE, at + 1)
        if self.role in (Role.OWNER, Role.ASIDE):
            self.words.append(token)
            return at + 1
        if token in ("other", "another"):
            self.enumerated = True
            return self._skip_phrase(tokens, at + 1)
        if token in ASIDES:
            self._forget(token, following)
            return self._turn(Role.ASIDE, at + 1)
        self.words.append(token)
        return at + 1

    def _break(self, tokens: list[str], at: int) -> int:
        """A comma, another punctuation mark, or a conjunction."""
        token = tokens[at]
        self._close()
        if self.role is Role.OWNER:
            self.role = Role.ASIDE
        if token == ",":
            self.rarely = False
            resumed = tokens[at + 1 : at + 2] == ["or"] and tokens[at + 2 : at + 3]
            if self.role is Role.EXCLUDED and self._single() and tokens[at + 1 : at + 2] == ["and"]:
                self.role = (
                    Role.INCLUDED
                )  # "without riders, and animals": a list of two has no comma
            elif self.role is Role.ASIDE and resumed and resumed[0] in ARTICLES:
                self.role, self.enumerated = Role.FIRST, True  # "..., or an animal"
                return at + 2
        elif token in ";:(":
            self.role = Role.INCLUDED
        return at + 1

    def _whole_follows(self, tokens: list[str], at: int) -> bool:
        """Whether "of" follows the class or its place: not "in front of", not "the name of"."""
        before = tokens[at - 1] if at else ""
        ahead = before == "front" and tokens[at - 2] == "in"
        return self.role is not Role.PART and not ahead and before not in NO_PARTS

    def _single(self) -> bool:
        """Whether one thing alone has been left out so far in this place."""
        roles = [m.role for m in self.found]
        return roles[-1:] == [Role.EXCLUDED] and roles[-2:] != [Role.EXCLUDED] * 2

    def _turn(self, role: Role, at: int) -> int:
        self._close()
        self.role = role
        return at

    def _close(self) -> None:
        if self.words:
            self.found.append(Mention(tuple(self.words), self.role))
        self.words = []

    def _skip_phrase(self, tokens: list[str], at: int) -> int:
        """Passes over what the enumerated things are kinds of: "and other upright plants"."""
        self._close()
        stops = ASIDES | INCLUDES | EXCLUDES | PUNCTUATION | {"with", "and", "or", "such"}
        while at < len(tokens) and tokens[at] not in stops:
            at += 1
        return at

    def _forget(self, token: str, following: str) -> None:
        """Takes back "the walls and ceiling of ..." and "with papers on it": they are elsewhere."""
        on_it = token == "on" and following == "it"
        if token != "of" and not on_it:
            return
        self._close()
        start = len(self.found)
        while start and self.found[start - 1].role is self.role:
            start -= 1
        if not on_it:
            the = [i for i in range(start, len(self.found)) if self.found[i].words[0] == "the"]
            start = the[-1] if the else len(self.found)
        del self.found[start:]
