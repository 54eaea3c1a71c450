"""Pruning of links, and dropping of unified labels that say the same."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from label_cases import label_spaces, links, mappings

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.pruning import (
    confirm_changes,
    merge_identical,
    prune_mapping,
    usage_counts,
)

SPACES = label_spaces(city="road car", idd="street")


def test_usage_is_counted_by_label_and_class() -> None:
    usage = usage_counts(torch.tensor([0, 2, 2, 1]), torch.tensor([0, 1, 1, 0]), 4, 2)
    assert usage.tolist() == [[1, 0], [1, 0], [0, 2], [0, 0]]


def test_pruning_worked_by_hand() -> None:
    mapping = LabelMapping.from_stacked(SPACES, links(["10 1", "10 1", "01 0", "01 1"]))
    usage = {
        # road: 995 against 5 of 1000; car: predicted nowhere, its labels stand at 0 and 0
        "city": torch.tensor([[995, 7], [5, 7], [0, 0], [0, 0]]),
        # street: 60, 39, 1; the unlinked label 2 wins pixels too, which do not count
        "idd": torch.tensor([[60], [39], [500], [1]]),
    }
    pruned = prune_mapping(mapping, usage, 0.01)
    assert torch.equal(pruned["city"], links(["10", "00", "01", "00"]))
    assert torch.equal(pruned["idd"], links(["1", "1", "0", "1"]))
    assert torch.equal(prune_mapping(mapping, usage, 0.02)["idd"], links(["1", "1", "0", "0"]))
    assert prune_mapping(mapping, usage, 0.0) == mapping


@given(mappings(), st.integers(0, 999), st.floats(0, 1))
def test_pruning_only_removes_and_never_a_last_link(mapping, seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    unified = mapping.num_unified
    usage = {
        space.name: torch.randint(0, 5, (unified, space.num_classes), generator=generator)
        for space in mapping.label_spaces
    }
    pruned = prune_mapping(mapping, usage, share)  # LabelMapping checks both constraints
    assert not (pruned.stacked() & ~mapping.stacked()).any()
    for space in mapping.label_spaces:
        before, after, counts = mapping[space.name], pruned[space.name], usage[space.name]
        for column in range(space.num_classes):
            rows = before[:, column].nonzero().flatten().tolist()
            best = max(int(counts[r, column]) for r in rows)
            kept = [r for r in rows if after[r, column]]
            assert best in [int(counts[r, column]) for r in kept]


def test_changes_are_confirmed_worked_by_hand() -> None:
    spaces = label_spaces(city="road car", idd="street car")
    before = LabelMapping.from_stacked(spaces, links(["10 10", "01 01", "00 10", "10 00"]))
    after = LabelMapping.from_stacked(spaces, links(["10 10", "00 01", "01 00", "01 10"]))
    usage = {
        # label 1 carries all cars: not given up. Label 2: 4 % of the cars, too little for a new
        # link. Label 3: 10 % of the cars, and nothing of the road that it had: it changes.
        "city": torch.tensor([[100, 0], [0, 86], [0, 4], [0, 10]]),
        # label 2 gives up a street that it does not carry; label 3 carries 30 % of it
        "idd": torch.tensor([[70, 0], [0, 50], [0, 0], [30, 0]]),
    }
    confirmed = confirm_changes(before, after, usage, usage, 0.05)
    assert torch.equal(confirmed["city"], links(["10", "01", "00", "01"]))
    assert torch.equal(confirmed["idd"], links(["10", "01", "00", "10"]))
    # Before the stage label 3 carried road and no car, label 2 some streets, label 3 none.
    first = {
        "city": torch.tensor([[90, 0], [0, 100], [0, 0], [10, 0]]),
        "idd": torch.tensor([[94, 0], [0, 50], [6, 0], [0, 0]]),
    }
    assert confirm_changes(before, after, first, usage, 0.05) == before
    assert confirm_changes(before, after, usage, first, 0.05) == before


def test_a_class_gets_its_unified_label_back_if_the_new_one_is_refused() -> None:
    before = LabelMapping.from_stacked(SPACES, links(["10 1", "01 1", "00 1"]))
    after = LabelMapping.from_stacked(SPACES, links(["10 1", "10 1", "01 1"]))
    usage = {
        # label 1 may move from car to road, but label 2 is not enough for the car
        "city": torch.tensor([[50, 0], [50, 0], [0, 0]]),
        "idd": torch.tensor([[1], [1], [1]]),
    }
    assert confirm_changes(before, after, usage, usage, 0.05) == before


@given(mappings(), st.integers(0, 999), st.floats(0, 1))
def test_confirmed_changes_are_rows_of_one_or_the_other(after, seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(after.num_unified, generator=generator)
    before = after.select(order)
    usage = {
        space.name: torch.randint(0, 5, (after.num_unified, space.num_classes), generator=generator)
        for space in after.label_spaces
    }
    first = {name: count.flip(0) for name, count in usage.items()}
    confirmed = confirm_changes(before, after, first, usage, share)  # valid
    for space in after.label_spaces:
        for row, old, new in zip(
            confirmed[space.name], before[space.name], after[space.name], strict=True
        ):
            assert torch.equal(row, old) or torch.equal(row, new)
    assert confirm_changes(before, before, first, usage, share) == before
    # the pixels lie where the new links are, and nowhere else
    clear = {name: matrix.long() for name, matrix in after.matrices.items()}
    assert confirm_changes(before, after, clear, clear, 1e-9) == after


def test_identical_labels_are_merged_and_empty_ones_dropped() -> None:
    mapping = LabelMapping.from_stacked(
        SPACES, links(["10 0", "00 0", "01 1", "10 0", "00 1", "01 1"])
    )
    smaller, new_index = merge_identical(mapping)
    assert torch.equal(smaller.stacked(), links(["10 0", "01 1", "00 1"]))
    assert new_index.tolist() == [0, -1, 1, 0, 2, 1]


@given(mappings())
def test_merging_keeps_all_links(mapping) -> None:
    smaller, new_index = merge_identical(mapping)
    rows = smaller.stacked()
    assert len({tuple(row) for row in rows.tolist()}) == len(rows)
    assert smaller.active().all()
    assert torch.equal(smaller.links(), mapping.links())
    for old, new in enumerate(new_index.tolist()):
        if new < 0:
            assert not mapping.stacked()[old].any()
        else:
            assert torch.equal(mapping.stacked()[old], rows[new])
    assert merge_identical(smaller)[0] == smaller


def test_links_that_are_held_stay_without_any_pixel() -> None:
    spaces = LabelSpaceSet(
        [LabelSpace("a", ("x",), ((0, 0, 0),)), LabelSpace("b", ("y",), ((0, 0, 0),))]
    )
    mapping = LabelMapping.from_stacked(spaces, torch.tensor([[1, 1], [1, 0], [0, 1]]).bool())
    usage = {
        "a": torch.tensor([[0], [100], [0]]),
        "b": torch.tensor([[100], [0], [0]]),
    }
    assert prune_mapping(mapping, usage, 0.01).stacked().tolist() == [
        [False, True],
        [True, False],
        [False, False],
    ]
    held = torch.tensor([[1, 0], [0, 0], [0, 0]]).bool()
    kept = prune_mapping(mapping, usage, 0.01, held).stacked()
    assert kept.tolist() == [[True, True], [True, False], [False, False]]
    # what is held is no new link
    assert not prune_mapping(mapping, usage, 0.01, torch.ones(3, 2).bool())["b"][1].any()
