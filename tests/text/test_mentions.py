"""Descriptions read by signal words: what they hold, what is a part, what they leave out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unilabel.text.mentions import Role, mentions


def read(text, *heads):
    found = {}
    for mention in mentions(text, [tuple(h.split()) for h in heads]):
        found.setdefault(mention.role, []).append(" ".join(mention.words))
    return found


@pytest.mark.parametrize(
    ("text", "role", "words"),
    [
        ("Trees, bushes and other plants.", Role.INCLUDED, ["tree", "bush"]),
        ("A barrier, such as a wall or a hedge.", Role.INCLUDED, ["wall", "hedge"]),
        ("A garment; also capes.", Role.INCLUDED, ["cape"]),
        ("A vehicle on rails: tram or train.", Role.INCLUDED, ["tram", "train"]),
        ("Jeeps, SUVs and vans.", Role.INCLUDED, ["jeep", "suv", "van"]),
        ("A tall building or structure.", Role.FIRST, ["building", "structure"]),
        ("The strip beside the road with its curb.", Role.PART, ["curb"]),
        ("A sign, without its pole.", Role.EXCLUDED, ["pole"]),
        ("Fruit other than bananas and apples.", Role.EXCLUDED, ["banana", "apple"]),
        ("Ground. Potholes are classes of their own.", Role.EXCLUDED, ["pothole are class", "own"]),
        ("Riders, without their vehicle, and animals such as cows.", Role.EXCLUDED, ["vehicle"]),
        ("Riders, without their vehicle, and animals.", Role.INCLUDED, ["animal"]),
        ("A car, without vans, buses, and trucks.", Role.EXCLUDED, ["van", "bus", "truck"]),
        ("The hair on the head of the person, without hat.", Role.OWNER, ["person"]),
        ("Doors in the front of a house, closed or open.", Role.OWNER, ["house"]),
        ("The body of a human being with its clothes.", Role.PART, ["clothes"]),
        ("A pool that is neither sea nor river.", Role.EXCLUDED, ["sea", "river"]),
    ],
)
def test_signal_words_give_roles(text, role, words):
    assert read(text)[role] == words


@pytest.mark.parametrize(
    "text",
    [
        "A curtain in front of a window.",
        "A board with the name of a shop.",
        "A toy in the form of a bear.",
        "A vessel of glass.",
        "Cattle of any age.",
    ],
)
def test_not_every_of_tells_a_part(text):
    assert Role.OWNER not in read(text)


def test_one_of_a_kind_is_not_all_of_them():
    found = {" ".join(m.words): m.one for m in mentions("Vests, or a garment; also capes.")}
    assert found == {"vest": False, "garment": True, "cape": False}


def test_places_and_purposes_are_passed_over():
    assert read("A box in the street for letters.")[Role.ASIDE] == ["street for letter"]
    assert read("A person who does not ride.") == {Role.FIRST: ["person"], Role.ASIDE: ["ride"]}
    assert Role.EXCLUDED not in read("A wall that is not part of a building.")
    assert Role.PART not in read("A table, often with a computer and papers on it.")


def test_the_walls_of_something_else_are_not_named():
    assert "wall" not in read("The walls and ceiling of a tunnel.").get(Role.INCLUDED, [])


def test_after_a_relative_clause_a_second_thing_may_follow():
    found = read("A human being who does not ride, or an animal such as a cow.")
    assert found[Role.INCLUDED] == ["human being", "animal", "cow"]


def test_kinds_before_the_own_name_are_no_things():
    found = read("Seats such as dining, office or folding chairs.", "chair")
    assert found[Role.INCLUDED] == ["folding chair"]
    assert found[Role.ASIDE] == ["dining", "office"]


def test_articles_and_long_phrases_are_left_out():
    assert read("The lid.") == {Role.FIRST: ["lid"]}
    assert read("Quite many rather different very old things.") == {}


@given(st.text(max_size=200))
def test_any_text_is_read(text):
    for mention in mentions(text):
        assert 0 < len(mention.words) <= 5
