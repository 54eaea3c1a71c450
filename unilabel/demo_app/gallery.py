"""Pictures to choose from that fit the model, and what the model has seen.

A model of the toy world gets drawn streets; every other one the pictures of a folder, or those that
its training wrote down (``examples.json`` beside the model). Without either there is none: drawings
would only mislead.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.familiarity import FEWEST, Familiarity
from unilabel.core.synthetic import TOY_DATASETS, render_scene
from unilabel.data.dataset_files import walk_files
from unilabel.data.examples import beside, load_examples, spread_out
from unilabel.demo_app.images import PICTURE_SUFFIXES, ImageLimits, decode_image
from unilabel.demo_app.pictures import Picture
from unilabel.predictor import UniLabelPredictor

logger = logging.getLogger(__name__)

EXAMPLES = 8
REFERENCES = 24  # pictures from which the usual energy is told


@dataclass(frozen=True)
class Gallery:
    """What a model is shown with.

    Attributes:
        pictures: to choose from.
        references: pictures whose energies are usual for the model; may be the same.
        energies: of pictures of the training, where it wrote them down.
        note: what a person should know about them, or "".
    """

    pictures: Sequence[Picture] = ()
    references: Sequence[Picture] = field(default=(), repr=False)
    energies: Sequence[float] = ()
    note: str = ""

    def familiarity(self, predictor: UniLabelPredictor) -> Familiarity | None:
        """The usual energies; None where too few pictures are known."""
        energies = self.energies
        if len(energies) < FEWEST:
            energies = [predictor.energy(predictor.encode(p.pixels)) for p in self.references]
        return Familiarity.of(energies) if len(energies) >= FEWEST else None


def is_drawn(predictor: UniLabelPredictor) -> bool:
    """Whether a model has seen the toy world and nothing else."""
    return set(predictor.model.label_spaces.names) <= set(TOY_DATASETS)


def what_it_saw(predictor: UniLabelPredictor) -> str:
    """A sentence about the pictures of the training."""
    if is_drawn(predictor):
        return "It has seen **drawn streets only**: on photos its answers are guesses."
    names = [space.display_name or space.name for space in predictor.model.label_spaces]
    shown = " · ".join("".join(c for c in name if c not in "*_`[]<>#\\") for name in names)
    return f"It has seen photos of **{shown}**; on other kinds of pictures its answers are guesses."


def find_gallery(
    predictor: UniLabelPredictor,
    weights: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    limits: ImageLimits | None = None,
) -> Gallery:
    """Pictures that fit a model.

    Args:
        predictor: the model.
        weights: its file, beside which its training may have written examples.
        folder: of pictures (``--examples``).
        limits: of pictures.

    Raises:
        UniLabelError: the folder holds no picture, or the file beside the model is damaged.
    """
    found = Gallery()
    if weights is not None and beside(weights).is_file():
        found = _of_training(beside(weights), limits)
    if folder is not None:
        return replace(_of_folder(Path(folder), limits), energies=found.energies)
    if not found.pictures and is_drawn(predictor):
        return Gallery(toy_pictures(EXAMPLES), toy_pictures(REFERENCES, seed=8))
    return found


def toy_pictures(count: int, seed: int = 7) -> list[Picture]:
    """Street scenes of the toy world, the datasets in turn."""
    pictures = []
    for index in range(count):
        dataset = list(TOY_DATASETS)[index % len(TOY_DATASETS)]
        pixels = render_scene(np.random.default_rng([seed, index]), dataset)[0]
        pictures.append(Picture(f"toy street {index + 1}", pixels, key=f"example-{seed}-{index}"))
    return pictures


def _of_folder(folder: Path, limits: ImageLimits | None) -> Gallery:
    if not folder.is_dir():
        raise UniLabelError(f"--examples: no such folder: {folder}.")
    paths = sorted(p for p in walk_files(folder) if p.lower().endswith(PICTURE_SUFFIXES))
    pictures = [_read(path, limits) for path in spread_out(paths, REFERENCES)]
    good = [picture for picture in pictures if picture is not None]
    if not good:
        raise UniLabelError(
            f"--examples: no picture in {folder} that can be read; expected files "
            f"{', '.join(PICTURE_SUFFIXES)}."
        )
    return Gallery(good[:: max(1, len(good) // EXAMPLES)][:EXAMPLES], good)


def _of_training(file: Path, limits: ImageLimits | None) -> Gallery:
    examples = load_examples(file)
    by_dataset: dict[str, list[str]] = {}
    for example in examples:
        if Path(example.path).is_file():
            by_dataset.setdefault(example.dataset, []).append(example.path)
    in_turn = [path for row in zip_longest(*by_dataset.values()) for path in row if path]
    pictures = [_read(path, limits) for path in in_turn[:EXAMPLES]]
    good = [picture for picture in pictures if picture is not None]
    note = "" if good else "The pictures of its training are not on this machine any more."
    return Gallery(good, (), [example.energy for example in examples], note)


def _read(path: str, limits: ImageLimits | None) -> Picture | None:
    try:
        data = Path(path).read_bytes()
        image = decode_image(data, Path(path).name, limits)
    except (OSError, UniLabelError) as error:
        logger.warning("example left out: %s", error)
        return None
    return Picture(Path(path).name, image.pixels)
