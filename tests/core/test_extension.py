"""Unified labels carried over to other datasets, and joined by new classes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unilabel.core.extension import carried, class_origin, extend_links, held_blocks
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color


def spaces(**classes: str) -> LabelSpaceSet:
    return LabelSpaceSet(
        LabelSpace(name, tuple(text.split()), tuple(map(default_color, range(len(text.split())))))
        for name, text in classes.items()
    )


CITY_IDD = spaces(city="road car", idd="road marking sky")
# road (city, idd), marking (city's road), car, sky
LINKS = torch.tensor([[1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]).bool()


def test_classes_are_known_by_dataset_and_name() -> None:
    now = spaces(idd="sky tree road", ade="road", city="car road")
    origin = class_origin(CITY_IDD, now)
    assert origin.tolist() == [4, -1, 2, -1, 1, 0]
    assert carried(LINKS, origin).int().tolist() == [
        [0, 0, 1, 0, 0, 1],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0],
        [1, 0, 0, 0, 0, 0],
    ]


def test_what_new_classes_cannot_change_is_held() -> None:
    now = spaces(city="road car", idd="road marking sky tree", ade="ground")
    origin = class_origin(CITY_IDD, now)
    held = held_blocks(carried(LINKS, origin), origin, now)
    city, idd, ade = now.split(held)
    assert city.all()  # no new class
    assert idd.all(1).tolist() == [True, True, False, True]  # the car may be idd's tree, or none
    assert (idd.any(1) == idd.all(1)).all()
    assert not ade.any()


def joined(now: LabelSpaceSet, pairs: dict[tuple, float], links: torch.Tensor = LINKS):
    """Join the classes of all datasets with a new class; ``pairs`` are of label rows or names."""
    origin = class_origin(CITY_IDD, now)
    blocks = now.split(origin)
    opened = [i for i, b in enumerate(blocks) if (b < 0).any()]
    names: list = list(range(len(links)))
    for i in opened:
        names += [f"{now[i].name}:{c}" for c in now[i].class_names]
    score = torch.eye(len(names))
    for (a, b), value in pairs.items():
        i, j = names.index(a), names.index(b)
        score[i, j] = score[j, i] = value
    found = extend_links(carried(links, origin), origin, score, opened, now, 0.5)
    return found, now.label_names()


def rows(found, names: list[str]) -> list[set[str]]:
    return [{names[c] for c in row.nonzero().flatten().tolist()} for row in found.links]


def test_a_class_joins_its_label_splits_one_spans_several_or_is_new() -> None:
    now = spaces(city="road car", idd="road marking sky", ade="ground van bus kiosk")
    found, names = joined(
        now,
        {
            (0, "ade:ground"): 0.9,  # one class of two unified labels
            (1, "ade:ground"): 0.6,
            (2, "ade:van"): 0.7,  # two classes of one
            (2, "ade:bus"): 0.8,
            (3, "ade:kiosk"): 0.4,  # too weak
        },
    )
    assert rows(found, names) == [
        {"city:road", "idd:road", "ade:ground"},
        {"city:road", "idd:marking", "ade:ground"},
        {"city:car", "ade:bus"},
        {"idd:sky"},
        {"city:car", "ade:van"},
        {"ade:kiosk"},
    ]
    assert found.parent.tolist() == [0, 1, 2, 3, 2, -1]


def test_classes_of_two_new_datasets_meet_in_one_label() -> None:
    now = spaces(city="road car", idd="road marking sky", one="tree", two="tree road")
    found, names = joined(
        now, {("one:tree", "two:tree"): 0.8, (0, "two:road"): 0.7, (0, "one:tree"): 0.1}
    )
    assert rows(found, names)[0] == {"city:road", "idd:road", "two:road"}
    assert rows(found, names)[4:] == [{"one:tree", "two:tree"}]


def test_a_new_class_of_a_known_dataset_comes_to_labels_without_one_there() -> None:
    now = spaces(city="road car sky tram", idd="road marking sky")
    pairs = {
        (3, "city:sky"): 0.9,  # a label without a class in city
        (2, "city:tram"): 0.9,  # one that is city's car
        (3, "city:car"): 0.9,  # known: stays where it is
    }
    found, names = joined(now, pairs)
    assert rows(found, names) == [
        {"city:road", "idd:road"},
        {"city:road", "idd:marking"},
        {"city:car"},
        {"idd:sky", "city:sky"},
        {"city:tram"},
    ]


@given(st.integers(0, 10_000))
def test_extensions_are_mappings_that_keep_the_labels_of_before(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    now = spaces(idd="road fog sky marking", new="a b c", city="car road", other="d e")
    origin = class_origin(CITY_IDD, now)
    old = carried(LINKS, origin)
    opened = [0, 1, 3]
    size = len(LINKS) + 4 + 3 + 2
    score = torch.rand(size, size, generator=random)
    score = (score + score.T) / 2
    found = extend_links(old, origin, score, opened, now, 0.5)
    LabelMapping.from_stacked(now, found.links)  # raises if it is none
    held = held_blocks(old, origin, now)
    first = found.links[: len(old)]
    assert torch.equal(first[held], old[held])
    assert (first >= old).all()
    for row, parent in zip(found.links[len(old) :], found.parent[len(old) :], strict=True):
        assert (row & (origin < 0)).any()
        assert parent < 0 or (row >= old[parent]).all()
    assert found.parent[: len(old)].tolist() == list(range(len(old)))


@pytest.mark.parametrize("threshold", [0.0, -0.5])
def test_no_threshold_breaks_what_is_held(threshold: float) -> None:
    now = spaces(city="road car tram", idd="road marking sky")
    origin = class_origin(CITY_IDD, now)
    old = carried(LINKS, origin)
    found = extend_links(old, origin, torch.zeros(7, 7), [0], now, threshold)
    LabelMapping.from_stacked(now, found.links)
    assert torch.equal(found.links[:3], old[:3])
