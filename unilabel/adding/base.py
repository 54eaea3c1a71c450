"""The model that a dataset is added to, and whether a person has edited its label space since."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from unilabel.core.errors import UniLabelError
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file
from unilabel.engine.loading import config_of, load_model
from unilabel.engine.side_files import settled_space
from unilabel.modeling.meta_arch import UniLabelSegmentor


@dataclass(frozen=True)
class Base:
    """A finished model.

    Attributes:
        cfg: its configuration.
        model: the network with its unified head, in eval mode.
        space: its unified labels, as a person left them.
        weights: its file.
    """

    cfg: CfgNode
    model: UniLabelSegmentor
    space: UnifiedLabelSpace
    weights: Path


def read_base(
    weights: str | os.PathLike[str], device: str = "cpu", label_space: str | None = None
) -> Base:
    """Load a model with unified labels.

    Args:
        weights: its file.
        device: where the network runs.
        label_space: see :func:`unilabel.engine.side_files.settled_space`.

    Raises:
        UniLabelError: no such model, no unified labels, or a label space beside it was edited.
    """
    path = Path(weights)
    model, space = load_model(path, device)
    if space is None:
        raise UniLabelError(
            f"{path} has one head per dataset and no unified labels that a dataset could be added "
            "to; name the model of a run that went through all stages (configs/mini.yaml)."
        )
    cfg = config_of(load_file(path)["config"], str(path))
    cfg.MODEL.DEVICE = device
    settled = settled_space(space, path, label_space)
    if settled is not space:
        model.uni_head.set_mapping(settled.mapping.stacked())
        space = settled
    return Base(cfg, model, space, path)


def check_new(base: Base, name: str) -> None:
    """Whether a dataset is not in the model yet.

    Raises:
        UniLabelError: it is.
    """
    if name in base.space.label_spaces.names:
        raise UniLabelError(
            f"{base.weights} already answers in {name!r}. For other photos of the same classes "
            "train on (train_net.py, MODEL.WEIGHTS), for another dataset of this name change "
            '"name" in its classes.json.'
        )
