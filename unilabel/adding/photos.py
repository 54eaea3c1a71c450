"""Labelled photos of the new dataset: chosen, embedded once, kept as pixels.

Letters: P pixels, D embedding dim, C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.adding.fit import Pixels
from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE, LabelSpace
from unilabel.data.build import EvalDataset
from unilabel.data.sources import DatasetSource, Sample
from unilabel.data.test_size import TestSize
from unilabel.modeling.meta_arch import UniLabelSegmentor

logger = logging.getLogger(__name__)

STRIPS = 4  # of a single photo, left to right: each has ground and sky
LEAST_OF_PHOTO = 256  # pixels of each photo, however many there are


@dataclass(frozen=True)
class LabelledPhotos:
    """What is known about the new dataset.

    Attributes:
        label_space: its classes.
        samples: the photos.
        pixels: of all photos; the group of a pixel is its photo, or a strip of the only one.
    """

    label_space: LabelSpace
    samples: tuple[Sample, ...]
    pixels: Pixels

    @property
    def count(self) -> int:
        """Number of photos."""
        return len(self.samples)


def choose_photos(samples: Sequence[Sample], count: int | None, seed: int) -> list[Sample]:
    """``count`` random photos in their order; None: all.

    Raises:
        UniLabelError: ``count`` is negative, or there are fewer photos.
    """
    if count is None:
        return list(samples)
    if not 0 <= count <= len(samples):
        raise UniLabelError(
            f"--photos {count}: expected 0 (text only) to {len(samples)}, the labelled training "
            "photos of this dataset; leave it out for all of them."
        )
    drawn = np.random.default_rng([seed, count]).permutation(len(samples))[:count]
    return [samples[i] for i in np.sort(drawn)]


@torch.no_grad()  # not inference mode: the pixels are fitted on
def embed_photos(
    model: UniLabelSegmentor, cfg: CfgNode, source: DatasetSource, samples: Sequence[Sample]
) -> LabelledPhotos:
    """Run the frozen network once over photos and keep their labelled pixels.

    Args:
        model: in eval mode.
        cfg: INPUT.TEST_SHORT_SIDE, UNIFY.CACHE_PIXELS (pixels of all photos together), SEED.
        source: the dataset.
        samples: photos of it; none: the text alone speaks.

    Raises:
        UniLabelError: a file is bad, or no photo has a labelled pixel.
    """
    space = source.label_space
    dim = model.uni_head.label_embedding.shape[1]
    parts = [Pixels(torch.zeros(0, dim), *(torch.zeros(0, dtype=t) for t in _TYPES))]
    photos = EvalDataset(source, 0, samples, TestSize(cfg.INPUT.TEST_SHORT_SIDE))
    quota = max(LEAST_OF_PHOTO, cfg.UNIFY.CACHE_PIXELS // max(len(samples), 1))
    generator = torch.Generator().manual_seed(cfg.SEED)
    for number in range(len(samples)):
        item = photos[number]
        embedding = model.embed(item["image"][None].to(model.device))[0].float().cpu()
        grid = model.grid(tuple(item["image"].shape[1:]))
        label = grid.labels(item["sem_seg"], (embedding.shape[1], embedding.shape[2]))
        parts.append(pixels_of_photo(embedding, label, number, len(samples), quota, generator))
    pixels = Pixels(
        torch.cat([p.embeddings for p in parts]),
        torch.cat([p.labels for p in parts]),
        torch.cat([p.weights for p in parts]),
        torch.cat([p.groups for p in parts]),
    )
    if samples and not len(pixels.labels):
        raise UniLabelError(
            f"none of the {len(samples)} photos of {source.name!r} has a labelled pixel, "
            f"beginning with {samples[0].label}; check the label files "
            "(tools/check_dataset.py), or add the dataset by text alone (--photos 0)."
        )
    return LabelledPhotos(space, tuple(samples), pixels)


_TYPES = (torch.int64, torch.float32, torch.int64)  # of labels, weights, groups


def pixels_of_photo(
    embedding: Tensor,
    label: Tensor,
    number: int,
    photos: int,
    quota: int,
    generator: torch.Generator,
) -> Pixels:
    """Up to ``quota`` random labelled pixels of a photo.

    Args:
        embedding: (D, h, w).
        label: (h, w) class ids, IGNORE elsewhere.
        number: of the photo.
        photos: how many there are; a single one is cut into strips.
        quota: most pixels.
        generator: of the draw.
    """
    width = label.shape[1]
    place = torch.nonzero(label.reshape(-1) != IGNORE).flatten()
    count = len(place)
    if count > quota:
        place = place[torch.randperm(count, generator=generator)[:quota]]
    group = torch.full_like(place, number)
    if photos == 1:
        group = (place % width) * STRIPS // width
    weight = torch.full((len(place),), count / max(len(place), 1))
    pixels = embedding.flatten(1).T[place].float()
    return Pixels(pixels, label.reshape(-1)[place].long(), weight, group)
