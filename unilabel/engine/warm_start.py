"""MODEL.WEIGHTS in training: a run begins with the weights of another one."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpaceSet
from unilabel.engine.checkpoint import load_file
from unilabel.modeling.meta_arch import UniLabelSegmentor

logger = logging.getLogger(__name__)

NETWORK = ("backbone.", "pixel_decoder.")
HEADS = "multi_head."
SHOWN = 3  # names of tensors


def read_start(path: str) -> dict[str, Any]:
    """A finished model or checkpoint of ours to begin with.

    Raises:
        UniLabelError: it is missing, damaged or of another program.
    """
    content = load_file(path)
    if not {"model", "label_spaces"} <= set(content):
        raise UniLabelError(f"MODEL.WEIGHTS {path} holds no model.")
    return content


@torch.no_grad()
def start_from(model: UniLabelSegmentor, content: dict[str, Any], path: str) -> None:
    """Take over weights by name and shape, and say once what was left out.

    With the same datasets and classes, the network and the heads are taken; with others, the
    network alone. Unified labels are found anew, so a unified head is always left out.

    Args:
        model: of the run, before its first iteration; its parameters are changed in place.
        content: of :func:`read_start`.
        path: of the file, for messages.

    Raises:
        UniLabelError: no tensor of the backbone fits.
    """
    spaces = LabelSpaceSet.from_list(content["label_spaces"], path)
    same = spaces.label_names() == model.label_spaces.label_names()
    own = model.state_dict()
    taken: Counter[str] = Counter()
    left: dict[str, list[str]] = {}
    for name, value in content["model"].items():
        reason = _reason(name, value, own, same)
        if reason is None:
            own[name].copy_(value)
            taken[name.split(".")[0]] += 1
        else:
            left.setdefault(reason, []).append(name)
    if not taken["backbone"]:
        raise UniLabelError(
            f"MODEL.WEIGHTS {path} fits no part of the backbone; it was trained with another "
            "MODEL.TIMM.NAME or MODEL.TIMM.ARGS than this configuration names."
        )
    missing = [n for n in own if n not in content["model"] and n.startswith((*NETWORK, HEADS))]
    if missing:
        left["not in the file, begin as without it"] = missing
    parts = ", ".join(f"{part} ({count} tensors)" for part, count in taken.items())
    logger.info("MODEL.WEIGHTS %s: the run begins with its %s", path, parts)
    for reason, names in left.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        logger.warning(
            "MODEL.WEIGHTS %s: left out, %s: %s%s", path, reason, ", ".join(names[:SHOWN]), more
        )


def _reason(name: str, value: Tensor, own: dict[str, Tensor], same: bool) -> str | None:
    """Why a tensor is not taken over; None if it is."""
    if name == "class_weight":
        return "measured anew"
    if name.startswith("uni_head."):
        return "unified labels are found anew"
    if name.startswith(HEADS) and not same:
        return "heads of other datasets or classes"
    if name not in own:
        return "not in this network"
    if own[name].shape != value.shape:
        return f"of another shape ({tuple(value.shape)} in place of {tuple(own[name].shape)})"
    return None
