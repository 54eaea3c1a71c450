"""Relations beside the links: written and read, kept, and refused where they make no sense."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_cases import label_spaces, links

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.review import with_review
from unilabel.core.typed_relations import (
    REASONS,
    SOURCES,
    TypedRelation,
    known_ones,
    merged_with,
    relation_matrix,
)
from unilabel.core.unified_space import UnifiedLabelSpace

SPACES = label_spaces(city="road person", shop="shirt bag")
ROWS = LabelMapping.from_stacked(SPACES, links(["10 00", "01 00", "00 10", "00 01"]))
SHIRT = TypedRelation(("city", "person"), ("shop", "shirt"), "superset", "part", "text", 0.9)
BAG = TypedRelation(("city", "person"), ("shop", "bag"), "none", source="human")


@pytest.fixture
def space() -> UnifiedLabelSpace:
    return replace(UnifiedLabelSpace.from_mapping(ROWS), relations=(SHIRT, BAG))


share = st.floats(0, 1)


@given(
    st.sampled_from(["equal", "subset", "superset", "overlap"]),
    st.sampled_from(REASONS),
    st.sampled_from(SOURCES),
    share,
    st.none() | st.tuples(share, share),
)
def test_what_is_written_is_read(
    kind: str, why: str, source: str, weight: float, pixels: tuple[float, float] | None
) -> None:
    relation = TypedRelation(SHIRT.a, SHIRT.b, kind, why, source, weight, pixels)
    whole = replace(UnifiedLabelSpace.from_mapping(ROWS), relations=(relation, BAG))
    read = UnifiedLabelSpace.from_dict(json.loads(json.dumps(whole.to_dict())))
    assert read.relations == whole.relations
    assert read.to_dict() == whole.to_dict()
    turned = relation.seen_from("shop")
    assert turned.a == SHIRT.b
    assert turned.seen_from("city") == relation


def test_a_file_without_them_is_as_before(space: UnifiedLabelSpace, tmp_path: Path) -> None:
    plain = replace(space, relations=())
    assert "relations" not in plain.to_dict()
    plain.save(tmp_path / "old.json")
    assert UnifiedLabelSpace.load(tmp_path / "old.json").relations == ()
    # the rest of a file with them is that of a file without: older programs pass over the list
    entries = space.to_dict()
    assert len(entries.pop("relations")) == 2
    assert entries == plain.to_dict()


def test_linked_and_denied_pairs_are_not_told(space: UnifiedLabelSpace) -> None:
    assert space.beside() == (SHIRT,)
    linked = LabelMapping.from_stacked(SPACES, links(["10 00", "01 10", "00 01"]))
    names, colors = space.names[:3], space.colors[:3]
    assert replace(space, mapping=linked, names=names, colors=colors).beside() == ()


def test_matrix(space: UnifiedLabelSpace) -> None:
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[1, 2] = expected[2, 1] = True  # the denied bag is unrelated
    assert torch.equal(relation_matrix(space.relations, SPACES), expected)


def test_a_persons_word_stays_and_found_ones_are_found_anew(space: UnifiedLabelSpace) -> None:
    said = replace(SHIRT, source="human", type="overlap")
    bag = replace(BAG, type="superset", source="text")
    assert merged_with([SHIRT, bag], [said, BAG], SPACES) == (said, BAG)
    assert merged_with([SHIRT], [bag], SPACES) == (SHIRT,)


def test_a_review_is_carried_through_a_training(space: UnifiedLabelSpace) -> None:
    trained = UnifiedLabelSpace.from_mapping(ROWS)
    result = with_review(trained, space, torch.arange(4), learned=True)
    assert result.relations == (BAG,)


def test_relations_go_with_their_dataset_and_follow_its_name(space: UnifiedLabelSpace) -> None:
    assert known_ones(space.relations, label_spaces(city="road person")) == ()
    assert SHIRT.with_dataset("shop", "store").b == ("store", "shirt")
    assert SHIRT.with_dataset("shop", "store").a == SHIRT.a


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "sibling"}, "'sibling', expected one of"),
        ({"type": "none"}, 'give it the "source" "human"'),
        ({"why": "magic"}, "'magic', expected one of"),
        ({"source": "gnn"}, "'gnn', expected one of"),
        ({"weight": 1.5}, '"weight" is 1.5'),
        ({"weight": "high"}, "\"weight\" is 'high'"),
        ({"weight": float("nan")}, '"weight" is nan'),
        ({"pixels": [0.5]}, '"pixels" [0.5]'),
        ({"pixels": "0.5 0.5"}, "\"pixels\" '0.5 0.5'"),
        ({"pixels": [0.5, True]}, '"pixels" [0.5, True]'),
        ({"a": "person"}, "expected {"),
        ({"a": {"dataset": "moon", "label": "person"}}, "unknown dataset 'moon'"),
        ({"a": {"dataset": "city", "label": "dog"}}, "no class 'dog'"),
        ({"a": {"dataset": "shop", "label": "bag"}}, "classes of two datasets"),
        ({"a": {"dataset": "city", "label": "person"}, "again": True}, "listed twice"),
    ],
)
def test_mistakes_are_named(space: UnifiedLabelSpace, change: dict[str, Any], message: str) -> None:
    data = space.to_dict()
    entry = data["relations"][0]
    if change.pop("again", False):
        data["relations"].append(dict(entry))
    entry.update(change)
    with pytest.raises(UniLabelError) as error:
        UnifiedLabelSpace.from_dict(data, "mine.json")
    assert message in str(error.value)
    assert 'mine.json: "relations"[' in str(error.value)


@pytest.mark.parametrize("value", [{}, "none", [7]])
def test_something_else_than_a_list_of_objects(space: UnifiedLabelSpace, value: Any) -> None:
    with pytest.raises(UniLabelError, match="relations"):
        UnifiedLabelSpace.from_dict({**space.to_dict(), "relations": value})
