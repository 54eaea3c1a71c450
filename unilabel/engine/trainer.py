"""The run: all stages in one loop, on Detectron2's trainer, hooks and event storage."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.losses import class_weights
from unilabel.core.relations import RelationTruth
from unilabel.core.stages import Segment, Stage, StageSchedule
from unilabel.data.bad_samples import BadSampleCounter
from unilabel.data.build import build_train_loader, class_pixel_counts
from unilabel.data.sources import DatasetSource
from unilabel.engine import distributed
from unilabel.engine.evaluate import relations_file
from unilabel.engine.guards import StepGuard, clip_gradient
from unilabel.engine.node_selection import read_label_space
from unilabel.engine.optim import (
    build_network_optimizer,
    go_on_from,
    half_precision,
    learning_rate,
    set_learning_rate,
)
from unilabel.engine.progress import StepClock
from unilabel.engine.refit import refit
from unilabel.engine.resume import check_resumable
from unilabel.engine.segmentor import build_segmentor, load_weights
from unilabel.engine.token_cache import use_token_cache
from unilabel.engine.unifier import Unifier
from unilabel.engine.versions import current_state
from unilabel.modeling.depthwise import use_depthwise_convs

logger = logging.getLogger(__name__)

LABEL_MAPS_FOR_WEIGHTS = 500  # label maps of a dataset from which class frequencies are measured


class UniLabelTrainer(TrainerBase):
    """Trains one model through the stages of its schedule.

    Everything random is a function of the seed and the iteration, so a resumed run repeats an
    uninterrupted one.

    Attributes:
        unifier: owner of the unified labels.
        records: stage, iterations and seconds of finished segments.
        notes: one line per event that a person should read.
        guard: watches over steps whose gradient is not finite.
        bad_samples: which training samples could not be used.
        clock: how long the last steps took.
    """

    def __init__(self, cfg: CfgNode, sources: list[DatasetSource]) -> None:
        """Build the model; :meth:`load_state` continues an interrupted run."""
        super().__init__()
        self.cfg = cfg
        self.sources = sources
        self.label_spaces = LabelSpaceSet(s.label_space for s in sources)
        self.schedule = StageSchedule(cfg.SCHEDULE)
        self.start_iter, self.max_iter = 0, self.schedule.total
        torch.manual_seed(cfg.SEED)
        self.model = build_segmentor(cfg, self.label_spaces)
        use_token_cache(cfg, self.model, sources)
        self.network: nn.Module = self.model
        self.optimizer: torch.optim.Optimizer | None = None
        self.last_optimizer: dict[str, Any] | None = None  # state in the last network stage
        self.half = half_precision(cfg, self.model.device)
        if self.half and self.model.device.type == "cpu":
            use_depthwise_convs(self.model.backbone)
        self.scaler = torch.amp.GradScaler(
            self.model.device.type, enabled=self.half is torch.float16
        )
        self.clock = StepClock()
        self.segment: Segment | None = None
        self.records: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.unifier = Unifier(cfg, self.label_spaces, sources, self.model, self.note)
        self.guard = StepGuard(cfg, lambda: self.state(self.iter))
        sizes = {s.name: len(s.samples("train")) for s in sources}
        self.bad_samples = BadSampleCounter(sizes, cfg.DATASETS.MAX_BAD_SHARE)
        self._spent = 0.0  # seconds of the present segment in earlier processes
        self._entered_at = time.monotonic()
        self._batches: Iterator[list[dict[str, Any]]] | None = None
        self._resumed: dict[str, Any] | None = None

    # --- the loop ------------------------------------------------------------------------------

    def train(self) -> None:  # type: ignore[override]
        """Run from ``start_iter`` to the end of the schedule.

        Hooks end (signal handlers are restored, files closed) also where an error ends the run.
        """
        logger.info("schedule: %s", self.schedule)
        self._check_inputs()
        if self.start_iter == 0:
            self._measure_class_weights()
        self.iter = self.start_iter
        with EventStorage(self.start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < self.max_iter:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.storage.step()
                    self.iter += 1
            finally:
                self.after_train()

    def run_step(self) -> None:
        """One iteration of whatever stage the run is in."""
        if self.segment is None or self.iter >= self.segment.stop:
            self.enter_segment(self.schedule.at(self.iter))
        torch.manual_seed(
            (self.cfg.SEED * 1_000_003 + self.iter) * comm.get_world_size() + comm.get_rank()
        )
        network = self.segment.stage.trains_network
        if network and self.iter == self.schedule.prune_iteration(self.cfg.UNIFY.PRUNE_AT):
            self.unifier.prune()
            self._wrap_network()  # the model's parameters are the same; buffers changed
        with self.clock.step(network, self.images_of_step if network else 0):
            losses = self._network_step() if network else self._graph_step()
        if self.is_logged() or self.iter + 1 == self.segment.stop:
            self._log(losses)
        if self.iter + 1 == self.segment.stop:
            self.leave_segment()

    @property
    def images_of_step(self) -> int:
        """Images that a step of the network sees in this process."""
        cfg = self.cfg.INPUT
        return cfg.IMAGES_PER_DATASET * cfg.ACCUMULATE * len(self.sources)

    def is_logged(self) -> bool:
        """Whether the present iteration is told: every LOG_PERIOD, and the first of a process."""
        return (self.iter + 1) % self.cfg.LOG_PERIOD == 0 or self.iter == self.start_iter

    def _network_step(self) -> dict[str, Tensor]:
        rate = learning_rate(self.cfg, self.schedule, self.segment, self.iter)
        set_learning_rate(self.optimizer, rate)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        self.guard.begin(self.model)
        total: dict[str, Tensor] = {}
        parts = self.cfg.INPUT.ACCUMULATE
        for part in range(parts):
            batch = self._next_batch()
            last = part == parts - 1
            wait = getattr(self.network, "no_sync", None)
            with wait() if wait and not last else nullcontext():
                with torch.autocast(self.model.device.type, self.half, self.half is not None):
                    losses = self.network(batch)
                    loss = torch.stack(list(losses.values())).mean() / parts
                self.guard.saw(batch, losses)
                # Not under autocast: hand-written backward passes would multiply in half precision.
                self.scaler.scale(loss).backward()
            for name, value in losses.items():
                total[name] = total.get(name, 0) + value.detach() / parts
        self.scaler.unscale_(self.optimizer)
        norm = clip_gradient(self.model.parameters(), self.cfg.SOLVER.CLIP_GRADIENT)
        stage = self.segment.stage.value
        passed = self.guard.passes(norm, self.iter, stage, scaled=self.scaler.is_enabled())
        if passed:
            self.scaler.step(self.optimizer)
        self.scaler.update()  # after a step that was left out too, else it refuses the next one
        return total if passed else {}

    def _graph_step(self) -> dict[str, Tensor]:
        batch = None if self.cfg.GRAPH.CACHED else self._next_batch()
        self.guard.begin(self.unifier.graph)
        losses = self.unifier.learn(self.segment, self.iter, batch)
        self.guard.saw([], losses)
        norm = self.unifier.learner.gradient_norm
        return losses if self.guard.passes(norm, self.iter, self.segment.stage.value) else {}

    def _next_batch(self) -> list[dict[str, Any]]:
        with self.clock.waiting():
            batch = next(self._batches)
        self.bad_samples.add(batch)
        return batch

    # --- stages --------------------------------------------------------------------------------

    def enter_segment(self, segment: Segment) -> None:
        """Prepare models, optimizer and data of a stage."""
        self.segment = segment
        self._entered_at = time.monotonic()
        logger.info(
            "stage %s: iterations %d to %d", segment.stage.value, segment.start, segment.stop
        )
        resumed, self._resumed = self._resumed, None
        self.unifier.enter(segment, self.iter, fresh=resumed is None)
        if segment.stage is Stage.GNN:
            self.optimizer = None
        else:
            self.optimizer = build_network_optimizer(self.cfg, self.model)
            if resumed is not None and resumed["optimizer"] is not None:
                self.optimizer.load_state_dict(resumed["optimizer"])
            elif self.last_optimizer is not None:
                go_on_from(self.optimizer, self.last_optimizer)
            self.last_optimizer = None
            self._wrap_network()
        if segment.stage is Stage.GNN and self.cfg.GRAPH.CACHED:
            return  # learns on cached pixels: no images are loaded
        self._batches = iter(
            build_train_loader(
                self.cfg,
                self.sources,
                self.iter * self.cfg.INPUT.ACCUMULATE,
                segment.stop * self.cfg.INPUT.ACCUMULATE,
                comm.get_rank(),
                comm.get_world_size(),
            )
        )

    def leave_segment(self) -> None:
        """Note what the stage took; the unifier has the word first."""
        segment = self.segment
        self.unifier.leave(segment, self.iter)
        if self.optimizer is not None:  # also of the last stage: a longer SCHEDULE may follow
            self.last_optimizer = self.optimizer.state_dict()
        distributed.average_buffers(self.model)
        seconds = self._spent + time.monotonic() - self._entered_at
        self._spent = 0.0
        self.records.append(
            {
                "name": segment.stage.value,
                # not segment.length: a longer SCHEDULE may have added to a stage that had ended
                "iterations": self.iter + 1 - sum(r["iterations"] for r in self.records),
                "seconds": round(seconds, 2),
            }
        )
        self.segment = None
        self._batches = None

    def note(self, line: str) -> None:
        """Tell a person what happened; kept in the results."""
        logger.info(line)
        self.notes.append(line)

    def refit(self) -> None:
        """Fit the classifiers of the trained network once more (SOLVER.REFIT)."""
        started = time.monotonic()
        refit(self.cfg, self.label_spaces, self.sources, self.model)
        seconds = round(time.monotonic() - started, 2)
        steps = self.cfg.UNIFY.FIT_ITERATIONS  # on cached pixels: no iterations of the run
        record = {"name": "REFIT", "iterations": 0, "steps": steps, "seconds": seconds}
        self.records.append(record)

    # --- state ---------------------------------------------------------------------------------

    def state(self, iteration: int | None = None) -> dict[str, Any]:
        """Everything that a resumed run needs (tensors and plain values only).

        Args:
            iteration: the next one; None: the present one is done.
        """
        distributed.average_buffers(self.model)
        for part in comm.all_gather(self.bad_samples.state_dict()):
            self.bad_samples.merge(part)
        running = self.segment is not None
        return {
            "model": self.model.state_dict(),
            "num_unified": None if self.model.uni_head is None else self.model.uni_head.num_unified,
            "iteration": self.iter + 1 if iteration is None else iteration,
            "running": running,
            "optimizer": self.optimizer.state_dict() if running and self.optimizer else None,
            "last_optimizer": self.last_optimizer,
            "scaler": self.scaler.state_dict(),
            "unifier": self.unifier.state_dict(),
            "records": self.records,
            "notes": self.notes,
            "guard": self.guard.state_dict(),
            "bad_samples": self.bad_samples.state_dict(),
            "hooks": {type(h).__name__: s for h in self._hooks if (s := h.state_dict())},
            "seconds": self._spent + time.monotonic() - self._entered_at if running else 0.0,
            "label_spaces": self.label_spaces.to_list(),
            "config": self.cfg.dump(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state` was taken.

        Raises:
            UniLabelError: the state belongs to other datasets or another schedule.
        """
        saved = LabelSpaceSet.from_list(state["label_spaces"], "checkpoint")
        if saved.label_names() != self.label_spaces.label_names():
            raise UniLabelError(
                f"the checkpoint in {self.cfg.OUTPUT_DIR} was trained on {saved.names} with "
                f"{saved.total} classes, this configuration names {self.label_spaces.names} with "
                f"{self.label_spaces.total}; use another OUTPUT_DIR or the same datasets."
            )
        if state["iteration"] > self.schedule.total:
            raise UniLabelError(
                f"the checkpoint is at iteration {state['iteration']}, the SCHEDULE has only "
                f"{self.schedule.total}."
            )
        changed = check_resumable(self.cfg, state)
        state = current_state(state)
        unified = state["num_unified"]
        load_weights(self.cfg, self.model, state["model"], unified, keep_heads=True)
        self.unifier.load_state_dict(state["unifier"])
        self.start_iter = state["iteration"]
        self.last_optimizer = state["last_optimizer"]
        self.records, self.notes = state["records"], [*state["notes"], *changed]
        if self.scaler.is_enabled() and state["scaler"]:  # that of another precision is empty
            self.scaler.load_state_dict(state["scaler"])
        self.guard.load_state_dict(state["guard"])
        self.bad_samples.merge(state["bad_samples"])
        if state["running"]:
            self._resumed = state
            self._spent = state["seconds"]

    # --- parts ---------------------------------------------------------------------------------

    def _wrap_network(self) -> None:
        self.network = self.model
        if comm.get_world_size() > 1:
            devices = [self.model.device.index] if self.model.device.type == "cuda" else None
            self.network = DistributedDataParallel(
                self.model, device_ids=devices, broadcast_buffers=False
            )

    def _check_inputs(self) -> None:
        """Read whatever later stages and the evaluation need, before hours of training begin.

        Raises:
            UniLabelError: a file is missing or wrong, or the datasets lack what TEXT.MODE needs.
        """
        if any(s.stage is not Stage.MULTI_HEAD for s in self.schedule.segments):
            self.unifier.features()
            if self.cfg.UNIFY.NODES == "file":
                read_label_space(self.cfg, self.label_spaces)
        relations = relations_file(self.cfg)
        if relations:
            RelationTruth.from_json(relations, self.label_spaces)

    def _measure_class_weights(self) -> None:
        power = self.cfg.LOSS.CLASS_WEIGHT_POWER
        skip = self.cfg.DATASETS.ON_BAD_SAMPLE == "skip"
        if power == 0:
            return
        counts = [
            class_pixel_counts(source, source.samples("train"), LABEL_MAPS_FOR_WEIGHTS, skip)
            for source in self.sources
        ]
        parts = [class_weights(c, power) for c in counts]
        self.model.class_weight.copy_(torch.cat(parts))

    def _log(self, losses: dict[str, Tensor]) -> None:
        if not losses:  # the step was left out, on all ranks
            return
        values = {name: float(value) for name, value in comm.reduce_dict(losses).items()}
        if not comm.is_main_process():
            return
        self.storage.put_scalars(total_loss=sum(values.values()) / len(values), **values)
        optimizer = self.optimizer or self.unifier.learner.optimizer
        speeds = {
            "images_per_second": self.clock.images_per_second(),
            "waiting_share": self.clock.waiting_share(),
        }
        self.storage.put_scalars(**{k: v for k, v in speeds.items() if v is not None})
        self.storage.put_scalar("lr", optimizer.param_groups[-1]["lr"], smoothing_hint=False)
