"""What is said about relations, on relations made by hand."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("detectron2")

from unilabel.adding.relations import find_relations
from unilabel.adding.words import FEW_RELATIONS, Belief, explained

pytestmark = pytest.mark.d2


def believed(related: list[bool]) -> list[Belief]:
    return [Belief(i, "", (), flag) for i, flag in enumerate(related)]


def test_pixels_explain_not_names() -> None:
    """Cars from above have the name of a car, and are answered as anything."""
    text = torch.eye(3, dtype=torch.float64)
    near = find_relations(torch.tensor([[90, 10, 0], [0, 95, 5], [0, 0, 80]]), text, 0.5)
    far = find_relations(torch.tensor([[30, 40, 30], [30, 30, 40], [40, 30, 30]]), text, 0.5)
    assert near.links.equal(far.links)
    assert explained(near, believed([True] * 3)) == pytest.approx((0.9 + 0.95 + 1.0) / 3)
    assert explained(far, believed([True] * 3)) == pytest.approx(0.3)
    assert explained(far, believed([True] * 3)) < FEW_RELATIONS


def test_a_part_is_explained_and_an_unseen_class_says_nothing() -> None:
    text = torch.zeros(2, 3, dtype=torch.float64)
    text[0, 0] = 1
    found = find_relations(torch.tensor([[900, 0], [95, 5], [0, 0]]), text, 0.5)
    (part, unseen) = found.new
    assert part.part
    assert not unseen.seen
    assert explained(found, believed([True, True, False])) == pytest.approx(1.0)


def test_without_photos_names_explain() -> None:
    text = torch.zeros(3, 2, dtype=torch.float64)
    text[0, 0] = 0.9
    found = find_relations(torch.zeros(2, 3), text, 0.5)
    assert explained(found, believed([True, False])) == 0.5
