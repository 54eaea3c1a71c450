"""The model that a dataset is added to, and whether a person has edited its label space since."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from unilabel.core.compatibility import check_label_space
from unilabel.core.errors import UniLabelError
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file
from unilabel.engine.loading import config_of, load_model
from unilabel.modeling.meta_arch import UniLabelSegmentor

LABEL_SPACE = "label_space.json"
INSIDE = "inside"  # of --label-space: the one in the model file


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
        label_space: a reviewed label space to go on from; "inside": the one of the file, whatever
            lies beside it; None: the same, if nothing else lies beside it.

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
    if label_space is None:
        _refuse_edits(space, path)
    elif label_space != INSIDE:
        edited = UnifiedLabelSpace.load(label_space)
        try:
            check_label_space(space, edited)
        except UniLabelError as error:
            raise UniLabelError(f"--label-space {label_space}: {error}") from None
        model.uni_head.set_mapping(edited.mapping.stacked())
        space = edited
    return Base(cfg, model, space, path)


def side_file(weights: Path) -> Path:
    """``label_space.json`` that belongs to a model file: one with its name, or the folder's."""
    own = weights.with_name(f"{weights.stem}.{LABEL_SPACE}")
    return own if own.is_file() else weights.with_name(LABEL_SPACE)


def new_side_file(weights: Path) -> Path:
    """Where the label space of a model to be written goes: another model's file stays."""
    common = weights.with_name(LABEL_SPACE)
    return weights.with_name(f"{weights.stem}.{LABEL_SPACE}") if common.exists() else common


def _refuse_edits(space: UnifiedLabelSpace, weights: Path) -> None:
    file = side_file(weights)
    if not file.is_file():
        return
    beside = UnifiedLabelSpace.load(file)
    if beside.label_spaces.names != space.label_spaces.names:
        return  # of another model in the same folder
    same = (beside.mapping == space.mapping, beside.names == space.names)
    said = (beside.checked == space.checked, beside.human_links().equal(space.human_links()))
    if all(same) and all(said):
        return
    raise UniLabelError(
        f"{file} differs from the label space inside {weights}: somebody edited it since. Say "
        f"which one holds: --label-space {file} (with the edits), or --label-space {INSIDE}."
    )


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
