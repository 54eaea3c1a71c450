from __future__ import annotations

import pytest
import torch

from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.text.encoders import build_text_encoder
from unilabel.text.evidence import of_labels
from unilabel.text.transfer import transfer_scores, transfer_texts


def space(name: str, *classes: str, described: bool = False) -> LabelSpace:
    colors = tuple(default_color(i) for i in range(len(classes)))
    texts = tuple(f"What people call {c}." for c in classes) if described else ()
    return LabelSpace(name, classes, colors, descriptions=texts)


SEEN = (space("city", "road", "tree", "person"), space("house", "swivel chair", "trees"))


def scores(unseen: LabelSpace, links: torch.Tensor) -> torch.Tensor:
    spaces = LabelSpaceSet([*SEEN, unseen])
    return of_labels(links, transfer_scores(spaces, build_text_encoder("hashed")))


def test_equal_names_and_kinds() -> None:
    links = torch.zeros(4, 5, dtype=torch.bool)
    links[0, 0] = links[1, 1] = links[1, 4] = links[2, 3] = True  # the last stands for nothing
    found = scores(space("unseen", "Road", "chair", "tree"), links)
    assert found.shape == (4, 3)
    assert found[0, 0] == pytest.approx(1)
    assert 0.9 < found[1, 2] <= 1  # trees are no equal name to every encoder
    assert found[2, 1] > 0.95 / 2
    for row, column in ((0, 0), (1, 2), (2, 1)):
        assert found[row].argmax() == column
    assert float(found[3].sum()) == 0
    assert bool(((found >= 0) & (found <= 1)).all())


def test_descriptions_are_used_if_all_have_them() -> None:
    all_described = LabelSpaceSet(
        [space("a", "x", described=True), space("b", "y", described=True)]
    )
    texts, kind = transfer_texts(all_described)
    assert kind == "names and descriptions"
    assert "What people call y" in texts[1]
    mixed = LabelSpaceSet([space("a", "x", described=True), space("b", "y")])
    texts, kind = transfer_texts(mixed)
    assert kind == "names"
    assert texts == ["An image of x.", "An image of y."]
