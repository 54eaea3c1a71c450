"""Quality of a label space on atoms: classes that no single dataset labels all of.

Only worlds with exact truth have them (the toy world): ``atoms/{train,val}`` beside ``labels`` and
``atoms.json`` beside the dataset folders. Letters: A atoms, R labels of the judged space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unilabel.core.io import read_json
from unilabel.core.metrics import iou_from_confusion


def read_atoms(roots: Sequence[str]) -> dict[str, Any] | None:
    """Content of ``atoms.json`` if every dataset folder has atoms, else None."""
    parents = {Path(r).parent for r in roots}
    if len(parents) != 1 or not all((Path(r) / "atoms").is_dir() for r in roots):
        return None
    file = parents.pop() / "atoms.json"
    return read_json(file) if file.is_file() else None


def score_atoms(
    train: Mapping[str, Tensor], val: Mapping[str, Tensor], atoms: Mapping[str, Any]
) -> dict[str, float]:
    """Scores of one label space.

    Every label of the space is named after the atom that it covers most on the training images
    (once by pixels, once by share of the atom; the better one counts), then validation images are
    scored as atom maps.

    Args:
        train: dataset -> (A, R) counts of the training images, rows atoms.
        val: the same of the validation images.
        atoms: content of ``atoms.json``.

    Returns:
        ``atom_accuracy``, ``atom_miou`` and ``hidden_iou`` in 0..1; hidden: mean IoU of atoms on
        the datasets that label them only together with others (or not at all).
    """
    names: list[str] = atoms["atoms"]
    counts = sum(train.values()).double()  # type: ignore[union-attr]
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    by_pixels = counts.argmax(0)
    by_share = torch.where(counts.sum(0) > 0, share.argmax(0), 0)
    total = sum(val.values())
    best = max(
        float(torch.nanmean(iou_from_confusion(_rename(total, names_of))))
        for names_of in (by_pixels, by_share)
    )
    accuracy = _rename(total, by_pixels)
    hidden = []
    for index, atom in enumerate(names):
        matrix = torch.zeros(len(names), len(names), dtype=torch.int64)
        for dataset, classes in atoms["datasets"].items():
            alone = any(list(members) == [atom] for members in classes.values())
            if not alone and dataset in val:
                matrix += _rename(val[dataset], by_pixels)
        value = iou_from_confusion(matrix)[index]
        if not torch.isnan(value):
            hidden.append(float(value))
    return {
        "atom_accuracy": float(accuracy.diagonal().sum() / accuracy.sum()),
        "atom_miou": best,
        "hidden_iou": sum(hidden) / max(len(hidden), 1),
    }


def _rename(confusion: Tensor, names_of: Tensor) -> Tensor:
    """(A, R) counts -> (A, A): columns of one atom are added."""
    result = torch.zeros(len(confusion), len(confusion), dtype=confusion.dtype)
    return result.index_add_(1, names_of, confusion)
