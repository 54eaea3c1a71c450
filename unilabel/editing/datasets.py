"""Datasets leave a trained model, or get another name. All other answers stay as they are.

Letters: K datasets, C classes of all of them, N unified labels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from detectron2.config import CfgNode

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.typed_relations import known_ones
from unilabel.data.builtin import builtin_names
from unilabel.editing.parts import BIAS, MAPPING, Parts, edited, select_rows
from unilabel.engine.segmentor import SHIFT

HEADS = "multi_head.weights."


def remove_dataset(parts: Parts, name: str, keep_labels: bool = False) -> Parts:
    """Take a dataset out of a model.

    The network and all other classifiers stay, so the answers for the other datasets are the same.
    Unified labels that stand for no class any more go with it.

    Args:
        parts: the model.
        name: of the dataset.
        keep_labels: keep unified labels that stand for no class of the other datasets.

    Raises:
        UniLabelError: there is no such dataset, or no other one.
    """
    index = parts.label_spaces.dataset_index(name)
    if len(parts.label_spaces) == 1:
        raise UniLabelError(f"{name!r} is the only dataset of {parts.source}; nothing would stay.")
    left = LabelSpaceSet(s for s in parts.label_spaces if s.name != name)
    stay = torch.tensor([i for i in range(len(parts.label_spaces)) if i != index])
    start, stop = parts.label_spaces.class_offsets[index : index + 2]
    columns = torch.tensor([c for c in range(parts.label_spaces.total) if not start <= c < stop])
    weights = {k: v for k, v in parts.weights.items() if not k.startswith(HEADS)}
    for new, old in enumerate(stay.tolist()):
        if f"{HEADS}{old}" in parts.weights:
            weights[f"{HEADS}{new}"] = parts.weights[f"{HEADS}{old}"]
    for key, axis, chosen in (
        ("class_weight", 0, columns),
        (MAPPING, 1, columns),
        (BIAS, 0, stay),
        (SHIFT, 0, stay),
    ):
        if key in weights:
            weights[key] = weights[key].index_select(axis, chosen)
    cfg = _without(parts.cfg, name)
    changed = replace(parts, cfg=cfg, label_spaces=left, weights=weights)
    if parts.space is None:
        return changed
    space = parts.space
    links = {key: link for key, link in space.links.items() if key[1] != name}
    mapping = LabelMapping(left, {n: space.mapping[n] for n in left.names})
    relations = known_ones(space.relations, left)
    space = replace(space, mapping=mapping, links=links, relations=relations)
    changed = replace(changed, space=space)
    unused = ~mapping.active()
    names = ", ".join(n for n, gone in zip(space.names, unused.tolist(), strict=True) if gone)
    if names and keep_labels:
        changed = changed.with_note(f"unified labels that stand for no class now: {names}")
    elif names:
        rows = torch.nonzero(~unused).flatten()
        changed = select_rows(changed, rows)
        changed = changed.with_note(f"unified labels that go with {name}: {names}")
        if not torch.equal(rows, torch.arange(len(rows))):
            changed = changed.with_note("ids of unified labels behind them have moved up")
    return edited(changed, {"removed_dataset": name})


def rename_dataset(parts: Parts, old: str, new: str) -> Parts:
    """Give a dataset another name; nothing else changes.

    Raises:
        UniLabelError: there is no such dataset, or the name is taken or impossible.
    """
    index = parts.label_spaces.dataset_index(old)
    if new in parts.label_spaces.names:
        raise UniLabelError(f"{parts.source} has a dataset {new!r} already.")
    spaces = list(parts.label_spaces)
    display = spaces[index].display_name
    named = {**spaces[index].to_dict(), "name": new}
    named["display_name"] = new if display in ("", old) else display
    spaces[index] = LabelSpace.from_dict(named, "the new name")  # checks it
    label_spaces = LabelSpaceSet(spaces)
    changed = replace(parts, cfg=_renamed(parts.cfg, old, new), label_spaces=label_spaces)
    if parts.space is not None:
        space = parts.space
        mapping = LabelMapping.from_stacked(label_spaces, space.mapping.stacked())
        links = {(r, new if d == old else d, c): link for (r, d, c), link in space.links.items()}
        relations = tuple(relation.with_dataset(old, new) for relation in space.relations)
        space = replace(space, mapping=mapping, links=links, relations=relations)
        changed = replace(changed, space=space)
    if old in builtin_names():
        note = f"{old} is a built-in dataset: training and --eval-only know it by that name only"
    else:
        note = f'to train or evaluate on its photos, set "name": "{new}" in their classes.json'
    return edited(changed.with_note(note), {"renamed_dataset": [old, new]})


def _without(cfg: CfgNode, name: str) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    data = cfg.DATASETS
    data.NAMES = [n for n in data.NAMES if n != name]
    data.CUSTOM = [folder for folder in data.CUSTOM if Path(folder).name != name]
    data.ONLY = [n for n in data.ONLY if n != name]
    data.VARIANTS = [pair for pair in data.VARIANTS if pair[0] != name]
    data.CLASSES = [pair for pair in data.CLASSES if pair[0] != name]
    return cfg


def _renamed(cfg: CfgNode, old: str, new: str) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    data = cfg.DATASETS
    data.ONLY = [new if n == old else n for n in data.ONLY]
    data.CLASSES = [[new if n == old else n, change] for n, change in data.CLASSES]
    return cfg
