"""English plurals against those that an outside library makes of the words of the dictionary."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from unilabel.text.names import canonical_name
from unilabel.text.nouns import load_nouns
from unilabel.text.plurals import singular

LABEL_SPACES = Path(__file__).parents[2] / "unilabel/label_spaces"


@pytest.fixture(scope="module")
def engine():
    return pytest.importorskip("inflect").engine()


@pytest.fixture(scope="module")
def words() -> list[str]:
    every = {w for names in load_nouns().words for w in names}
    return sorted(w for w in every if w.isascii() and w.isalpha() and w.islower() and len(w) > 2)


def wrong(words: list[str], engine, read) -> list[tuple[str, str, str]]:
    """Words whose plural is not read as them, nor as another word of the same plural."""
    found = []
    for word in words:
        plural = engine.plural_noun(word)
        got = read(plural)
        if got != word and engine.plural_noun(got) != plural:
            found.append((word, plural, got))
    return found


def test_words_of_the_dictionary(words: list[str], engine) -> None:
    some = words[::20]
    plain = [w for w in some if not w.endswith("s")]  # medicine has many in "sis"
    faults = wrong(plain, engine, singular)
    assert len(faults) < 0.015 * len(plain), faults
    faults = wrong(some, engine, load_nouns().singular)
    assert len(faults) < 0.006 * len(some), faults


def test_singular_words_stay(words: list[str]) -> None:
    changed = [w for w in words if singular(w) != w and not w.endswith("s")]
    assert len(changed) < 10, changed  # "oxen" is in the dictionary itself
    for word in ("bus", "gas", "lens", "iris", "canvas", "walrus", "glass", "series", "tennis"):
        assert singular(word) == word


def test_words_of_all_class_names(engine) -> None:
    """Each word, made a plural, is the same name again."""
    faults = []
    for file in sorted(LABEL_SPACES.glob("*.json")):
        for entry in json.loads(file.read_text(encoding="utf-8"))["classes"]:
            for word in re.findall(r"[a-z]+", canonical_name(entry["name"])):
                if len(word) > 2 and singular(engine.plural_noun(word)) != word:
                    faults.append((word, engine.plural_noun(word)))
    assert {w for w, _ in faults} <= NOT_MADE, sorted(set(faults))


NOT_MADE = {"obs", "tennis", "clothes"}  # of which the library makes "obss" and "tenniss"


@pytest.mark.parametrize(
    ("plural", "word"),
    [
        *(("buses", "bus"), ("minibuses", "minibus"), ("gases", "gas"), ("lenses", "lens")),
        *(("houses", "house"), ("vases", "vase"), ("horses", "horse"), ("irises", "iris")),
        *(("gloves", "glove"), ("stoves", "stove"), ("shelves", "shelf"), ("knives", "knife")),
        *(("potatoes", "potato"), ("shoes", "shoe"), ("canoes", "canoe"), ("ties", "tie")),
        *(("parties", "party"), ("movies", "movie"), ("headaches", "headache")),
        *(("beaches", "beach"),),
        *(("people", "person"), ("women", "woman"), ("motorcyclists", "motorcyclist")),
        *(("mice", "mouse"), ("taxis", "taxi"), ("boxes", "box"), ("axes", "axe")),
        *(("mazes", "maze"), ("penknives", "penknife")),
        *(("waltzes", "waltz"), ("nurseries", "nursery"), ("horsemen", "horseman")),
    ],
)  # fmt: skip
def test_by_hand(plural: str, word: str) -> None:
    assert singular(plural) == word
    assert load_nouns().singular(plural) == word
