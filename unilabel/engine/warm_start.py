"""MODEL.WEIGHTS in training: a run begins with what another one has learned.

Letters: K datasets, C_i classes of dataset i, U unified labels of the older model, D embedding dim.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.extension import carried, class_origin
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.stages import Stage
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine import distributed
from unilabel.engine.checkpoint import load_file
from unilabel.engine.fitting import fit_heads
from unilabel.engine.kept_labels import KeptLabels
from unilabel.engine.loading import config_of, label_space_of_weights
from unilabel.engine.pixel_cache import collect_pixels
from unilabel.engine.segmentor import SHIFT
from unilabel.engine.trainer import UniLabelTrainer
from unilabel.modeling.heads import SILENT
from unilabel.modeling.meta_arch import UniLabelSegmentor

logger = logging.getLogger(__name__)

NETWORK = ("backbone.", "pixel_decoder.")
HEADS = "multi_head.weights."
SALT = 3_000  # pixel draws differ from those of the stages
SHOWN = 3  # names of tensors


def read_start(path: str) -> dict[str, Any]:
    """A finished model or checkpoint of ours to begin with.

    Raises:
        UniLabelError: it is missing, damaged or of another program.
    """
    content = load_file(path)
    if not {"model", "label_spaces", "config"} <= set(content):
        raise UniLabelError(f"MODEL.WEIGHTS {path} holds no model.")
    return content


def start_from(trainer: UniLabelTrainer, content: dict[str, Any], path: str) -> None:
    """Take over network, heads and unified labels, and say once what was left out.

    A class is known if the older model has one of its name in a dataset of its name. Heads begin as
    the older model would read its answers; heads of new classes are fitted on pixels of the network
    that was taken over, so that MULTI_HEAD may be short or left out.

    Args:
        trainer: before its first iteration; its model is changed in place.
        content: of :func:`read_start`.
        path: of the file, for messages.

    Raises:
        UniLabelError: no tensor of the backbone fits, or SCHEDULE needs heads that do not.
    """
    cfg, unifier = trainer.cfg, trainer.unifier
    before = LabelSpaceSet.from_list(content["label_spaces"], path)
    origin = class_origin(before, trainer.label_spaces)
    whole = _take_network(trainer.model, content["model"], path)
    _name_differences(before, trainer.label_spaces, origin, path)
    multi_head = trainer.schedule.segments[0].stage is Stage.MULTI_HEAD
    if not whole:
        logger.warning(
            "MODEL.WEIGHTS %s: its heads and unified labels are left out: they were learned for "
            "another network than the one that begins here",
            path,
        )
        if not multi_head:
            raise UniLabelError(
                f"MODEL.WEIGHTS {path} fits this network only in part, so its heads and unified "
                "labels do not count, and SCHEDULE has no MULTI_HEAD stage to learn new ones: put "
                "MULTI_HEAD first, or take the MODEL.* values of that model."
            )
        return
    labels = _unified_labels(content, before, path)
    if labels is not None and _wanted(trainer, origin, path):
        unifier.kept = _kept(cfg, content, labels, trainer.label_spaces)
        trainer.note(f"{len(labels.names)} unified labels of MODEL.WEIGHTS {path} are kept")
    if multi_head or unifier.kept is None or unifier.kept.opened:
        _begin_heads(trainer, content, before, labels, origin)


@torch.no_grad()
def _take_network(model: UniLabelSegmentor, weights: dict[str, Tensor], path: str) -> bool:
    """Take over backbone and decoder by name and shape; whether all of it fitted."""
    own = {n: v for n, v in model.state_dict().items() if n.startswith(NETWORK)}
    theirs = {n: v for n, v in weights.items() if n.startswith(NETWORK)}
    taken: Counter[str] = Counter()
    left: dict[str, list[str]] = {}
    for name, value in theirs.items():
        if name not in own:
            left.setdefault("not in this network", []).append(name)
        elif own[name].shape != value.shape:
            shapes = f"{tuple(value.shape)} in place of {tuple(own[name].shape)}"
            left.setdefault(f"of another shape ({shapes})", []).append(name)
        else:
            own[name].copy_(value)
            taken[name.split(".")[0]] += 1
    if not taken["backbone"]:
        raise UniLabelError(
            f"MODEL.WEIGHTS {path} fits no part of the backbone; it was trained with another "
            "MODEL.TIMM.NAME or MODEL.TIMM.ARGS than this configuration names."
        )
    missing = [n for n in own if n not in theirs]
    if missing:
        left["not in the file, begin as without it"] = missing
    parts = ", ".join(f"{part} ({count} tensors)" for part, count in taken.items())
    logger.info("MODEL.WEIGHTS %s: the run begins with its %s", path, parts)
    for reason, names in left.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        logger.warning(
            "MODEL.WEIGHTS %s: left out, %s: %s%s", path, reason, ", ".join(names[:SHOWN]), more
        )
    return not left


def _name_differences(before: LabelSpaceSet, now: LabelSpaceSet, origin: Tensor, path: str) -> None:
    """Say which datasets and classes only one of the two has."""
    gone = [n for n in before.names if n not in now.names]
    if gone:
        logger.warning("MODEL.WEIGHTS %s: left out, not in this run: %s", path, ", ".join(gone))
    for space, places in zip(now, now.split(origin), strict=True):
        if space.name not in before.names:
            logger.info("MODEL.WEIGHTS %s: the dataset %s is new", path, space.name)
            continue
        fresh = [n for n, i in zip(space.class_names, places.tolist(), strict=True) if i < 0]
        lost = [n for n in before.get(space.name).class_names if n not in space.class_names]
        for what, names in (("new", fresh), ("no longer there, left out", lost)):
            if names:
                logger.warning(
                    "MODEL.WEIGHTS %s: classes of %s that are %s: %s",
                    path,
                    space.name,
                    what,
                    ", ".join(names),
                )


def _unified_labels(
    content: dict[str, Any], before: LabelSpaceSet, path: str
) -> UnifiedLabelSpace | None:
    if content.get("num_unified") is None:
        return None
    if content.get("label_space") is None:
        return label_space_of_weights(content, before, path)
    return UnifiedLabelSpace.from_dict(content["label_space"], path)


def _wanted(trainer: UniLabelTrainer, origin: Tensor, path: str) -> bool:
    """Whether the run goes on with the unified labels of the older model; if not, why."""
    cfg = trainer.cfg
    if all(s.stage is Stage.MULTI_HEAD for s in trainer.schedule.segments):
        reason = "SCHEDULE has no stage with unified labels"
    elif not cfg.UNIFY.KEEP:
        reason = "UNIFY.KEEP is False"
    elif cfg.UNIFY.NODES == "file":
        reason = f"those of MODEL.LABEL_SPACE {cfg.MODEL.LABEL_SPACE} are taken"
    elif not bool((origin >= 0).any()):
        reason = "none of its datasets is in this run"
    else:
        if cfg.UNIFY.NODES != "fused" and bool((origin < 0).any()):
            logger.warning(
                "UNIFY.NODES %s is not asked: new classes join the unified labels of MODEL.WEIGHTS "
                "%s by what heads, pixels and texts say (UNIFY.KEEP False finds labels anew)",
                cfg.UNIFY.NODES,
                path,
            )
        return True
    logger.warning("MODEL.WEIGHTS %s: its unified labels are left out: %s", path, reason)
    return False


def _kept(
    cfg: CfgNode,
    content: dict[str, Any],
    labels: UnifiedLabelSpace,
    label_spaces: LabelSpaceSet,
) -> KeptLabels:
    """X_u and biases of the unified labels, over the datasets of the run."""
    weights = content["model"]
    bias = torch.zeros(len(label_spaces), len(labels.names))
    for i, name in enumerate(label_spaces.names):
        if name in labels.label_spaces.names:
            bias[i] = weights["uni_head.dataset_bias"][labels.label_spaces.dataset_index(name)]
    old, new = config_of(content["config"], "MODEL.WEIGHTS").MODEL, cfg.MODEL
    same = old.MAPPING_MODE == new.MAPPING_MODE
    if not same:
        logger.warning(
            "the older model was trained with MODEL.MAPPING_MODE %s; X_u is fitted anew for %s",
            old.MAPPING_MODE,
            new.MAPPING_MODE,
        )
    shift = weights.get(SHIFT)
    own = shift is not None and bool(shift.any())
    if not new.DATASET_BIAS and bool(bias.any()):
        bias, own = torch.zeros_like(bias), True
    if own or bool((bias <= SILENT / 2).any()):
        logger.info("X_u is fitted anew, to answer without own classifiers of the datasets")
        bias, same = bias.masked_fill(bias <= SILENT / 2, 0.0), False
    return KeptLabels(labels, weights["uni_head.label_embedding"], bias, label_spaces, same)


def _begin_heads(
    trainer: UniLabelTrainer,
    content: dict[str, Any],
    before: LabelSpaceSet,
    labels: UnifiedLabelSpace | None,
    origin: Tensor,
) -> None:
    """Give every dataset the head that the older model has or implies, or one fitted for it."""
    cfg, spaces = trainer.cfg, trainer.label_spaces
    classifiers, exact = _classifiers(content, before, labels)
    known = origin >= 0
    rows = carried(classifiers.T, origin).T  # (C, D)
    to_fit: list[int] = []
    with torch.no_grad():
        for i, (weight, part, there) in enumerate(
            zip(trainer.model.multi_head.weights, rows.split(spaces.num_classes),
                spaces.split(known), strict=True)
        ):  # fmt: skip
            if bool(there.any()):
                # A new class begins like the mean of the others.
                weight.copy_(torch.where(there[:, None], part, part[there].mean(0)))
            else:
                weight.zero_()
            if not (exact and bool(there.all())):
                to_fit.append(i)
    names = [spaces.names[i] for i in to_fit]
    if not to_fit:
        return
    if cfg.UNIFY.FIT_ITERATIONS == 0:
        logger.warning("UNIFY.FIT_ITERATIONS is 0: the heads of %s begin rough", ", ".join(names))
        return
    chosen: Sequence = [trainer.sources[i] for i in to_fit]
    cache = collect_pixels(trainer.model, cfg, chosen, SALT)
    starts = [trainer.model.multi_head.weights[i].detach().cpu() for i in to_fit]
    fitted = fit_heads(cfg, LabelSpaceSet(s.label_space for s in chosen), cache, starts, cfg.SEED)
    distributed.broadcast(fitted)
    with torch.no_grad():
        for i, head in zip(to_fit, fitted, strict=True):
            trainer.model.multi_head.weights[i].copy_(head)
    trainer.note(f"heads of {', '.join(names)} are fitted to the network of MODEL.WEIGHTS")


def _classifiers(
    content: dict[str, Any], before: LabelSpaceSet, labels: UnifiedLabelSpace | None
) -> tuple[Tensor, bool]:
    """A classifier of every class of the older model, (C of before, D); whether they are its own.

    Classes of unified labels get the sum of their rows of X_u, as their dataset shifts them, where
    their logits are added up, else the mean; neither knows the dataset bias.
    """
    weights = content["model"]
    heads = [weights.get(f"{HEADS}{i}") for i in range(len(before))]
    if all(h is not None for h in heads):
        return torch.cat(heads).float(), True
    x_u, shift = weights["uni_head.label_embedding"].float(), weights.get(SHIFT)
    added = config_of(content["config"], "MODEL.WEIGHTS").MODEL.MAPPING_MODE == "logit_sum"
    found = []
    for i, name in enumerate(before.names):
        links = labels.mapping[name].float().T  # (C_i, N)
        rows = links @ (x_u if shift is None else x_u + shift[i].float())
        found.append(rows if added else rows / links.sum(1, keepdim=True).clamp(min=1))
    return torch.cat(found), False
