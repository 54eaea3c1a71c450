"""The line of progress: speeds, the share of waiting, and the time that is left."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from detectron2.utils.events import EventStorage

from unilabel.core.stages import StageSchedule
from unilabel.engine import progress
from unilabel.engine.progress import ProgressLine, StepClock

pytestmark = pytest.mark.d2

SCHEDULE = StageSchedule([["MULTI_HEAD", 4], ["GNN", 10], ["FINAL", 6]])


@pytest.fixture
def now(monkeypatch) -> SimpleNamespace:
    """A clock that is set by hand."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now.seconds)
    return now


def step(clock: StepClock, now, network: bool, wait: float, work: float, images: int = 8) -> None:
    with clock.step(network, images):
        with clock.waiting():
            now.seconds += wait
        now.seconds += work


def test_before_the_first_step_nothing_is_known() -> None:
    clock = StepClock()
    assert clock.images_per_second() is None
    assert clock.waiting_share() is None
    assert clock.left(SCHEDULE, 0, 20) is None


def test_after_one_step_the_rest_is_estimated(now) -> None:
    clock = StepClock()
    step(clock, now, True, wait=1.0, work=1.0)
    assert clock.images_per_second() == 4
    assert clock.waiting_share() == 0.5
    assert clock.left(SCHEDULE, 1, 20) == 19 * 2.0


def test_stages_are_timed_apart_and_the_first_step_is_forgotten(now) -> None:
    clock = StepClock()
    step(clock, now, True, wait=9.0, work=1.0)  # starts the workers
    for _ in range(3):
        step(clock, now, True, wait=0.5, work=1.5)
    step(clock, now, False, wait=0.0, work=3.0, images=0)
    for _ in range(2):
        step(clock, now, False, wait=0.0, work=0.25, images=0)
    assert clock.seconds(True) == 2.0
    assert clock.seconds(False) == 0.25
    assert clock.images_per_second() == 4
    assert clock.waiting_share() == 0.25
    assert clock.left(SCHEDULE, 7, 20) == 7 * 0.25 + 6 * 2.0
    assert clock.left(SCHEDULE, 16, 18) == 2 * 2.0  # of a stage that ends early


def test_only_the_last_steps_count(now) -> None:
    clock = StepClock()
    for work in [1.0] + 60 * [5.0] + progress.STEPS * [2.0]:
        step(clock, now, True, wait=0.0, work=work)
    assert clock.seconds(True) == 2.0


def test_the_line_says_it_all(now, caplog) -> None:
    clock = StepClock()
    step(clock, now, True, wait=1.0, work=3.0)
    with EventStorage(0) as storage, caplog.at_level("INFO", logger="unilabel.engine.progress"):
        ProgressLine(clock, SCHEDULE, lambda: 20).write()
        storage.put_scalars(total_loss=1.5, lr=0.003)
        storage.put_scalar("loss_ce/city", 2.25)
        ProgressLine(clock, SCHEDULE, lambda: 20).write()
    first, second = (record.getMessage() for record in caplog.records)
    assert "no losses yet" in first
    for part in (
        "iteration 1 of 20 (MULTI_HEAD)",
        "0:01:16 left",
        "total_loss 1.5",
        "loss_ce/city 2.25",
        "2.0 images/s, 25% of the time waiting for data",
        "lr 0.003",
    ):
        assert part in second


def test_waiting_is_real_time() -> None:
    clock = StepClock()
    with clock.step(True, 1), clock.waiting():
        time.sleep(0.02)
    assert clock.seconds(True) >= 0.02
    assert 0.9 < clock.waiting_share() <= 1
