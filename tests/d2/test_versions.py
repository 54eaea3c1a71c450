"""Checkpoints of earlier versions: runs go on, finished models load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

pytest.importorskip("detectron2")

from detectron2.engine.train_loop import HookBase
from small_runs import small_trainer, two_folders

from unilabel.engine.checkpoint import load_file, save_file
from unilabel.engine.loading import load_model
from unilabel.engine.trainer import UniLabelTrainer

pytestmark = pytest.mark.d2

SCHEDULE = [["MULTI_HEAD", 3], ["GNN", 4], ["SEG", 3], ["GNN", 4], ["FINAL", 4]]
REMOVED = {"LOSS": {"HEADS_WEIGHT": 0.5}, "UNIFY": {"FIT_ANCHOR": 0.15, "SIGNATURE_SHARE": 0.35}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return two_folders(tmp_path_factory.mktemp("datasets"))


class Keep(HookBase):
    """Every state of a run, as a checkpoint holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def after_step(self) -> None:
        path = self.folder / f"{self.trainer.iter + 1}.pth"
        save_file(path, self.trainer.state())


def trainer_of(folders: list[Path]) -> UniLabelTrainer:
    return small_trainer(folders, SCHEDULE=SCHEDULE)


@pytest.fixture(scope="module")
def whole(folders: list[Path], tmp_path_factory) -> tuple[UniLabelTrainer, Path]:
    trainer, folder = trainer_of(folders), tmp_path_factory.mktemp("states")
    trainer.register_hooks([Keep(folder)])
    trainer.train()
    return trainer, folder


def with_removed_keys(dump: str) -> str:
    config = yaml.safe_load(dump)
    for group, keys in REMOVED.items():
        config[group].update(keys)
    return yaml.safe_dump(config)


def earlier_form(state: dict[str, Any]) -> dict[str, Any]:
    """As version 0.1 wrote it: the unifier's parts beside the others, no reviewed file."""
    state = dict(state)
    unifier = state.pop("unifier")
    rows = unifier.pop("rows")
    state |= {key: unifier[key] for key in unifier}
    state |= {key: rows[key] for key in ("edge_weights", "human_links")}
    state["config"] = with_removed_keys(state["config"])
    return state


@pytest.mark.parametrize("iteration", [2, 3, 5, 7, 9, 10, 13, 14, 17])
def test_runs_go_on_as_if_nothing_had_happened(folders, whole, iteration: int) -> None:
    trainer, folder = whole
    resumed = trainer_of(folders)
    resumed.load_state(earlier_form(load_file(folder / f"{iteration}.pth")))
    resumed.train()
    theirs = trainer.model.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in resumed.model.state_dict().items())
    assert resumed.notes == trainer.notes
    assert resumed.unifier.finish() == trainer.unifier.finish()


def beside(state: dict[str, Any], optimizer: bool) -> dict[str, Any]:
    """The state of a run whose heads trained on beside the unified labels."""
    state = earlier_form(state)
    dim = state["model"]["uni_head.label_embedding"].shape[1]
    heads = {f"multi_head.weights.{i}": torch.randn(n, dim) for i, n in enumerate((3, 2))}
    state["model"] = {**state["model"], **heads}
    if optimizer:  # two parameters more in its first group
        groups = [dict(g) for g in state["optimizer"]["param_groups"]]
        groups[0]["params"] = [*groups[0]["params"], 1000, 1001]
        state["optimizer"] = {**state["optimizer"], "param_groups": groups}
    return state


@pytest.mark.parametrize(("iteration", "running"), [(9, True), (17, True), (10, False)])
def test_heads_beside_are_left_out(folders, whole, caplog, iteration: int, running: bool) -> None:
    resumed = trainer_of(folders)
    resumed.load_state(beside(load_file(whole[1] / f"{iteration}.pth"), running))
    assert (resumed.model.multi_head is None) is running
    resumed.train()
    assert resumed.model.multi_head is None
    assert [r["name"] for r in resumed.records] == [name for name, _ in SCHEDULE]
    assert resumed.unifier.finish().mapping.active().all()
    message = f"heads that trained beside .* the optimizer begins anew at iteration {iteration}"
    assert bool(re.search(message, caplog.text)) is running


def test_names_of_a_reviewed_file_are_missed_aloud(folders, whole, caplog) -> None:
    state = earlier_form(load_file(whole[1] / "9.pth"))
    state["proposal"] = {**state["proposal"], "source": "human"}
    trainer_of(folders).load_state(state)
    assert "names, colours and checks of MODEL.LABEL_SPACE were not kept in it" in caplog.text


def test_finished_models_load(toy_weights: Path, tmp_path: Path, caplog) -> None:
    content = load_file(toy_weights)
    before, space = load_model(toy_weights)
    dim = content["model"]["uni_head.label_embedding"].shape[1]
    content["config"] = with_removed_keys(content["config"])
    content["model"] = {**content["model"], "multi_head.weights.0": torch.randn(17, dim)}
    save_file(tmp_path / "old.pth", content)
    with caplog.at_level("INFO", logger="unilabel"):
        model, again = load_model(tmp_path / "old.pth")
    assert again == space
    assert model.multi_head is None
    theirs = before.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in model.state_dict().items())
    assert "left out: heads beside the unified labels (1 tensors)" in caplog.text


@pytest.mark.parametrize("iteration", [2, 3, 5, 9])
def test_an_optimizer_that_does_not_go_on_is_missed_aloud(folders, whole, caplog, iteration: int):
    state = load_file(whole[1] / f"{iteration}.pth")
    trainer_of(folders).load_state(dict(state))
    assert "begin with a new optimizer" not in caplog.text
    del state["last_optimizer"]
    for group in (state["optimizer"] or {"param_groups": []})["param_groups"]:
        del group["names"]
    resumed = trainer_of(folders)
    resumed.load_state(state)
    assert "stages that come later begin with a new optimizer" in caplog.text
    resumed.train()
    assert [r["name"] for r in resumed.records] == [name for name, _ in SCHEDULE]
