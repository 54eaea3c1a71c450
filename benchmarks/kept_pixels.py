"""What benchmarks make once of a finished network and keep: its newest weights, its pixels."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path, read_json
from unilabel.engine.checkpoint import LAST
from unilabel.engine.pixel_cache import PixelCache


def weights_of(folder: Path) -> Path:
    """The model of a run, or its newest checkpoint.

    Raises:
        UniLabelError: there is none.
    """
    if (folder / "model_final.pth").is_file():
        return folder / "model_final.pth"
    if not (folder / LAST).is_file():
        raise UniLabelError(f"{folder} holds no model_final.pth and no checkpoint of a run.")
    return folder / read_json(folder / LAST)["checkpoints"][-1]["file"]


def kept(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Tensors and plain values out of a file, made and written where there is none.

    ``seconds`` among them is the processor time that they took.
    """
    if not file.is_file():
        start = time.process_time()
        content = make()
        content["seconds"] = time.process_time() - start
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            torch.save(content, temporary)
    return torch.load(file, weights_only=True)


def plain(cache: PixelCache) -> dict[str, list[Tensor]]:
    """Pixels as :func:`kept` writes them, in half precision."""
    return {"embeddings": [e.half() for e in cache.embeddings], "labels": cache.labels}


def cached(part: dict[str, list[Tensor]]) -> PixelCache:
    """Inverse of :func:`plain`."""
    return PixelCache([e.float() for e in part["embeddings"]], part["labels"])
