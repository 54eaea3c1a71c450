"""One photo: its label map in the target, checked, written, and what is known about it.

Letters: N unified labels, C classes of the photo's dataset, T labels of the target, H x W size.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unilabel.core.constrained import Voice, read_constrained, read_constrained_mean
from unilabel.core.errors import UniLabelError
from unilabel.core.grid import CellGrid
from unilabel.core.io import atomic_path
from unilabel.data.sources import DatasetSource, load_sample
from unilabel.harmonize.choices import Choices
from unilabel.harmonize.label_png import decode, encode
from unilabel.harmonize.options import Options
from unilabel.harmonize.photos import Photo
from unilabel.harmonize.target import Target
from unilabel.importers.links import place_file
from unilabel.predictor import UniLabelPredictor

SURE = 255  # a confidence of 1 in maps and sums


@dataclass(frozen=True)
class Part:
    """One dataset of a job.

    Attributes:
        source: its photos.
        links: bool (N, C), the class that each unified label stands for.
        choices: what its pixels may become.
        origin: where its photos come from, for ``harmonize.json``.
    """

    source: DatasetSource
    links: Tensor
    choices: Choices
    origin: dict[str, Any]


@dataclass(frozen=True)
class Labelled:
    """The label map of a photo.

    Attributes:
        values: (H, W) int16 labels of the target, -1 where there is none.
        confidence: (H, W) uint8, :data:`SURE` times the probability among the choices.
        voided: (C + 1,) decided pixels that are ignored since they are too uncertain.
        asked: the network was needed.
    """

    values: NDArray[np.int16]
    confidence: NDArray[np.uint8]
    voided: NDArray[np.int64]
    asked: bool


@dataclass(frozen=True)
class Adviser:
    """A further model, whose probabilities are averaged with those of the first one.

    Attributes:
        predictor: the model.
        parts: the same datasets, by its own links.
        columns: bool (its N, T) links to the labels that are written.
    """

    predictor: UniLabelPredictor
    parts: Sequence[Part]
    columns: Tensor


class Labeller:
    """Labels photos of several datasets in one label space; it holds nothing about a photo."""

    def __init__(
        self,
        predictor: UniLabelPredictor,
        parts: Sequence[Part],
        target: Target,
        options: Options,
        advisers: Sequence[Adviser] = (),
    ) -> None:
        """Keep the parts.

        Args:
            predictor: the model whose links say what a pixel may become.
            parts: the datasets.
            target: the labels that are written.
            options: what a person chooses.
            advisers: further models.

        Raises:
            UniLabelError: the model has one head per dataset and no unified labels.
        """
        if predictor.model.uni_head is None or predictor.label_space is None:
            raise UniLabelError(
                "this model has one head per dataset and no unified labels, so it does not know "
                "which classes belong together; train it through to its FINAL stage "
                "(configs/mini.yaml), or name such a model."
            )
        self.predictor = predictor
        self.head = predictor.model.uni_head
        self.parts = parts
        self.target = target
        self.options = options
        self.advisers = advisers

    def _scores(
        self, predictor: UniLabelPredictor, image: NDArray[np.uint8]
    ) -> tuple[Tensor, CellGrid]:
        """Logits of the unified labels, as on photos of no dataset.

        A dataset's own bias and shift are fitted to the sums over its classes. Inside a class they
        are free to prefer any label, and labels that joined the model later are silent there.
        """
        options = self.options
        encoded = predictor.encode(image, options.short_side, options.tta, options.window)
        head = predictor.model.uni_head
        assert head is not None
        return head.unified_logits(encoded.embedding), encoded.grid

    @torch.inference_mode()
    def label(self, index: int, image: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Labelled:
        """Label a photo of a dataset.

        Args:
            index: of the dataset.
            image: (H, W, 3) uint8 RGB.
            labels: (H, W) class ids that a person drew, IGNORE elsewhere.
        """
        part, options = self.parts[index], self.options
        choices, columns = part.choices, self.target.columns
        size = (labels.shape[0], labels.shape[1])
        drawn = torch.from_numpy(labels)
        asked = choices.asks(labels)
        if asked:
            scores, grid = self._scores(self.predictor, image)
        else:  # of classes with one answer the scores are never looked at
            scores = torch.zeros(1, choices.allowed.shape[1], 1, 1)
            grid = self.predictor.model.grid(size)
        allowed = choices.allowed.to(scores.device)
        if asked and self.advisers:
            own = torch.eye(allowed.shape[1], dtype=torch.bool) if columns is None else columns
            voices = [Voice(scores, grid, allowed, own)]
            for adviser in self.advisers:
                theirs = adviser.parts[index]
                given = self._scores(adviser.predictor, image)
                voices.append(Voice(*given, theirs.choices.allowed, adviser.columns))
            found = read_constrained_mean(voices, size, drawn)
        else:
            found = read_constrained(scores, grid, size, drawn, allowed, columns)
        values = found.labels[0].cpu().numpy()
        sure = found.confidence[0].float().cpu().numpy()
        rows = np.minimum(labels, len(choices.fits)).astype(np.intp)
        free = rows == len(choices.fits)
        decided = ~choices.certain[rows] & (values >= 0)
        weak = np.where(free, sure < (options.fill_ignored or 0), sure < options.void_below)
        weak &= decided
        voided = np.bincount(rows[weak], minlength=len(choices.certain))
        values = np.where(weak, np.int16(-1), values)
        confidence = np.where(values < 0, 0, np.rint(sure * SURE)).astype(np.uint8)
        return Labelled(values, confidence, voided, asked)

    def write(self, photo: Photo, output: Path) -> dict[str, Any]:
        """Label a photo, check the result as it was encoded, and write it.

        Returns:
            the record of the photo, in JSON form: ``state``, ``size`` (H, W), ``asked``,
            ``voided`` and ``pairs``, rows of class (C: unlabelled), label (-1: none), pixels and
            sum of the confidences.

        Raises:
            UniLabelError: a file is bad, or the result contradicts the labels (a fault).
        """
        part = self.parts[photo.dataset]
        state = photo.state()
        image, labels = load_sample(part.source, photo.sample)
        found = self.label(photo.dataset, image, labels)
        data = encode(found.values, self.target)
        written = decode(data, self.target.ignore, photo.label_file)
        bad = part.choices.violations(labels, written, self.options.void_below)
        if bad:
            raise UniLabelError(
                f"{photo.sample.label}: {bad} pixels would not give back the class that was drawn; "
                "nothing was written. This is a fault of the program: please report it."
            )
        place_file(
            Path(photo.sample.image).absolute(), output / photo.image_file, self.options.link
        )
        write_bytes(output / photo.label_file, data)
        if self.options.confidence:
            write_bytes(output / photo.confidence_file, grey_png(found.confidence))
        return {
            "state": state,
            "size": list(labels.shape),
            "asked": found.asked,
            "voided": [[c, n] for c, n in enumerate(found.voided.tolist()) if n],
            "pairs": pair_counts(labels, written, found.confidence, *part.choices.fits.shape),
        }


def pair_counts(
    labels: NDArray[np.uint8],
    values: NDArray[np.integer],
    confidence: NDArray[np.uint8],
    classes: int,
    width: int,
) -> list[list[int]]:
    """Rows of class, label, pixels, sum of the confidences, for the pairs that occur."""
    index = np.minimum(labels, classes).astype(np.int64) * (width + 1) + values + 1
    flat = index.reshape(-1)
    counts = np.bincount(flat)
    sums = np.bincount(flat, confidence.reshape(-1)).astype(np.int64)  # integers: exact
    return [
        [int(i) // (width + 1), int(i) % (width + 1) - 1, int(counts[i]), int(sums[i])]
        for i in np.flatnonzero(counts)
    ]


def grey_png(values: NDArray[np.uint8]) -> bytes:
    """An 8-bit grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
