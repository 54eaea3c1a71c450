"""What became of the pixels of every dataset and class.

Letters: C classes of a dataset, T labels of the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from unilabel.harmonize.labelling import SURE, Part
from unilabel.harmonize.photos import Photo
from unilabel.harmonize.target import Target


class Totals:
    """Sums over the records of photos; of constant size.

    Attributes:
        pixels: for each dataset (C + 1, T + 1) int64; the last row is for pixels that nobody
            labelled, the last column for those that have no label now.
        sums: the same of the confidences, :data:`~unilabel.harmonize.labelling.SURE` is 1.
        voided: for each dataset (C + 1,) decided pixels that are ignored as too uncertain.
    """

    def __init__(self, parts: Sequence[Part], target: Target) -> None:
        """All zero."""
        self.parts = parts
        self.target = target
        shapes = [(len(p.choices.certain), len(target.names) + 1) for p in parts]
        self.pixels = [np.zeros(shape, np.int64) for shape in shapes]
        self.sums = [np.zeros(shape, np.int64) for shape in shapes]
        self.voided = [np.zeros(shape[0], np.int64) for shape in shapes]
        self.photos: list[dict[str, int]] = [{} for _ in parts]
        self.unasked = [0] * len(parts)

    def add(self, photo: Photo, record: dict[str, Any]) -> None:
        """Add a photo."""
        index = photo.dataset
        rows = np.array(record["pairs"], np.int64).reshape(-1, 4)
        # a label of -1 is the last column
        self.pixels[index][rows[:, 0], rows[:, 1]] += rows[:, 2]
        self.sums[index][rows[:, 0], rows[:, 1]] += rows[:, 3]
        for row, count in record["voided"]:
            self.voided[index][row] += count
        self.photos[index][photo.split] = self.photos[index].get(photo.split, 0) + 1
        self.unasked[index] += not record["asked"]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, for ``harmonize.json``."""
        written = np.sum([p[:, :-1].sum(0) for p in self.pixels], axis=0)
        return {
            "datasets": [self._dataset(i) for i in range(len(self.parts))],
            "labels": [
                {"id": i, "name": name, "pixels": int(written[i])}
                for i, name in enumerate(self.target.names)
            ],
        }

    def _dataset(self, index: int) -> dict[str, Any]:
        part, pixels = self.parts[index], self.pixels[index]
        classes = [
            self._class(index, row, name)
            for row, name in enumerate(part.source.label_space.class_names)
        ]
        free = pixels[-1]
        kinds = ("certain", "decided", "ignored", "too_uncertain")
        labelled = {kind: sum(c["pixels"][kind] for c in classes) for kind in kinds}
        total = int(pixels.sum())
        return {
            "name": part.source.name,
            "origin": part.origin,
            "photos": dict(sorted(self.photos[index].items())),
            "photos_without_network": self.unasked[index],
            "pixels": total,
            "shares": {
                **{kind: _share(count, total) for kind, count in labelled.items()},
                "unlabelled_filled": _share(int(free[:-1].sum()), total),
                "unlabelled_ignored": _share(int(free[-1]), total),
            },
            "violations": 0,  # every label map is checked as it was encoded; a fault stops the run
            "classes": classes,
        }

    def _class(self, index: int, row: int, name: str) -> dict[str, Any]:
        pixels, choices = self.pixels[index][row], self.parts[index].choices
        labelled, voided = int(pixels[:-1].sum()), int(self.voided[index][row])
        certain = bool(choices.certain[row])
        mean = self.sums[index][row, :-1].sum() / SURE / max(labelled, 1)
        return {
            "name": name,
            "candidates": int(choices.fits[row].sum()),
            "pixels": {
                "certain": labelled if certain else 0,
                "decided": 0 if certain else labelled,
                "ignored": int(pixels[-1]) - voided,
                "too_uncertain": voided,
            },
            "mean_confidence": round(float(mean), 4) if labelled else None,
            "labels": {
                self.target.names[i]: int(pixels[i])
                for i in np.argsort(-pixels[:-1], kind="stable")
                if pixels[i]
            },
        }

    def lost(self) -> list[str]:
        """Classes whose pixels have no label in the target, in words."""
        found = []
        for part, pixels in zip(self.parts, self.pixels, strict=True):
            for row, name in enumerate(part.source.label_space.class_names):
                if not part.choices.fits[row].any() and pixels[row].sum():
                    found.append(f"{name} of {part.source.name} ({int(pixels[row].sum())} pixels)")
        return found


def _share(count: int, total: int) -> float:
    return round(count / max(total, 1), 6)


def total_of(
    records: Iterable[tuple[Photo, dict[str, Any]]], parts: Sequence[Part], target: Target
) -> Totals:
    """Sums over all records."""
    totals = Totals(parts, target)
    for photo, record in records:
        totals.add(photo, record)
    return totals
