"""What a training leaves for the demo: a few of its pictures, and how familiar they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode

from unilabel.core.errors import UniLabelError
from unilabel.data.examples import FILE, Example, save_examples, spread_out
from unilabel.data.sources import DatasetSource
from unilabel.data.test_size import TestSize
from unilabel.modeling.meta_arch import UniLabelSegmentor
from unilabel.modeling.windows import embed_in_windows

logger = logging.getLogger(__name__)

PER_DATASET = 8


def write_examples(
    cfg: CfgNode, model: UniLabelSegmentor, sources: Sequence[DatasetSource]
) -> None:
    """Write ``examples.json``: pictures of the validation parts, or of the training where none is.

    The network is left in the mode in which it was.
    """
    size = TestSize(cfg.INPUT.TEST_SHORT_SIDE)
    training = model.training
    model.eval()
    examples = []
    for source in sources:
        samples = source.samples("val" if source.has("val") else "train")
        for path in spread_out([sample.image for sample in samples], PER_DATASET):
            try:
                energy = _energy(model, source.read_image(path), size)
            except UniLabelError as error:  # the model is there: a bad picture does not undo it
                logger.warning("%s has one example less: %s", source.name, error)
                continue
            examples.append(Example(source.name, str(Path(path).resolve()), round(energy, 4)))
    model.train(training)
    save_examples(Path(cfg.OUTPUT_DIR) / FILE, examples)


@torch.inference_mode()
def _energy(model: UniLabelSegmentor, image: np.ndarray, size: TestSize) -> float:
    resized = np.ascontiguousarray(size.resize(image))
    pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].to(model.device).float()
    return model.energy(embed_in_windows(model, pixels, 0))
