"""A tiny model of the toy world with random weights, for tests of what is done with a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.synthetic import toy_label_spaces
from unilabel.core.unified_space import UnifiedLabelSpace


def save_toy_model(
    path: Path, space: UnifiedLabelSpace | None, mode: str = "probability_sum", seed: int = 0
) -> None:
    """A tiny model of random weights; None as label space: with a head per toy dataset."""
    pytest.importorskip("detectron2")
    import unilabel.modeling  # noqa: F401
    from unilabel.config import load_config
    from unilabel.engine.checkpoint import save_file
    from unilabel.engine.segmentor import build_segmentor, install_label_space_size

    torch.manual_seed(seed)
    root = Path(__file__).parents[1]
    cfg = load_config(root / "configs/toy.yaml", ["MODEL.MAPPING_MODE", mode])
    spaces = LabelSpaceSet(toy_label_spaces()) if space is None else space.label_spaces
    model = build_segmentor(cfg, spaces)
    if space is not None:
        install_label_space_size(cfg, model, len(space.names))
        model.uni_head.set_label_space(
            torch.randn(len(space.names), cfg.MODEL.EMBED_DIM),
            space.mapping.stacked(),
            0.3 * torch.randn(len(spaces), len(space.names)),
        )
    save_file(
        path,
        {
            "model": model.state_dict(),
            "num_unified": None if space is None else len(space.names),
            "label_spaces": spaces.to_list(),
            "label_space": None if space is None else space.to_dict(),
            "config": cfg.dump(),
        },
    )
