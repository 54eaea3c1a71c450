"""Networks and input sizes: they fit, or a person hears of it before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.config import CfgNode
from small_runs import small_config, two_folders

from unilabel.core.errors import UniLabelError
from unilabel.data.build import build_sources
from unilabel.engine import run
from unilabel.engine.dry_run import check_network
from unilabel.engine.trainer import UniLabelTrainer
from unilabel.predictor import build_predictor

pytestmark = pytest.mark.d2

SMALL = {"depths": [1, 1, 1, 1], "embed_dim": 24, "num_heads": [1, 2, 3, 4]}
SWIN = "swin_tiny_patch4_window7_224"
VIT = {"depth": 2, "embed_dim": 48, "num_heads": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return two_folders(tmp_path_factory.mktemp("datasets"))


def config(folders: list[Path], output: Path, **values: Any) -> CfgNode:
    sizes = {"INPUT__CROP_SIZE": [64, 96], "INPUT__TEST_SHORT_SIDE": 53}
    return small_config(folders, output, **{**sizes, **values})


def network(name: str, args: dict[str, Any] | None = None, indices: tuple[int, ...] = ()) -> dict:
    return {
        "MODEL__TIMM__NAME": name,
        "MODEL__TIMM__ARGS": json.dumps(args or {}),
        "MODEL__TIMM__OUT_INDICES": list(indices),
    }


@pytest.mark.parametrize(
    "values",
    [
        network("resnet18", {"layers": [1, 1, 1, 1]}),
        network("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}),
        network(SWIN, SMALL),
        network("vit_tiny_patch16_224", VIT, (0, 1)),
        pytest.param(network("hrnet_w18_small"), marks=pytest.mark.slow),
    ],
    ids=lambda v: v["MODEL__TIMM__NAME"],
)
def test_networks_train_score_and_predict_at_sizes_of_their_own(folders, tmp_path, values) -> None:
    results = run.train(config(folders, tmp_path, **values), "x", resume=False)
    assert 0 <= results["mean_miou"] <= 100
    predictor = build_predictor(tmp_path / "model_final.pth")
    image = np.random.default_rng(0).integers(0, 256, (61, 87, 3), np.uint8)
    assert predictor.predict(image, "city").labels.shape == (61, 87)


def refused(folders: list[Path], output: Path, **values: Any) -> str:
    with pytest.raises(UniLabelError) as caught:
        run.train(config(folders, output, **values), "x", resume=False)
    assert not list(output.glob("*.pth"))  # nothing was trained
    assert not (output / "metrics.json").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "found", "cure"),
    [
        (
            network(SWIN, {**SMALL, "strict_img_size": True}),
            "4 training crops",
            "leave strict_img_size (Swin)",
        ),
        (
            network("vit_tiny_patch16_224", {**VIT, "dynamic_img_size": False}, (0, 1)),
            "doesn't match model",
            "or dynamic_img_size (ViT) out",
        ),
        (
            {
                **network(SWIN, {**SMALL, "img_size": [64, 96], "strict_img_size": True}),
                "INPUT__TEST_SHORT_SIDE": 70,
            },
            "1 images of 'city' (INPUT.TEST_SHORT_SIDE) of 70 x 93 pixels",
            "leave strict_img_size (Swin)",
        ),
        (
            {"INPUT__CROP_SIZE": [16, 16], "INPUT__IMAGES_PER_DATASET": 1, "DATASETS__ONLY": "idd"},
            "1 training crops (INPUT.CROP_SIZE) of 16 x 16 pixels",
            "enlarge INPUT.CROP_SIZE or INPUT.IMAGES_PER_DATASET",
        ),
        (network("resnet18", {}, (0, 9)), "MODEL.TIMM.OUT_INDICES [0, 9]", "numbered from 0"),
        (
            network("vit_tiny_patch16_224", VIT, (0, 2)),
            "OUT_INDICES [0, 2]",
            "blocks are numbered from 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused_first(folders, tmp_path, values, found, cure) -> None:
    message = refused(folders, tmp_path, **values)
    assert found in message
    assert cure in message


def test_looking_leaves_no_trace(folders, tmp_path: Path) -> None:
    cfg = config(folders, tmp_path)
    trainer = UniLabelTrainer(cfg, build_sources(cfg))
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_network(cfg, trainer.model, trainer.sources)
    assert torch.equal(torch.rand(3), expected)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert trainer.model.training


def test_evaluations_meet_their_sizes_first(folders, tmp_path: Path, monkeypatch) -> None:
    values = network(SWIN, {**SMALL, "img_size": [64, 96], "strict_img_size": True})
    sizes = {"INPUT__TEST_SHORT_SIDE": 64}
    run.train(config(folders, tmp_path, **values, **sizes), "x", resume=False)
    sizes = {"INPUT__TEST_SHORT_SIDE": 24, "MODEL__WEIGHTS": str(tmp_path / "model_final.pth")}
    monkeypatch.setattr(run, "evaluate_model", None)
    with pytest.raises(UniLabelError, match=r"1 images of 'city' .* of 24 x 32 pixels") as caught:
        run.evaluate(config(folders, tmp_path / "eval", **values, **sizes), "x")
    assert "leave strict_img_size (Swin)" in str(caught.value)
