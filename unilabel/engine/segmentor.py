"""Building the segmentation network from a configuration, with or without unified labels."""

from __future__ import annotations

import logging

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpaceSet
from unilabel.modeling.meta_arch import UniLabelSegmentor, build_uni_head

logger = logging.getLogger(__name__)

SHIFT = "uni_head.dataset_shift"  # only models to which datasets were added have it


def build_segmentor(
    cfg: CfgNode, label_spaces: LabelSpaceSet, num_unified: int | None = None
) -> UniLabelSegmentor:
    """The model on MODEL.DEVICE, with multi-heads or (``num_unified``) with the unified head."""
    arch = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    model = arch(cfg, label_spaces=label_spaces, num_unified=num_unified)
    model.to(device_of(cfg.MODEL.DEVICE), memory_format=model.memory_format)
    return model


def device_of(name: str) -> torch.device:
    """The device that MODEL.DEVICE or ``--device`` names; "auto" is CUDA where there is a GPU.

    Raises:
        UniLabelError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UniLabelError(
            f"the device {name!r} is unknown, expected cpu, cuda, cuda:N or auto (MODEL.DEVICE, "
            f"--device): {str(error).splitlines()[0]}"
        ) from None
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "has no CUDA"
        raise UniLabelError(
            f"the device {name!r} was asked for (MODEL.DEVICE, --device), but there are {found} "
            f"CUDA devices here (PyTorch {torch.__version__} {built}); take cpu or auto, or see "
            "python -m unilabel.doctor."
        )
    return device


def install_label_space_size(
    cfg: CfgNode, model: UniLabelSegmentor, num_unified: int | None, keep_heads: bool = False
) -> None:
    """Swap the heads for an empty unified head of N labels (weights follow from a checkpoint)."""
    if num_unified is None:
        return
    if not keep_heads:
        model.multi_head = None
    head = build_uni_head(cfg, model.label_spaces, num_unified)
    model.uni_head = head.to(model.device)


def load_weights(
    cfg: CfgNode,
    model: UniLabelSegmentor,
    weights: dict[str, Tensor],
    num_unified: int | None,
    keep_heads: bool = False,
) -> None:
    """Weights of a checkpoint, with or without unified labels, into a freshly built model.

    Args:
        cfg: of the model.
        model: with heads.
        weights: its state.
        num_unified: N, or None before there are unified labels.
        keep_heads: keep heads that the checkpoint has beside its unified labels (a GNN stage goes
            on from them); else they are left out, since the unified head answers.

    Raises:
        RuntimeError: they do not fit (PyTorch names what).
    """
    heads = {key for key in weights if key.startswith("multi_head.")}
    keep_heads = keep_heads and bool(heads)
    if num_unified is not None and heads and not keep_heads:
        logger.info("left out: heads beside the unified labels (%d tensors)", len(heads))
        weights = {key: value for key, value in weights.items() if key not in heads}
    install_label_space_size(cfg, model, num_unified, keep_heads)
    if num_unified is not None:
        model.uni_head.set_shift(weights.get(SHIFT))
    model.load_state_dict(weights)
