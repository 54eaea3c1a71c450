"""Small label spaces and random valid mappings for the tests of the core."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color


def label_space(name: str, *classes: str, **more) -> LabelSpace:
    colors = tuple(default_color(i) for i in range(len(classes)))
    return LabelSpace(name, classes, colors, **more)


def label_spaces(**classes: str) -> LabelSpaceSet:
    """``label_spaces(city="road car", idd="road")``."""
    return LabelSpaceSet(label_space(name, *text.split()) for name, text in classes.items())


def links(rows: list[str]) -> torch.Tensor:
    """``links(["10 1", "01 ."])``: a bool matrix, blanks and points are for the reader."""
    digits = [[c == "1" for c in row if c in "01"] for row in rows]
    return torch.tensor(digits)


@st.composite
def mappings(draw, max_datasets: int = 3, max_classes: int = 4, max_unified: int = 7):
    """Any mapping that keeps both constraints."""
    sizes = draw(st.lists(st.integers(1, max_classes), min_size=1, max_size=max_datasets))
    spaces = LabelSpaceSet(
        label_space(f"d{i}", *(f"c{j}" for j in range(size))) for i, size in enumerate(sizes)
    )
    unified = draw(st.integers(max(sizes), max_unified))
    matrices = {}
    for space in spaces:
        classes = space.num_classes
        of_row = draw(st.lists(st.integers(-1, classes - 1), min_size=unified, max_size=unified))
        for class_id, row in enumerate(draw(st.permutations(range(unified)))[:classes]):
            of_row[row] = class_id
        matrix = torch.zeros(unified, classes, dtype=torch.bool)
        for row, class_id in enumerate(of_row):
            if class_id >= 0:
                matrix[row, class_id] = True
        matrices[space.name] = matrix
    return LabelMapping(spaces, matrices)
