"""What texts say about unified labels and the classes of a new dataset."""

from __future__ import annotations

from dataclasses import replace

import torch

from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.text.encoders import build_text_encoder
from unilabel.text.evidence import text_evidence

ENCODER = build_text_encoder("hashed")


def space(name: str, **classes: str) -> LabelSpace:
    """Classes with descriptions; an underscore in a name is a space."""
    names = tuple(n.replace("_", " ") for n in classes)
    colors = tuple(map(default_color, range(len(names))))
    return LabelSpace(name, names, colors, descriptions=tuple(classes.values()))


A = space("a", tree="woody plants", grass="low plants", car="a vehicle", road="where cars drive")
B = space("b", drivable="the road", plants="trees, grass and hedges", sky="clouds and blue")
NEW = space(
    "new", vegetation="trees, grass and bushes", car="a vehicle", kiosk="a booth that sells papers"
)
#       tree   grass  car    road | drivable plants sky
LINKS = [
    [1, 0, 0, 0, 0, 1, 0],
    [0, 1, 0, 0, 0, 1, 0],
    [0, 0, 1, 0, 0, 0, 0],
    [0, 0, 0, 1, 1, 0, 0],
    [0, 0, 0, 0, 0, 0, 1],
]  # fmt: skip


def evidence(new: LabelSpace) -> torch.Tensor:
    links = torch.tensor(LINKS, dtype=torch.bool)
    return text_evidence(links, LabelSpaceSet([A, B]), new, ENCODER)


def test_a_wide_class_is_found_in_every_label_that_it_holds() -> None:
    found = evidence(NEW)
    assert found.shape == (5, 3)
    assert bool((found[:2, 0] >= 0.4).all())
    assert not found[2:, 0].any()  # neither a car, a road nor the sky


def test_an_equal_name_is_sure_and_a_stranger_unknown() -> None:
    found = evidence(NEW)
    assert float(found[2, 1]) > 0.9
    assert not found[:, 2].any()
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_the_name_of_the_new_dataset_may_be_taken() -> None:
    taken = replace(NEW, name="a")
    assert torch.equal(evidence(taken), evidence(NEW))


def test_every_class_of_a_label_has_its_say() -> None:
    """ "Drivable" says nothing of pavements, so a label of it and of road is half as sure."""
    streets = space("new", road="where cars drive")
    both = evidence(streets)[3, 0]
    links = torch.tensor(LINKS, dtype=torch.bool)
    links[3, 4] = False
    alone = text_evidence(links, LabelSpaceSet([A, B]), streets, ENCODER)[3, 0]
    assert float(both) <= float(alone) == 1.0
