"""Detectron2's own configuration keys: which ones do something here, and what does the others' job.

A key that is accepted without effect leaves a person with a result of other settings than they
think; so every key of Detectron2 that nothing reads has to keep its default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from detectron2.config import get_cfg

from unilabel.core.errors import UniLabelError

# Keys of Detectron2 that this program (or a part of Detectron2 that it calls) reads.
READ_KEYS = frozenset(
    {
        "CUDNN_BENCHMARK",
        "DATALOADER.NUM_WORKERS",
        "MODEL.BACKBONE.NAME",
        "MODEL.DEVICE",
        "MODEL.META_ARCHITECTURE",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "MODEL.WEIGHTS",
        "OUTPUT_DIR",
        "SEED",
        "SOLVER.AMP.ENABLED",
        "SOLVER.BASE_LR",
        "SOLVER.CHECKPOINT_PERIOD",
        "SOLVER.WARMUP_ITERS",
        "SOLVER.WEIGHT_DECAY",
        "TEST.EVAL_PERIOD",
        "TEST.EXPECTED_RESULTS",
    }
)

_NO_BOXES = "unilabel answers with a class for every pixel; it has no boxes, masks or keypoints"
_ADAMW = "the optimizer is AdamW, which has no such value"
_IMAGES = "datasets are named in DATASETS.NAMES (built-in) and DATASETS.CUSTOM (your folders)"
_RATE = "the learning rate falls over SCHEDULE, or over SOLVER.DECAY_ITERS"

# Key, or the beginning of keys up to a dot -> what does that job here, or that nothing does. The
# longest one that fits speaks.
INSTEAD = {
    "VERSION": "configuration files have Detectron2's version 2",
    "VIS_PERIOD": "pictures are drawn by tools/report.py and tools/make_figure.py",
    "GLOBAL": "unilabel has no such thing",
    "FLOAT32_PRECISION": "unilabel has no such thing; see SOLVER.AMP.ENABLED and SOLVER.AMP_DTYPE",
    "MODEL": _NO_BOXES,
    "MODEL.BACKBONE": "use MODEL.TIMM",
    "MODEL.BACKBONE.FREEZE_AT": "use SOLVER.BACKBONE_FACTOR (0 leaves its weights as they are)",
    "MODEL.FPN": "use MODEL.PIXEL_DECODER",
    "MODEL.RESNETS": "use MODEL.TIMM.NAME and MODEL.TIMM.ARGS",
    "MODEL.SEM_SEG_HEAD": "use MODEL.PIXEL_DECODER and MODEL.EMBED_DIM",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": "use MODEL.TIMM.OUT_INDICES",
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": 'use "ignore_label" in the classes.json of a dataset',
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": "the number of classes comes from the datasets",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": "use MODEL.PIXEL_DECODER.HIDDEN_DIM",
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": "use LOSS.STRIDE",
    "MODEL.SEM_SEG_HEAD.NORM": "use MODEL.PIXEL_DECODER.NORM",
    "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": "all datasets weigh the same",
    "INPUT.MIN_SIZE_TRAIN": "use INPUT.BASE_SHORT_SIDE and INPUT.SCALE_RANGE",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "sizes are drawn evenly from INPUT.SCALE_RANGE",
    "INPUT.MAX_SIZE_TRAIN": "use INPUT.SCALE_RANGE and INPUT.CROP_SIZE",
    "INPUT.MIN_SIZE_TEST": "use INPUT.TEST_SHORT_SIDE",
    "INPUT.MAX_SIZE_TEST": "use INPUT.TEST_SHORT_SIDE",
    "INPUT.RANDOM_FLIP": "use INPUT.FLIP_PROB",
    "INPUT.CROP": "use INPUT.CROP_SIZE and INPUT.SINGLE_CLASS_MAX_AREA",
    "INPUT.FORMAT": "images are RGB; give MODEL.PIXEL_MEAN and MODEL.PIXEL_STD in this order",
    "INPUT.MASK_FORMAT": "labels are label maps, see docs/CUSTOM_DATASET.md",
    "DATASETS.TRAIN": _IMAGES,
    "DATASETS.TEST": f"{_IMAGES}; their validation images are scored",
    "DATASETS": _NO_BOXES,
    "DATALOADER.SAMPLER_TRAIN": "every batch holds INPUT.IMAGES_PER_DATASET of each dataset",
    "DATALOADER.REPEAT_THRESHOLD": "use LOSS.CLASS_WEIGHT_POWER for rare classes",
    "DATALOADER.ASPECT_RATIO_GROUPING": "all crops have one size, INPUT.CROP_SIZE",
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": "use DATASETS.ON_BAD_SAMPLE",
    "SOLVER.LR_SCHEDULER_NAME": _RATE,
    "SOLVER.GAMMA": _RATE,
    "SOLVER.STEPS": _RATE,
    "SOLVER.NUM_DECAYS": _RATE,
    "SOLVER.RESCALE_INTERVAL": _RATE,
    "SOLVER.BASE_LR_END": _RATE,
    "SOLVER.MAX_ITER": "use SCHEDULE",
    "SOLVER.MOMENTUM": _ADAMW,
    "SOLVER.NESTEROV": _ADAMW,
    "SOLVER.WEIGHT_DECAY_NORM": "normalisation layers never decay",
    "SOLVER.WEIGHT_DECAY_BIAS": "use SOLVER.WEIGHT_DECAY",
    "SOLVER.BIAS_LR_FACTOR": "use SOLVER.BASE_LR and SOLVER.BACKBONE_FACTOR",
    "SOLVER.WARMUP_FACTOR": "the warm-up is linear and starts at 0; use SOLVER.WARMUP_ITERS",
    "SOLVER.WARMUP_METHOD": "the warm-up is linear and starts at 0; use SOLVER.WARMUP_ITERS",
    "SOLVER.IMS_PER_BATCH": "use INPUT.IMAGES_PER_DATASET and INPUT.ACCUMULATE",
    "SOLVER.REFERENCE_WORLD_SIZE": "use INPUT.ACCUMULATE",
    "SOLVER.CLIP_GRADIENTS": "use SOLVER.CLIP_GRADIENT (largest norm)",
    "TEST.KEYPOINT_OKS_SIGMAS": _NO_BOXES,
    "TEST.DETECTIONS_PER_IMAGE": _NO_BOXES,
    "TEST.AUG": "use TEST.SCALES (each is also mirrored)",
    "TEST.PRECISE_BN": "unilabel has no such thing",
}


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full keys and values of a configuration, without groups."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def replacement(key: str) -> str:
    """What a person should do who has set a key of Detectron2 that nothing reads."""
    parts = key.split(".")
    beginnings = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    found = next((INSTEAD[b] for b in beginnings if b in INSTEAD), "unilabel has no such thing")
    return f"{found}; leave the key out"


def check_contract(cfg: Mapping[str, Any], source: str, only: str | None = None) -> None:
    """Refuse keys of Detectron2 without effect (or ``only`` this one) that are set to something.

    Raises:
        UniLabelError: names the key and the key of unilabel that does its job.
    """
    values = dict(leaves(cfg))
    for key, default in leaves(get_cfg()):
        if key in READ_KEYS or only not in (None, key):
            continue
        if plain(values[key]) != plain(default):
            raise UniLabelError(
                f"{source}: {key} is {values[key]!r}, a key of Detectron2 that has no effect in "
                f"unilabel: {replacement(key)}."
            )


def plain(value: Any) -> Any:
    """Lists for tuples: YAML knows lists alone."""
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value
