"""The extended model: old rows and biases as they were, new labels, a reading of the new dataset.

Letters: K datasets, N unified labels, M new ones, C old classes, C' new ones, D embedding dim.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unilabel.adding.fit import Reading
from unilabel.adding.relations import NewLabel, Relations
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.core.unified_space import Link, UnifiedLabelSpace
from unilabel.modeling.heads import SILENT, UniSegHead
from unilabel.modeling.meta_arch import UniLabelSegmentor


def extended_space(
    space: UnifiedLabelSpace, new: LabelSpace, relations: Relations
) -> UnifiedLabelSpace:
    """The label space with the new dataset and its unified labels.

    Old unified labels keep id, name, colour and links. One that a person had checked stays checked
    unless it has got a link: nobody has looked at that one.

    Args:
        space: N unified labels.
        new: the new dataset.
        relations: what was found about it.
    """
    names, colors = list(space.names), list(space.colors)
    for label in relations.new:
        names.append(_free_name(new.class_names[label.of_class], new.name, names))
        colors.append(_free_color(new.colors[label.of_class], colors))
    links = dict(space.links)
    for row, column in relations.links.nonzero().tolist():
        seen = float(relations.pixels[column]) > 0
        weight = round(min(1.0, float(relations.score[row, column])), 6)
        links[row, new.name, column] = Link("learned" if seen else "text", weight)
    matrices = {}
    for name, matrix in space.mapping.matrices.items():
        inherited = _inherited(matrix, relations.new)
        matrices[name] = torch.cat([matrix, inherited])
        for row, column in inherited.nonzero().tolist():
            share = _share(relations, relations.new[row])
            links[len(space.names) + row, name, column] = Link("learned", share)
    for row, label in enumerate(relations.new, len(space.names)):
        source = "learned" if label.seen else "text"
        links[row, new.name, label.of_class] = Link(source, 1.0 if label.seen else 0.0)
    matrices[new.name] = relations.all_links()
    mapping = LabelMapping(LabelSpaceSet([*space.label_spaces, new]), matrices)
    gained = set(relations.links.any(1).nonzero().flatten().tolist())
    checked = frozenset(space.checked - gained)
    return replace(
        space, mapping=mapping, names=tuple(names), colors=tuple(colors), links=links,
        checked=checked,
    )  # fmt: skip


def _inherited(matrix: Tensor, new: Sequence[NewLabel]) -> Tensor:
    """(M, C_i) links that new labels have because they are part of what an old one stands for."""
    rows = torch.zeros(len(new), matrix.shape[1], dtype=torch.bool)
    for row, label in enumerate(new):
        if label.part:
            rows[row] = matrix[label.near]
    return rows


def _share(relations: Relations, label: NewLabel) -> float:
    """How much of a new class lies in the label that it is a part of."""
    return round(float(relations.forward[label.of_class, label.near]), 6)


def _free_name(name: str, dataset: str, taken: Sequence[str]) -> str:
    options = itertools.chain(
        [name, f"{name} ({dataset})"], (f"{name} ({dataset} {i})" for i in itertools.count(2))
    )
    return next(option for option in options if option not in taken)


def _free_color(
    color: tuple[int, int, int], taken: Sequence[tuple[int, int, int]]
) -> tuple[int, int, int]:
    options = itertools.chain([color], map(default_color, itertools.count()))
    return next(option for option in options if option not in taken)


def started_rows(embedding: Tensor, new: Sequence[NewLabel]) -> Tensor:
    """(N, D) X_u -> (N + M, D): new labels begin as copies of those that they are near to."""
    near = torch.tensor([label.near for label in new], dtype=torch.int64)
    return torch.cat([embedding, embedding[near]])


def extended_head(head: UniSegHead, rows: Tensor, mapping: Tensor, reading: Reading) -> UniSegHead:
    """The head that also answers in the new dataset.

    On photos of the old datasets the new unified labels are silent, so their answers are those of
    before, with the same probabilities.

    Args:
        head: N unified labels, K datasets.
        rows: (N + M, D) X_u; the first N as in ``head``.
        mapping: (N + M, C + C') bool.
        reading: of the new dataset.
    """
    old, added = head.dataset_bias.detach().cpu(), len(rows) - head.num_unified
    bias = torch.cat([old, old.new_full((len(old), added), SILENT)], dim=1)
    heard = torch.where(reading.heard, reading.bias, torch.full_like(reading.bias, SILENT))
    shift = torch.zeros(len(old) + 1, *rows.shape)
    if head.dataset_shift is not None:
        shift[: len(old), : head.num_unified] = head.dataset_shift.detach().cpu()
    shift[-1] = torch.where(reading.heard[:, None], reading.rows - rows, torch.zeros(()))
    classes = mapping.shape[1] - sum(head.num_classes)
    found = UniSegHead(
        [*head.num_classes, classes], len(rows), rows.shape[1], head.mode, head.use_dataset_bias
    )
    found.set_label_space(rows, mapping, torch.cat([bias, heard[None]]), shift)
    return found.to(head.label_embedding.device).requires_grad_(False).eval()


def extended_model(
    model: UniLabelSegmentor, head: UniSegHead, label_spaces: LabelSpaceSet
) -> UniLabelSegmentor:
    """The same network with another head; its weights are shared with ``model``."""
    found = copy.copy(model)
    found._modules = dict(model._modules)
    found._buffers = dict(model._buffers)
    added = label_spaces.total - len(model.class_weight)
    found.class_weight = torch.cat([model.class_weight, model.class_weight.new_ones(added)])
    found.label_spaces = label_spaces
    found.uni_head = head
    return found
