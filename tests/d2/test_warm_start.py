"""MODEL.WEIGHTS in training: what is taken over, what is left out, and what is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.config import CfgNode
from folder_datasets import write_folder

import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.data.build import build_sources
from unilabel.engine import run
from unilabel.engine.checkpoint import load_file
from unilabel.engine.trainer import UniLabelTrainer
from unilabel.engine.warm_start import read_start, start_from

pytestmark = pytest.mark.d2

QUICK = Path(__file__).parents[2] / "configs/quick/toy.yaml"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("datasets")
    return [
        write_folder(root / "city", "road car sky"),
        write_folder(root / "idd", "road marking", seed=1),
        write_folder(root / "new", "tree", seed=2),
    ]


def config(folders: list[Path], output: Path, **values: Any) -> CfgNode:
    defaults = {
        "DATASETS__TOY": False,
        "DATASETS__CUSTOM": [str(f) for f in folders],
        "OUTPUT_DIR": str(output),
        "SCHEDULE": [["MULTI_HEAD", 1]],
        "SOLVER__REFIT": False,
        "INPUT__CROP_SIZE": [32, 32],
        "UNIFY__FIT_ITERATIONS": 2,
        "UNIFY__CACHE_PIXELS": 100,
        "GRAPH__PIXELS": 32,
    }
    pairs = [(k.replace("__", "."), str(v)) for k, v in {**defaults, **values}.items()]
    return load_config(QUICK, [part for pair in pairs for part in pair])


@pytest.fixture(scope="module")
def heads(folders, tmp_path_factory) -> Path:
    """Model of city and idd with a head for each."""
    out = tmp_path_factory.mktemp("heads")
    run.train(config(folders[:2], out), "x", resume=False)
    return out / "model_final.pth"


def started(cfg: CfgNode, path: Path) -> UniLabelTrainer:
    trainer = UniLabelTrainer(cfg, build_sources(cfg))
    start_from(trainer.model, read_start(str(path)), str(path))
    return trainer


def equal_parts(trainer: UniLabelTrainer, path: Path) -> set[str]:
    theirs, ours = load_file(path)["model"], trainer.model.state_dict()
    shared = {n for n in ours if n in theirs and ours[n].shape == theirs[n].shape}
    return {n.split(".")[0] for n in shared if torch.equal(ours[n], theirs[n])}


def test_network_and_heads_of_the_same_datasets_are_taken(folders, heads, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="unilabel"):
        trainer = started(config(folders[:2], tmp_path, SEED=7), heads)
    theirs = load_file(heads)["model"]
    for name, value in trainer.model.state_dict().items():
        if name != "class_weight":
            assert torch.equal(value, theirs[name]), name
    assert "begins with its backbone" in caplog.text
    assert caplog.text.count("left out") == 1
    assert "left out, measured anew: class_weight" in caplog.text


def test_other_datasets_take_the_network_alone(folders, heads, tmp_path, caplog) -> None:
    for chosen in (folders, folders[1:], folders[1::-1]):  # more, others, another order
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="unilabel"):
            trainer = started(config(chosen, tmp_path, SEED=7), heads)
        assert {"backbone", "pixel_decoder"} <= equal_parts(trainer, heads)
        assert "multi_head" not in equal_parts(trainer, heads)
        assert "left out, heads of other datasets or classes: multi_head.weights.0" in caplog.text


def test_unfitting_parts_are_named(folders, heads, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="unilabel"):
        trainer = started(config(folders[:2], tmp_path, MODEL__EMBED_DIM=16), heads)
    assert "backbone" in equal_parts(trainer, heads)
    assert (
        "left out, of another shape ((48, 64, 1, 1) in place of (16, 64, 1, 1)): pixel_decod"
        in (caplog.text)
    )
    other = config(folders[:2], tmp_path, MODEL__TIMM__NAME="convnext_atto", MODEL__TIMM__ARGS="{}")
    with pytest.raises(UniLabelError, match="fits no part of the backbone; it was trained with an"):
        started(other, heads)


def test_a_run_begins_with_them(folders, heads, tmp_path: Path, caplog) -> None:
    still = {"SOLVER__BASE_LR": 0.0, "SOLVER__WEIGHT_DECAY": 0.0, "SEED": 7}
    cfg = config(folders[:2], tmp_path, MODEL__WEIGHTS=str(heads), **still)
    run.train(cfg, "x", resume=False)
    theirs, ours = (load_file(p)["model"] for p in (heads, tmp_path / "model_final.pth"))
    for name in ours:
        if "running" not in name and "tracked" not in name and name != "class_weight":
            assert torch.equal(ours[name], theirs[name]), name
    # a checkpoint wins, whatever is in the file or whether it is there
    again = config(folders[:2], tmp_path, MODEL__WEIGHTS="/nowhere.pth", **still)
    with caplog.at_level(logging.WARNING, logger="unilabel"):
        run.train(again, "x", resume=True)
    assert "--resume: MODEL.WEIGHTS /nowhere.pth is not read, the run goes on from" in caplog.text


def test_unified_models_give_their_network(folders, heads, tmp_path: Path, caplog) -> None:
    out = tmp_path / "unified"
    schedule = [["MULTI_HEAD", 1], ["GNN", 2], ["FINAL", 2]]
    run.train(config(folders[:2], out, SCHEDULE=schedule), "x", resume=False)
    path = out / "model_final.pth"
    with caplog.at_level(logging.INFO, logger="unilabel"):
        trainer = started(config(folders[:2], tmp_path, SEED=7), path)
    assert {"backbone", "pixel_decoder"} <= equal_parts(trainer, path)
    assert "left out, unified labels are found anew: uni_head." in caplog.text
    assert "left out, not in the file, begin as without it: multi_head.weights.0" in caplog.text


@pytest.mark.parametrize("single", [False, True])
def test_a_file_that_is_not_there_is_named_before_any_work(folders, tmp_path, single) -> None:
    values = {"MODEL__WEIGHTS": "/nowhere.pth", "SINGLE_DATASET_MODELS": single}
    cfg = config([], tmp_path / "out", **{**values, "DATASETS__TOY": True})
    with pytest.raises(UniLabelError, match=r"no such checkpoint: /nowhere\.pth"):
        run.train(cfg, "x", resume=False)
    assert not (tmp_path / "out").exists()
