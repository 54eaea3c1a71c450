"""Scores as the Cityscapes evaluation computes them, for any list of labels.

Formulas: ``evalPixelLevelSemanticLabeling.py`` of cityscapesScripts. Letters: L ids 0..L-1, S
scored ids, K instances of an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError

Array = NDArray[np.float64]
NO_INSTANCES = (np.zeros((1, 1), np.int64), np.zeros(1, np.int64))


@dataclass(frozen=True)
class ScoredLabel:
    """One id of the ground truth.

    Attributes:
        id: its number.
        name: its name.
        category: group that it belongs to.
        scored: pixels of this id count; otherwise they are void.
        has_instances: its instances count in the instance scores.
    """

    id: int
    name: str
    category: str
    scored: bool
    has_instances: bool


@dataclass(frozen=True)
class Scores:
    """Result of an evaluation; values in 0..1, NaN where there is nothing to score.

    Attributes:
        iou: class -> IoU.
        instance_iou: class with instances -> iIoU.
        category_iou: category -> IoU.
        category_instance_iou: category of instances -> iIoU.
    """

    iou: dict[str, float]
    instance_iou: dict[str, float]
    category_iou: dict[str, float]
    category_instance_iou: dict[str, float]

    @property
    def averages(self) -> dict[str, float]:
        """The four numbers of the leader boards."""
        return {
            "miou_class": _mean(self.iou.values()),
            "iiou_class": _mean(self.instance_iou.values()),
            "miou_category": _mean(self.category_iou.values()),
            "iiou_category": _mean(self.category_instance_iou.values()),
        }


def _mean(values: Iterable[float]) -> float:
    valid = [v for v in values if not np.isnan(v)]
    return float(np.mean(valid)) if valid else float("nan")


class CityscapesScorer:
    """Counts of any number of images; one image is in memory at a time.

    Attributes:
        confusion: (L, L) pixels, rows ground truth, columns prediction.
    """

    def __init__(self, labels: Sequence[ScoredLabel]) -> None:
        """``labels`` lists every id that may occur in the ground truth or a prediction."""
        self.labels = {label.id: label for label in labels}
        size = max(self.labels) + 1
        self.confusion = np.zeros((size, size), np.int64)
        # sums over the instances of a class: shares of their pixels that are right, by class and
        # by category; number of instances; their pixels
        self._right = np.zeros(size)
        self._right_category = np.zeros(size)
        self._instances = np.zeros(size)
        self._pixels = np.zeros(size)
        names = {label.category for label in labels}
        self._members = {
            name: np.array([label.id for label in labels if label.category == name])
            for name in sorted(names)
        }

    def add(
        self,
        prediction: NDArray[np.integer],
        truth: NDArray[np.integer],
        instances: tuple[NDArray[np.integer], NDArray[np.integer]] = NO_INSTANCES,
    ) -> NDArray[np.int64]:
        """Count one image.

        Args:
            prediction: (H, W) ids.
            truth: (H, W) ids.
            instances: (H, W) numbers 0..K, 0 for pixels of no instance, and (K + 1,) the id that
                each number belongs to.

        Returns:
            (L, L) confusion of this image alone.

        Raises:
            UniLabelError: the sizes differ, or an id is unknown.
        """
        if prediction.shape != truth.shape:
            raise UniLabelError(
                f"the prediction is {prediction.shape[::-1]} pixels, the ground truth "
                f"{truth.shape[::-1]} (width, height); both must be equal."
            )
        size = len(self.confusion)
        for what, values in (("prediction", prediction), ("ground truth", truth)):
            found = np.flatnonzero(np.bincount(values.reshape(-1)))
            unknown = [int(v) for v in found if int(v) not in self.labels]
            if unknown:
                raise UniLabelError(
                    f"the {what} has the id {unknown[0]}, which is none of the "
                    f"{len(self.labels)} labels."
                )
        joint = truth.astype(np.int64) * size + prediction
        counts = np.bincount(joint.reshape(-1), minlength=size * size).reshape(size, size)
        self.confusion += counts
        if len(instances[1]) > 1:
            self._add_instances(prediction, *instances)
        return counts

    def _add_instances(
        self,
        prediction: NDArray[np.integer],
        numbers: NDArray[np.integer],
        classes: NDArray[np.integer],
    ) -> None:
        size = len(self.confusion)
        joint = numbers.astype(np.int64) * size + prediction
        table = np.bincount(joint.reshape(-1), minlength=len(classes) * size)
        table = table.reshape(len(classes), size)  # pixels of an instance predicted as each id
        for number in range(1, len(classes)):
            label = self.labels.get(int(classes[number]))
            pixels = int(table[number].sum())
            if label is None or not (label.scored and label.has_instances) or pixels == 0:
                continue
            members = self._members[label.category]
            self._right[label.id] += table[number, label.id] / pixels
            self._right_category[label.id] += table[number, members].sum() / pixels
            self._instances[label.id] += 1
            self._pixels[label.id] += pixels

    def average_sizes(self) -> dict[str, float]:
        """Mean number of pixels of an instance, by class, over the images that were added."""
        return {
            label.name: float(self._pixels[i] / self._instances[i])
            for i, label in self.labels.items()
            if self._instances[i]
        }

    def scores(self, sizes: Mapping[str, float] | None = None, void: Sequence[str] = ()) -> Scores:
        """All scores.

        Args:
            sizes: average instance size by class name, in pixels; None: :meth:`average_sizes`.
            void: names of classes to treat as not scored.

        Raises:
            UniLabelError: ``sizes`` lacks a class that has instances.
        """
        sizes = self.average_sizes() if sizes is None else sizes
        scored = {i: b for i, b in self.labels.items() if b.scored and b.name not in void}
        rows = np.array(sorted(scored))
        return Scores(
            {b.name: self._class_iou(i, rows) for i, b in scored.items()},
            {
                b.name: self._class_instance_iou(b, rows, sizes)
                for b in scored.values()
                if b.has_instances
            },
            {name: self._category_iou(name, scored) for name in self._categories(scored)},
            {
                name: self._category_instance_iou(name, scored, sizes)
                for name in self._categories(scored)
                if all(self.labels[i].has_instances for i in self._members[name])
            },
        )

    def _categories(self, scored: Mapping[int, ScoredLabel]) -> list[str]:
        return [n for n, members in self._members.items() if any(int(i) in scored for i in members)]

    def _class_iou(self, i: int, rows: NDArray[np.integer]) -> float:
        hit = self.confusion[i, i]
        false = self.confusion[rows, i].sum() - hit
        return _ratio(hit, self.confusion[i].sum() + false)

    def _class_instance_iou(
        self, label: ScoredLabel, rows: NDArray[np.integer], sizes: Mapping[str, float]
    ) -> float:
        i = label.id
        false = self.confusion[rows, i].sum() - self.confusion[i, i]
        weight = self._weight(label, sizes)
        return _ratio(weight * self._right[i], weight * self._instances[i] + false)

    def _weight(self, label: ScoredLabel, sizes: Mapping[str, float]) -> float:
        if not self._instances[label.id]:
            return 0.0
        if label.name not in sizes:
            raise UniLabelError(f"no average instance size is given for {label.name!r}.")
        return sizes[label.name]

    def _category_iou(self, name: str, scored: Mapping[int, ScoredLabel]) -> float:
        own = np.array([i for i in self._members[name] if int(i) in scored])
        hit = self.confusion[np.ix_(own, own)].sum()
        false = self._false_of_category(name, own, scored)
        return _ratio(hit, self.confusion[own].sum() + false)

    def _category_instance_iou(
        self, name: str, scored: Mapping[int, ScoredLabel], sizes: Mapping[str, float]
    ) -> float:
        right = total = 0.0
        for i in self._members[name]:
            if int(i) in scored:
                weight = self._weight(self.labels[int(i)], sizes)
                right += weight * self._right_category[i]
                total += weight * self._instances[i]
        return _ratio(right, total + self._false_of_category(name, self._members[name], scored))

    def _false_of_category(
        self, name: str, columns: NDArray[np.integer], scored: Mapping[int, ScoredLabel]
    ) -> float:
        """Pixels of scored ids outside of the category that are predicted as ``columns``."""
        others = np.array([i for i, b in scored.items() if b.category != name], dtype=np.int64)
        return float(self.confusion[np.ix_(others, columns)].sum())


def _ratio(hit: float, union: float) -> float:
    return float(hit) / float(union) if union else float("nan")


def cityscapes_instances(
    ids: NDArray[np.integer],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An instance map of Cityscapes (class * 1000 + number) as :meth:`CityscapesScorer.add` wants.

    Values up to 1000 are groups or single pixels of no instance.
    """
    values, numbers = np.unique(np.where(ids > 1000, ids, 0), return_inverse=True)
    if values[0] != 0:
        values, numbers = np.concatenate([[0], values]), numbers + 1
    return numbers.reshape(ids.shape).astype(np.int64), values.astype(np.int64) // 1000
