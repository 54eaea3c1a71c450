"""Half precision and gradient scaling, as far as a CPU has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from small_runs import QUICK, small_trainer, two_folders

from unilabel.config import load_config
from unilabel.core.fused_loss import upsampled_cross_entropy
from unilabel.engine import optim
from unilabel.engine.checkpoint import load_file, save_file
from unilabel.engine.optim import cpu_has_bfloat16, half_precision
from unilabel.engine.trainer import UniLabelTrainer

pytestmark = pytest.mark.d2


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return two_folders(tmp_path_factory.mktemp("datasets"))


def trainer_of(
    folders: list[Path], schedule: list, half: torch.dtype | None, scale: float = 0.0
) -> UniLabelTrainer:
    """``half``: autocast on the CPU, where a run would not use it; ``scale``: with a scaler."""
    values = {"SCHEDULE": schedule, "SOLVER__ON_NONFINITE": "skip", "UNIFY__NODES": "names"}
    trainer = small_trainer(folders, **values)
    trainer.half = half
    if scale:
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
    return trainer


def spoil(trainer: UniLabelTrainer, iteration: int, what: str) -> None:
    """In an iteration the loss becomes NaN, or only the gradient infinite."""
    if what == "gradient":
        weight = trainer.model.multi_head.weights[0]
        weight.register_hook(lambda g: g * torch.inf if trainer.iter == iteration else g)
        return
    forward = trainer.model.losses

    def losses(*arguments: object) -> dict[str, torch.Tensor]:
        factor = torch.nan if trainer.iter == iteration else 1.0
        return {name: value * factor for name, value in forward(*arguments).items()}

    trainer.model.losses = losses


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_good_step_follows_one_that_was_left_out(folders: list[Path], what: str) -> None:
    trainer = trainer_of(folders, [["MULTI_HEAD", 4]], None, scale=8.0)
    spoil(trainer, 1, what)
    weight = trainer.model.pixel_decoder
    seen, scales = [], []
    after_step = trainer.after_step

    def remember() -> None:
        after_step()
        seen.append(torch.cat([p.detach().flatten() for p in weight.parameters()]).clone())
        scales.append(trainer.scaler.get_scale())

    trainer.after_step = remember
    trainer.train()
    assert torch.equal(seen[0], seen[1])  # left out
    assert not torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])
    assert torch.isfinite(seen[3]).all()
    assert scales == [8, 4, 4, 8]  # halved once, doubled after two good steps
    # an overflow of the gradient alone is the scaler's matter, not a fault of the data
    assert trainer.guard.skipped == (1 if what == "loss" else 0)


def test_scale_survives_the_end_of_a_stage(folders: list[Path], tmp_path: Path) -> None:
    schedule = [["MULTI_HEAD", 3], ["FINAL", 2]]
    trainer = trainer_of(folders, schedule, None, scale=8.0)
    spoil(trainer, 1, "gradient")
    states = {}
    after_step = trainer.after_step

    def remember() -> None:
        after_step()
        save_file(tmp_path / "state.pth", trainer.state())
        states[trainer.iter] = load_file(tmp_path / "state.pth")

    trainer.after_step = remember
    trainer.train()
    for iteration in (1, 2, 3):  # within a stage, at its end, within the next
        assert states[iteration]["running"] is (iteration != 2)
        resumed = trainer_of(folders, schedule, None, scale=1024.0)
        resumed.load_state(states[iteration])
        assert resumed.scaler.state_dict() == states[iteration]["scaler"]
        resumed.train()
        assert resumed.scaler.state_dict() == trainer.scaler.state_dict()
        ours, theirs = resumed.model.state_dict(), trainer.model.state_dict()
        assert all(torch.equal(v, theirs[k]) for k, v in ours.items())
    # a run that had no scaler goes on with one, and the other way round
    plain = trainer_of(folders, schedule, None)
    plain.load_state(states[1])
    scaled = trainer_of(folders, schedule, None, scale=32.0)
    scaled.load_state({**states[1], "scaler": plain.scaler.state_dict()})
    assert scaled.scaler.get_scale() == 32


def test_only_the_forward_pass_is_in_half_precision(folders: list[Path]) -> None:
    trainer = trainer_of(folders, [["MULTI_HEAD", 1]], torch.bfloat16)
    modes: dict[str, set[bool]] = {"forward": set(), "backward": set()}

    def autocast(when: str) -> None:
        modes[when].add(torch.is_autocast_enabled("cpu"))

    trainer.model.pixel_decoder.register_forward_hook(lambda *_: autocast("forward"))
    for parameter in trainer.model.parameters():
        parameter.register_hook(lambda _: autocast("backward"))
    trainer.train()
    assert modes == {"forward": {True}, "backward": {False}}


@pytest.mark.parametrize("stages", [[["MULTI_HEAD", 1]], [["FINAL", 1]]])
def test_gradients_are_near_those_of_full_precision(folders: list[Path], stages: list) -> None:
    found = []
    for half in (None, torch.bfloat16):
        trainer = trainer_of(folders, stages, half)
        trainer.train()
        head = trainer.model.uni_head or trainer.model.multi_head
        grads = [p.grad for p in head.parameters() if p.grad is not None]
        assert grads
        found.append(torch.cat([g.flatten() for g in grads]))
    assert float((found[0] - found[1]).norm() / found[0].norm()) < 0.02
    assert not torch.equal(*found)  # it was half precision


def test_the_fused_loss_has_the_gradient_of_full_precision() -> None:
    """Its forward pass keeps full precision under autocast; behind it, so does the backward one."""
    torch.manual_seed(0)
    target = torch.randint(5, (2, 32, 40))
    gradients = []
    for enabled in (False, True):
        torch.manual_seed(1)
        logits = (4 * torch.randn(2, 5, 8, 10)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled):
            loss = upsampled_cross_entropy(logits, target, ignore_label=255).mean()
        loss.backward()
        gradients.append(logits.grad)
    error = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert float(error) < 1e-5


def test_each_device_has_its_own_switch(monkeypatch, caplog) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    cfg = load_config(QUICK, ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP_DTYPE", "float16"])
    assert half_precision(cfg, cpu) is None
    assert half_precision(cfg, cuda) is torch.float16
    cfg.SOLVER.AMP.ENABLED = False
    assert half_precision(cfg, cuda) is None
    assert not caplog.messages
    cfg.SOLVER.AMP_ON_CPU = True
    assert half_precision(cfg, cuda) is None
    assert "SOLVER.AMP_ON_CPU has no effect on cuda:0" in caplog.text
    caplog.clear()
    monkeypatch.setattr(optim, "cpu_has_bfloat16", lambda: True)
    assert half_precision(cfg, cpu) is torch.bfloat16
    assert not caplog.messages
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)  # an older one
    monkeypatch.setattr(optim, "cpu_has_bfloat16", cpu_has_bfloat16)
    assert half_precision(cfg, cpu) is None
    assert "SOLVER.AMP_ON_CPU has no effect" in caplog.text


def test_a_run_on_a_cpu_in_half_precision_ends_like_one_in_float32(
    folders: list[Path], monkeypatch
) -> None:
    monkeypatch.setattr(optim, "cpu_has_bfloat16", lambda: True)
    embeddings = []
    for enabled in (False, True):
        values = {"SCHEDULE": [["MULTI_HEAD", 6]], "SOLVER__AMP_ON_CPU": enabled}
        trainer = small_trainer(folders, **values)
        assert trainer.half is (torch.bfloat16 if enabled else None)
        trainer.train()
        trainer.model.eval()
        torch.manual_seed(0)
        embeddings.append(trainer.model.embed(torch.randint(0, 256, (1, 3, 32, 40))).flatten())
    assert not torch.equal(*embeddings)
    assert torch.nn.functional.cosine_similarity(*embeddings, dim=0) > 0.98
