"""The schedule as a pure function of the iteration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unilabel.core.errors import UniLabelError
from unilabel.core.stages import Stage, StageSchedule

TWO_CYCLES = [["MULTI_HEAD", 10], ["GNN", 4], ["SEG", 5], ["GNN", 3], ["FINAL", 8]]


def test_segments_of_two_cycles() -> None:
    schedule = StageSchedule(TWO_CYCLES)
    assert schedule.total == 30
    laid = [(s.index, s.stage.name, s.start, s.stop, s.cycle) for s in schedule.segments]
    assert laid == [
        (0, "MULTI_HEAD", 0, 10, 0),
        (1, "GNN", 10, 14, 1),
        (2, "SEG", 14, 19, 1),
        (3, "GNN", 19, 22, 2),
        (4, "FINAL", 22, 30, 2),
    ]
    assert schedule.network_iterations() == 10 + 5 + 8
    assert str(schedule) == "MULTI_HEAD 10 -> GNN 4 -> SEG 5 -> GNN 3 -> FINAL 8"


def test_segment_of_an_iteration_at_the_boundaries() -> None:
    schedule = StageSchedule(TWO_CYCLES)
    names = [schedule.at(i).stage.name for i in (0, 9, 10, 13, 14, 21, 22, 29)]
    assert names == ["MULTI_HEAD", "MULTI_HEAD", "GNN", "GNN", "SEG", "GNN", "FINAL", "FINAL"]
    for outside in (-1, 30):
        with pytest.raises(IndexError, match=rf"iteration {outside} is outside 0\.\.29"):
            schedule.at(outside)


def test_empty_stages_are_left_out() -> None:
    schedule = StageSchedule([["MULTI_HEAD", 2], ["GNN", 0], ["SEG", 0], ["FINAL", 1]])
    assert [s.stage for s in schedule.segments] == [Stage.MULTI_HEAD, Stage.FINAL]
    assert schedule.segments[-1].cycle == 0


def test_only_the_graph_stage_leaves_the_network_alone() -> None:
    assert [s.name for s in Stage if not s.trains_network] == ["GNN"]


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.5, 26), (0.25, 24), (0.001, 23), (0.99, 30), (0.0, None), (1.0, None)],
)
def test_iteration_of_pruning(fraction: float, expected: int | None) -> None:
    assert StageSchedule(TWO_CYCLES).prune_iteration(fraction) == expected
    assert StageSchedule([["MULTI_HEAD", 4], ["SEG", 9]]).prune_iteration(fraction) is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "SCHEDULE has no iterations; give at least one stage"),
        ([["SEG", 0]], "SCHEDULE has no iterations"),
        ([["SEG", 1], ["MULTI_HEAD", 1]], "MULTI_HEAD can only be the first stage"),
        ([["MULTI_HEAD", 1], ["MULTI_HEAD", 1]], "MULTI_HEAD can only be the first stage"),
        ([["FINAL", 1], ["SEG", 1]], "FINAL can only be the last stage"),
        ([["MULTI_HEAD", 1], ["GNN", 1]], "ends with GNN; add SEG or FINAL after it"),
        ([["TRAIN", 1]], "names the stage 'TRAIN', expected one of MULTI_HEAD, GNN, SEG, FINAL"),
        ([["SEG", -1]], "SEG has -1 iterations, expected 0 or more"),
        ([["SEG", 1.5]], r"SEG has 1\.5 iterations"),
        ([["SEG", True]], "SEG has True iterations"),
        ([["SEG", "5"]], "SEG has '5' iterations"),
        ([["SEG"]], r"SCHEDULE entry \['SEG'\]: expected \[stage, iterations\]"),
        (["SE"], "SCHEDULE entry 'SE': expected"),
        ([5], "SCHEDULE entry 5: expected"),
        ([None], "SCHEDULE entry None: expected"),
        ([[["SEG"], 5]], r"names the stage \['SEG'\], expected one of"),
    ],
)
def test_bad_schedules_are_refused(entries, message: str) -> None:
    with pytest.raises(UniLabelError, match=message):
        StageSchedule(entries)


@given(
    cycles=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=4),
    first=st.integers(1, 6),
    final=st.integers(0, 6),
)
def test_every_iteration_lies_in_exactly_one_segment(cycles, first: int, final: int) -> None:
    entries = [["MULTI_HEAD", first]]
    for gnn, seg in cycles:
        entries += [["GNN", gnn], ["SEG", seg]]
    schedule = StageSchedule([*entries, ["FINAL", final]])
    assert schedule.total == first + sum(g + s for g, s in cycles) + final
    seen = [schedule.at(i) for i in range(schedule.total)]
    for segment in schedule.segments:
        assert [i for i, s in enumerate(seen) if s is segment] == list(
            range(segment.start, segment.stop)
        )
    assert [s.index for s in schedule.segments] == list(range(len(schedule.segments)))
    assert schedule.segments[-1].cycle == sum(g > 0 for g, _ in cycles)


def test_network_iterations_up_to_an_iteration() -> None:
    schedule = StageSchedule([["MULTI_HEAD", 3], ["GNN", 2], ["SEG", 2], ["GNN", 1], ["FINAL", 2]])
    counted = [schedule.network_iterations(i) for i in range(schedule.total + 1)]
    assert counted == [0, 1, 2, 3, 3, 3, 4, 5, 5, 6, 7]
    assert schedule.network_iterations() == 7
