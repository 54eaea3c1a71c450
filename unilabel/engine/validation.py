"""Scores in the course of a run: TEST.EVAL_PERIOD, the best model, TEST.PATIENCE."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine.train_loop import HookBase
from detectron2.utils import comm

from unilabel.core.label_space import UNIFIED
from unilabel.core.stages import Segment
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.sources import DatasetSource
from unilabel.engine import distributed
from unilabel.engine.checkpoint import finished_model, save_file
from unilabel.engine.evaluate import score_datasets
from unilabel.engine.undisturbed import undisturbed

logger = logging.getLogger(__name__)

BEST_MODEL = "model_best.pth"
CURVES = "miou.png"
MEAN = "mean_miou"  # in metrics.json, TensorBoard and results.json


class ValidationHook(HookBase):
    """Scores the network every TEST.EVAL_PERIOD of its iterations; the run itself is not changed.

    Before there are unified labels the heads answer, afterwards the unified head. The best model is
    that of the highest mean mIoU; one with heads gives way to the first one with unified labels.

    With TEST.PATIENCE the last stage ends after so many scores without a better one, counted from
    its beginning, or from the iteration in which its links are pruned.

    Attributes:
        evaluations: ``{"iteration", "mean_miou", "space", "datasets": {name: mIoU}}`` of each.
        best: the best of them, with the file that it is kept in.
        ended_at: iterations after which the last stage was ended early, or 0.
    """

    def __init__(
        self,
        cfg: CfgNode,
        sources: Sequence[DatasetSource],
        label_space: Callable[[], UnifiedLabelSpace | None],
    ) -> None:
        """Keep what to score; ``label_space`` tells the present unified labels."""
        self.cfg = cfg
        self.sources = sources
        self.label_space = label_space
        self.evaluations: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.ended_at = 0

    def after_step(self) -> None:
        """Score if it is time, and end the last stage if nothing becomes better."""
        period, trainer = self.cfg.TEST.EVAL_PERIOD, self.trainer
        segment = trainer.schedule.at(trainer.iter)
        done = trainer.schedule.network_iterations(trainer.iter + 1)
        if not period or not segment.stage.trains_network or done % period:
            return
        with undisturbed(trainer.model):
            distributed.average_buffers(trainer.model)
            self._score()
        if self._patience_is_over(segment):
            self.ended_at = trainer.iter + 1
            trainer.note(
                f"{segment.stage.value} ended at iteration {self.ended_at} of {segment.stop}: no "
                f"better mean mIoU in {self.cfg.TEST.PATIENCE} scores (TEST.PATIENCE)"
            )
            trainer.leave_segment()
            trainer.max_iter = self.ended_at

    def _score(self) -> None:
        trainer = self.trainer
        scores = score_datasets(self.cfg, trainer.model, self.sources, None)
        datasets = {name: entry["miou"] for name, entry in scores["datasets"].items()}
        entry = {
            "iteration": trainer.iter + 1,
            MEAN: scores["mean_miou"],
            "space": "heads" if trainer.model.uni_head is None else UNIFIED,
            "datasets": datasets,
        }
        self.evaluations.append(entry)
        for name, value in [*((f"miou/{n}", v) for n, v in datasets.items()), (MEAN, entry[MEAN])]:
            if value is not None:
                trainer.storage.put_scalar(name, value, smoothing_hint=False)
        better = _is_better(entry, self.best)
        if better:
            self.best = {**entry, "file": BEST_MODEL}
        if comm.is_main_process():
            folder = Path(self.cfg.OUTPUT_DIR)
            if better:
                content = finished_model(self.cfg, trainer.model, self.label_space())
                save_file(folder / BEST_MODEL, {**content, "iteration": entry["iteration"]})
            self._draw(folder / CURVES)
        comm.synchronize()
        listed = ", ".join(f"{n} {v}" for n, v in datasets.items())
        logger.info(
            "iteration %d: mean mIoU %s (%s)%s",
            entry["iteration"],
            entry[MEAN],
            listed,
            ", the best so far" if better else "",
        )

    def _draw(self, path: Path) -> None:
        from unilabel.visual.curves import draw_curves  # Matplotlib is slow to import

        names = [source.name for source in self.sources]
        curves = {
            name: [(e["iteration"], e["datasets"][name]) for e in self.evaluations]
            for name in names
        }
        curves["mean"] = [(e["iteration"], e[MEAN]) for e in self.evaluations]
        stages = [(s.stage.value, s.start) for s in self.trainer.schedule.segments]
        draw_curves(curves, stages, path, self.best and self.best["iteration"])

    def _patience_is_over(self, segment: Segment) -> bool:
        schedule, patience = self.trainer.schedule, self.cfg.TEST.PATIENCE
        last = segment.stop == schedule.total
        if not patience or not last or self.trainer.iter + 1 == schedule.total:
            return False
        start = schedule.prune_iteration(self.cfg.UNIFY.PRUNE_AT) or segment.start
        scores = [e[MEAN] or 0.0 for e in self.evaluations if e["iteration"] > start]
        return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience

    def results(self) -> dict[str, Any]:
        """What ``results.json`` says about the scores."""
        if not self.evaluations:
            return {}
        return {"validation": self.evaluations, "best": self.best}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on as if nothing had happened."""
        return {"evaluations": self.evaluations, "best": self.best, "ended_at": self.ended_at}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of the trainer; TEST.PATIENCE 0 lets an ended stage go on."""
        mine = state.get("hooks", {}).get(type(self).__name__)  # not in checkpoints of before
        if mine is not None:
            self.evaluations, self.best = mine["evaluations"], mine["best"]
            self.ended_at = mine["ended_at"] if self.cfg.TEST.PATIENCE else 0


def _is_better(entry: dict[str, Any], best: dict[str, Any] | None) -> bool:
    if entry[MEAN] is None:
        return False
    return best is None or entry["space"] != best["space"] or entry[MEAN] > best[MEAN]
