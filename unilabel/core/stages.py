"""The stages of a run as a pure function of the iteration (Algorithm 1, Appendix A)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from unilabel.core.errors import UniLabelError


class Stage(Enum):
    """What is trained.

    MULTI_HEAD: segmentation network with one head per dataset. GNN: label graph, network frozen.
    SEG: segmentation network with fixed label embedding and mapping. FINAL: the same with a
    trainable label embedding; the graph is gone and unused links are pruned on the way.
    """

    MULTI_HEAD = "MULTI_HEAD"
    GNN = "GNN"
    SEG = "SEG"
    FINAL = "FINAL"

    @property
    def trains_network(self) -> bool:
        """Whether the segmentation network learns in this stage."""
        return self is not Stage.GNN


@dataclass(frozen=True)
class Segment:
    """One stretch of a run in one stage.

    Attributes:
        index: position in the schedule.
        stage: what is trained.
        start: first iteration.
        length: number of iterations.
        cycle: how many GNN stages have begun before or with this segment (0 without any).
    """

    index: int
    stage: Stage
    start: int
    length: int
    cycle: int

    @property
    def stop(self) -> int:
        """First iteration after the segment."""
        return self.start + self.length


class StageSchedule:
    """The segments of a run, from ``[[stage name, iterations], ...]``."""

    def __init__(self, entries: Sequence[Any]) -> None:
        """Check and lay out the segments; entries of length 0 are left out.

        Raises:
            UniLabelError: unknown stage, wrong order or length.
        """
        segments: list[Segment] = []
        start = cycle = 0
        for entry in entries:
            stage, length = _parse(entry)
            if length == 0:
                continue
            cycle += stage is Stage.GNN
            segments.append(Segment(len(segments), stage, start, length, cycle))
            start += length
        stages = [s.stage for s in segments]
        if not stages:
            raise UniLabelError("SCHEDULE has no iterations; give at least one stage.")
        if Stage.MULTI_HEAD in stages[1:]:
            raise UniLabelError("SCHEDULE: MULTI_HEAD can only be the first stage.")
        if Stage.FINAL in stages[:-1]:
            raise UniLabelError("SCHEDULE: FINAL can only be the last stage.")
        if stages[-1] is Stage.GNN:
            raise UniLabelError("SCHEDULE ends with GNN; add SEG or FINAL after it.")
        self.segments = tuple(segments)
        self.total = start

    def at(self, iteration: int) -> Segment:
        """The segment that iteration ``0 <= iteration < total`` belongs to."""
        for segment in self.segments:
            if segment.start <= iteration < segment.stop:
                return segment
        raise IndexError(f"iteration {iteration} is outside 0..{self.total - 1}")

    def prune_iteration(self, fraction: float) -> int | None:
        """Iteration of FINAL before which unused links are pruned, or None without FINAL."""
        last = self.segments[-1]
        if last.stage is not Stage.FINAL or not 0 < fraction < 1:
            return None
        return last.start + max(1, round(last.length * fraction))

    def network_iterations(self, until: int | None = None) -> int:
        """Iterations before ``until`` (None: all) in which the segmentation network learns."""
        stop = self.total if until is None else until
        networks = [s for s in self.segments if s.stage.trains_network]
        return sum(max(0, min(s.stop, stop) - s.start) for s in networks)

    def __str__(self) -> str:
        return " -> ".join(f"{s.stage.value} {s.length}" for s in self.segments)


def _parse(entry: Any) -> tuple[Stage, int]:
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        raise UniLabelError(f"SCHEDULE entry {entry!r}: expected [stage, iterations].")
    name, length = entry
    if not isinstance(name, str) or name not in Stage.__members__:
        raise UniLabelError(
            f"SCHEDULE names the stage {name!r}, expected one of {', '.join(Stage.__members__)}."
        )
    if type(length) is not int or length < 0:
        raise UniLabelError(f"SCHEDULE: {name} has {length!r} iterations, expected 0 or more.")
    return Stage[name], length
