"""The helpers of the other test folders are used here as well."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parents[1] / "d2")]


def with_shift(path: Path, weights: Path) -> Path:
    """The model with classifiers of each dataset's own."""
    from unilabel.engine.checkpoint import load_file, save_file

    content = load_file(weights)
    datasets, labels = content["model"]["uni_head.dataset_bias"].shape
    dim = content["model"]["uni_head.label_embedding"].shape[1]
    shift = 0.3 * torch.randn(datasets, labels, dim, generator=torch.Generator().manual_seed(3))
    content["model"] = {**content["model"], "uni_head.dataset_shift": shift}
    save_file(path, {k: v for k, v in content.items() if k not in ("format", "version")})
    return path


@pytest.fixture(scope="session")
def shifted_weights(toy_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``toy_weights`` with classifiers of each dataset's own."""
    return with_shift(tmp_path_factory.mktemp("shifted") / "model.pth", toy_weights)


@pytest.fixture(scope="session")
def shifted_logit_sum_weights(
    logit_sum_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same for ``logit_sum_weights``."""
    return with_shift(tmp_path_factory.mktemp("shifted") / "model.pth", logit_sum_weights)
