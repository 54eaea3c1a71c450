"""Building the segmentation network from a configuration, with or without unified labels."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from unilabel.core.label_space import LabelSpaceSet
from unilabel.modeling.meta_arch import UniLabelSegmentor, build_uni_head


def build_segmentor(
    cfg: CfgNode, label_spaces: LabelSpaceSet, num_unified: int | None = None
) -> UniLabelSegmentor:
    """The model on MODEL.DEVICE, with multi-heads or (``num_unified``) with the unified head."""
    arch = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    model = arch(cfg, label_spaces=label_spaces, num_unified=num_unified)
    device = cfg.MODEL.DEVICE if torch.cuda.is_available() else "cpu"
    model.to(torch.device(device), memory_format=model.memory_format)
    return model


def install_label_space_size(
    cfg: CfgNode,
    model: UniLabelSegmentor,
    num_unified: int | None,
    keep_heads: bool = False,
) -> None:
    """Swap the heads for an empty unified head of N labels (weights follow from a checkpoint)."""
    if num_unified is None:
        return
    if not keep_heads:
        model.multi_head = None
    head = build_uni_head(cfg, model.label_spaces, num_unified)
    model.uni_head = head.to(model.device)
