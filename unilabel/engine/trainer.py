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
from unilabel.core.label_graph import LabelGraph
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.losses import class_weights
from unilabel.core.stages import Segment, Stage, StageSchedule
from unilabel.data.bad_samples import BadSampleCounter
from unilabel.data.build import build_train_loader, class_pixel_counts
from unilabel.data.sources import DatasetSource
from unilabel.engine import distributed, transitions
from unilabel.engine.graph_stage import GraphLearner
from unilabel.engine.guards import StepGuard, clip_gradient
from unilabel.engine.optim import build_network_optimizer, learning_rate, set_learning_rate
from unilabel.engine.pixel_cache import PixelCache
from unilabel.engine.resume import check_resumable
from unilabel.engine.segmentor import build_segmentor, install_label_space_size
from unilabel.engine.unification import NodeProposal
from unilabel.text.cache import load_or_encode

logger = logging.getLogger(__name__)

LABEL_MAPS_FOR_WEIGHTS = 500  # label maps of a dataset from which class frequencies are measured


class UniLabelTrainer(TrainerBase):
    """Trains one model through the stages of its schedule.

    Everything random is a function of the seed and the iteration, so a resumed run repeats an
    uninterrupted one.

    Attributes:
        proposal: what node selection found, once it has run.
        edge_weights: (N, C) soft mapping of the last GNN stage.
        human_links: (N, C) bool links that a person fixed, or None.
        records: stage, iterations and seconds of finished segments.
        notes: one line per event that a person should read.
        link_scores: agreement with known relations after each event that changed the links.
        guard: watches over steps whose gradient is not finite.
        bad_samples: which training samples could not be used.
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
        self.network: nn.Module = self.model
        self.optimizer: torch.optim.Optimizer | None = None
        self.scaler = torch.amp.GradScaler("cuda", enabled=self._amp_dtype() is torch.float16)
        self.text_features: Tensor | None = None
        self.proposal: NodeProposal | None = None
        self.graph: LabelGraph | None = None
        self.learner: GraphLearner | None = None
        self.cache: PixelCache | None = None
        self.edge_weights: Tensor | None = None
        self.human_links: Tensor | None = None
        self.marginals: dict[str, Tensor] = {}
        self.segment: Segment | None = None
        self.records: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.link_scores: list[dict[str, Any]] = []
        self.guard = StepGuard(cfg)
        sizes = {s.name: len(s.samples("train")) for s in sources}
        self.bad_samples = BadSampleCounter(sizes, cfg.DATASETS.MAX_BAD_SHARE)
        self._spent = 0.0  # seconds of the present segment in earlier processes
        self._entered_at = time.monotonic()
        self._batches: Iterator[list[dict[str, Any]]] | None = None
        self._resumed: dict[str, Any] | None = None

    # --- the loop ------------------------------------------------------------------------------

    def train(self) -> None:  # type: ignore[override]
        """Run from ``start_iter`` to the end of the schedule."""
        logger.info("schedule: %s", self.schedule)
        transitions.check_inputs(self)
        if self.start_iter == 0:
            self._measure_class_weights()
        self.iter = self.start_iter
        with EventStorage(self.start_iter) as self.storage:
            self.before_train()
            while self.iter < self.max_iter:
                self.before_step()
                self.run_step()
                self.after_step()
                self.storage.step()
                self.iter += 1
            self.after_train()

    def run_step(self) -> None:
        """One iteration of whatever stage the run is in."""
        if self.segment is None or self.iter >= self.segment.stop:
            self.enter_segment(self.schedule.at(self.iter))
        torch.manual_seed(
            (self.cfg.SEED * 1_000_003 + self.iter) * comm.get_world_size() + comm.get_rank()
        )
        if self.segment.stage is Stage.GNN:
            losses = self._graph_step()
        else:
            if self.iter == self.schedule.prune_iteration(self.cfg.UNIFY.PRUNE_AT):
                transitions.prune_links(self)
                self._wrap_network()  # the model's parameters are the same; buffers changed
            losses = self._network_step()
        if (self.iter + 1) % self.cfg.LOG_PERIOD == 0 or self.iter + 1 == self.segment.stop:
            self._log(losses)
        if self.iter + 1 == self.segment.stop:
            self.leave_segment()

    def _network_step(self) -> dict[str, Tensor]:
        rate = learning_rate(self.cfg, self.schedule, self.segment, self.iter)
        set_learning_rate(self.optimizer, rate)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        self.guard.begin(self.model)
        dtype = self._amp_dtype()
        total: dict[str, Tensor] = {}
        parts = self.cfg.INPUT.ACCUMULATE
        for part in range(parts):
            batch = self._next_batch()
            last = part == parts - 1
            wait = getattr(self.network, "no_sync", None)
            with (
                torch.autocast(self.model.device.type, dtype or torch.bfloat16, dtype is not None),
                wait() if wait and not last else nullcontext(),
            ):
                losses = self.network(batch)
                loss = torch.stack(list(losses.values())).mean() / parts
                self.guard.saw(batch, losses)
                self.scaler.scale(loss).backward()
            for name, value in losses.items():
                total[name] = total.get(name, 0) + value.detach() / parts
        self.scaler.unscale_(self.optimizer)
        norm = clip_gradient(self.model.parameters(), self.cfg.SOLVER.CLIP_GRADIENT)
        if not self.guard.passes(self, norm):
            return {}
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return total

    def _graph_step(self) -> dict[str, Tensor]:
        within = self.iter - self.segment.start
        if self.cfg.GRAPH.CACHED:
            generator = torch.Generator().manual_seed(self.cfg.SEED * 1_000_003 + self.iter)
            pixels = self.cache.batch(self.cfg.GRAPH.PIXELS, generator)
            device = self.graph.edge_logits.device
            pixels = [(e.to(device), y.to(device)) for e, y in pixels]
        else:
            pixels = transitions.embed_batch(self, self._next_batch())
        self.guard.begin(self.graph)
        losses = self.learner.step(within, pixels)
        self.guard.saw([], losses)
        return losses if self.guard.passes(self, self.learner.gradient_norm) else {}

    def _next_batch(self) -> list[dict[str, Any]]:
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
        fresh = resumed is None
        if fresh and segment.stage is not Stage.MULTI_HEAD:
            transitions.prepare_label_space(self, segment)
        if segment.stage is Stage.GNN:
            transitions.prepare_graph(self, segment)
            self.optimizer = None
            if resumed is not None:
                self.learner.load_state_dict(resumed["learner"])
        else:
            self.graph = self.graph if segment.stage is Stage.SEG else None
            self.cache = self.learner = None
            if self.model.uni_head is not None and self.cfg.LOSS.HEADS_WEIGHT == 0:
                self.model.multi_head = None
            if self.model.uni_head is not None:
                trainable = segment.stage is Stage.FINAL
                self.model.uni_head.label_embedding.requires_grad_(trainable)
            self.optimizer = build_network_optimizer(self.cfg, self.model)
            if resumed is not None:
                self.optimizer.load_state_dict(resumed["optimizer"])
                self.scaler.load_state_dict(resumed["scaler"])
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
        """Note what the stage took; solve the mapping after a GNN stage."""
        segment = self.segment
        if segment.stage is Stage.GNN:
            transitions.finish_graph(self)
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

    def mapping(self) -> LabelMapping | None:
        """The links in use, or None before there are unified labels."""
        if self.model.uni_head is None:
            return None
        return LabelMapping.from_stacked(self.label_spaces, self.model.uni_head.mapping.cpu())

    def features(self) -> Tensor:
        """(C, T) text features, encoded at first use."""
        if self.text_features is None:
            self.text_features = load_or_encode(
                self.cfg.TEXT.FEATURES or None,
                self.label_spaces,
                self.cfg.TEXT.ENCODER,
                mode=self.cfg.TEXT.MODE,
            )
        return self.text_features

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
            "scaler": self.scaler.state_dict(),
            "learner": self.learner.state_dict() if running and self.learner else None,
            "graph": None if self.graph is None else self.graph.state_dict(),
            "proposal": None
            if self.proposal is None
            else {
                "links": self.proposal.links,
                "score": self.proposal.score,
                "source": self.proposal.source,
            },
            "edge_weights": self.edge_weights,
            "human_links": self.human_links,
            "marginals": self.marginals,
            "text_features": self.text_features,
            "records": self.records,
            "notes": self.notes,
            "link_scores": self.link_scores,
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
        heads = any(key.startswith("multi_head.") for key in state["model"])
        self._check_heads(state, heads)
        changed = check_resumable(self.cfg, state)
        install_label_space_size(self.cfg, self.model, state["num_unified"], heads)
        self.model.load_state_dict(state["model"])
        self.start_iter = state["iteration"]
        self.text_features = state["text_features"]
        self.edge_weights = state["edge_weights"]
        self.human_links = state["human_links"]
        self.marginals = state["marginals"]
        self.records, self.notes = state["records"], [*state["notes"], *changed]
        self.link_scores = state.get("link_scores", [])  # not in checkpoints of before
        self.guard.load_state_dict(state["guard"])
        self.bad_samples.merge(state["bad_samples"])
        if state["proposal"] is not None:
            self.proposal = NodeProposal(**state["proposal"])
        if state["graph"] is not None:
            self.graph = transitions.new_graph(self)
            self.graph.load_state_dict(state["graph"])
        if state["running"]:
            self._resumed = state
            self._spent = state["seconds"]

    def _check_heads(self, state: dict[str, Any], heads: bool) -> None:
        """Heads beside the unified labels cannot begin or end within a stage, or come back."""
        weight, unified = self.cfg.LOSS.HEADS_WEIGHT, state["num_unified"] is not None
        missing = unified and weight > 0 and not heads
        midway = unified and weight == 0 and heads and state["optimizer"] is not None
        if missing or midway:
            found = "no heads" if missing else "heads that train on beside the unified labels"
            raise UniLabelError(
                f"LOSS.HEADS_WEIGHT is {weight}, but the checkpoint in {self.cfg.OUTPUT_DIR} at "
                f"iteration {state['iteration']} has {found}; --resume with the value of the run "
                "(config.yaml there), or use another OUTPUT_DIR."
            )

    # --- parts ---------------------------------------------------------------------------------

    def _wrap_network(self) -> None:
        self.network = self.model
        if comm.get_world_size() > 1:
            devices = [self.model.device.index] if self.model.device.type == "cuda" else None
            self.network = DistributedDataParallel(
                self.model, device_ids=devices, broadcast_buffers=False
            )

    def _amp_dtype(self) -> torch.dtype | None:
        """Only on CUDA: most CPUs are slower in half precision."""
        if not self.cfg.SOLVER.AMP.ENABLED or self.model.device.type != "cuda":
            return None
        return {"bfloat16": torch.bfloat16, "float16": torch.float16}[self.cfg.SOLVER.AMP_DTYPE]

    def _measure_class_weights(self) -> None:
        power, limit = self.cfg.LOSS.CLASS_WEIGHT_POWER, self.cfg.LOSS.CLASS_WEIGHT_LIMIT
        skip = self.cfg.DATASETS.ON_BAD_SAMPLE == "skip"
        if power == 0:
            return
        counts = [
            class_pixel_counts(source, source.samples("train"), LABEL_MAPS_FOR_WEIGHTS, skip)
            for source in self.sources
        ]
        parts = [class_weights(c, power, limit) for c in counts]
        self.model.class_weight.copy_(torch.cat(parts))

    def _log(self, losses: dict[str, Tensor]) -> None:
        if not losses:  # the step was left out, on all ranks
            return
        values = {name: float(value) for name, value in comm.reduce_dict(losses).items()}
        if not comm.is_main_process():
            return
        self.storage.put_scalars(total_loss=sum(values.values()) / len(values), **values)
        optimizer = self.optimizer or self.learner.optimizer
        self.storage.put_scalar("lr", optimizer.param_groups[-1]["lr"], smoothing_hint=False)
