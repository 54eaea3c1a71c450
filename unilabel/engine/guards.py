"""A loss or a gradient that is not finite: say where it came from, and keep the weights clean."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import Tensor, nn

from unilabel.core.errors import UniLabelError
from unilabel.core.io import write_json
from unilabel.engine.checkpoint import CheckpointKeeper

logger = logging.getLogger(__name__)

REPORT = "report.json"
MOST_IN_A_ROW = 10  # steps left out; more stop the run


def clip_gradient(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale gradients down to the norm ``limit`` (0: no limit); leave them alone if not finite.

    Returns:
        their norm, NaN if it is not finite.
    """
    try:
        return nn.utils.clip_grad_norm_(parameters, limit or math.inf, error_if_nonfinite=True)
    except RuntimeError as error:
        if "non-finite" not in str(error):
            raise
        return torch.tensor(math.nan)


class StepGuard:
    """Lets a step happen only if its gradient is finite (SOLVER.ON_NONFINITE: stop or skip).

    Gradients are averaged over processes before they are judged, so all processes judge alike.

    Attributes:
        skipped: steps left out in this run.
        in_a_row: of them, those since the last good step.
    """

    def __init__(self, cfg: CfgNode, state: Callable[[], dict[str, Any]]) -> None:
        """Keep the policy.

        Args:
            cfg: SOLVER.
            state: gives the state of the run before the present step, as a checkpoint holds it;
                asked on all ranks, since it averages buffers.
        """
        self.cfg = cfg
        self.state = state
        self.skipped = 0
        self.in_a_row = 0
        self._losses: list[dict[str, Tensor]] = []
        self._batches: list[list[dict[str, Any]]] = []
        self._model: nn.Module | None = None
        self._buffers: dict[torch.dtype, list[Tensor]] = {}
        self._before: dict[torch.dtype, Tensor] = {}

    def begin(self, model: nn.Module) -> None:
        """Before a step of ``model``: keep the batch norm statistics, which its pass changes."""
        self._losses, self._batches = [], []
        if model is not self._model:
            self._model, self._buffers = model, {}
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    for buffer in module.buffers(recurse=False):
                        self._buffers.setdefault(buffer.dtype, []).append(buffer)
        # one copy of all: hundreds of small ones would take milliseconds on a GPU
        self._before = {
            dtype: torch.cat([b.reshape(-1) for b in buffers])
            for dtype, buffers in self._buffers.items()
        }

    def saw(self, batch: list[dict[str, Any]], losses: dict[str, Tensor]) -> None:
        """A part of the step: its images and what they cost."""
        self._batches.append(batch)
        self._losses.append({name: value.detach() for name, value in losses.items()})

    def passes(self, norm: Tensor, iteration: int, stage: str, scaled: bool = False) -> bool:
        """Whether to do the step; if not, the state is that before it.

        Args:
            norm: of the gradient, averaged over processes.
            iteration: of the run.
            stage: its name.
            scaled: a gradient scaler leaves out overflowing gradients (float16): only losses count.

        Raises:
            UniLabelError: it is not finite, and the policy is to stop, or too many steps in a row
                were left out.
        """
        if scaled:
            norm = torch.stack([v for part in self._losses for v in part.values()]).sum()
            if comm.get_world_size() > 1:
                torch.distributed.all_reduce(norm)
        if bool(torch.isfinite(norm)):
            self.in_a_row = 0
            return True
        self._restore()
        message = self._describe(iteration)
        self.skipped += 1
        self.in_a_row += 1
        if self.cfg.SOLVER.ON_NONFINITE == "skip" and self.in_a_row <= MOST_IN_A_ROW:
            logger.warning("%s Step left out (%d so far).", message, self.skipped)
            return False
        folder = self._write_reproducer(iteration, stage)
        if self.in_a_row > MOST_IN_A_ROW:
            message += f" {self.in_a_row} steps in a row, more than {MOST_IN_A_ROW}."
        raise UniLabelError(
            f"{message} The last checkpoint in {self.cfg.OUTPUT_DIR} is untouched: lower "
            "SOLVER.BASE_LR, set SOLVER.CLIP_GRADIENT, or look at these files, then --resume. To "
            f"repeat the step: --resume OUTPUT_DIR {folder}"
        )

    def _restore(self) -> None:
        for dtype, buffers in self._buffers.items():
            parts = self._before[dtype].split([b.numel() for b in buffers])
            for buffer, part in zip(buffers, parts, strict=True):
                buffer.copy_(part.view_as(buffer))

    def _bad_datasets(self) -> list[str]:
        bad = {
            name.split("/")[-1]
            for losses in self._losses
            for name, value in losses.items()
            if not bool(torch.isfinite(value))
        }
        return sorted(bad)

    def _items(self) -> list[dict[str, Any]]:
        return [item for batch in self._batches for item in batch]

    def _describe(self, iteration: int) -> str:
        bad = self._bad_datasets()
        files = [i["file_name"] for i in self._items() if not bad or i["dataset_name"] in bad]
        what = f"the loss of {', '.join(bad)}" if bad else "the gradient, but no loss here,"
        where = f"; files: {', '.join(files)}" if files else ""
        return f"{what} is not finite at iteration {iteration}{where}."

    def _write_reproducer(self, iteration: int, stage: str) -> Path:
        """The state before the step as a checkpoint, and what was in the step."""
        folder = Path(self.cfg.OUTPUT_DIR) / f"nonfinite_{iteration:07d}"
        state = self.state()
        if comm.is_main_process():
            CheckpointKeeper(folder, 1).save(iteration, state)
        rank = comm.get_rank()
        report = {
            "iteration": iteration,
            "stage": stage,
            "seed": self.cfg.SEED,
            "step_seed": torch.initial_seed(),
            "rank": rank,
            "processes": comm.get_world_size(),
            "datasets": self._bad_datasets(),
            "losses": [{k: repr(float(v)) for k, v in part.items()} for part in self._losses],
            "batch": [
                {key: item[key] for key in ("dataset_name", "file_name", "sem_seg_file_name")}
                for item in self._items()
            ],
            "gradients": [
                name
                for name, p in self._model.named_parameters()
                if p.grad is not None and not bool(torch.isfinite(p.grad).all())
            ],
            "repeat": f"train_net.py --config-file ... --resume OUTPUT_DIR {folder}",
        }
        write_json(folder / (f"rank{rank}_{REPORT}" if rank else REPORT), report)
        return folder

    def state_dict(self) -> dict[str, int]:
        """The counters."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]
