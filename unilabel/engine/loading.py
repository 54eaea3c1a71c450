"""A finished model from its file alone."""

from __future__ import annotations

import os
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg

from unilabel.config import add_unilabel_config
from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file
from unilabel.engine.segmentor import build_segmentor, install_label_space_size
from unilabel.modeling.meta_arch import UniLabelSegmentor


def load_model(
    path: str | os.PathLike[str], device: str = "cpu"
) -> tuple[UniLabelSegmentor, UnifiedLabelSpace | None]:
    """Build the model that a file describes and load its weights.

    The file holds configuration and label spaces; no side file and no text encoder is needed.

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
    cfg.MODEL.TIMM.PRETRAINED = ""  # the weights are in the file
    spaces = LabelSpaceSet.from_list(content["label_spaces"], str(path))
    model = build_segmentor(cfg, spaces)
    install_label_space_size(cfg, model, content["num_unified"])
    try:
        model.load_state_dict(content["model"])
    except RuntimeError as error:
        raise UniLabelError(
            f"{path}: the weights do not fit their configuration: {error}"
        ) from error
    model.eval().requires_grad_(False)
    space = None
    if content.get("label_space") is not None:
        space = UnifiedLabelSpace.from_dict(content["label_space"], str(path))
        if not torch.equal(space.mapping.stacked(), model.uni_head.mapping.cpu()):
            raise UniLabelError(f"{path}: label space and weights disagree; the file was edited.")
    return model, space


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
    return cfg


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
