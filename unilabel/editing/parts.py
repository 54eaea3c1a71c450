"""A model file taken apart, and put together again.

Letters: K datasets, C classes of all of them, N unified labels, D embedding dim.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file, save_file
from unilabel.engine.loading import config_of, load_model
from unilabel.engine.segmentor import SHIFT
from unilabel.engine.side_files import check_output, new_side_file, settled_space

HEAD = "uni_head."
EMBEDDING, MAPPING = f"{HEAD}label_embedding", f"{HEAD}mapping"  # (N, D), (N, C)
BIAS = f"{HEAD}dataset_bias"  # (K, N); SHIFT: (K, N, D) or absent


@dataclass(frozen=True)
class Parts:
    """What a finished model consists of; edits make another one.

    Attributes:
        source: the file.
        cfg: its configuration.
        label_spaces: K label spaces.
        weights: tensors by name.
        space: its unified labels; None for a model with one head per dataset.
        notes: what a person should know of the edits so far.
    """

    source: Path
    cfg: CfgNode
    label_spaces: LabelSpaceSet
    weights: dict[str, Tensor]
    space: UnifiedLabelSpace | None
    notes: tuple[str, ...] = field(default=())

    @property
    def mode(self) -> str:
        """How classes collect unified labels (MODEL.MAPPING_MODE)."""
        return str(self.cfg.MODEL.MAPPING_MODE)

    def unified(self) -> UnifiedLabelSpace:
        """The unified labels.

        Raises:
            UniLabelError: the model has none.
        """
        if self.space is None:
            raise UniLabelError(
                f"{self.source} has one head per dataset and no unified labels; they can be split "
                "and merged in the model of a run that went through all stages."
            )
        return self.space

    def row(self, label: str) -> int:
        """The unified label of a name or id.

        Raises:
            UniLabelError: there is none.
        """
        names = self.unified().names
        if label in names:
            return names.index(label)
        if label.isascii() and label.isdigit() and int(label) < len(names):
            return int(label)
        raise UniLabelError(
            f"{self.source} has no unified label {label!r}; it has {', '.join(names)}, with the "
            f"ids 0 to {len(names) - 1}."
        )

    def with_note(self, line: str) -> Parts:
        """The same with one more note."""
        return replace(self, notes=(*self.notes, line))


def read_parts(weights: str | os.PathLike[str], label_space: str | None = None) -> Parts:
    """Take a model file apart.

    Args:
        weights: the file.
        label_space: see :func:`unilabel.engine.side_files.settled_space`.

    Raises:
        UniLabelError: it is no finished model of ours, or its label space was edited since.
    """
    path = Path(weights)
    load_model(path)  # checks all that can be wrong with it
    content = load_file(path)
    if content["num_unified"] is not None and content.get("label_space") is None:
        raise UniLabelError(
            f"{path} is a checkpoint of a run that is not finished; edit its model_final.pth."
        )
    spaces = LabelSpaceSet.from_list(content["label_spaces"], str(path))
    state = dict(content["model"])
    space = None
    if content["num_unified"] is not None:
        inside = UnifiedLabelSpace.from_dict(content["label_space"], str(path))
        space = settled_space(inside, path, label_space)
        state[MAPPING] = space.mapping.stacked()
    return Parts(path, config_of(content["config"], str(path)), spaces, state, space)


def write_parts(parts: Parts, output: str | os.PathLike[str]) -> list[Path]:
    """Write the edited model, and its label space beside it; each is whole or not there.

    Returns:
        the files.

    Raises:
        UniLabelError: ``output`` is the model that was edited, or cannot be written.
    """
    path = check_output(parts.source, output)
    space = parts.space
    side = new_side_file(path)
    content: dict[str, Any] = {
        "model": parts.weights,
        "num_unified": None if space is None else len(space.names),
        "label_spaces": parts.label_spaces.to_list(),
        "label_space": None if space is None else space.to_dict(),
        "config": parts.cfg.dump(),
    }
    save_file(path, content)
    if space is None:
        return [path]
    space.save(side)
    return [path, side]


def select_rows(parts: Parts, rows: Tensor) -> Parts:
    """Only these unified labels, in this order; names, colours, checks and links follow them.

    Args:
        parts: of a model with unified labels.
        rows: (N',) int64 ids of before.
    """
    space = parts.unified()
    weights = dict(parts.weights)
    for name, axis in ((EMBEDDING, 0), (MAPPING, 0), (BIAS, 1), (SHIFT, 1)):
        if name in weights:
            weights[name] = weights[name].index_select(axis, rows)
    new = {old: row for row, old in enumerate(rows.tolist())}
    links = {(new[r], d, c): link for (r, d, c), link in space.links.items() if r in new}
    smaller = UnifiedLabelSpace(
        space.mapping.select(rows),
        tuple(space.names[i] for i in new),
        tuple(space.colors[i] for i in new),
        links,
        frozenset(new[i] for i in space.checked if i in new),
        space.provenance,
        space.relations,
    )
    return replace(parts, weights=weights, space=smaller)


def with_links(parts: Parts, links: Tensor, space: UnifiedLabelSpace) -> Parts:
    """The weights with (N, C) bool links, and the label space that has the same.

    Raises:
        UniLabelError: the links are no label mapping.
    """
    mapping = LabelMapping.from_stacked(parts.label_spaces, links)
    weights = {**parts.weights, MAPPING: mapping.stacked()}
    return replace(parts, weights=weights, space=replace(space, mapping=mapping))


def edited(parts: Parts, how: dict[str, Any]) -> Parts:
    """Note an edit in the provenance of the label space, where there is one."""
    if parts.space is None:
        return parts
    before = parts.space.provenance
    notes = {**before, "edits": [*before.get("edits", []), how]}
    return replace(parts, space=replace(parts.space, provenance=notes))


def float_rows(parts: Parts) -> tuple[Tensor, Tensor, Tensor | None]:
    """X_u (N, D), bias (K, N) and shift (K, N, D) or None, float32 copies."""
    weights = parts.weights
    shift = weights.get(SHIFT)
    return (
        weights[EMBEDDING].float().clone(),
        weights[BIAS].float().clone(),
        None if shift is None else shift.float().clone(),
    )


def put_rows(parts: Parts, embedding: Tensor, bias: Tensor, shift: Tensor | None) -> Parts:
    """Inverse of :func:`float_rows`."""
    weights = {**parts.weights, EMBEDDING: embedding, BIAS: bias}
    if shift is not None:
        weights[SHIFT] = shift
    if not all(bool(torch.isfinite(t).all()) for t in (embedding, bias)):
        raise UniLabelError(f"{parts.source}: the edited weights are not finite.")
    return replace(parts, weights=weights)
