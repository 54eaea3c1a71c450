"""Losses, gradients and edges that are not finite: named, repeatable, or left out by policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

import breakable
import torch
from folder_datasets import write_folder

import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.data.build import build_sources
from unilabel.engine import guards
from unilabel.engine.checkpoint import CheckpointKeeper, load_file, save_file
from unilabel.engine.graph_stage import GraphLearner
from unilabel.engine.trainer import UniLabelTrainer

pytestmark = [pytest.mark.d2, pytest.mark.faults]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("datasets")
    return [
        write_folder(root / "city", "road car sky", train=4),
        write_folder(root / "idd", "road marking", train=3, seed=1),
    ]


def build(
    folders: list[Path], output: Path, state: dict | None = None, **more: Any
) -> UniLabelTrainer:
    cfg = load_config(breakable.QUICK, breakable.overrides(folders, output, **more))
    trainer = UniLabelTrainer(cfg, build_sources(cfg))
    if state is not None:
        trainer.load_state(state)
    return trainer


def spoil_losses(monkeypatch: pytest.MonkeyPatch, bad: dict[int, str], value: float) -> None:
    """The loss of a dataset becomes ``value`` (and with it the gradient) in some iterations."""
    step = UniLabelTrainer._network_step

    def network_step(trainer: UniLabelTrainer) -> dict[str, torch.Tensor]:
        forward = trainer.network.forward

        def spoiled(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            losses = forward(batch)
            name = bad.get(trainer.iter)
            if name is not None:
                losses[f"loss_ce/{name}"] = losses[f"loss_ce/{name}"] * value
            return losses

        trainer.network.forward = spoiled
        try:
            return step(trainer)
        finally:
            trainer.network.forward = forward

    monkeypatch.setattr(UniLabelTrainer, "_network_step", network_step)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("iteration", "stage"), [(3, "MULTI_HEAD"), (13, "SEG"), (22, "FINAL")])
def test_stop_with_a_reproducer(
    folders: list[Path], tmp_path: Path, monkeypatch, iteration: int, stage: str, value: float
) -> None:
    spoil_losses(monkeypatch, {iteration: "idd"}, value)
    trainer = build(folders, tmp_path)
    before: dict[str, torch.Tensor] = {}

    def remember() -> None:
        before.clear()
        before.update({k: v.clone() for k, v in trainer.model.state_dict().items()})

    trainer.before_step = remember
    place = tmp_path / f"nonfinite_{iteration:07d}"
    message = (
        rf"the loss of idd is not finite at iteration {iteration}; files: \S+/idd/images/train/.+"
        rf"png\. The last checkpoint in .* To repeat the step: --resume OUTPUT_DIR {place}"
    )
    with pytest.raises(UniLabelError, match=message) as caught:
        trainer.train()
    report = json.loads((place / "report.json").read_text())
    assert report["datasets"] == ["idd"]
    assert (report["iteration"], report["stage"]) == (iteration, stage)
    assert report["losses"][0]["loss_ce/idd"] in ("nan", "inf")
    assert len(report["batch"]) == 4
    assert {i["dataset_name"] for i in report["batch"]} == {"city", "idd"}
    assert all(Path(i["file_name"]).is_file() for i in report["batch"])
    assert report["gradients"]
    # what is kept is the state before the step, and it is clean
    state = CheckpointKeeper(place, 1).load_newest()
    assert state["iteration"] == iteration
    for name, value_before in before.items():
        assert torch.equal(state["model"][name], value_before), name
        assert bool(torch.isfinite(state["model"][name].float()).all())
    # the step is repeated: the same images, the same error
    again = build(folders, place, state=state)
    with pytest.raises(UniLabelError) as repeated:
        again.train()
    first = str(caught.value).split("The last")[0]
    assert str(repeated.value).split("The last")[0] == first
    assert again.iter == iteration


def test_gradient_that_overflows_alone(folders: list[Path], tmp_path: Path) -> None:
    trainer = build(folders, tmp_path)
    weight = trainer.model.multi_head.weights[0]
    weight.register_hook(lambda g: g * float("inf") if trainer.iter == 2 else g)
    message = r"the gradient, but no loss here, is not finite at iteration 2; files: .*city.*idd"
    with pytest.raises(UniLabelError, match=message):
        trainer.train()
    report = json.loads((tmp_path / "nonfinite_0000002/report.json").read_text())
    assert report["datasets"] == []
    assert report["gradients"] == ["multi_head.weights.0"]


def test_skipped_steps_are_counted_and_change_nothing(
    folders: list[Path], tmp_path: Path, monkeypatch, caplog
) -> None:
    spoil_losses(monkeypatch, {3: "idd", 4: "city", 13: "idd", 22: "city"}, float("nan"))
    trainer = build(folders, tmp_path, SOLVER__ON_NONFINITE="skip")
    states = {}
    after_step = trainer.after_step

    def remember() -> None:
        after_step()
        clone = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        states[trainer.iter] = clone
        if trainer.iter == 15:
            save_file(tmp_path / "state.pth", trainer.state())

    trainer.after_step = remember
    trainer.train()
    assert trainer.guard.skipped == 4
    assert trainer.guard.in_a_row == 0
    assert caplog.text.count("Step left out") == 4
    for left_out in (4, 13):  # 3 and 22 behind are not stage starts either
        before, after = states[left_out - 1], states[left_out]
        assert all(torch.equal(before[k], v) for k, v in after.items())
    assert any(not torch.equal(states[4][k], v) for k, v in states[5].items())
    assert not list(tmp_path.glob("nonfinite_*"))
    # resumed between them, it ends alike and still knows the count
    resumed = build(
        folders, tmp_path, state=load_file(tmp_path / "state.pth"), SOLVER__ON_NONFINITE="skip"
    )
    assert resumed.guard.skipped == 3
    resumed.train()
    assert resumed.guard.skipped == 4
    ours, theirs = resumed.model.state_dict(), trainer.model.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())


def test_too_many_skipped_steps_in_a_row_stop(folders: list[Path], tmp_path: Path, monkeypatch):
    spoil_losses(monkeypatch, dict.fromkeys(range(1, 6), "city"), float("nan"))
    monkeypatch.setattr(guards, "MOST_IN_A_ROW", 2)
    trainer = build(folders, tmp_path, SOLVER__ON_NONFINITE="skip")
    message = r"loss of city .* iteration 3.* 3 steps in a row, more than 2\."
    with pytest.raises(UniLabelError, match=message):
        trainer.train()
    assert (tmp_path / "nonfinite_0000003/report.json").is_file()


# --- the label graph ---


def spoil_graph(monkeypatch: pytest.MonkeyPatch, change: Callable[[GraphLearner], None]) -> None:
    step = GraphLearner.step

    def spoiled(learner: GraphLearner, iteration: int, pixels: Any) -> dict[str, torch.Tensor]:
        if iteration == 2:
            change(learner)
        return step(learner, iteration, pixels)

    monkeypatch.setattr(GraphLearner, "step", spoiled)


def hook_once(learner: GraphLearner) -> None:
    """One gradient of the graph becomes NaN, once."""
    handle = learner.graph.output.weight.register_hook(lambda g: handle.remove() or g * torch.nan)


def test_graph_gradient_stops_or_is_left_out(folders: list[Path], tmp_path: Path, monkeypatch):
    spoil_graph(monkeypatch, hook_once)
    with pytest.raises(UniLabelError, match=r"the gradient.* not finite at iteration 8\."):
        build(folders, tmp_path).train()
    report = json.loads((tmp_path / "nonfinite_0000008/report.json").read_text())
    assert report["stage"] == "GNN"
    assert report["gradients"] == ["output.weight"]
    trainer = build(folders, tmp_path / "skip", SOLVER__ON_NONFINITE="skip")
    trainer.train()
    assert trainer.guard.skipped == 2  # both GNN stages
    assert all(bool(torch.isfinite(v.float()).all()) for v in trainer.model.state_dict().values())


def test_edges_that_are_not_finite_are_never_solved(
    folders: list[Path], tmp_path: Path, monkeypatch
) -> None:
    trainer = build(folders, tmp_path)
    spoil_graph(monkeypatch, lambda learner: learner.graph.edge_logits.data[:, 3].fill_(torch.nan))
    with pytest.raises(UniLabelError) as caught:
        trainer.train()
    message = str(caught.value)
    assert "not finite at iteration" in message
    soft = trainer.unifier.rows.edge_weights.clone()
    soft[0, 4] = torch.inf
    message = r"edges of the label graph are not finite at iteration 99 \(first at idd:marking\); l"
    with pytest.raises(UniLabelError, match=message):
        trainer.unifier.solve(soft, 99)
