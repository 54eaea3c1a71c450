"""Relations of a new dataset, on counts made by hand."""

from __future__ import annotations

import pytest
import torch

from unilabel.adding.relations import answer_counts, find_relations

# labels of the model: tree, grass, road, building, cow
NONE = torch.zeros(5, 3)


def linked(relations, column: int) -> list[int]:
    return relations.links[:, column].nonzero().flatten().tolist()


def test_a_class_of_several_labels_a_part_of_one_and_a_new_one() -> None:
    #                        tree grass road building cow
    counts = torch.tensor(
        [[600, 350, 50, 0, 0],  # vegetation
         [0, 0, 30, 970, 0],  # building
         [0, 0, 20, 180, 0],  # window: inside what the model calls a building
         [25, 25, 100, 25, 0]],  # kiosk: answered as anything
    )  # fmt: skip
    text = torch.zeros(5, 4)
    text[3, 1], text[0, 0], text[1, 0] = 1.0, 0.3, 0.3
    found = find_relations(counts, text, 0.5)
    assert linked(found, 0) == [0, 1]
    assert linked(found, 1) == [3]
    assert [label.of_class for label in found.new] == [2, 3]
    window, kiosk = found.new
    assert window.part
    assert window.near == 3
    assert kiosk.near == 2
    assert found.all_links().shape == (7, 4)
    assert found.all_links()[5:].int().argmax(1).tolist() == [2, 3]
    assert found.found()[0] == pytest.approx(0.95)


def test_a_label_has_at_most_one_class_and_every_class_a_label() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        counts = torch.randint(0, 50, (4, 6), generator=generator)
        counts[torch.rand(4, generator=generator) < 0.3] = 0
        text = torch.rand(6, 4, generator=generator)
        links = find_relations(counts, text, 0.5).all_links()
        assert bool((links.sum(1) <= 1).all())
        assert bool(links.any(0).all())


def test_names_speak_alone_where_no_pixel_does() -> None:
    text = NONE.clone()
    text[0, 0], text[2, 1] = 0.9, 0.6
    found = find_relations(torch.zeros(3, 5), text, 0.5)
    assert linked(found, 0) == [0]
    assert linked(found, 1) == [2]
    assert linked(found, 2) == []
    (unknown,) = found.new
    assert unknown.of_class == 2
    assert not unknown.seen
    assert not bool(found.heard()[:, 2].any())  # it is never answered


def test_a_name_holds_its_label_for_a_class_without_pixels() -> None:
    """On the one photo the model calls much of the water a car; cars are on later photos."""
    counts = torch.tensor([[0, 0, 0, 60, 40], [0, 0, 0, 0, 0]])
    text = torch.zeros(5, 2)
    text[4, 1] = 1.0
    found = find_relations(counts, text, 0.5)
    assert linked(found, 1) == [4]


def test_a_weak_answer_is_no_relation() -> None:
    """A class that the model scatters over all labels is new and has nothing in common."""
    counts = torch.full((3, 5), 20)
    found = find_relations(counts, NONE, 0.5)
    assert not bool(found.links.any())
    assert len(found.new) == 3
    assert not any(label.part for label in found.new)


def test_answers_are_counted_with_weights() -> None:
    answers, labels = torch.tensor([0, 1, 1]), torch.tensor([1, 1, 0])
    counts = answer_counts(answers, labels, torch.tensor([2.0, 3.0, 5.0]), (2, 3))
    assert counts.tolist() == [[0, 5, 0], [2, 3, 0]]
