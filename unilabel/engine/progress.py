"""The line of progress: what is left, how fast it goes, and what it waits for."""

from __future__ import annotations

import datetime
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from detectron2.utils.events import EventWriter, get_event_storage

from unilabel.core.stages import StageSchedule

__all__ = ["ProgressLine", "StepClock"]

logger = logging.getLogger(__name__)

STEPS = 50  # the last ones that speeds are means of
MISSING = "-"


class StepClock:
    """Seconds of the last steps, apart for the network and the label graph.

    The first step of a process starts workers and compiles; it counts until there is another one.
    """

    def __init__(self) -> None:
        """Start without steps."""
        self._steps: dict[bool, deque[tuple[float, float, int]]] = {}
        self._waited = 0.0
        self._first = {True: True, False: True}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The time within is spent waiting for data."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - start

    @contextmanager
    def step(self, network: bool, images: int) -> Iterator[None]:
        """The time within is that of a step of the network, or of the label graph."""
        self._waited = 0.0
        start = time.perf_counter()
        yield
        row = (time.perf_counter() - start, self._waited, images)
        steps = self._steps.setdefault(network, deque(maxlen=STEPS))
        if len(steps) == 1 and self._first[network]:
            steps.clear()
            self._first[network] = False
        steps.append(row)

    def seconds(self, network: bool) -> float | None:
        """Mean seconds of a step; None before the first one."""
        steps = self._steps.get(network)
        return sum(s for s, _, _ in steps) / len(steps) if steps else None

    def images_per_second(self) -> float | None:
        """Of the network, in this process."""
        steps = self._steps.get(True)
        return sum(n for _, _, n in steps) / sum(s for s, _, _ in steps) if steps else None

    def waiting_share(self) -> float | None:
        """Share of the time of the network's steps that was spent waiting for data, 0..1."""
        steps = self._steps.get(True)
        return sum(w for _, w, _ in steps) / sum(s for s, _, _ in steps) if steps else None

    def left(self, schedule: StageSchedule, done: int, stop: int) -> float | None:
        """Seconds that the iterations from ``done`` to ``stop`` will take.

        Steps of a kind that has not been seen are taken to last as long as those of the other.
        """
        total = 0.0
        for segment in schedule.segments:
            count = min(segment.stop, stop) - max(segment.start, done)
            if count <= 0:
                continue
            network = segment.stage.trains_network
            each = self.seconds(network) or self.seconds(not network)
            if each is None:
                return None
            total += count * each
        return total


class ProgressLine(EventWriter):
    """One line for a person."""

    def __init__(self, clock: StepClock, schedule: StageSchedule, stop: Callable[[], int]) -> None:
        """Keep what is told; ``stop`` is the iteration at which the run ends."""
        self.clock = clock
        self.schedule = schedule
        self.stop = stop

    def write(self) -> None:
        """Log the present state of Detectron2's storage."""
        storage = get_event_storage()
        done, stop = storage.iter + 1, self.stop()
        latest = storage.latest()
        left = self.clock.left(self.schedule, done, stop)
        losses = [(name, storage.history(name).median(20)) for name in latest if "loss" in name]
        rate, share = self.clock.images_per_second(), self.clock.waiting_share()
        parts = [
            f"iteration {done} of {stop} ({self.schedule.at(storage.iter).stage.value})",
            f"{_time(left)} left",
            "  ".join(f"{name} {value:.4g}" for name, value in losses) or "no losses yet",
            f"{rate:.1f} images/s, {share:.0%} of the time waiting for data" if rate else "",
            f"lr {latest['lr'][0]:.3g}" if "lr" in latest else "",
        ]
        if torch.cuda.is_available():
            parts.append(f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
        logger.info(", ".join(part for part in parts if part))


def _time(seconds: float | None) -> str:
    return MISSING if seconds is None else str(datetime.timedelta(seconds=round(seconds)))
