"""Counting predictions of any label space on one dataset.

Letters: C_i classes of the dataset, R labels of the predicted space, A atoms (toy world).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor

from unilabel.evaluation.counting import count_pixels

Truth = Callable[[dict[str, Any]], Tensor]


class SpaceConfusionEvaluator(DatasetEvaluator):
    """Confusion counts between a ground truth and predictions in several label spaces.

    Pixels are counted on the device of the predictions. The counts of all devices and ranks are
    added once, at the end; each image must be seen by one rank.
    """

    def __init__(self, classes: int, spaces: Mapping[str, int], truth: Truth | None = None) -> None:
        """Prepare the matrices.

        Args:
            classes: C_i of the ground truth.
            spaces: predicted label space -> R.
            truth: input item -> (H, W) ground truth; None: the item's "sem_seg".
        """
        self._classes = classes
        self._spaces = dict(spaces)
        self._truth = truth or (lambda item: item["sem_seg"])
        self.reset()

    def reset(self) -> None:
        """Set all counts to zero."""
        self.confusion = {
            s: torch.zeros(self._classes, r, dtype=torch.int64) for s, r in self._spaces.items()
        }

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Tensor]]) -> None:
        """Count a batch of label maps."""
        for item, answer in zip(inputs, outputs, strict=True):
            truth = self._truth(item)
            for space, confusion in self.confusion.items():
                device = answer[space].device
                truth = truth.to(device, non_blocking=True)
                self.confusion[space] = confusion = confusion.to(device)
                count_pixels(confusion, answer[space], truth)

    def evaluate(self) -> dict[str, Tensor]:
        """Counts (C_i, R) per space, of all ranks together."""
        gathered = comm.all_gather({s: c.cpu().numpy() for s, c in self.confusion.items()})
        return {
            space: sum(torch.from_numpy(part[space]) for part in gathered) for space in self._spaces
        }


def through_mapping(unified_confusion: Tensor, class_of: Tensor, classes: int) -> Tensor:
    """Counts of the plain arg max over unified labels, read as classes of a dataset.

    Args:
        unified_confusion: (C_i, N) counts, columns unified labels.
        class_of: (N,) class of each unified label, -1 for none.
        classes: C_i.

    Returns:
        (C_i, C_i + 1) counts; the last column holds unified labels without class: misses.
    """
    target = torch.where(class_of < 0, classes, class_of)
    result = torch.zeros(classes, classes + 1, dtype=unified_confusion.dtype)
    return result.index_add_(1, target, unified_confusion)
