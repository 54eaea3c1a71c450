"""What all visitors share: the model, encoded pictures, examples."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unilabel.core.synthetic import TOY_DATASETS, render_scene
from unilabel.demo_app.images import ImageLimits
from unilabel.demo_app.link_evidence import LinkEvidence
from unilabel.demo_app.suspicion import class_similarity
from unilabel.predictor import EncodedImage, UniLabelPredictor

MAX_CACHED = 160 * 2**20  # bytes of encoded pictures kept for the next label space or edit
MAX_PICTURES = 32  # number of them
EXAMPLES = 8

_runs = itertools.count(1)


def next_run() -> int:
    """A number that tells an answer from the one before."""
    return next(_runs)


@dataclass(frozen=True)
class Picture:
    """A picture of one visitor.

    Attributes:
        name: how to call it, without any folder.
        pixels: (H, W, 3) uint8.
        notes: what was done to it.
        key: distinct for every picture, cannot be guessed.
    """

    name: str
    pixels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


class Engine:
    """Model and caches; safe to use from several threads."""

    def __init__(
        self,
        predictor: UniLabelPredictor,
        limits: ImageLimits | None = None,
        text_encoder: str = "",
        title: str = "",
        reviews: Path | None = None,
    ) -> None:
        """Prepare the examples and the texts' similarity.

        Args:
            predictor: the model under its own label space.
            limits: of uploads.
            text_encoder: spec of the encoder that looks for suspicious links; "": none.
            title: what the model is called on the page.
            reviews: folder in which all edits are kept.
        """
        self.predictor = predictor
        self.limits = limits or ImageLimits()
        self.title = title
        self.examples = toy_pictures(EXAMPLES)
        self.reviews = reviews
        self.evidence = LinkEvidence(predictor)
        self.similarity: NDArray[np.float64] | None = None
        if text_encoder:
            self.similarity = class_similarity(predictor.model.label_spaces, text_encoder)
        self._encoded: OrderedDict[tuple[str, int | None, bool], EncodedImage] = OrderedDict()
        self._lock = threading.Lock()

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


def toy_pictures(count: int, seed: int = 7) -> Sequence[Picture]:
    """Street scenes of the toy world, the datasets in turn."""
    pictures = []
    for index in range(count):
        dataset = list(TOY_DATASETS)[index % len(TOY_DATASETS)]
        pixels = render_scene(np.random.default_rng([seed, index]), dataset)[0]
        pictures.append(Picture(f"toy street {index + 1}", pixels, key=f"example-{index}"))
    return pictures
