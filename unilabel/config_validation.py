"""What the keys of a configuration must be, one by one and together."""

from __future__ import annotations

from detectron2.config import CfgNode as CN

from unilabel.core.errors import UniLabelError
from unilabel.core.projection import MAPPING_MODES
from unilabel.core.stages import Stage, StageSchedule

NODE_SELECTIONS = (
    "fused",
    "ilp",
    "concat",
    "names",
    "text_cluster",
    "relations",
    "file",
)
SOLVERS = ("exact", "uot", "links")


def validate_config(cfg: CN) -> None:
    """Check what single values cannot tell.

    Raises:
        UniLabelError: names the key, what was found, what was expected.
    """
    _validate_choices(cfg)
    _validate_numbers(cfg)
    _validate_lists(cfg)
    schedule = StageSchedule(cfg.SCHEDULE)
    stages = {s.stage for s in schedule.segments}
    decay, needed = cfg.SOLVER.DECAY_ITERS, schedule.network_iterations()
    if decay not in (-1, 0) and decay < needed:
        raise UniLabelError(
            f"SOLVER.DECAY_ITERS is {decay}, but SCHEDULE trains the network for "
            f"{needed} iterations; give at least as many, -1 or 0."
        )
    u = cfg.UNIFY
    unified = stages & {Stage.GNN, Stage.SEG, Stage.FINAL}
    if not cfg.MODEL.WEIGHTS:  # which give a trained network with heads or unified labels
        if schedule.segments[0].stage is Stage.GNN:
            raise UniLabelError(
                "SCHEDULE begins with GNN, which needs the features of a trained network; put "
                "MULTI_HEAD first, or name a trained model in MODEL.WEIGHTS."
            )
        if unified and Stage.MULTI_HEAD not in stages and u.NODES in ("fused", "ilp"):
            raise UniLabelError(
                f"UNIFY.NODES {u.NODES} measures a multi-head network, but SCHEDULE has no "
                "MULTI_HEAD stage; add one, name a trained model in MODEL.WEIGHTS, or choose "
                "concat, names, text_cluster or relations."
            )
    if u.NODES == "file" and unified and not cfg.MODEL.LABEL_SPACE:
        raise UniLabelError("UNIFY.NODES is file, but MODEL.LABEL_SPACE names no label_space.json.")
    if cfg.MODEL.LABEL_SPACE and u.NODES != "file":
        raise UniLabelError(
            f"MODEL.LABEL_SPACE is {cfg.MODEL.LABEL_SPACE}, but UNIFY.NODES is {u.NODES}, which "
            "does not read it; set UNIFY.NODES file, or leave MODEL.LABEL_SPACE empty."
        )
    if cfg.MODEL.FIX_HUMAN_LINKS and not cfg.MODEL.LABEL_SPACE:
        raise UniLabelError("MODEL.FIX_HUMAN_LINKS needs links: name a file in MODEL.LABEL_SPACE.")
    if u.NODES == "relations" and unified and not cfg.DATASETS.RELATIONS:
        raise UniLabelError("UNIFY.NODES is relations, but DATASETS.RELATIONS names no file.")
    if not (cfg.DATASETS.NAMES or cfg.DATASETS.CUSTOM or cfg.DATASETS.TOY):
        raise UniLabelError(
            "no dataset is named: give DATASETS.NAMES (built-in), DATASETS.CUSTOM (your "
            "folders) or DATASETS.TOY True."
        )


def _validate_choices(cfg: CN) -> None:
    u = cfg.UNIFY
    for key, value, choices in (
        ("UNIFY.NODES", u.NODES, NODE_SELECTIONS),
        ("UNIFY.SOLVER", u.SOLVER, SOLVERS),
        ("UNIFY.MERGE_SCORE", u.MERGE_SCORE, ("recall", "iou")),
        ("MODEL.MAPPING_MODE", cfg.MODEL.MAPPING_MODE, MAPPING_MODES),
        ("LOSS.ORTH_FORM", cfg.LOSS.ORTH_FORM, ("diagonal", "entropy")),
        ("LOSS.STRIDE", cfg.LOSS.STRIDE, (1, 4)),
        ("SOLVER.AMP_DTYPE", cfg.SOLVER.AMP_DTYPE, ("bfloat16", "float16")),
        ("SOLVER.ON_NONFINITE", cfg.SOLVER.ON_NONFINITE, ("stop", "skip")),
        ("DATASETS.ON_BAD_SAMPLE", cfg.DATASETS.ON_BAD_SAMPLE, ("error", "skip")),
    ):
        if value not in choices:
            raise UniLabelError(
                f"{key} is {value!r}, expected one of {', '.join(map(str, choices))}."
            )


