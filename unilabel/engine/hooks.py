"""Hooks of a run: checkpoints, progress, orderly stops."""

from __future__ import annotations

import logging
import signal
from types import FrameType

import torch
from detectron2.engine.train_loop import HookBase
from detectron2.utils import comm
from detectron2.utils.events import EventWriter

from unilabel.engine.checkpoint import CheckpointKeeper
from unilabel.engine.validation import MEAN

logger = logging.getLogger(__name__)


class CheckpointHook(HookBase):
    """Saves every ``period`` iterations, at the end of every stage, and on SIGTERM or SIGINT.

    After a signal the run ends with the usual exit code, 128 + signal (143, 130), so that a
    scheduler may requeue it with ``--resume``.
    """

    def __init__(self, keeper: CheckpointKeeper, period: int) -> None:
        """Keep where and how often to save."""
        self.keeper = keeper
        self.period = period
        self._signal = 0
        self._old: dict[int, object] = {}

    def before_train(self) -> None:
        """Listen to signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._on_signal)

    def after_step(self) -> None:
        """Save if it is time."""
        done = self.trainer.iter + 1
        boundary = self.trainer.segment is None
        stop = self._asked_to_stop()
        if done % self.period == 0 or boundary or stop:
            content = self.trainer.state()  # on all ranks: it averages buffers
            if comm.is_main_process():
                self.keeper.save(done, content)
            comm.synchronize()
        if stop:
            logger.warning(
                "stopped by signal %d at iteration %d; continue with --resume", stop, done
            )
            raise SystemExit(128 + stop)

    def after_train(self) -> None:
        """Restore the signal handlers."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = number

    def _asked_to_stop(self) -> int:
        if comm.get_world_size() == 1:
            return self._signal
        flag = torch.tensor([self._signal], device=self.trainer.model.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return int(flag)


class ProgressHook(HookBase):
    """Writes losses, learning rate, stage and remaining time whenever the trainer logs."""

    def __init__(self, writers: list[EventWriter]) -> None:
        """Keep the writers (terminal, JSON lines, TensorBoard)."""
        self.writers = writers

    def after_step(self) -> None:
        """Write after the trainer has put new values, or the network was scored."""
        scored = self.trainer.storage.latest().get(MEAN, (None, None))[1] == self.trainer.iter
        if self.trainer.is_logged() or scored:
            for writer in self.writers:
                writer.write()

    def after_train(self) -> None:
        """Flush."""
        for writer in self.writers:
            writer.close()
