"""Whether a run may go on from a checkpoint with the present configuration.

A resumed run has to be the run that the present configuration describes. So a key may differ from
the checkpoint's only if its effect is still to come, or if it has none on what is learned.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode

from unilabel.config_contract import leaves, plain
from unilabel.core.errors import UniLabelError
from unilabel.core.stages import Stage, StageSchedule
from unilabel.engine.loading import config_of
from unilabel.engine.optim import learning_rate

logger = logging.getLogger(__name__)

# Keys, or beginnings of keys that end with a dot.
# Where files lie, what is watched, how fast it goes, and what happens after the last iteration.
NO_MATTER = (
    "OUTPUT_DIR",
    "LOG_PERIOD",
    "CUDNN_BENCHMARK",
    "VERSION",
    "DATALOADER.",
    "TEST.",
    "MODEL.DEVICE",
    "MODEL.CHANNELS_LAST",
    "MODEL.WEIGHTS",
    "MODEL.TIMM.PRETRAINED",
    "MODEL.TIMM.DETAIL.PRETRAINED",
    "DATASETS.RELATIONS",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.KEEP_CHECKPOINTS",
    "SOLVER.REFIT",
    "UNIFY.LINK_RELATIONS",
)
# What error messages advise a person to change before going on. The results say that it changed.
REMEDIES = (
    "INPUT.TOKEN_CACHE",
    "DATASETS.CUSTOM",  # the folders were moved; names and classes are compared apart from this
    "DATASETS.ON_BAD_SAMPLE",
    "DATASETS.MAX_BAD_SHARE",
    "SOLVER.ON_NONFINITE",
    "SOLVER.BASE_LR",
    "SOLVER.CLIP_GRADIENT",
    "UNIFY.FIT_LR",
    "UNIFY.FIT_ITERATIONS",
    "GRAPH.LR",
    "GRAPH.EDGE_LR",
)
# No effect before there are unified labels.
LATER = (
    "UNIFY.",
    "GRAPH.",
    "TEXT.",
    "LOSS.ORTH_",
    "MODEL.MAPPING_MODE",
    "MODEL.DATASET_BIAS",
    "MODEL.DATASET_SHIFT",
    "MODEL.LABEL_SPACE",
    "MODEL.FIX_HUMAN_LINKS",
    "SOLVER.SEG_FACTOR",
    "INPUT.TEST_SHORT_SIDE",
    "DATASETS.DESCRIPTIONS",
)
SCHEDULING = ("SCHEDULE", "SOLVER.DECAY_ITERS")
SHOWN = 100  # characters of a value


def check_resumable(cfg: CfgNode, state: Mapping[str, Any]) -> list[str]:
    """Compare the configuration of a checkpoint with the present one.

    Args:
        cfg: the present one.
        state: the checkpoint, see ``UniLabelTrainer.state``.

    Returns:
        a line for every key of REMEDIES that differs.

    Raises:
        UniLabelError: lists all keys that may not differ, with both values.
    """
    old = config_of(state["config"], f"checkpoint in {cfg.OUTPUT_DIR}")
    unified = state["num_unified"] is not None
    before, now = dict(leaves(old)), dict(leaves(cfg))
    notes, wrong = [], []
    differing = [k for k in now if plain(before[k]) != plain(now[k]) and not is_key(k, NO_MATTER)]
    for key in differing:
        change = f"{key} was {_short(before[key])}, is {_short(now[key])}"
        if (is_key(key, LATER) and not unified) or key in SCHEDULING:
            continue
        if is_key(key, REMEDIES):
            notes.append(f"resumed at iteration {state['iteration']}: {change}")
        else:
            wrong.append(change)
    if any(key in SCHEDULING for key in differing):
        reason = schedule_conflict(old, cfg, state["iteration"], state["running"])
        if reason:
            changes = [
                f"{k} was {_short(before[k])}, is {_short(now[k])}"
                for k in SCHEDULING
                if k in differing
            ]
            wrong.append(f"{' and '.join(changes)} ({reason})")
        else:
            notes += continued_stage(cfg, state)
    if wrong:
        listed = "".join(f"\n- {line}" for line in wrong)
        raise UniLabelError(
            f"the checkpoint in {cfg.OUTPUT_DIR} at iteration {state['iteration']} is one of "
            f"another configuration:{listed}\nGive the old values (config.yaml of that run) to go "
            "on, or another OUTPUT_DIR to begin anew."
        )
    for note in notes:
        logger.warning("%s", note)
    return notes


def schedule_conflict(old: CfgNode, new: CfgNode, iteration: int, running: bool) -> str:
    """Why the first ``iteration`` iterations are not those of the new schedule; "" if they are.

    Args:
        old: configuration that they were done with.
        new: configuration to go on with.
        iteration: the next one.
        running: whether a stage was under way, with an optimizer that its checkpoint holds.
    """
    before, after = StageSchedule(old.SCHEDULE), StageSchedule(new.SCHEDULE)
    if iteration > after.total:
        return f"the new SCHEDULE ends at {after.total}"
    for segment in before.segments:
        done = min(segment.stop, iteration) - segment.start
        if done <= 0:
            break
        other = after.at(segment.start)
        if (other.stage, other.start) != (segment.stage, segment.start):
            return f"iteration {segment.start} begins {segment.stage.value}"
        if other.length < done or (other.length != segment.length and segment.stop < iteration):
            return f"{segment.stage.value} had {segment.length} iterations"
        if segment.stage is Stage.GNN:
            if other.length != segment.length:
                return "how the mapping turns from soft to solved depends on the length of GNN"
            continue
        for i in range(segment.start, segment.start + done, max(1, done // 500)):
            rates = (_rate(old, before, i), _rate(old, after, i, new.SOLVER.DECAY_ITERS))
            if rates[0] != rates[1]:
                return (
                    f"the learning rate of iteration {i} would have been another one; it depends "
                    "on the length of a stage unless SOLVER.DECAY_ITERS is set and a tenth of the "
                    "stage is longer than SOLVER.WARMUP_ITERS"
                )
    pruned = [s.prune_iteration(c.UNIFY.PRUNE_AT) for s, c in ((before, old), (after, new))]
    if pruned[0] != pruned[1] and any(p is not None and p < iteration for p in pruned):
        return "links were pruned at another iteration (UNIFY.PRUNE_AT of FINAL)"
    if iteration == after.total:
        return ""
    begins = after.at(iteration).start
    if running and begins == iteration:
        return f"{before.at(iteration).stage.value} was under way, the new one ends it there"
    return ""


def continued_stage(cfg: CfgNode, state: Mapping[str, Any]) -> list[str]:
    """A line if a stage that had ended goes on, which an optimizer without memory does."""
    schedule, iteration = StageSchedule(cfg.SCHEDULE), state["iteration"]
    if state["running"] or iteration == schedule.total:
        return []
    segment = schedule.at(iteration)
    if segment.start == iteration:
        return []
    return [
        f"resumed at iteration {iteration}: {segment.stage.value} goes on to {segment.stop} with a "
        "new optimizer (that of the stage's former end was not kept)"
    ]


def _rate(cfg: CfgNode, schedule: StageSchedule, iteration: int, decay: int | None = None) -> float:
    if decay is not None and decay != cfg.SOLVER.DECAY_ITERS:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SOLVER.DECAY_ITERS = decay
    return learning_rate(cfg, schedule, schedule.at(iteration), iteration)


def is_key(key: str, names: Sequence[str]) -> bool:
    """Whether a list names a key, whole or by a beginning that ends with a dot or underscore."""
    return any(key == n or (n.endswith((".", "_")) and key.startswith(n)) for n in names)


def _short(value: Any) -> str:
    text = repr(plain(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
