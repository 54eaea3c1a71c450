"""Made-up label spaces, and their mapping to WildDash 2 by names."""

from __future__ import annotations

import torch

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.submission.label_table import LabelTable
from unilabel.submission.zero_shot import class_meanings, zero_shot_table


def space_of(name: str, *classes: str) -> LabelSpace:
    """A dataset of these classes."""
    colors = tuple(default_color(i) for i in range(len(classes)))
    texts = tuple(f"A {c} in a photo." for c in classes)
    return LabelSpace(name, classes, colors, descriptions=texts)


def unify(
    spaces: list[LabelSpace], rows: list[dict[str, str]], **weights: float
) -> UnifiedLabelSpace:
    """A unified label space from {dataset: class} rows; weights by "row_dataset"."""
    joint = LabelSpaceSet(spaces)
    matrices = {s.name: torch.zeros(len(rows), s.num_classes) for s in spaces}
    values = torch.ones(len(rows), joint.total)
    for i, row in enumerate(rows):
        for dataset, name in row.items():
            matrices[dataset][i, joint.get(dataset).index(name)] = 1
            if f"{dataset}_{i}" in weights:
                offset = joint.class_offsets[joint.dataset_index(dataset)]
                values[i, offset + joint.get(dataset).index(name)] = weights[f"{dataset}_{i}"]
    return UnifiedLabelSpace.from_mapping(LabelMapping(joint, matrices), values)


def table_of(space: UnifiedLabelSpace) -> LabelTable:
    """The zero-shot mapping."""
    return zero_shot_table(space.label_spaces, space, class_meanings(space.label_spaces))
