"""Known relations between the classes of different datasets, to score a learned mapping.

Letters: C classes of all datasets together.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.label_space import LabelSpaceSet

TYPES = ("equal", "subset", "superset", "overlap")
# How a is related to b, for people: "car is part of vehicle".
WORDS = {
    "equal": "is equal to",
    "subset": "is part of",
    "superset": "is wider than",
    "overlap": "overlaps with",
}


@dataclass(frozen=True)
class RelationTruth:
    """Which classes are related.

    Attributes:
        related: (C, C) bool, symmetric.
        scored: (C, C) bool, pairs that count; pairs of one dataset and those listed under
            "overlaps" (neither right nor wrong) do not.
        background: (C, C) bool, pairs listed under "background_relations": what a set did not name
            and what another one names. They are scored apart. None: there are none.
        offsets: where the classes of every dataset begin, and C; empty: not known.
        by_definition: (C, C) bool, pairs of datasets whose list is complete by definition.
    """

    related: Tensor
    scored: Tensor
    by_definition: Tensor
    background: Tensor | None = None
    offsets: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, path: str | os.PathLike[str], label_spaces: LabelSpaceSet) -> RelationTruth:
        """Read ``relations.json``; relations of datasets that do not take part are skipped.

        Raises:
            UniLabelError: a relation is malformed or names a class that a dataset does not have.
        """
        source = os.fspath(path)
        data = read_json(path)
        if not isinstance(data, dict) or not isinstance(data.get("relations"), list):
            raise UniLabelError(f'{source}: expected an object with a list "relations".')
        for key in ("overlaps", "background_relations"):
            if not isinstance(data.get(key, []), list):
                raise UniLabelError(f'{source}: "{key}" is {data[key]!r}, expected a list.')
        total = label_spaces.total
        related = torch.zeros(total, total, dtype=torch.bool)
        unscored = torch.zeros_like(related)
        human = torch.zeros_like(related)
        defined = torch.zeros_like(related)
        background = torch.zeros_like(related)
        lists = (
            ("relations", related),
            ("overlaps", unscored),
            ("background_relations", background),
        )
        for key, matrix in lists:
            for position, entry in enumerate(data.get(key, [])):
                pair = _pair(entry, label_spaces, f"{source}: {key}[{position}]")
                if pair is None:
                    continue
                a, b = pair
                matrix[a, b] = matrix[b, a] = True
                if key == "relations":
                    blocks = defined if entry.get("source") == "definition" else human
                    rows, columns = _block(label_spaces, a), _block(label_spaces, b)
                    blocks[rows, columns] = True
                    blocks[columns, rows] = True
        scored = ~unscored & ~(background & ~related)
        for start, stop in zip(
            label_spaces.class_offsets[:-1], label_spaces.class_offsets[1:], strict=True
        ):
            scored[start:stop, start:stop] = False
        background &= ~related & ~unscored
        offsets = tuple(label_spaces.class_offsets)
        return cls(related & scored, scored, defined & ~human, background, offsets)

    def score(self, links: Tensor) -> dict[str, Any]:
        """Precision, recall and F1 of linked pairs, each pair counted once.

        Args:
            links: (C, C) bool, symmetric.

        Returns:
            ``precision, recall, f1`` over all pairs, and the same under ``definition`` and
            ``human`` where both kinds of dataset pairs occur, and under ``with_background`` where
            relations of backgrounds are known; ``num_related``; ``pair_mean``, the mean F1 of the
            pairs of datasets that have relations.
        """
        result: dict[str, Any] = self._score(links, self.scored)
        result["num_related"] = int(self.related.triu().sum())
        if self.offsets:
            result["pair_mean"] = self._pair_mean(links)
        if self.background is not None and bool(self.background.any()):
            whole = replace(
                self,
                related=self.related | self.background,
                scored=self.scored | self.background,
            )
            result["with_background"] = whole._score(links, whole.scored)
        if bool(self.by_definition.any()) and not bool(self.by_definition[self.scored].all()):
            result["definition"] = self._score(links, self.scored & self.by_definition)
            result["human"] = self._score(links, self.scored & ~self.by_definition)
        return result

    def _pair_mean(self, links: Tensor) -> float:
        """Mean F1 over the pairs of datasets with relations: each counts once, large or small."""
        scores = []
        blocks = [slice(*ends) for ends in pairwise(self.offsets)]
        for rows, columns in combinations(blocks, 2):
            true = self.related[rows, columns]
            if bool(true.any()):
                found = links[rows, columns] & self.scored[rows, columns]
                scores.append(2 * int((found & true).sum()) / int(found.sum() + true.sum()))
        return sum(scores) / max(len(scores), 1)

    def _score(self, links: Tensor, scored: Tensor) -> dict[str, float]:
        upper = scored.triu()
        found, true = links & upper, self.related & upper
        hits = int((found & true).sum())
        precision = hits / max(int(found.sum()), 1)
        recall = hits / max(int(true.sum()), 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-12)
        return {"precision": precision, "recall": recall, "f1": f1}


def _block(label_spaces: LabelSpaceSet, index: int) -> slice:
    offsets = label_spaces.class_offsets
    dataset = next(i for i in range(len(label_spaces)) if index < offsets[i + 1])
    return slice(offsets[dataset], offsets[dataset + 1])


def _pair(entry: Any, label_spaces: LabelSpaceSet, where: str) -> tuple[int, int] | None:
    """Positions in 0..C-1 of both classes, or None if a dataset does not take part."""
    indices = []
    for side in ("a", "b"):
        part = entry.get(side) if isinstance(entry, dict) else None
        if isinstance(part, list) and len(part) == 2:  # the short form
            part = {"dataset": part[0], "label": part[1]}
        if not isinstance(part, dict) or {"dataset", "label"} - set(part):
            raise UniLabelError(
                f'{where}["{side}"] is {part!r}, expected {{"dataset", "label"}} or '
                "[dataset, class]."
            )
        if part["dataset"] not in label_spaces.names:
            return None
        dataset = label_spaces.dataset_index(part["dataset"])
        if not isinstance(part["label"], str):
            found = part["label"]
            raise UniLabelError(f"{where}: dataset {part['dataset']!r} has no class {found!r}.")
        label = label_spaces[dataset].present_name(part["label"])
        if label is None:  # left out by the configuration
            return None
        try:
            class_id = label_spaces[dataset].index(label)
        except UniLabelError as error:
            raise UniLabelError(f"{where}: {error}") from None
        indices.append(label_spaces.class_offsets[dataset] + class_id)
    if entry.get("type", "equal") not in TYPES:
        raise UniLabelError(f'{where}: "type" is {entry["type"]!r}, expected one of {TYPES}.')
    return indices[0], indices[1]
