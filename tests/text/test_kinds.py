"""Kinds and parts among classes of different datasets, by dictionary and descriptions."""

from __future__ import annotations

import numpy as np
import pytest

from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.text.encoders import build_text_encoder
from unilabel.text.kinds import inclusions_of, text_inclusions
from unilabel.text.meanings import name_meanings
from unilabel.text.taxonomy import merge_texts

ENCODE = build_text_encoder("hashed").encode
PERSON = {"person": "Human beings with their clothes: children and adults."}


def spaces(**datasets: dict[str, str]) -> LabelSpaceSet:
    return LabelSpaceSet(
        LabelSpace(
            name,
            tuple(classes),
            tuple(map(default_color, range(len(classes)))),
            descriptions=tuple(classes.values()),
        )
        for name, classes in datasets.items()
    )


def said(near: np.ndarray | None = None, **datasets: dict[str, str]) -> dict[tuple[str, str], str]:
    """(narrow class, wide class) -> kind or part."""
    found = spaces(**datasets)
    meanings = name_meanings(found, ENCODE(merge_texts(found)), ENCODE)
    near = np.ones((found.total,) * 2, bool) if near is None else near
    result = inclusions_of(found, meanings, near)
    assert not (result.kind & result.part).any()
    names = [name for space in found for name in space.class_names]
    return {
        (names[a], names[b]): why
        for why in ("kind", "part")
        for a, b in np.argwhere(getattr(result, why))
    }


@pytest.mark.parametrize("garment", ["shirt", "cardigan", "sock", "hat"])
def test_what_is_worn_is_part_of_the_wearer(garment: str) -> None:
    assert said(a={garment: "", "sofa": ""}, b=PERSON) == {(garment, "person"): "part"}


def test_the_dictionary_knows_kinds_of_what_a_description_lists() -> None:
    living = {"living things": "People who walk, without their vehicle, and animals such as dogs."}
    found = said(a={"cow": "", "bicycle": "", "tree": ""}, b=living)
    assert found == {("cow", "living things"): "kind"}  # a tree is one, but none is listed


def test_parts_follow_their_whole() -> None:
    """Shirt -> person -> pedestrian ("people"), and -> human, another word of the dictionary."""
    walker = {"pedestrian": "A human being on foot: people who stand in the street."}
    found = said(a={"shirt": ""}, b=PERSON, c=walker, d={"human": ""})
    for whole in ("person", "pedestrian", "human"):
        assert found["shirt", whole] == "part"
    assert found["person", "pedestrian"] == "kind"
    assert found["person", "human"] == found["human", "person"] == "kind"
    assert not any(narrow == "person" and wide == "shirt" for narrow, wide in found)


def test_kinds_do_not_pass_between_equal_names() -> None:
    """One dataset's vehicles hold airplanes, another's do not."""
    every = {"vehicle": "Cars, buses and airplanes."}
    both = spaces(a={"airplane": ""}, b=every, c={"vehicle": "Cars, vans and buses."})
    meanings = name_meanings(both, ENCODE(merge_texts(both)), ENCODE)
    result = inclusions_of(both, meanings, np.ones((3, 3), bool))
    assert result.kind[0, 1]
    assert not result.kind[0, 2]
    assert result.kind[1, 2]
    assert result.kind[2, 1]


def test_a_part_names_its_whole() -> None:
    houses = {"building": "Houses and shops seen from the street."}
    found = said(a={"door": "Doors in the front of a house, closed or open."}, b=houses)
    assert found == {("door", "building"): "part"}


def test_what_a_description_leaves_out_is_no_part() -> None:
    whole = {"building": "Houses and shops; without doors."}
    assert said(a={"door": "Doors in the front of a house."}, b=whole) == {}


@pytest.mark.parametrize(
    "text", ["A round red, green or yellow fruit.", "A red, sweet thing.", "An object.", ""]
)
def test_an_apple_is_no_person_whatever_red_means(text: str) -> None:
    assert said(a={"apple": text}, b={"person": "People."}) == {}


def test_what_is_listed_tells_which_meaning_the_last_word_has() -> None:
    """A wheeler is a person to the dictionary, and clothes are clothes."""
    people = {"person": "People with their clothes."}
    wheels = {"two wheeler": "Bicycles and motorcycles."}
    assert said(a=wheels, b=people) == {}
    tops = {"upper clothes": "Garments for the upper body: shirts and sweaters."}
    assert said(a=tops, b=people) == {("upper clothes", "person"): "part"}


def test_background_holds_everything_and_says_nothing() -> None:
    rest = {"background": "Everything else: cars, trees and houses."}
    assert said(a={"car": "", "house": ""}, b=rest) == {}


def test_far_classes_are_not_believed() -> None:
    assert said(np.zeros((2, 2), bool), a={"shirt": ""}, b=PERSON) == {}


def test_no_class_is_inside_one_of_its_own_dataset() -> None:
    assert said(a={"shirt": "", **PERSON}, b={"road": ""}) == {}


def test_statements_and_what_follows_are_told_apart() -> None:
    found = spaces(a={"shirt": ""}, b=PERSON, c={"human": ""})
    result = text_inclusions(found, ENCODE)
    assert result.part[0].tolist() == [False, True, True]
    assert result.direct[0].tolist() == [False, True, False]