def _validate_numbers(cfg: CN) -> None:
    u, g = cfg.UNIFY, cfg.GRAPH
    if cfg.SEED < 0:
        raise UniLabelError(f"SEED is {cfg.SEED}, expected 0 or more (every run is repeatable).")
    for key, value in (
        ("INPUT.IMAGES_PER_DATASET", cfg.INPUT.IMAGES_PER_DATASET),
        ("INPUT.ACCUMULATE", cfg.INPUT.ACCUMULATE),
        ("TEST.BATCH_SIZE", cfg.TEST.BATCH_SIZE),
        ("SOLVER.CHECKPOINT_PERIOD", cfg.SOLVER.CHECKPOINT_PERIOD),
        ("SOLVER.KEEP_CHECKPOINTS", cfg.SOLVER.KEEP_CHECKPOINTS),
        ("LOG_PERIOD", cfg.LOG_PERIOD),
        ("UNIFY.CACHE_PIXELS", u.CACHE_PIXELS),
        ("UNIFY.CACHE_IMAGES", u.CACHE_IMAGES),
        ("UNIFY.FIT_PIXELS", u.FIT_PIXELS),
        ("GRAPH.PIXELS", g.PIXELS),
        ("GRAPH.SOLVE_PERIOD", g.SOLVE_PERIOD),
        ("MODEL.EMBED_DIM", cfg.MODEL.EMBED_DIM),
    ):
        if value < 1:
            raise UniLabelError(f"{key} is {value}, expected 1 or more.")
    if cfg.SOLVER.LAYER_DECAY <= 0:
        value = cfg.SOLVER.LAYER_DECAY
        raise UniLabelError(f"SOLVER.LAYER_DECAY is {value}, expected more than 0.")
    for key, value in (
        ("UNIFY.TEXT_WEIGHT", u.TEXT_WEIGHT),
        ("UNIFY.CONFIRM_SHARE", u.CONFIRM_SHARE),
        ("UNIFY.PRUNE_SHARE", u.PRUNE_SHARE),
        ("UNIFY.PRUNE_AT", u.PRUNE_AT),
        ("GRAPH.HARD_SHARE", g.HARD_SHARE),
        ("INPUT.FLIP_PROB", cfg.INPUT.FLIP_PROB),
        ("DATASETS.MAX_BAD_SHARE", cfg.DATASETS.MAX_BAD_SHARE),
    ):
        if not 0 <= value <= 1:
            raise UniLabelError(f"{key} is {value}, expected 0 to 1.")
    for key in ("EVAL_PERIOD", "PATIENCE"):
        if cfg.TEST[key] < 0:
            raise UniLabelError(f"TEST.{key} is {cfg.TEST[key]}, expected 0 (never) or more.")
    if cfg.TEST.PATIENCE and not cfg.TEST.EVAL_PERIOD:
        raise UniLabelError("TEST.PATIENCE counts scores: set TEST.EVAL_PERIOD as well.")
    timm = cfg.MODEL.TIMM
    if cfg.INPUT.TOKEN_CACHE and not (timm.TRAIN_LAYERS == 0 and timm.DETAIL.NAME):
        raise UniLabelError(
            "INPUT.TOKEN_CACHE keeps the tokens of a network that does not learn, beside a detail "
            f"branch: set MODEL.TIMM.TRAIN_LAYERS 0 (it is {timm.TRAIN_LAYERS}) and name a network "
            f"in MODEL.TIMM.DETAIL.NAME (it is {timm.DETAIL.NAME!r}), or leave the key empty."
        )


def _validate_lists(cfg: CN) -> None:
    for key, value, kind in (
        ("DATASETS.TOY_IMAGES", cfg.DATASETS.TOY_IMAGES, int),
        ("INPUT.CROP_SIZE", cfg.INPUT.CROP_SIZE, int),
        ("INPUT.SCALE_RANGE", cfg.INPUT.SCALE_RANGE, int | float),
    ):
        if len(value) != 2 or not all(isinstance(v, kind) and v > 0 for v in value):
            raise UniLabelError(f"{key} is {value}, expected two positive numbers.")
    if not all(isinstance(v, int | float) and v > 0 for v in cfg.TEST.SCALES):
        raise UniLabelError(f"TEST.SCALES is {cfg.TEST.SCALES}, expected positive numbers.")
    if cfg.TEST.WINDOW < 0 or 0 < cfg.TEST.WINDOW < 64:
        raise UniLabelError(f"TEST.WINDOW is {cfg.TEST.WINDOW}, expected 0 (off) or 64 and more.")
    low, high = cfg.INPUT.SCALE_RANGE
    if low > high:
        raise UniLabelError(f"INPUT.SCALE_RANGE is {[low, high]}, expected the smaller one first.")
    for pair in cfg.DATASETS.VARIANTS:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UniLabelError(f"DATASETS.VARIANTS holds {pair!r}, expected [dataset, variant].")
    for row in cfg.TEST.EXPECTED_RESULTS:
        numbers = row[2:] if isinstance(row, list | tuple) and len(row) == 4 else []
        if not numbers or not all(isinstance(v, int | float) for v in numbers):
            raise UniLabelError(
                f"TEST.EXPECTED_RESULTS holds {row!r}, expected rows [dataset, metric, value, "
                "tolerance]."
            )
