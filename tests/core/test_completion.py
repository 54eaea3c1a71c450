"""Links that pixels speak for: which are added, and which are not."""

from __future__ import annotations

import pytest
import torch

from unilabel.core.completion import complete_links
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet

SPACES = LabelSpaceSet(
    [
        LabelSpace("street", ("road", "tree"), ((0, 0, 0),) * 2),
        LabelSpace("pets", ("background", "cat", "rug"), ((0, 0, 0),) * 3),
    ]
)
# road, tree: of the street alone; background, cat, rug: of the pets alone
LINKS = torch.eye(5).bool()
ROAD, TREE, BACKGROUND, CAT, RUG = range(5)


def usage(pets: dict[int, list[int]]) -> dict[str, torch.Tensor]:
    """Pixels of the pets' photos by unified label and class; every street pixel wins its own."""
    counts = torch.zeros(5, 3, dtype=torch.int64)
    for row, values in pets.items():
        counts[row] = torch.tensor(values)
    street = torch.zeros(5, 2, dtype=torch.int64)
    street[ROAD, 0] = street[TREE, 1] = 1000
    return {"street": street, "pets": counts}


def completed(pets: dict[int, list[int]], score: float = 0.0, purity: float = 0.8) -> torch.Tensor:
    """(5, 3) links of the pets."""
    evidence = torch.full((5, 5), score)
    mapping = LabelMapping.from_stacked(SPACES, LINKS)
    return complete_links(mapping, usage(pets), evidence, purity, 0.35)["pets"]


def test_background_is_linked_by_pixels_alone() -> None:
    links = completed({ROAD: [950, 20, 30]})
    assert links[ROAD].tolist() == [True, False, False]
    assert not links[TREE].any()
    assert torch.equal(links[2:], LINKS[2:, 2:])


def test_a_named_class_needs_evidence_as_well() -> None:
    assert not completed({TREE: [10, 0, 990]}, score=0.3)[TREE].any()
    assert completed({TREE: [10, 0, 990]}, score=0.4)[TREE].tolist() == [False, False, True]


@pytest.mark.parametrize("pixels", [[700, 150, 150], [19, 0, 0], [0, 0, 0]])
def test_mixed_or_few_pixels_say_nothing(pixels: list[int]) -> None:
    assert not completed({ROAD: pixels}, score=1.0)[ROAD].any()


def test_few_is_a_share_of_the_datasets_pixels() -> None:
    many = {CAT: [0, 100_000, 0]}
    assert completed({ROAD: [90, 0, 0]})[ROAD, 0]
    assert not completed({ROAD: [90, 0, 0], **many})[ROAD].any()


def test_a_label_that_has_a_class_keeps_it() -> None:
    links = completed({CAT: [1000, 0, 0]}, score=1.0)
    assert torch.equal(links, LINKS[:, 2:] | (torch.arange(3) < 0))


def test_labels_without_any_link_stay_so() -> None:
    mapping = LabelMapping.from_stacked(SPACES, torch.cat([LINKS, torch.zeros(1, 5).bool()]))
    counts = {k: torch.cat([v, v[:1] * 0]) for k, v in usage({}).items()}
    counts["pets"][5, 0] = 1000
    assert not complete_links(mapping, counts, torch.ones(5, 5), 0.8, 0.35)["pets"][5].any()
