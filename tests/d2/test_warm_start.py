"""MODEL.WEIGHTS in training: what is taken over, what is left out, and what is said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from folder_datasets import write_folder
from small_runs import small_config, small_trainer, two_folders

from unilabel.core.errors import UniLabelError
from unilabel.engine import run
from unilabel.engine.checkpoint import load_file
from unilabel.engine.trainer import UniLabelTrainer
from unilabel.engine.warm_start import read_start, start_from

pytestmark = pytest.mark.d2


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("datasets")
    return [*two_folders(root), write_folder(root / "new", "tree", seed=2)]


@pytest.fixture(scope="module")
def heads(folders, tmp_path_factory) -> Path:
    """Model of city and idd with a head for each."""
    out = tmp_path_factory.mktemp("heads")
    run.train(small_config(folders[:2], out), "x", resume=False)
    return out / "model_final.pth"


def started(folders: list[Path], output: Path, path: Path, **values) -> UniLabelTrainer:
    trainer = small_trainer(folders, output, **{"SEED": 7, **values})
    start_from(trainer, read_start(str(path)), str(path))
    return trainer


def equal_parts(trainer: UniLabelTrainer, path: Path) -> set[str]:
    theirs, ours = load_file(path)["model"], trainer.model.state_dict()
    shared = {n for n in ours if n in theirs and ours[n].shape == theirs[n].shape}
    return {n.split(".")[0] for n in shared if torch.equal(ours[n], theirs[n])}


def test_network_and_heads_of_the_same_datasets_are_taken(folders, heads, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="unilabel"):
        trainer = started(folders[:2], tmp_path, heads)
    theirs = load_file(heads)["model"]
    for name, value in trainer.model.state_dict().items():
        if name != "class_weight":  # measured anew
            assert torch.equal(value, theirs[name]), name
    assert "begins with its backbone" in caplog.text
    assert "left out" not in caplog.text


def test_heads_follow_their_datasets_and_new_ones_are_fitted(
    folders, heads, tmp_path, caplog
) -> None:
    theirs = load_file(heads)["model"]
    old = {name: theirs[f"multi_head.weights.{i}"] for i, name in enumerate(("city", "idd"))}
    for chosen in (folders, folders[1:], folders[1::-1]):  # more, others, another order
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="unilabel"):
            trainer = started(chosen, tmp_path, heads, UNIFY__FIT_ITERATIONS=100)
        assert {"backbone", "pixel_decoder"} <= equal_parts(trainer, heads)
        names = trainer.label_spaces.names
        for name, weight in zip(names, trainer.model.multi_head.weights, strict=True):
            if name in old:
                assert torch.equal(weight, old[name])
        assert ("the dataset new is new" in caplog.text) is ("new" in names)
        assert trainer.notes == ["heads of new are fitted to the network of MODEL.WEIGHTS"] * (
            "new" in names
        )
        assert ("left out, not in this run: city" in caplog.text) is ("city" not in names)


def test_heads_of_changed_class_lists_follow_their_classes(heads, tmp_path, caplog) -> None:
    city = write_folder(tmp_path / "city", "sky tree road", seed=3)
    old = load_file(heads)["model"]["multi_head.weights.0"]  # road car sky
    with caplog.at_level(logging.INFO, logger="unilabel"):
        trainer = started([city], tmp_path, heads, UNIFY__FIT_ITERATIONS=0)
    weight = trainer.model.multi_head.weights[0]
    assert torch.equal(weight[[0, 2]], old[[2, 0]])
    assert torch.allclose(weight[1], old[[2, 0]].mean(0))
    assert "classes of city that are new: tree" in caplog.text
    assert "classes of city that are no longer there, left out: car" in caplog.text
    assert "UNIFY.FIT_ITERATIONS is 0: the heads of city begin rough" in caplog.text


def test_unfitting_parts_are_named(folders, heads, tmp_path, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="unilabel"):
        trainer = started(folders[:2], tmp_path, heads, MODEL__EMBED_DIM=16)
    assert "backbone" in equal_parts(trainer, heads)
    shapes = "((48, 64, 1, 1) in place of (16, 64, 1, 1))"
    assert f"left out, of another shape {shapes}: pixel_decod" in caplog.text
    assert "its heads and unified labels are left out: they were learned for" in caplog.text
    schedule = [["FINAL", 1]]
    with pytest.raises(UniLabelError, match=r"fits this network only in part.* put MULTI_HEAD"):
        started(folders[:2], tmp_path, heads, MODEL__EMBED_DIM=16, SCHEDULE=schedule,
                MODEL__WEIGHTS=str(heads))  # fmt: skip
    other = {"MODEL__TIMM__NAME": "convnext_atto", "MODEL__TIMM__ARGS": "{}"}
    with pytest.raises(UniLabelError, match="fits no part of the backbone; it was trained with an"):
        started(folders[:2], tmp_path, heads, **other)


def test_a_run_begins_with_them(folders, heads, tmp_path: Path, caplog) -> None:
    still = {"SOLVER__BASE_LR": 0.0, "SOLVER__WEIGHT_DECAY": 0.0, "SEED": 7}
    cfg = small_config(folders[:2], tmp_path, MODEL__WEIGHTS=str(heads), **still)
    run.train(cfg, "x", resume=False)
    theirs, ours = (load_file(p)["model"] for p in (heads, tmp_path / "model_final.pth"))
    for name in ours:
        if "running" not in name and "tracked" not in name and name != "class_weight":
            assert torch.equal(ours[name], theirs[name]), name
    # a checkpoint wins, whatever is in the file or whether it is there
    again = small_config(folders[:2], tmp_path, MODEL__WEIGHTS="/nowhere.pth", **still)
    with caplog.at_level(logging.WARNING, logger="unilabel"):
        run.train(again, "x", resume=True)
    assert "--resume: MODEL.WEIGHTS /nowhere.pth is not read, the run goes on from" in caplog.text


def test_node_selection_of_fitted_heads_needs_no_multi_head_stage(folders, heads, tmp_path) -> None:
    values = {"SCHEDULE": [["GNN", 2], ["FINAL", 2]], "MODEL__WEIGHTS": str(heads)}
    results = run.train(small_config(folders, tmp_path, **values), "x", resume=False)
    assert any("node selection (fused): 6 labels" in note for note in results["notes"])


@pytest.mark.parametrize("single", [False, True])
def test_a_file_that_is_not_there_is_named_before_any_work(folders, tmp_path, single) -> None:
    values = {"MODEL__WEIGHTS": "/nowhere.pth", "SINGLE_DATASET_MODELS": single}
    cfg = small_config([], tmp_path / "out", **{**values, "DATASETS__TOY": True})
    with pytest.raises(UniLabelError, match=r"no such checkpoint: /nowhere\.pth"):
        run.train(cfg, "x", resume=False)
    assert not (tmp_path / "out").exists()
