"""Where the labelled photos of a model's datasets are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from unilabel.core.errors import UniLabelError
from unilabel.core.synthetic import TOY_DATASETS, toy_label_spaces, write_toy_world
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.build import build_sources
from unilabel.data.folders import folder_source
from unilabel.data.sources import DatasetSource
from unilabel.engine.loading import config_of

_TOY_PHOTOS = 12  # of each toy dataset, drawn where the world of the training is gone


def find_sources(
    weights: str | os.PathLike[str],
    space: UnifiedLabelSpace,
    folders: Sequence[str],
    temp_dir: str,
) -> list[DatasetSource]:
    """The datasets of a model: the given folders, those of its training, or toy ones drawn anew.

    Args:
        weights: the model file.
        space: its label space.
        folders: dataset folders that a person named; () for those of the training.
        temp_dir: where toy photos may be written.

    Raises:
        UniLabelError: they are not there.
    """
    if folders:
        return [folder_source(folder) for folder in folders]
    content = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
    cfg = config_of(content["config"], str(weights))
    try:
        return [s for s in build_sources(cfg) if s.name in space.label_spaces.names]
    except UniLabelError as error:
        if _is_toy(space):
            root = Path(temp_dir, "toy_world")
            write_toy_world(root, 0, _TOY_PHOTOS, 1)
            return [folder_source(root / name) for name in TOY_DATASETS]
        names = ", ".join(space.label_spaces.names)
        raise UniLabelError(
            f"No photos: the labelled photos of {names} are not where the training found them; "
            "start the demo with --datasets FOLDER ... or set DETECTRON2_DATASETS."
        ) from error


def _is_toy(space: UnifiedLabelSpace) -> bool:
    own = {toy.name: toy.class_names for toy in toy_label_spaces()}
    return {s.name: s.class_names for s in space.label_spaces} == own
