"""What all visitors share: the model, encoded pictures, examples."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unilabel.core.familiarity import Familiarity
from unilabel.demo_app.gallery import Gallery, find_gallery, what_it_saw
from unilabel.demo_app.images import ImageLimits
from unilabel.demo_app.link_evidence import LinkEvidence
from unilabel.demo_app.pictures import Picture
from unilabel.demo_app.suspicion import class_similarity
from unilabel.predictor import EncodedImage, UniLabelPredictor

MAX_CACHED = 160 * 2**20  # bytes of encoded pictures kept for the next label space or edit
MAX_PICTURES = 32  # number of them

_QUIET = 2.0  # seconds after a request in which visitors have the processor for themselves
_MOST_PATIENCE = 10.0  # seconds: with many visitors the background goes on, too

# Pages keep the answer with the highest number, also over a restart of the server.
_runs = itertools.count(time.time_ns() // 1_000_000)


def next_run() -> int:
    """A number higher than that of every answer before."""
    return next(_runs)


class Engine:
    """Model and caches; safe to use from several threads."""

    def __init__(
        self,
        predictor: UniLabelPredictor,
        limits: ImageLimits | None = None,
        text_encoder: str = "",
        title: str = "",
        reviews: Path | None = None,
        gallery: Gallery | None = None,
        weights: Path | None = None,
    ) -> None:
        """Prepare the examples and the texts' similarity.

        Args:
            predictor: the model under its own label space.
            limits: of uploads.
            text_encoder: spec of the encoder that looks for suspicious links; "": none.
            title: what the model is called on the page.
            reviews: folder in which all edits are kept.
            gallery: pictures that fit the model; None: those that can be found without a file.
            weights: the model's file, where it has one.
        """
        self.predictor = predictor
        self.limits = limits or ImageLimits()
        self.title = title
        self.weights = weights
        self.gallery = find_gallery(predictor) if gallery is None else gallery
        self.examples = self.gallery.pictures
        self.seen = what_it_saw(predictor)
        self.reviews = reviews
        self.evidence = LinkEvidence(predictor)
        self.statistics: dict[str, Any] = {}  # picture -> what it shows, of ``statistics.py``
        self.similarity: NDArray[np.float64] | None = None
        if text_encoder:
            self.similarity = class_similarity(predictor.model.label_spaces, text_encoder)
        self.asked = 0.0  # when a visitor last did, on the monotonic clock
        self._encoded: OrderedDict[tuple[str, int | None, bool], EncodedImage] = OrderedDict()
        self._lock = threading.Lock()
        self._familiarity: Familiarity | None = None
        self._looked = False

    def make_way(self) -> None:
        """Wait while visitors ask; what goes on beside them calls it again and again."""
        latest = time.monotonic() + _MOST_PATIENCE
        while time.monotonic() < min(latest, self.asked + _QUIET):
            time.sleep(0.1)

    def energy_note(self, picture: Picture) -> str:
        """What to say about a picture that is foreign to the model, or ""."""
        if any(picture is example for example in self.examples):
            return ""
        usual = self.usual_energy()
        if usual is None:
            return ""
        energy = self.predictor.energy(self.encode(picture))
        if not usual.is_foreign(energy):
            return ""
        return (
            "This picture is unlike those that the model has seen: its energy is "
            f"{energy:.1f}, theirs {usual.mean:.1f} ± {usual.spread:.1f}. Take the labels as "
            "guesses, also where they look sure."
        )

    def usual_energy(self) -> Familiarity | None:
        """Energies of the model's own pictures, looked for when they are first needed."""
        with self._lock:
            if self._looked:
                return self._familiarity
        found = self.gallery.familiarity(self.predictor)
        with self._lock:
            self._familiarity, self._looked = found, True
        return found

    def encode(
        self, picture: Picture, short_side: int | None = None, tta: bool = False
    ) -> EncodedImage:
        """Run the network, or take its answer from the last pictures."""
        key = (picture.key, short_side, tta)
        with self._lock:
            if key in self._encoded:
                self._encoded.move_to_end(key)
                return self._encoded[key]
        encoded = self.predictor.encode(picture.pixels, short_side, tta)
        with self._lock:
            self._encoded[key] = encoded
            while len(self._encoded) > 1 and self._is_full():
                self._encoded.popitem(last=False)
        return encoded

    def _is_full(self) -> bool:
        size = sum(encoded.embedding.nbytes for encoded in self._encoded.values())
        return size > MAX_CACHED or len(self._encoded) > MAX_PICTURES
