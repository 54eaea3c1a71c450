"""A step over several batches is a step over their mean, and a resumed run takes the next ones."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from test_trainer import config, folders  # noqa: F401  the fixture

from unilabel.data.build import build_sources
from unilabel.engine.trainer import UniLabelTrainer

pytestmark = pytest.mark.d2


def test_accumulated_parts_are_averaged(folders: list[Path]) -> None:  # noqa: F811
    """The gradient and the logged losses of a step are means over its parts."""
    cfg = config(
        folders, INPUT__ACCUMULATE=3, SOLVER__CLIP_GRADIENT=0.0, SCHEDULE=[["MULTI_HEAD", 2]]
    )
    trainer = UniLabelTrainer(cfg, build_sources(cfg))
    trainer.enter_segment(trainer.schedule.at(0))
    twin = copy.deepcopy(trainer.model).train()
    batches, gradients = [], {}
    draw = trainer._next_batch

    def remember() -> list:
        batches.append(draw())
        return batches[-1]

    def look(*_: object) -> None:
        gradients.update({n: p.grad.clone() for n, p in trainer.model.named_parameters()
                          if p.grad is not None})  # fmt: skip

    trainer._next_batch = remember
    trainer.optimizer.register_step_pre_hook(look)
    torch.manual_seed(5)
    logged = trainer._network_step()
    assert len(batches) == 3
    torch.manual_seed(5)
    losses = [twin(batch) for batch in batches]
    torch.stack([torch.stack(list(part.values())).mean() for part in losses]).mean().backward()
    expected = {n: p.grad for n, p in twin.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(gradients[name], gradient, rtol=1e-3, atol=1e-6), name
    assert max(float(g.abs().max()) for g in expected.values()) > 1e-3
    for name, value in logged.items():
        mean = sum(float(part[name].detach()) for part in losses) / 3
        assert float(value) == pytest.approx(mean, rel=1e-5)


def test_a_resumed_run_takes_the_batches_that_come_next(folders: list[Path]) -> None:  # noqa: F811
    cfg = config(folders, INPUT__ACCUMULATE=3, SCHEDULE=[["MULTI_HEAD", 4]])
    trainer = UniLabelTrainer(cfg, build_sources(cfg))

    def files(iteration: int, count: int) -> list[list[tuple[str, int]]]:
        trainer.iter = iteration
        trainer.enter_segment(trainer.schedule.at(iteration))
        batches = [trainer._next_batch() for _ in range(count)]
        return [[(i["file_name"], int(i["image"].sum())) for i in batch] for batch in batches]

    whole = files(0, 12)
    assert len({str(batch) for batch in whole}) == 12
    for iteration in (1, 3):
        assert files(iteration, 3) == whole[3 * iteration : 3 * iteration + 3]


def test_a_step_trains_whatever_the_network_did_before(folders: list[Path]) -> None:  # noqa: F811
    """A GNN stage on images leaves the network in eval mode; BatchNorm has to learn again."""
    cfg = config(folders, SCHEDULE=[["MULTI_HEAD", 2]])
    trainer = UniLabelTrainer(cfg, build_sources(cfg))
    trainer.enter_segment(trainer.schedule.at(0))
    norms = [m for m in trainer.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    trainer.model.eval()
    trainer._network_step()
    assert norms
    for norm, mean in zip(norms, before, strict=True):
        assert not torch.equal(norm.running_mean, mean)
