"""Links of typed relations: worked by hand, and what holds for any relations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_cases import label_spaces, links
from torch import Tensor

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.related_links import related_links
from unilabel.core.typed_relations import TypedRelation, relation_matrix

SPACES = label_spaces(city="road person", shop="shirt bag", zoo="animal thing")
APART = LabelMapping.from_stacked(SPACES, torch.eye(6, dtype=torch.bool))
CLASSES = [(space.name, name) for space in SPACES for name in space.class_names]


def relation(a: str, kind: str, b: str, weight: float = 0.9) -> TypedRelation:
    """``a`` and ``b`` as dataset.class."""
    ends = (tuple(end.split(".")) for end in (a, b))
    return TypedRelation(*ends, kind, "part", "text", weight)  # type: ignore[arg-type]


def added(mapping: LabelMapping, *relations: TypedRelation) -> set[tuple[int, str]]:
    """(unified label, class) of the new links."""
    names = [".".join(c) for c in CLASSES]
    return {(u, names[c]) for u, c in related_links(mapping, relations).nonzero().tolist()}


@pytest.mark.parametrize(
    ("a", "kind", "b"),
    [("city.person", "superset", "shop.shirt"), ("shop.shirt", "subset", "city.person")],
)
def test_the_label_of_the_narrower_class_is_the_wider_one_too(a: str, kind: str, b: str) -> None:
    assert added(APART, relation(a, kind, b)) == {(2, "city.person")}


def test_equal_classes_get_each_others_labels() -> None:
    found = added(APART, relation("shop.bag", "equal", "zoo.thing"))
    assert found == {(3, "zoo.thing"), (5, "shop.bag")}


@pytest.mark.parametrize("kind", ["overlap", "none"])
def test_what_names_no_narrower_class_adds_nothing(kind: str) -> None:
    assert not added(APART, relation("city.person", kind, "shop.shirt"))


def test_every_label_of_a_class_follows_where_it_is_open() -> None:
    shirts = links(["00 10 00", "10 10 00", "01 00 00", "00 01 00", "00 00 10", "00 00 01"])
    mapping = LabelMapping.from_stacked(SPACES, shirts)  # the second shirt is a road already
    found = added(mapping, relation("city.person", "superset", "shop.shirt"))
    assert found == {(0, "city.person")}


def test_the_surer_relation_comes_first_whatever_the_order() -> None:
    two = [
        relation("shop.bag", "subset", "zoo.animal", 0.7),
        relation("shop.bag", "subset", "zoo.thing", 0.8),
    ]
    for order in (two, two[::-1]):
        weights = related_links(APART, order)
        assert weights.nonzero().tolist() == [[3, 5]]
        assert float(weights[3, 5]) == pytest.approx(0.8)


def test_nothing_follows_from_a_link_that_was_added() -> None:
    chain = [
        relation("shop.shirt", "subset", "city.person", 0.9),
        relation("city.person", "subset", "zoo.animal", 0.8),
    ]
    assert added(APART, *chain) == {(2, "city.person"), (1, "zoo.animal")}


kinds = st.sampled_from(["equal", "subset", "superset", "overlap", "none"])
ends = st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES))
some = st.lists(
    st.builds(
        lambda pair, kind, weight: TypedRelation(*pair, kind, "", "text", weight),
        ends.filter(lambda pair: pair[0][0] != pair[1][0]),
        kinds,
        st.floats(0.1, 1),
    ),
    max_size=8,
)
rows = st.lists(st.lists(st.integers(-1, 1), min_size=3, max_size=3), min_size=1, max_size=6)


@given(rows, some)
def test_a_label_keeps_one_class_of_a_dataset_and_gains_related_ones(
    classes: list[list[int]], relations: list[TypedRelation]
) -> None:
    spare = torch.eye(6, dtype=torch.bool)  # every class has a label
    matrix = torch.cat([torch.zeros(len(classes), 6, dtype=torch.bool), spare])
    for row, chosen in enumerate(classes):
        for dataset, column in enumerate(chosen):
            if column >= 0:
                matrix[row, 2 * dataset + column] = True
    mapping = LabelMapping.from_stacked(SPACES, matrix)
    new: Tensor = related_links(mapping, relations) > 0
    assert not (new & matrix).any()
    both = LabelMapping.from_stacked(SPACES, matrix | new)
    assert all(int(block.sum(1).max()) <= 1 for block in both.matrices.values())
    related = relation_matrix([r for r in relations if r.type != "none"], SPACES)
    for label, column in new.nonzero().tolist():
        assert bool((related[column] & matrix[label]).any())
