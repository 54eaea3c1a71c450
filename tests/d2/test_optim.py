"""Optimizer groups and the learning rate over the stages."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from tiny_model import tiny_model
from torch import nn

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.core.stages import StageSchedule
from unilabel.engine.optim import (
    build_network_optimizer,
    go_on_from,
    learning_rate,
    set_learning_rate,
)

pytestmark = pytest.mark.d2

TOY = Path(__file__).parents[2] / "configs/toy.yaml"
SCHEDULE = [["MULTI_HEAD", 100], ["GNN", 10], ["SEG", 40], ["GNN", 10], ["FINAL", 60]]
CFG = load_config(
    TOY,
    ["SOLVER.BASE_LR", "0.1", "SOLVER.SEG_FACTOR", "0.5", "SOLVER.WARMUP_ITERS", "5",
     "SOLVER.BACKBONE_FACTOR", "0.25", "SOLVER.WEIGHT_DECAY", "0.02"],
)  # fmt: skip


def rate(iteration: int, **changes) -> float:
    cfg = CFG.clone()
    for key, value in changes.items():
        cfg.SOLVER[key] = value
    schedule = StageSchedule(SCHEDULE)
    return learning_rate(cfg, schedule, schedule.at(iteration), iteration)


def test_groups_by_part_and_kind() -> None:
    model = tiny_model()
    model.backbone.norm = nn.BatchNorm2d(8)
    optimizer = build_network_optimizer(CFG, model)
    names = {id(p): n for n, p in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr_factor"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert found == {
        "backbone.conv.weight": (0.25, 0.02),
        "backbone.conv.bias": (0.25, 0.02),
        "backbone.norm.weight": (0.25, 0.0),
        "backbone.norm.bias": (0.25, 0.0),
        "pixel_decoder.conv.weight": (1.0, 0.02),
        "pixel_decoder.conv.bias": (1.0, 0.02),
        "uni_head.label_embedding": (1.0, 0.02),
        "uni_head.dataset_bias": (1.0, 0.0),
    }
    set_learning_rate(optimizer, 0.4)
    assert {group["lr"] for group in optimizer.param_groups} == {0.4, 0.1}


def test_frozen_parameters_are_left_out() -> None:
    model = tiny_model()
    model.uni_head.label_embedding.requires_grad_(False)
    optimizer = build_network_optimizer(CFG, model)
    before = model.uni_head.label_embedding.clone()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    assert not any(p is model.uni_head.label_embedding for p in parameters)
    set_learning_rate(optimizer, 1.0)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert torch.equal(model.uni_head.label_embedding, before)


def test_warm_up_and_decay_of_the_first_stage() -> None:
    assert rate(0) == pytest.approx(0.1 * 1 / 5)
    assert rate(2) == pytest.approx(0.1 * 3 / 5 * 0.98**0.9)
    assert rate(50) == pytest.approx(0.1 * 0.5**0.9)
    assert 0 < rate(99) < 0.002


def test_later_network_stages_share_one_decay() -> None:
    # SEG has 40 iterations, FINAL 60: together 100, at half the rate
    assert rate(110 + 20) == pytest.approx(0.05 * 0.8**0.9)
    assert rate(160 + 30) == pytest.approx(0.05 * 0.3**0.9)
    # their optimizer is warm
    assert rate(110) == pytest.approx(0.05)
    assert rate(160) == pytest.approx(0.05 * 0.6**0.9)
    assert 0 < rate(219) < 0.002


@pytest.mark.parametrize("iterations", [0, 1, 1000])
def test_any_length_of_the_warm_up_gives_positive_rates(iterations: int) -> None:
    trained = [*range(100), *range(110, 150), *range(160, 220)]
    rates = [rate(i, WARMUP_ITERS=iterations) for i in trained]
    assert all(0 < r <= 0.1 for r in rates)
    if iterations <= 1:
        assert rates[0] == pytest.approx(0.1)  # no warm-up


def test_one_decay_over_all_stages() -> None:
    changes = {"DECAY_ITERS": 250, "SEG_FACTOR": 1.0}
    assert rate(50, **changes) == pytest.approx(0.1 * 0.8**0.9)
    assert rate(110 + 20, **changes) == pytest.approx(0.1 * (130 / 250) ** 0.9)
    assert rate(160 + 30, **changes) == pytest.approx(0.1 * (80 / 250) ** 0.9)
    slow = {**changes, "SEG_FACTOR": 0.3}  # of the stages behind MULTI_HEAD alone
    assert rate(50, **slow) == rate(50, **changes)
    assert rate(110 + 20, **slow) == pytest.approx(0.3 * rate(110 + 20, **changes))
    assert rate(160 + 30, **slow) == pytest.approx(0.3 * rate(160 + 30, **changes))
    changes["DECAY_ITERS"] = -1  # 200 network iterations
    assert rate(160 + 30, **changes) == pytest.approx(0.1 * (30 / 200) ** 0.9)


def test_a_decay_shorter_than_the_schedule_is_refused() -> None:
    with pytest.raises(UniLabelError, match=r"SOLVER.DECAY_ITERS is 10, .*1000 iterations"):
        load_config(TOY, ["SOLVER.DECAY_ITERS", "10"])


def stepped(
    model: nn.Module, optimizer: torch.optim.Optimizer, seed: int, lr: float = 0.1
) -> dict[str, torch.Tensor]:
    """The parameters after one step with gradients of a seed."""
    set_learning_rate(optimizer, lr)
    for number, parameter in enumerate(model.parameters()):
        generator = torch.Generator().manual_seed(seed + number)
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_the_network_goes_on_as_if_its_optimizer_had_stayed() -> None:
    model = tiny_model()
    optimizer = build_network_optimizer(CFG, model)
    stepped(model, optimizer, 0)
    start, before = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    stayed = stepped(model, optimizer, 50)
    model.load_state_dict(start)
    fresh = stepped(model, build_network_optimizer(CFG, model), 50)
    model.load_state_dict(start)
    after = build_network_optimizer(CFG, model)
    assert go_on_from(after, before) == 4
    carried = stepped(model, after, 50)
    for name, value in carried.items():
        expected = fresh if name.startswith("uni_head.") else stayed
        assert torch.equal(value, expected[name])
        assert not torch.equal(fresh[name], stayed[name])


def test_parameters_are_known_by_their_names() -> None:
    model = tiny_model()
    optimizer = build_network_optimizer(CFG, model)
    stepped(model, optimizer, 0)
    moments = {n: optimizer.state[p]["exp_avg"].clone() for n, p in model.named_parameters()}
    model.backbone.norm = nn.BatchNorm2d(8)  # more groups, other places
    model.pixel_decoder.conv.bias.requires_grad_(False)
    after = build_network_optimizer(CFG, model)
    assert go_on_from(after, optimizer.state_dict()) == 3
    for name, parameter in model.named_parameters():
        if parameter in after.state:
            assert torch.equal(after.state[parameter]["exp_avg"], moments[name])


def test_a_state_without_names_is_left_behind() -> None:
    model = tiny_model()
    optimizer = build_network_optimizer(CFG, model)
    stepped(model, optimizer, 0)
    before = optimizer.state_dict()
    for group in before["param_groups"]:
        del group["names"]
    after = build_network_optimizer(CFG, model)
    assert go_on_from(after, before) == 0
    assert not after.state
