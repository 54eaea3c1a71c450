"""Photos as evidence for links: where the drawn class and the model agree, and where they do not.

A link joins a class of a dataset and a unified label. On the pixels of a class, the model's free
answer (arg max over all unified labels) either belongs to the class, which speaks for the link to
that label, or to another class, which speaks against the label that is written there.

Letters: C classes of a dataset, N unified labels, H x W image size.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unilabel.core.constrained import read_constrained
from unilabel.core.reading import read_labels
from unilabel.data.parallel import run_parallel
from unilabel.data.sources import load_sample
from unilabel.harmonize.choices import Choices
from unilabel.harmonize.labelling import Labeller
from unilabel.harmonize.photos import Photo
from unilabel.harmonize.target import Target

CROPS = 3  # of every link and kind
_PHOTOS_EACH = 4  # looked at for every class, and for every class and label
_MOST_PHOTOS = 600
_LEAST_PIXELS = 24  # of a region
_SIDE = 112  # pixels of a picture

Link = tuple[int, int, int]  # dataset, class, unified label
Key = tuple[Link, bool]  # whether both agree


@dataclass(frozen=True)
class Crop:
    """A part of a photo.

    Attributes:
        score: how much of the middle of the crop the region fills, times the model's probability.
        jpeg: the picture, with the region's outline.
        drawn: class id that a person drew there.
        read: unified label that the model reads there.
        confidence: mean probability of that label in the region, 0..1.
        photo: its name.
    """

    score: float
    jpeg: bytes
    drawn: int
    read: int
    confidence: float
    photo: str


@dataclass
class Evidence:
    """What the chosen photos say.

    Attributes:
        crops: the best of every link and kind, best first.
        free: for each dataset (C, N) pixels of each class and the model's free answer.
        written: for each dataset (C, N) pixels of each class and the allowed answer.
        photos: number of photos looked at.
    """

    crops: dict[Key, list[Crop]]
    free: list[NDArray[np.int64]]
    written: list[NDArray[np.int64]]
    photos: int = 0

    @classmethod
    def empty(cls, shapes: Sequence[tuple[int, int]]) -> Evidence:
        """Of no photo yet; ``shapes`` are (C, N) of every dataset."""
        free, written = ([np.zeros(shape, np.int64) for shape in shapes] for _ in range(2))
        return cls({}, free, written)

    def add(self, found: Found) -> None:
        """Add what one photo says; of every link and kind the best crops are kept."""
        self.free[found.dataset] += found.free
        self.written[found.dataset] += found.written
        self.photos += 1
        for key, crop in found.crops:
            best = [*self.crops.get(key, ()), crop]
            best.sort(key=lambda c: (-c.score, c.photo))
            self.crops[key] = best[:CROPS]


class PhotoChooser:
    """Keeps the photos that hold most pixels of each class, and of each class and label."""

    def __init__(self) -> None:
        """None yet."""
        self._best: dict[tuple[int, int, int], list[tuple[int, str, int]]] = defaultdict(list)

    def add(self, number: int, photo: Photo, record: dict[str, Any], unified: bool) -> None:
        """Look at the record of a photo; only training photos count.

        Args:
            number: of the photo in the job.
            photo: it.
            record: what became of it.
            unified: its labels are the unified ones.
        """
        if photo.split != "train":
            return
        sums: dict[int, int] = defaultdict(int)
        for row, label, pixels, _ in record["pairs"]:
            sums[row] += pixels
            if unified and label >= 0:
                self._keep((photo.dataset, row, label), pixels, photo.name, number)
        for row, pixels in sums.items():
            self._keep((photo.dataset, row, -1), pixels, photo.name, number)

    def _keep(self, key: tuple[int, int, int], pixels: int, name: str, number: int) -> None:
        entry = (pixels, name, number)
        heap = self._best[key]
        if len(heap) < _PHOTOS_EACH:
            heappush(heap, entry)
        else:
            heappushpop(heap, entry)

    def chosen(self) -> list[int]:
        """Numbers of photos: the best of every class and label first, then the second ones."""
        ranked = [sorted(heap, reverse=True) for _, heap in sorted(self._best.items())]
        order = [h[i][2] for i in range(_PHOTOS_EACH) for h in ranked if i < len(h)]
        return sorted(list(dict.fromkeys(order))[:_MOST_PHOTOS])


@dataclass
class Found:
    """What one photo says."""

    dataset: int
    crops: list[tuple[Key, Crop]] = field(default_factory=list)
    free: NDArray[np.int64] | None = None
    written: NDArray[np.int64] | None = None


class Witness:
    """Asks the model about photos without minding their labels, and compares."""

    def __init__(self, labeller: Labeller) -> None:
        """Use the model and datasets of a job, whatever its target is."""
        space = labeller.predictor.label_space
        assert space is not None
        self.labeller = labeller
        self.choices = []
        self.class_of = []  # for each dataset (N,) class of every unified label, -1: none
        for part in labeller.parts:
            classes = part.source.label_space
            links = part.links
            self.choices.append(Choices.of(links, classes, Target.of(space)))
            found = torch.where(links.any(1), links.int().argmax(1), -1)
            self.class_of.append(found.numpy())

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(C, N) of every dataset."""
        return [(len(choices.fits), choices.allowed.shape[1]) for choices in self.choices]

    @torch.inference_mode()
    def look(self, photo: Photo) -> Found:
        """Compare the free answer, the allowed answer and the drawn class of a photo."""
        index, labeller = photo.dataset, self.labeller
        part, options = labeller.parts[index], labeller.options
        image, drawn = load_sample(part.source, photo.sample)
        encoded = labeller.predictor.encode(image, options.short_side, False, options.window)
        scores = labeller.head.unified_logits(encoded.embedding)
        answer = read_labels(scores, encoded.grid, encoded.size, confidence=True)
        labels = torch.from_numpy(drawn)
        allowed = self.choices[index].allowed.to(scores.device)
        bound = read_constrained(scores, encoded.grid, encoded.size, labels, allowed)
        free, written = (found.labels[0].cpu().numpy() for found in (answer, bound))
        assert answer.confidence is not None
        sure = answer.confidence[0].float().cpu().numpy()
        count = len(self.choices[index].fits)
        found = Found(index)
        known = (drawn < count) & (written >= 0)
        shape = (count, scores.shape[1])
        found.free, found.written = (
            _counts(drawn[known], values[known], shape) for values in (free, written)
        )
        for key, mask in self._regions(index, drawn, free, written):
            crop = _crop(image, mask, sure, photo.name, key[0], int(free[mask][0]), drawn)
            found.crops.append((key, crop))
        return found

    def _regions(
        self,
        index: int,
        drawn: NDArray[np.uint8],
        free: NDArray[np.int16],
        written: NDArray[np.int16],
    ) -> Iterable[tuple[Key, NDArray[np.bool_]]]:
        """Where one class was drawn, one label is read and one is written."""
        known = (drawn < len(self.choices[index].fits)) & (written >= 0)
        width = self.choices[index].fits.shape[1]
        code = (drawn.astype(np.int64) * width + free) * width + written
        codes, counts = np.unique(code[known], return_counts=True)
        seen: set[Key] = set()
        for number in np.argsort(-counts, kind="stable"):
            if counts[number] < _LEAST_PIXELS:
                break
            rest, label = divmod(int(codes[number]), width)
            row, read = divmod(rest, width)
            agree = self.class_of[index][read] == row
            key = ((index, row, read if agree else label), bool(agree))
            if key not in seen:  # of a photo the largest region
                seen.add(key)
                yield key, known & (code == codes[number])


