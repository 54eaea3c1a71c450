"""Photos with drawn labels as evidence for the links: what the conflict report shows, on demand.

Letters: C classes of a dataset, N unified labels.
"""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.data.sources import DatasetSource
from unilabel.harmonize.evidence import Crop, Evidence, Witness
from unilabel.harmonize.labelling import Labeller
from unilabel.harmonize.options import Options
from unilabel.harmonize.photos import Photo, list_photos
from unilabel.harmonize.setup import parts_of
from unilabel.harmonize.target import Target
from unilabel.predictor import UniLabelPredictor

logger = logging.getLogger(__name__)

PHOTOS = 40  # of every dataset that the network looks at
_SCANNED = 200  # of every dataset whose labels are read to choose them
_OF_A_CLASS = 3  # photos that show a class
_LEAST_PIXELS = 24  # of a class, to show it

Counts = Mapping[str, NDArray[np.int64]]  # dataset -> (C, N) drawn class and label that is read


class LinkEvidence:
    """What training photos say about every link; it grows while the page is in use."""

    def __init__(self, predictor: UniLabelPredictor, note: str = "") -> None:
        """Without photos yet.

        Args:
            predictor: the model under its own label space.
            note: why there are no photos, and how to name some.
        """
        self.predictor = predictor
        self.note = note
        self.done = self.total = 0
        self._datasets: list[str] = []
        self._evidence: Evidence | None = None
        self._lock = threading.Lock()

    def look(
        self,
        find: Callable[[], Sequence[DatasetSource]],
        make_way: Callable[[], None] = lambda: None,
    ) -> None:
        """Look at photos, in a thread beside the visitors' requests.

        Args:
            find: gives the datasets; its :class:`UniLabelError` becomes the note.
            make_way: is called before every photo, and waits for whoever goes first.
        """
        try:
            self.collect(find(), make_way)
        except UniLabelError as error:
            self.note = str(error)
        except Exception:  # the page goes on without
            logger.exception("The photos of the datasets cannot be looked at.")
            self.note = "The photos of the datasets cannot be looked at; the log says why."

    def collect(
        self, sources: Sequence[DatasetSource], make_way: Callable[[], None] = lambda: None
    ) -> None:
        """Look at the photos of datasets, one after the other.

        Raises:
            UniLabelError: a dataset is not one of the model, or has no training photos.
        """
        space = self.predictor.label_space
        if space is None:
            raise UniLabelError("a model with one head per dataset has no links.")
        parts = parts_of(space, sources, Target.of(space), Options())
        witness = Witness(Labeller(self.predictor, parts, Target.of(space), Options()))
        photos = choose_photos(sources)
        with self._lock:
            self._datasets = [source.name for source in sources]
            self._evidence = Evidence.empty(witness.shapes)
            self.total = len(photos)
        for photo in photos:
            make_way()
            found = witness.look(photo)
            with self._lock:
                self._evidence.add(found)
                self.done += 1

    def counts(self) -> Counts:
        """For each dataset (C, N) pixels of each class and the label that the model reads."""
        with self._lock:
            if self._evidence is None:
                return {}
            return {
                name: counts.copy()
                for name, counts in zip(self._datasets, self._evidence.free, strict=True)
            }

    @property
    def status(self) -> str:
        """How far it is, in words."""
        if self.note:
            return self.note
        if self.done < self.total or not self.total:
            return f"looking at photos: {self.done} of {self.total}"
        return f"{self.total} training photos were looked at"

    def of_link(self, dataset: str, column: int, row: int) -> dict[str, Any]:
        """What there is about a link, for the page.

        Args:
            dataset: name of a dataset.
            column: class id.
            row: unified label.

        Returns:
            ``agree`` and ``differ`` [{"image", "text", "title"}], ``facts`` [sentence] and
            ``status``.
        """
        space = self.predictor.label_space
        assert space is not None
        empty: dict[str, Any] = {"agree": [], "differ": [], "facts": [], "status": self.status}
        with self._lock:
            if self._evidence is None or dataset not in self._datasets:
                if self._evidence is not None:
                    empty["status"] = f"no photos of {dataset} were looked at"
                return empty
            index = self._datasets.index(dataset)
            counts = self._evidence.free[index].copy()
            crops = self._evidence.crops
            agree = list(crops.get(((index, column, row), True), ()))
            differ = list(crops.get(((index, column, row), False), ()))
            if (row, dataset, column) not in space.links:  # what would speak for a new link
                differ = [
                    crop
                    for (link, _), found in crops.items()
                    for crop in found
                    if link[:2] == (index, column) and crop.read == row
                ][:3]
        name = space.label_spaces.get(dataset).class_names[column]
        label = space.names[row]
        return {
            "agree": [self._crop(crop, agree=True) for crop in agree],
            "differ": [self._crop(crop, agree=False) for crop in differ],
            "facts": link_facts(counts, column, row, name, label, dataset),
            "status": self.status,
        }

    def _crop(self, crop: Crop, agree: bool) -> dict[str, str]:
        space = self.predictor.label_space
        assert space is not None
        sure = f"{100 * crop.confidence:.0f} % sure"
        return {
            "image": "data:image/jpeg;base64," + base64.b64encode(crop.jpeg).decode("ascii"),
            "text": sure if agree else f"read as {space.names[crop.read]}, {sure}",
            "title": crop.photo,
        }


def link_facts(
    counts: NDArray[np.int64], column: int, row: int, name: str, label: str, dataset: str
) -> list[str]:
    """What the pixels say about a link, in words.

    Args:
        counts: (C, N) pixels of each drawn class and the label that is read.
        column: class id.
        row: unified label.
        name: of the class.
        label: of the unified label.
        dataset: its name.
    """
    both, drawn, read = counts[column, row], counts[column].sum(), counts[:, row].sum()
    facts = []
    if drawn:
        facts.append(
            f"Of {int(drawn):,} pixels drawn as “{name}”, {100 * both / drawn:.0f} % are read as "
            f"“{label}”."
        )
    else:
        facts.append(f"The photos looked at show no “{name}”.")
    if read:
        facts.append(
            f"Of {int(read):,} pixels read as “{label}” in {dataset}, {100 * both / read:.0f} % "
            f"are drawn as “{name}”."
        )
    return facts


def choose_photos(sources: Sequence[DatasetSource], most: int = PHOTOS) -> list[Photo]:
    """Training photos that show every class a few times, the datasets in turn."""
    chosen: list[list[Photo]] = [[] for _ in sources]
    shown = [np.zeros(source.label_space.num_classes, np.int64) for source in sources]
    scanned = [0] * len(sources)
    for photo in list_photos(sources, ("train",)):
        index = photo.dataset
        scanned[index] += 1
        if scanned[index] > _SCANNED or len(chosen[index]) >= most:
            continue
        labels = sources[index].decode_label(photo.sample.label)
        pixels = np.bincount(labels.ravel(), minlength=256)[: len(shown[index])]
        present = pixels >= _LEAST_PIXELS
        if (present & (shown[index] < _OF_A_CLASS)).any():
            shown[index] += present
            chosen[index].append(photo)
    deepest = max(map(len, chosen), default=0)
    return [photos[i] for i in range(deepest) for photos in chosen if i < len(photos)]
