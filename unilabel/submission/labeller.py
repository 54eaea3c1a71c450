"""From an image to the values of a result file.

Letters: R labels of the model, T classes of the benchmark that a label becomes, H x W image size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import UNIFIED
from unilabel.core.reading import class_rows
from unilabel.predictor import UniLabelPredictor
from unilabel.submission.formats import Benchmark
from unilabel.submission.label_table import LabelTable
from unilabel.submission.void import VoidPolicy


@dataclass(frozen=True)
class InferenceOptions:
    """How the network sees an image; see :meth:`unilabel.predictor.UniLabelPredictor.encode`.

    Attributes:
        short_side: pixels that the short side is resized to; 0: the image's own size; None: as the
            model was tested.
    """

    short_side: int | None = None
    tta: bool = False
    window: int = 0


@dataclass(frozen=True)
class Decision:
    """Some rows of an image.

    Attributes:
        top: first row.
        values: (rows, W) uint8, value of the best class, whatever its probability.
        confidence: (rows, W) probability of that class.
        void: (rows, W) bool, a void label is more probable than the best class.
    """

    top: int
    values: Tensor
    confidence: Tensor
    void: Tensor


class Labeller:
    """Writes images in the values of a benchmark.

    Probabilities of the model's labels are summed over the labels of a class, as the model sums
    them over the labels of a dataset's class. A model that sums logits instead is read in its own
    way too: the logits of a class are summed and every void label stands for itself.
    """

    def __init__(
        self,
        predictor: UniLabelPredictor,
        benchmark: Benchmark,
        table: LabelTable,
        void: VoidPolicy,
        options: InferenceOptions | None = None,
    ) -> None:
        """Check that the parts fit.

        Raises:
            UniLabelError: the benchmark has no void, or a void class is unknown.
        """
        if benchmark.void is None and void != VoidPolicy(unmapped=False):
            raise UniLabelError(
                f"{benchmark.name} has no value for void: every pixel needs a class. Use --void "
                "none."
            )
        self.predictor = predictor
        self.benchmark = benchmark
        self.table = table
        self.void = void
        self.options = options or InferenceOptions()
        learned = _learned_void(predictor, table, void)
        values = [
            None if is_void else value
            for value, is_void in zip(table.values(benchmark), learned, strict=True)
        ]
        used = sorted({value for value in values if value is not None})
        if not used:
            raise UniLabelError("no label of the model becomes a class of the benchmark.")
        device = predictor.model.device
        self._values = torch.tensor(used, dtype=torch.uint8, device=device)  # (T,)
        head = predictor.model.uni_head
        summed = head is not None and head.mode == "logit_sum"
        void_rows = [
            row for row, v in enumerate(values) if v is None and (void.unmapped or learned[row])
        ]
        # (R, T + V) whose column a label is: T classes, then void, V = 1; summed logits of void
        # would make it large by their number, so there every void label stands for itself.
        columns = torch.zeros(len(values), len(used) + (len(void_rows) if summed else 1))
        for row, value in enumerate(values):
            if value is not None:
                columns[row, used.index(value)] = 1
        for i, row in enumerate(void_rows):
            columns[row, len(used) + (i if summed else 0)] = 1
        self._columns, self._summed = columns.to(device), summed

    @property
    def short_side(self) -> int:
        """Short side of images for the network, pixels; 0: their own size."""
        asked = self.options.short_side
        return self.predictor.test_size.short_side if asked is None else asked

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) RGB -> (H, W) values of the result file."""
        result = np.empty(image.shape[:2], np.uint8)
        for part in self.decide(image):
            values = part.values
            if self.benchmark.void is not None:
                uncertain = part.void | (part.confidence < self.void.threshold)
                values = torch.where(uncertain, self.benchmark.void, values)
            result[part.top : part.top + len(values)] = values.cpu().numpy()
        return result

    @torch.inference_mode()
    def decide(self, image: NDArray[np.uint8]) -> Iterator[Decision]:
        """Best class, its probability and void by unmapped labels, some rows at a time."""
        options = self.options
        encoded = self.predictor.encode(image, options.short_side, options.tta, options.window)
        scores = self._label_scores(encoded.embedding)  # (1, R, h, w)
        mapping = self._columns > 0
        if self._summed:  # linear: summed before the interpolation
            scores, mapping = torch.einsum("brhw,rt->bthw", scores, self._columns), None
        classes = len(self._values)
        for top, chunk in class_rows(scores, encoded.grid, encoded.size, mapping):
            shares = chunk[0].exp()  # (rows, W, T + V)
            best, index = shares[..., :classes].max(-1)
            voids = shares[..., classes:]
            void = voids.amax(-1) if voids.shape[-1] else torch.zeros_like(best)
            yield Decision(top, self._values[index], best, void > best)

    def _label_scores(self, embedding: Tensor) -> Tensor:
        model = self.predictor.model
        if self.table.space != UNIFIED or model.uni_head is None:
            return model.scores(embedding, self.table.space)[0]
        dataset = self.table.dataset
        dataset_id = model.label_spaces.dataset_index(dataset) if dataset else None
        return model.uni_head.unified_logits(embedding, dataset_id)


def _learned_void(predictor: UniLabelPredictor, table: LabelTable, void: VoidPolicy) -> list[bool]:
    """R answers: does this label stand for one of the learned void classes?"""
    result = [False] * len(table.labels)
    for dataset, name in void.classes:
        column = predictor.model.label_spaces.get(dataset).index(name)
        if predictor.label_space is not None:
            linked = predictor.label_space.mapping[dataset][:, column].tolist()
        elif table.space == dataset:
            linked = [i == column for i in range(len(table.labels))]
        else:
            raise UniLabelError(
                f"--void class={dataset}:{name}: the head of {table.space!r} answers, which has "
                f"no class of {dataset!r}; use one of its own classes or --space {dataset}."
            )
        result = [old or bool(new) for old, new in zip(result, linked, strict=True)]
    return result
