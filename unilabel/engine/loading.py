"""A finished model from its file alone."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg

from unilabel.config import add_unilabel_config, without_pretrained
from unilabel.config_keys import FORMER, REMOVED
from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file
from unilabel.engine.label_rows import LabelRows
from unilabel.engine.segmentor import build_segmentor, load_weights
from unilabel.engine.versions import rows_of
from unilabel.modeling.meta_arch import UniLabelSegmentor

logger = logging.getLogger(__name__)


def load_model(
    path: str | os.PathLike[str], device: str = "cpu"
) -> tuple[UniLabelSegmentor, UnifiedLabelSpace | None]:
    """Build the model that a file describes and load its weights.

    The file holds configuration and label spaces; no side file and no text encoder is needed. A
    checkpoint of a run that is not finished will do: its unified labels are those that its weights
    have at that moment, unused ones included.

    Returns:
        the model in eval mode, and its unified label space (None for a multi-head model).

    Raises:
        UniLabelError: the file is no checkpoint of ours, or incomplete.
    """
    content = load_file(path)
    missing = {"model", "num_unified", "label_spaces", "config"} - set(content)
    if missing:
        raise UniLabelError(f"{path} lacks {', '.join(sorted(missing))}; it is no finished model.")
    cfg = config_of(content["config"], str(path))
    cfg.MODEL.DEVICE = device
    without_pretrained(cfg)  # the weights are in the file
    spaces = LabelSpaceSet.from_list(content["label_spaces"], str(path))
    model = build_segmentor(cfg, spaces)
    try:
        load_weights(cfg, model, content["model"], content["num_unified"])
    except RuntimeError as error:
        raise UniLabelError(
            f"{path}: the weights do not fit their configuration: {error}"
        ) from error
    model.eval().requires_grad_(False)
    if content["num_unified"] is None:
        if content.get("label_space") is not None:
            raise UniLabelError(f"{path}: a label space without unified labels; it was edited.")
        return model, None
    if content.get("label_space") is None:
        return model, label_space_of_weights(content, spaces, str(path))
    space = UnifiedLabelSpace.from_dict(content["label_space"], str(path))
    if not torch.equal(space.mapping.stacked(), model.uni_head.mapping.cpu()):
        raise UniLabelError(f"{path}: label space and weights disagree; the file was edited.")
    return model, space


def label_space_of_weights(
    content: dict[str, Any], label_spaces: LabelSpaceSet, source: str
) -> UnifiedLabelSpace:
    """The unified labels of a checkpoint between two stages, which keeps them as weights only."""
    try:
        mapping = LabelMapping.from_stacked(label_spaces, content["model"]["uni_head.mapping"])
    except UniLabelError as error:
        raise UniLabelError(f"{source}: its unified labels are no label space: {error}") from None
    logger.warning(
        "%s is a checkpoint of a run at iteration %s, not its finished model; it answers with the "
        "%d unified labels of that moment",
        source,
        content.get("iteration", "?"),
        mapping.num_unified,
    )
    rows = LabelRows(label_spaces)
    rows.load_state_dict(rows_of(content))
    for name in ("edge_weights", "human_links", "held", "held_links"):
        value = getattr(rows, name)
        if value is not None and value.shape != mapping.stacked().shape:
            setattr(rows, name, None)  # of an earlier moment
    if rows.origin is not None and len(rows.origin) != mapping.num_unified:
        rows.reviewed = None
    return rows.label_space(mapping, "learned", {})


def config_of(dump: str, source: str) -> CfgNode:
    """Configuration that a checkpoint holds, on top of this program's defaults.

    Keys that this version does not know are left out (Detectron2's own keys differ between its
    versions).
    """
    cfg = get_cfg()
    add_unilabel_config(cfg)
    try:
        loaded = yaml.safe_load(dump)
    except yaml.YAMLError as error:
        raise UniLabelError(f"{source}: its configuration is not plain YAML: {error}") from error
    _merge_known(cfg, loaded, source)
    _tell_of_gone_keys(loaded, source)
    if "ALIGN_CORNERS" not in loaded.get("MODEL", {}):
        cfg.MODEL.ALIGN_CORNERS = True  # all models had aligned corners before there was this key
    return cfg


def _tell_of_gone_keys(loaded: dict[str, Any], source: str) -> None:
    """Say which settings of the training this version no longer has."""
    for key, usual in FORMER.items():
        group, name = key.split(".")
        values = loaded.get(group)
        if isinstance(values, dict) and values.get(name, usual) != usual:
            logger.warning(
                "%s was trained with %s %r, which is gone (%s); going on with %r.",
                source, key, values[name], REMOVED[key], usual,
            )  # fmt: skip


def _merge_known(cfg: CfgNode, loaded: Any, source: str) -> None:
    if not isinstance(loaded, dict):
        raise UniLabelError(f"{source}: its configuration is not plain YAML of KEY: value lines.")
    for key, value in loaded.items():
        if key not in cfg:
            continue
        if isinstance(cfg[key], CfgNode):
            _merge_known(cfg[key], value, source)
        else:
            cfg[key] = value
