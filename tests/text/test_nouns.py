"""The dictionary: a hand-made one, and facts that any WordNet holds."""

from __future__ import annotations

import pytest
from scripts import load_script

from unilabel.text.nouns import Nouns, load_nouns

# 0 thing; 1 seat; 2 chair, second meaning "chair" of an office; 3 office-holder; 4 swivel chair.
LINES = [
    "thing\t\t",
    "seat\t0\t",
    "chair\t1\ta seat for one person",
    "person|chair=1\t0\tone who presides",
    "swivel_chair|office-chair\t2\t",
]


def test_meanings_come_in_order_of_frequency_and_without_blanks():
    nouns = Nouns(LINES)
    assert nouns.meanings("chair") == (2, 3)
    assert nouns.meanings("Swivel Chair") == nouns.meanings("swivelchair") == (4,)
    assert nouns.meanings("office chair") == (4,)
    assert nouns.meanings("sofa") == ()
    assert nouns.words[4] == ("swivel chair", "office-chair")


def test_kinds_above_count_steps():
    assert Nouns(LINES).kinds_above(4) == {4: 0, 2: 1, 1: 2, 0: 3}
    two_ways = Nouns(["a\t\t", "b\t0\t", "c\t0 1\t"])
    assert two_ways.kinds_above(2) == {2: 0, 0: 1, 1: 1}


def shares_meaning(a, b):
    return bool(set(load_nouns().meanings(a)) & set(load_nouns().meanings(b)))


@pytest.mark.parametrize(
    ("a", "b"),
    [("sofa", "couch"), ("sidewalk", "pavement"), ("street light", "street-lamp"),
     ("trash can", "ashcan"), ("airplane", "aeroplane")],
)  # fmt: skip
def test_synonyms(a, b):
    assert shares_meaning(a, b)


def test_a_palm_is_a_plant_and_a_part_of_the_hand():
    nouns = load_nouns()
    plant = nouns.meanings("plant")
    above = [set(nouns.kinds_above(m)) for m in nouns.meanings("palm")]
    assert sum(bool(kinds & set(plant)) for kinds in above) == 1
    assert not shares_meaning("palm", "tree")


def test_every_meaning_has_a_way_up_without_circles():
    nouns = load_nouns()
    top = nouns.meanings("physical entity")[0]
    assert nouns.parents[top] == ()
    for meaning in range(0, len(nouns.words), 97):
        assert top in nouns.kinds_above(meaning)
    ambiguous = [m for m in nouns.meanings("chair") if not nouns.definitions[m]]
    assert not ambiguous


@pytest.mark.parametrize(
    ("plural", "word"),
    [
        ("buses", "bus"),
        ("trees", "tree"),
        ("curb", "curb"),
        ("grass", "grass"),
        ("knives", "knife"),
        ("leaves", "leaf"),
        ("churches", "church"),
    ],
)
def test_singular(plural, word):
    assert load_nouns().singular(plural) == word


DATA = """\
  1 licence
00000001 03 n 01 physical_entity 0 001 ~ 00000002 n 0000 | what exists
00000002 06 n 02 seat 0 Chair 1 001 @ 00000001 n 0000 | to sit on; "take a seat"
00000003 18 n 01 chair 0 001 @ 00000001 n 0000 | one who presides
00000004 15 n 01 Chair_City 0 001 @i 00000001 n 0000 | a town
00000005 07 n 01 virtue 0 000 | no thing
"""
INDEX = """\
  1 licence
physical_entity n 1 0 1 0 00000001
seat n 1 0 1 0 00000002
chair n 2 0 2 0 00000003 00000002
chair_city n 1 0 1 0 00000004
virtue n 1 0 1 0 00000005
"""


def test_pack_reads_the_form_of_wordnet(tmp_path, monkeypatch):
    pack = load_script("packaging/wordnet/pack.py")
    (tmp_path / "data.noun").write_text(DATA)
    (tmp_path / "index.noun").write_text(INDEX)
    synsets = pack.read_synsets(tmp_path / "data.noun")
    lines = pack.packed(synsets, pack.read_order(tmp_path / "index.noun"))
    assert lines == [
        "physical_entity\t\t",
        "seat|Chair=1\t0\tto sit on",
        "chair\t0\tone who presides",
    ]
