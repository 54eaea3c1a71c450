"""Answering in the classes of an unseen dataset without training (Section 4.1 of the paper).

Every label of the model (a unified label, or a class of one of its heads) is read as at most one
class of the unseen dataset. The mapping is found from predictions on the unseen training images,
from text, or written by a person.

Letters: N labels of the model, C classes of the unseen dataset.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unilabel.core.assignment import solve_exact
from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json, write_json
from unilabel.core.label_space import LabelSpace, clean_text

SCHEMA = "unilabel/transfer_mapping"
VERSION = 1
OBJECTIVES = ("cost", "miou")
# A label leaves the class that the paper gives it only for 0.02 points of mean IoU or more: smaller
# gains on the training images do not carry over to others.
LEAST_GAIN = 2e-4
# What a certain prior counts as IoU: less than one pixel in a thousand million.
_PRIOR_SHARE = 1e-9

FloatArray = NDArray[np.float64]


def label_iou(confusion: Tensor) -> Tensor:
    """IoU of each class with each label alone.

    Args:
        confusion: (C, N) counts, rows true classes, columns predicted labels.

    Returns:
        (N, C) float64 in 0..1; 0 for labels that are never predicted and classes without pixels.
    """
    counts = _checked(confusion)
    union = counts.sum(1)[:, None] + counts.sum(0)[None] - counts
    return torch.from_numpy((counts / np.maximum(union, 1)).T.copy())


def fit_mapping(
    confusion: Tensor,
    prior: Tensor | None = None,
    objective: str = "miou",
    least_gain: float = LEAST_GAIN,
) -> Tensor:
    """The best mapping from the labels of a model to the classes of an unseen dataset.

    The paper minimises the sum of (1 - IoU) over links, where every class has a label and every
    label at most one class (``cost``; exact). That measures every link alone, so a rarely predicted
    label goes to a rare class even if most of its pixels belong to a frequent one. ``miou`` goes on
    from there: while moving one label to another class, or to none, raises the mean IoU of all
    classes together by more than ``least_gain``, the best such move is made.

    Args:
        confusion: (C, N) counts on the unseen training images.
        prior: (N, C) in 0..1, for labels and classes about which the counts say nothing: a label
            that is never predicted goes to its class of largest prior (to none if that is 0).
        objective: ``miou`` or ``cost``.
        least_gain: of a move, 0..1; for ``miou``.

    Returns:
        (N, C) bool, row sums at most 1. Every class has a label if N >= C; else every label has a
        class of its own.

    Raises:
        UniLabelError: counts or prior are malformed, or hold no labelled pixel.
    """
    if objective not in OBJECTIVES:
        raise UniLabelError(f"objective {objective!r}: expected one of {', '.join(OBJECTIVES)}.")
    counts = _checked(confusion)
    if not counts.sum():
        raise UniLabelError(
            "the training images of the unseen dataset have no labelled pixel; check its label "
            "files (tools/check_dataset.py)."
        )
    weights = label_iou(confusion).numpy()
    if prior is not None:
        if prior.shape != weights.shape:
            raise UniLabelError(
                f"the prior has the shape {tuple(prior.shape)}, expected {weights.shape}."
            )
        weights = weights + _PRIOR_SHARE * prior.double().clamp(0, 1).numpy()
    links = assign(weights)
    if objective == "miou":
        _raise_mean_iou(counts, links, least_gain)
    return torch.from_numpy(links)


def assign(weights: FloatArray, threshold: float | None = None) -> NDArray[np.bool_]:
    """Links (N, C) of largest total weight; a class has a label where there are enough.

    Args:
        weights: (N, C), 0 or more.
        threshold: labels whose best weight is smaller stay without class, unless a class needs
            them; None: only those without any weight.
    """
    labels, classes = weights.shape
    if labels < classes:
        links = np.zeros(weights.shape, dtype=bool)
        from scipy.optimize import linear_sum_assignment  # slow to import

        columns, rows = linear_sum_assignment(-weights.T)
        links[rows, columns] = True
        return links
    if threshold is None:
        positive = weights[weights > 0]
        threshold = float(positive.min()) / 2 if positive.size else 1.0
    return solve_exact(weights, allow_unlinked=True, threshold=threshold)


def _checked(confusion: Tensor) -> FloatArray:
    if confusion.dim() != 2 or not confusion.numel() or bool((confusion < 0).any()):
        raise UniLabelError(
            f"expected counts of the shape (classes, labels), found {tuple(confusion.shape)}."
        )
    return np.asarray(confusion.detach().cpu().double().numpy())


def _raise_mean_iou(counts: FloatArray, links: NDArray[np.bool_], least_gain: float) -> None:
    """Steepest ascent of the mean IoU by moves of one label; ``links`` changes in place.

    Every move touches two classes only, so all moves are judged at once from sums per class. The
    last label of a class stays where it is.
    """
    classes, labels = counts.shape
    truth = counts.sum(1)
    used = counts.sum(0)
    present = truth > 0
    label_of = np.where(links.any(1), links.argmax(1), classes)  # the last row stands for "none"
    padded = np.vstack([counts, np.zeros(labels)])
    rows = np.arange(labels)
    required = max(least_gain, 1e-12) * max(int(present.sum()), 1)
    while True:
        onehot = label_of[None] == np.arange(classes + 1)[:, None]  # (C + 1, N)
        hit = (padded * onehot).sum(1)[:classes]
        predicted = (used * onehot).sum(1)[:classes]
        iou = _iou(hit, truth, predicted)
        grown = _iou(hit[:, None] + counts, truth[:, None], predicted[:, None] + used)
        gain = np.vstack([np.where(present[:, None], grown - iou[:, None], 0), np.zeros(labels)])
        shrunk = _iou(hit[:, None] - counts, truth[:, None], predicted[:, None] - used)
        loss = np.vstack([np.where(present[:, None], shrunk - iou[:, None], 0), np.zeros(labels)])
        change = gain + loss[label_of, rows]  # (C + 1, N)
        alone = np.append(onehot[:classes].sum(1) <= 1, False)
        change[:classes][~present] = 0  # there is no evidence for them
        change[:, alone[label_of]] = 0
        change[label_of, rows] = 0
        target, label = np.unravel_index(int(change.argmax()), change.shape)
        if change[target, label] <= required:
            break
        label_of[label] = target
    links[:] = label_of[:, None] == np.arange(classes)


def _iou(hit: FloatArray, truth: FloatArray, predicted: FloatArray) -> FloatArray:
    return np.asarray(hit / np.maximum(truth + predicted - hit, 1))


@dataclass(frozen=True)
class TransferMapping:
    """Which class of an unseen dataset every label of a model stands for; a JSON file.

    Attributes:
        label_space: the unseen dataset.
        space: the model's label space that is read: "unified", or one of its datasets.
        names: N names of the model's labels.
        class_of: (N,) int64 class ids, -1 for none.
        scores: (N,) confidence of each link in 0..1 (IoU or similarity).
        provenance: free notes.
    """

    label_space: LabelSpace
    space: str
    names: tuple[str, ...]
    class_of: Tensor
    scores: tuple[float, ...]
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_links(
        cls,
        label_space: LabelSpace,
        space: str,
        names: Sequence[str],
        links: Tensor,
        weights: Tensor,
        provenance: dict[str, Any] | None = None,
    ) -> TransferMapping:
        """From links (N, C) bool and their weights (N, C)."""
        linked = links.any(1)
        class_of = torch.where(linked, links.int().argmax(1), -1)
        picked = (weights.double() * links).sum(1).clamp(0, 1)
        scores = tuple(round(float(v), 6) for v in picked)
        return cls(label_space, space, tuple(names), class_of, scores, dict(provenance or {}))

    def without_label(self) -> list[str]:
        """Classes that no label of the model stands for; they are never predicted."""
        used = set(self.class_of.tolist())
        return [n for i, n in enumerate(self.label_space.class_names) if i not in used]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        classes = self.label_space.class_names
        labels = [
            {"id": i, "name": name, "class": classes[c] if c >= 0 else None, "score": score}
            for i, (name, c, score) in enumerate(
                zip(self.names, self.class_of.tolist(), self.scores, strict=True)
            )
        ]
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "space": self.space,
            "provenance": self.provenance,
            "dataset": self.label_space.to_dict(),
            "labels": labels,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file atomically."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TransferMapping:
        """Read the JSON file, which a person may have edited.

        Raises:
            UniLabelError: it has another form, or names a class that the dataset does not have.
        """
        source = os.fspath(path)
        data = read_json(path)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise UniLabelError(
                f'{source}: expected a JSON object with "schema" {SCHEMA!r}; make one with '
                "tools/map_unseen.py."
            )
        if data.get("version") != VERSION:
            raise UniLabelError(
                f'{source}: "version" is {data.get("version")!r}, this program reads {VERSION}.'
            )
        label_space = LabelSpace.from_dict(data.get("dataset"), f'{source}: "dataset"')
        labels = data.get("labels")
        if not isinstance(labels, list) or not labels:
            raise UniLabelError(f'{source}: expected a list "labels".')
        space = clean_text(data.get("space"), f'{source}: "space"')
        names, class_of, scores = [], [], []
        for row, entry in enumerate(labels):
            where = f"{source}: labels[{row}]"
            if not isinstance(entry, dict) or entry.get("id") != row:
                raise UniLabelError(f'{where} must be an object with "id" {row}.')
            names.append(clean_text(entry.get("name"), f'{where}["name"]'))
            class_of.append(_read_class(entry.get("class"), label_space, where))
            score = entry.get("score", 1.0)
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise UniLabelError(f'{where}: "score" is {score!r}, expected a number.')
            scores.append(float(score))
        notes = data.get("provenance", {})
        if not isinstance(notes, dict):
            raise UniLabelError(f'{source}: "provenance" must be an object.')
        ids = torch.tensor(class_of, dtype=torch.int64)
        return cls(label_space, space, tuple(names), ids, tuple(scores), notes)

    def check_model(self, names: Sequence[str], source: str) -> None:
        """Whether the labels are those of a model, in order.

        Raises:
            UniLabelError: another number of labels, or another name.
        """
        if len(names) != len(self.names):
            raise UniLabelError(
                f"{source} has {len(self.names)} labels, the model {len(names)} in its space "
                f"{self.space!r}; it was made for another model."
            )
        for i, (own, other) in enumerate(zip(self.names, names, strict=True)):
            if own != other:
                raise UniLabelError(
                    f"{source}: label {i} is called {own!r}, in the model {other!r}; it was made "
                    'for another model (only "class" can be edited).'
                )


def _read_class(value: Any, label_space: LabelSpace, where: str) -> int:
    if value is None:
        return -1
    if not isinstance(value, str):
        raise UniLabelError(f'{where}: "class" is {value!r}, expected a class name or null.')
    try:
        return label_space.index(value)
    except UniLabelError as error:
        raise UniLabelError(f"{where}: {error}") from None


def is_transfer_mapping(content: object) -> bool:
    """Whether the content of a JSON file is a mapping to an unseen dataset."""
    return isinstance(content, dict) and content.get("schema") == SCHEMA
