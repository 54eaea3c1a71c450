"""Names, colours and checks of a person stay on the rows that they belong to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_cases import label_spaces, links, mappings

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.review import merged_origin, with_review
from unilabel.core.unified_space import Link, UnifiedLabelSpace

SPACES = label_spaces(city="road car", idd="street marking car")
ROWS = ["10 100", "10 010", "01 001"]


def mapping(rows: list[str]) -> LabelMapping:
    return LabelMapping.from_stacked(SPACES, links(rows))


@pytest.fixture
def reviewed() -> UnifiedLabelSpace:
    """The first and the last label are checked; nothing is called what a program would say."""
    space = UnifiedLabelSpace.from_mapping(mapping(ROWS), source="human")
    return replace(
        space,
        names=("asphalt", "paint", "vehicle"),
        colors=((1, 2, 3), (4, 5, 6), (7, 8, 9)),
        checked=frozenset({0, 2}),
    )


def test_rows_that_stayed_are_as_the_person_left_them(reviewed: UnifiedLabelSpace) -> None:
    origin = torch.tensor([0, 1, 2])
    fresh = UnifiedLabelSpace.from_mapping(mapping(ROWS), provenance={"seed": 1})
    space = with_review(fresh, reviewed, origin, learned=False)
    assert space == replace(reviewed, provenance={"seed": 1})
    # what was learned since has its own weights and origin, but the same names
    learned = with_review(fresh, reviewed, origin, learned=True)
    assert (learned.names, learned.colors) == (reviewed.names, reviewed.colors)
    assert {link.source for link in learned.links.values()} == {"learned"}


def test_checks_end_with_the_links_that_were_checked(reviewed: UnifiedLabelSpace) -> None:
    changed = mapping(["10 000", "10 100", "01 001", "00 010"])
    fresh = UnifiedLabelSpace.from_mapping(changed)
    space = with_review(fresh, reviewed, torch.tensor([0, 1, 2, -1]), learned=True)
    assert space.names == ("asphalt", "paint", "vehicle", "marking")
    assert space.colors[:3] == reviewed.colors
    assert space.checked == {2}  # the first lost a link, the second was never checked


def test_rows_follow_dropping_appending_and_order(reviewed: UnifiedLabelSpace) -> None:
    fresh = UnifiedLabelSpace.from_mapping(mapping(["01 001", "10 100", "00 010"]))
    space = with_review(fresh, reviewed, torch.tensor([2, 0, -1]), learned=True)
    assert space.names == ("vehicle", "asphalt", "marking")
    assert space.colors[:2] == ((7, 8, 9), (1, 2, 3))
    assert space.checked == {0, 1}


def test_new_rows_are_told_apart_from_reviewed_ones(reviewed: UnifiedLabelSpace) -> None:
    rows = ["10 000", "01 001", "10 100", "00 010"]
    fresh = UnifiedLabelSpace.from_mapping(mapping(rows))
    taken = replace(
        reviewed,
        names=("marking", "road", "car"),
        colors=(fresh.colors[3], fresh.colors[0], fresh.colors[1]),
    )
    space = with_review(fresh, taken, torch.tensor([1, -1, -1, -1]), learned=True)
    assert space.names == ("road", "car", "street", "marking")  # nobody has those names any more
    space = with_review(fresh, taken, torch.tensor([1, -1, 2, 0]), learned=True)
    assert space.names == ("road", "car (2)", "car", "marking")
    assert len(set(space.colors)) == 4


def test_merged_rows_keep_the_checked_name(reviewed: UnifiedLabelSpace) -> None:
    origin = torch.tensor([1, 0, -1, 2, -1])
    new_index = torch.tensor([0, 0, 0, -1, 1])
    assert merged_origin(origin, new_index, reviewed).tolist() == [0, -1]
    nobody = replace(reviewed, checked=frozenset())
    assert merged_origin(origin, new_index, nobody).tolist() == [1, -1]


@given(mapping=mappings(), data=st.data())
def test_whatever_becomes_of_the_rows_names_and_colours_are_distinct(mapping, data) -> None:
    rows = mapping.num_unified
    file = UnifiedLabelSpace.from_mapping(mapping, source="human")
    numbers = data.draw(st.permutations(range(rows)))
    file = replace(
        file,
        names=tuple(data.draw(st.permutations(file.names))),
        colors=tuple(data.draw(st.permutations(file.colors))),
        checked=frozenset(range(0, rows, 2)),
    )
    origin = torch.tensor([n if data.draw(st.booleans()) else -1 for n in numbers])
    fresh = UnifiedLabelSpace.from_mapping(mapping)
    space = with_review(fresh, file, origin, learned=data.draw(st.booleans()))
    assert len(set(space.names)) == len(set(space.colors)) == rows
    for row, old in enumerate(origin.tolist()):
        if old >= 0:
            assert (space.names[row], space.colors[row]) == (file.names[old], file.colors[old])
        same = old >= 0 and torch.equal(mapping.stacked()[row], mapping.stacked()[old])
        assert (row in space.checked) == (same and old in file.checked)
    assert UnifiedLabelSpace.from_dict(space.to_dict()) == space


def test_a_link_that_was_not_learned_keeps_who_said_so(reviewed: UnifiedLabelSpace) -> None:
    key = (0, "idd", 0)
    file = replace(reviewed, links={**reviewed.links, key: Link("text", 0.25)})
    fresh = UnifiedLabelSpace.from_mapping(mapping(["01 001", "10 100", "10 010"]), source="human")
    space = with_review(fresh, file, torch.tensor([2, 0, 1]), learned=False)
    assert space.links[1, "idd", 0] == Link("text", 0.25)
    assert space.links[0, "idd", 2] == file.links[2, "idd", 2]
