"""What a pixel may become, by the class that a person drew: where the guarantee comes from.

Letters: N unified labels, C classes of the dataset, T labels of the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unilabel.core.background import is_background
from unilabel.core.label_space import IGNORE, LabelSpace
from unilabel.harmonize.target import Target


@dataclass(frozen=True)
class Choices:
    """The choices of one dataset.

    Attributes:
        allowed: bool (C + 1, N) unified labels that a pixel of each class may be; the last row is
            for pixels that nobody labelled.
        fits: bool (C, T) labels of the target that do not contradict each class.
        certain: bool (C + 1,) classes with one answer, or none: the network is not asked.
        always: bool (C,) classes whose every pixel gets a label, unless it is too uncertain.
    """

    allowed: Tensor
    fits: NDArray[np.bool_]
    certain: NDArray[np.bool_]
    always: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        links: Tensor,
        classes: LabelSpace,
        target: Target,
        open_background: bool = False,
        fill: bool = False,
    ) -> Choices:
        """Derive the choices from the links of a dataset.

        Args:
            links: bool (N, C), at most one class for a unified label.
            classes: the dataset.
            target: what is written.
            open_background: a background class may be every unified label that no named class of
                the dataset claims; else those linked to it.
            fill: pixels that nobody labelled may be every unified label that is in use.
        """
        links = links.cpu() != 0
        count = classes.num_classes
        allowed = torch.zeros(count + 1, len(links), dtype=torch.bool)
        allowed[:count] = links.T
        free = ~links.any(1)
        for row, name in enumerate(classes.class_names):
            if open_background and is_background(name):
                allowed[row] |= free
        allowed[count] = fill
        columns = target.columns
        if columns is None:
            fits, lost = allowed[:count], torch.zeros(len(allowed), dtype=torch.bool)
            answers = allowed.sum(1)
        else:
            reached = allowed.float() @ columns.float() > 0
            lost = (allowed & ~columns.any(1)).any(1)  # may have no label in the target
            fits, answers = reached[:count], reached.sum(1) + lost
        always = fits.any(1) & ~lost[:count]
        return cls(allowed, fits.numpy(), (answers < 2).numpy(), always.numpy())

    def asks(self, labels: NDArray[np.uint8]) -> bool:
        """Whether a label map has pixels that the network must decide."""
        present = np.bincount(labels.reshape(-1), minlength=IGNORE + 1) > 0
        count = len(self.fits)
        rows = np.append(present[:count], present[count:].any())
        return bool((rows & ~self.certain).any())

    def violations(
        self, labels: NDArray[np.uint8], values: NDArray[np.integer], void_below: float
    ) -> int:
        """Labelled pixels whose written label does not give back the class that a person drew.

        Args:
            labels: (H, W) class ids, :data:`~unilabel.core.label_space.IGNORE` elsewhere.
            values: (H, W) written labels, -1 for ignored pixels.
            void_below: the probability under which decided pixels are ignored.
        """
        count, width = self.fits.shape
        known = labels < count
        drawn, written = labels[known], values[known].astype(np.int64)
        table = np.zeros((count, width + 1), bool)  # the last column: ignored
        table[:, :width] = self.fits
        table[:, width] = ~self.always | ((void_below > 0) & ~self.certain[:count])
        outside = written >= width
        right = table[drawn, np.where(outside | (written < 0), width, written)] & ~outside
        return int(np.count_nonzero(~right))
