"""Optimizer and learning rate of the network stages."""

from __future__ import annotations

import logging
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from unilabel.core.errors import UniLabelError
from unilabel.core.stages import Segment, Stage, StageSchedule

logger = logging.getLogger(__name__)

POLY_POWER = 0.9
HEADS = ("multi_head.", "uni_head.")  # names of their parameters begin so


def build_network_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW over the parameters that require gradients: backbone slower, no decay on norms.

    Raises:
        UniLabelError: SOLVER.LAYER_DECAY is set for a network whose layers timm does not know.
    """
    depths = _layer_depths(cfg, model)
    norms = {
        id(p)
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm)
        for p in module.parameters(recurse=False)
    }
    groups: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = cfg.SOLVER.BACKBONE_FACTOR if name.startswith("backbone.") else 1.0
        factor *= cfg.SOLVER.LAYER_DECAY ** depths.get(name, 0)
        plain = id(parameter) in norms or name.endswith(("dataset_bias", "dataset_shift"))
        decay = 0.0 if plain else cfg.SOLVER.WEIGHT_DECAY
        groups.setdefault((factor, decay), []).append((name, parameter))
    return torch.optim.AdamW(
        [
            {
                "params": [parameter for _, parameter in members],
                "names": [name for name, _ in members],
                "lr": 0.0,
                "lr_factor": factor,
                "weight_decay": decay,
            }
            for (factor, decay), members in groups.items()
        ],
        fused=None,
    )


def go_on_from(optimizer: torch.optim.Optimizer, before: dict[str, Any]) -> int:
    """Take over what AdamW knew of the network in an earlier stage; heads begin anew.

    The authors' code has one AdamW for all stages.

    Args:
        optimizer: of :func:`build_network_optimizer`, before its first step.
        before: state of such an optimizer, maybe of other parameters. That of an earlier version
            does not name them: nothing is taken from it.

    Returns:
        number of parameters that go on.
    """
    known: dict[str, dict[str, Any]] = {}
    for group in before["param_groups"]:
        for name, index in zip(group.get("names", ()), group["params"], strict=False):
            if index in before["state"] and not name.startswith(HEADS):
                known[name] = before["state"][index]
    now = optimizer.state_dict()
    for group in now["param_groups"]:
        for name, index in zip(group["names"], group["params"], strict=True):
            if name in known:
                now["state"][index] = known[name]
    optimizer.load_state_dict(now)
    return len(now["state"])


def _layer_depths(cfg: CfgNode, model: nn.Module) -> dict[str, int]:
    """Parameter of the model -> layers of the backbone behind it, where that matters."""
    if cfg.SOLVER.LAYER_DECAY == 1:
        return {}
    depths = {f"backbone.{k}": depth for k, depth in model.backbone.parameter_depths().items()}
    if not depths:
        raise UniLabelError(
            f"SOLVER.LAYER_DECAY is {cfg.SOLVER.LAYER_DECAY}, but timm knows no order of the "
            f"layers of {cfg.MODEL.TIMM.NAME!r}; set it to 1."
        )
    return depths


def cpu_has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16 that PyTorch knows of (from 2.6 on)."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return known is not None and bool(known())


def half_precision(cfg: CfgNode, device: torch.device) -> torch.dtype | None:
    """Type of autocast, or None: SOLVER.AMP on a GPU, SOLVER.AMP_ON_CPU on a CPU.

    A CPU takes bfloat16 if it has instructions for it; where it lacks them, that is said.
    """
    if device.type == "cpu":
        if cfg.SOLVER.AMP_ON_CPU and not cpu_has_bfloat16():
            logger.warning(
                "SOLVER.AMP_ON_CPU has no effect: this CPU has no instructions for bfloat16 "
                "(AVX-512 BF16) that this PyTorch knows of; the run computes in float32."
            )
            return None
        return torch.bfloat16 if cfg.SOLVER.AMP_ON_CPU else None
    if cfg.SOLVER.AMP_ON_CPU:
        logger.warning("SOLVER.AMP_ON_CPU has no effect on %s; see SOLVER.AMP.", device)
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}[cfg.SOLVER.AMP_DTYPE]


def learning_rate(cfg: CfgNode, schedule: StageSchedule, segment: Segment, iteration: int) -> float:
    """Warm-up and polynomial decay.

    It decays once over MULTI_HEAD and once over all later network stages, or, with
    SOLVER.DECAY_ITERS, once over the network iterations of all stages.

    Args:
        cfg: SOLVER.
        schedule: of the run.
        segment: the present one, a network stage.
        iteration: of the run.
    """
    if cfg.SOLVER.DECAY_ITERS:
        before = sum(s.length for s in schedule.segments[: segment.index] if s.stage.trains_network)
        done, total = before + iteration - segment.start, cfg.SOLVER.DECAY_ITERS
        if total < 0:
            total = schedule.network_iterations()
        factor = 1.0 if segment.stage is Stage.MULTI_HEAD else cfg.SOLVER.SEG_FACTOR
    elif segment.stage is Stage.MULTI_HEAD:
        done, total, factor = iteration - segment.start, segment.length, 1.0
    else:
        later = [s for s in schedule.segments if s.stage in (Stage.SEG, Stage.FINAL)]
        before = sum(s.length for s in later if s.index < segment.index)
        done, total = before + iteration - segment.start, sum(s.length for s in later)
        factor = cfg.SOLVER.SEG_FACTOR
    # Later stages go on with the optimizer of the first one, which is warm.
    first = not any(s.stage.trains_network for s in schedule.segments[: segment.index])
    warmup = max(1, min(cfg.SOLVER.WARMUP_ITERS, segment.length // 10)) if first else 1
    ramp = min(1.0, (iteration - segment.start + 1) / warmup)
    return cfg.SOLVER.BASE_LR * factor * ramp * (1 - done / total) ** POLY_POWER


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the learning rate of every group, times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = value * group["lr_factor"]