def _counts(
    rows: NDArray[np.integer], columns: NDArray[np.integer], shape: tuple[int, int]
) -> NDArray[np.int64]:
    flat = rows.astype(np.int64) * shape[1] + columns
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def _crop(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    sure: NDArray[np.float32],
    name: str,
    link: Link,
    read: int,
    drawn: NDArray[np.uint8],
) -> Crop:
    """The part of a photo where a region is largest and surest, with its outline."""
    height, width = mask.shape
    side = min(height, width, max(48, min(height, width) // 2))
    weight = np.where(mask, sure, 0).astype(np.float32)
    box = max(3, side // 4)
    dense = cv2.boxFilter(weight, -1, (box, box), borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(dense.argmax()), dense.shape)
    top = int(np.clip(y - side // 2, 0, height - side))
    left = int(np.clip(x - side // 2, 0, width - side))
    part = (slice(top, top + side), slice(left, left + side))
    method = cv2.INTER_AREA if side > _SIDE else cv2.INTER_CUBIC
    picture = cv2.resize(image[part], (_SIDE, _SIDE), interpolation=method)
    region = cv2.resize(
        mask[part].astype(np.uint8), (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST
    )
    outline, _ = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for color, thickness in (((0, 0, 0), 3), ((255, 230, 0), 1)):
        cv2.drawContours(picture, outline, -1, color, thickness)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    mean = float(sure[mask].mean(dtype=np.float64))
    row = int(drawn[mask][0])
    return Crop(round(float(dense.max()), 6), buffer.getvalue(), row, read, round(mean, 4), name)


def collect(labeller: Labeller, photos: Sequence[Photo], workers: int) -> Evidence:
    """Look at photos and keep the best crops of every link.

    Args:
        labeller: model and datasets.
        photos: training photos, see :class:`PhotoChooser`.
        workers: processes.
    """
    witness = Witness(labeller)
    evidence = Evidence.empty(witness.shapes)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for found in run_parallel(witness.look, photos, workers, "report"):
            evidence.add(found)
    finally:
        torch.set_num_threads(threads)
    return evidence
