"""What tests of whole runs share: two tiny datasets, and a configuration of seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from folder_datasets import write_folder

import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
from unilabel.config import load_config
from unilabel.data.build import build_sources
from unilabel.engine.trainer import UniLabelTrainer

QUICK = Path(__file__).parents[2] / "configs/quick/toy.yaml"


def two_folders(root: Path, train: int = 4) -> list[Path]:
    """city tells road, car and sky, idd road and marking; ``train`` photos, one less of idd."""
    return [
        write_folder(root / "city", "road car sky", train=train),
        write_folder(root / "idd", "road marking", train=train - 1, seed=1),
    ]


def small_config(folders: list[Path], output: Path | None = None, **values: Any) -> CfgNode:
    """``UNIFY__NODES="names"`` and the like, checked as on the command line."""
    defaults = {
        "DATASETS__TOY": False,
        "DATASETS__CUSTOM": [str(f) for f in folders],
        "OUTPUT_DIR": str(output or folders[0].parent / "out"),
        "SCHEDULE": [["MULTI_HEAD", 1]],
        "SOLVER__REFIT": False,
        "INPUT__CROP_SIZE": [32, 32],
        "UNIFY__FIT_ITERATIONS": 2,
        "UNIFY__CACHE_PIXELS": 100,
        "GRAPH__PIXELS": 32,
    }
    pairs = [(k.replace("__", "."), str(v)) for k, v in {**defaults, **values}.items()]
    return load_config(QUICK, [part for pair in pairs for part in pair])


def small_trainer(
    folders: list[Path], output: Path | None = None, **values: Any
) -> UniLabelTrainer:
    """A trainer of such a configuration."""
    cfg = small_config(folders, output, **values)
    return UniLabelTrainer(cfg, build_sources(cfg))
