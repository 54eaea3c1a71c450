"""Label mappings: the constraints, the views, the checksum."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from label_cases import label_space, label_spaces, links, mappings

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet

# city has one road, idd tells road from marking: two unified labels for the road of city.
SPACES = label_spaces(city="road car", idd="road marking")
LINKS = links(["10 10", "10 01", "01 00"])


@pytest.fixture
def mapping() -> LabelMapping:
    return LabelMapping.from_stacked(SPACES, LINKS)


def test_views(mapping: LabelMapping) -> None:
    assert mapping.num_unified == 3
    assert torch.equal(mapping.stacked(), LINKS)
    assert torch.equal(mapping["idd"], links(["10", "01", "00"]))
    assert mapping["idd"].dtype == torch.bool
    assert mapping.class_of("city").tolist() == [0, 0, 1]
    assert mapping.class_of("idd").tolist() == [0, 1, -1]
    assert mapping.active().tolist() == [True] * 3


def test_links_join_classes_of_different_datasets(mapping: LabelMapping) -> None:
    expected = torch.zeros(4, 4, dtype=torch.bool)
    for a, b in ((0, 2), (0, 3)):  # city:road with idd:road and with idd:marking
        expected[a, b] = expected[b, a] = True
    assert torch.equal(mapping.links(), expected)


def test_numbers_count_as_links() -> None:
    mapping = LabelMapping(SPACES, {"city": LINKS[:, :2].float(), "idd": LINKS[:, 2:].int()})
    assert mapping == LabelMapping.from_stacked(SPACES, LINKS)


def test_select(mapping: LabelMapping) -> None:
    kept = mapping.select(torch.tensor([2, 1, 0]))
    assert torch.equal(kept.stacked(), LINKS[[2, 1, 0]])
    with pytest.raises(UniLabelError, match="class 'marking' of 'idd' has no unified label"):
        mapping.select(torch.tensor([True, False, True]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["11 10", "10 01"], r"unified label 0 maps to 2 classes of 'city' \(road, car\); at most"),
        (["10 10", "01 10"], "class 'marking' of 'idd' has no unified label; every class needs"),
        (["10 10"], "class 'car' of 'city' has no unified label"),
    ],
    ids=["two classes in a row", "empty column", "N < C"],
)
def test_broken_constraints_are_refused(rows: list[str], message: str) -> None:
    with pytest.raises(UniLabelError, match=message):
        LabelMapping.from_stacked(SPACES, links(rows))


def test_wrong_datasets_and_shapes_are_refused() -> None:
    city, idd = LINKS[:, :2], LINKS[:, 2:]
    with pytest.raises(UniLabelError, match=r"has the datasets \['city'\], expected \['city', 'id"):
        LabelMapping(SPACES, {"city": city})
    with pytest.raises(UniLabelError, match=r"has the datasets \['a', 'city', 'idd'\], expected"):
        LabelMapping(SPACES, {"city": city, "idd": idd, "a": idd})
    with pytest.raises(UniLabelError, match=r"'idd' has shape \(2, 2\), expected \(3, 2\)"):
        LabelMapping(SPACES, {"city": city, "idd": idd[:2]})
    with pytest.raises(UniLabelError, match=r"'idd' has shape \(3, 1\), expected \(3, 2\)"):
        LabelMapping(SPACES, {"city": city, "idd": idd[:, :1]})
    with pytest.raises(UniLabelError, match="unknown dataset 'ade'"):
        LabelMapping(SPACES, {"city": city, "idd": idd})["ade"]


@given(mappings())
def test_constraints_and_views_agree(mapping: LabelMapping) -> None:
    stacked = mapping.stacked()
    assert LabelMapping.from_stacked(mapping.label_spaces, stacked) == mapping
    linked = mapping.links()
    assert torch.equal(linked, linked.T)
    for space in mapping.label_spaces:
        matrix = mapping[space.name]
        assert matrix.sum(1).max() <= 1
        assert matrix.sum(0).min() >= 1
        of_row = mapping.class_of(space.name)
        for row, class_id in enumerate(of_row.tolist()):
            assert matrix[row].nonzero().flatten().tolist() == ([class_id] if class_id >= 0 else [])
    offsets = mapping.label_spaces.class_offsets
    for start, stop in pairwise(offsets):
        assert not linked[start:stop, start:stop].any()


@given(mappings(), mappings())
def test_checksum_tells_mappings_apart(one: LabelMapping, two: LabelMapping) -> None:
    assert (one.checksum() == two.checksum()) == (one == two)


def test_checksum_is_stable_and_covers_names(mapping: LabelMapping) -> None:
    assert mapping.checksum() == LabelMapping.from_stacked(SPACES, LINKS.clone()).checksum()
    assert len(mapping.checksum()) == 16
    renamed = LabelSpaceSet([SPACES[0], label_space("idd", "road", "lane")])
    assert LabelMapping.from_stacked(renamed, LINKS).checksum() != mapping.checksum()
    assert LabelMapping.from_stacked(renamed, LINKS) != mapping
    # the same bits, cut at another place
    one = LabelMapping.from_stacked(label_spaces(a="x", b="y"), links(["1 1"]))
    two = LabelMapping.from_stacked(label_spaces(a="x", b="y"), links(["1 1", "1 0"]))
    assert one.checksum() != two.checksum()
