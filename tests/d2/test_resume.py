"""Which configurations may go on from a checkpoint, and what is said about the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

from detectron2.config import CfgNode, get_cfg
from folder_datasets import write_folder
from hypothesis import given
from hypothesis import strategies as st

import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
from unilabel.config import add_unilabel_config, load_config
from unilabel.config_contract import leaves
from unilabel.core.errors import UniLabelError
from unilabel.core.stages import StageSchedule
from unilabel.engine import resume, run
from unilabel.engine.checkpoint import CheckpointKeeper
from unilabel.engine.optim import learning_rate
from unilabel.engine.resume import check_resumable, schedule_conflict

pytestmark = pytest.mark.d2

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "configs/quick/toy.yaml"
SCHEDULE = [["MULTI_HEAD", 8], ["GNN", 4], ["SEG", 4], ["GNN", 4], ["FINAL", 8]]


DEFAULTS = {"SCHEDULE": SCHEDULE, "SOLVER.WARMUP_ITERS": 1}


def config(**values: Any) -> CfgNode:
    """``SOLVER__BASE_LR=1`` sets SOLVER.BASE_LR."""
    pairs = [(k.replace("__", "."), str(v)) for k, v in {**DEFAULTS, **values}.items()]
    return load_config(QUICK, [part for pair in pairs for part in pair])


def state(cfg: CfgNode, iteration: int = 10, running: bool = True, unified: int | None = 5) -> dict:
    return {
        "config": cfg.dump(),
        "iteration": iteration,
        "running": running,
        "num_unified": unified,
    }


def test_equal_configurations_go_on_in_silence() -> None:
    assert check_resumable(config(), state(config())) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("OUTPUT_DIR", "elsewhere"),
        ("LOG_PERIOD", 7),
        ("DATALOADER__NUM_WORKERS", 3),
        ("MODEL__DEVICE", "auto"),
        ("MODEL__WEIGHTS", "some.pth"),
        ("MODEL__TIMM__PRETRAINED", "timm"),
        ("SOLVER__CHECKPOINT_PERIOD", 3),
        ("SOLVER__KEEP_CHECKPOINTS", 9),
        ("SOLVER__REFIT", False),
        ("UNIFY__LINK_RELATIONS", False),
        ("TEST__BATCH_SIZE", 1),
        ("TEST__EXPECTED_RESULTS", [["mean", "miou", 50.0, 50.0]]),
        ("CUDNN_BENCHMARK", True),
    ],
)
def test_what_is_not_learned_from_may_change(key: str, value: Any) -> None:
    assert check_resumable(config(**{key: value}), state(config())) == []


@pytest.mark.parametrize("key", resume.REMEDIES)
def test_what_error_messages_advise_is_noted(key: str) -> None:
    cfg = config()
    group, name = key.split(".")
    value = cfg[group][name]
    choices = {"stop": "skip", "error": "skip"}
    cfg[group][name] = ["/a"] if value == [] else choices.get(value, value) or 1.0
    if not isinstance(value, str | list):
        cfg[group][name] = type(value)(value + 1)
    (line,) = check_resumable(cfg, state(config()))
    assert line.startswith(f"resumed at iteration 10: {key} was {value!r}, is ")


def test_every_difference_is_listed_at_once() -> None:
    other = config(MODEL__EMBED_DIM=16, MODEL__TIMM__NAME="resnet34", SEED=3, LOG_PERIOD=9)
    with pytest.raises(UniLabelError) as caught:
        check_resumable(other, state(config()))
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "the checkpoint in output/quick_toy at iteration 10 is one of another configuration:"
    )
    assert sorted(lines[1:-1]) == [
        "- MODEL.EMBED_DIM was 48, is 16",
        "- MODEL.TIMM.NAME was 'resnet18', is 'resnet34'",
        "- SEED was 0, is 3",
    ]
    assert lines[-1] == (
        "Give the old values (config.yaml of that run) to go on, or another OUTPUT_DIR to begin "
        "anew."
    )


def test_keys_of_the_unified_labels_may_change_until_there_are_some() -> None:
    other = config(UNIFY__TAU=0.1, GRAPH__HIDDEN_DIM=7, TEXT__MODE="name", LOSS__ORTH_WEIGHT=1.0)
    assert check_resumable(other, state(config(), 8, False, None)) == []
    with pytest.raises(UniLabelError) as caught:
        check_resumable(other, state(config(), 9))
    for key in ("UNIFY.TAU", "GRAPH.HIDDEN_DIM", "TEXT.MODE", "LOSS.ORTH_WEIGHT"):
        assert f"\n- {key} was " in str(caught.value)


def test_lists_and_tuples_are_alike() -> None:
    cfg = config()
    cfg.INPUT.CROP_SIZE = tuple(cfg.INPUT.CROP_SIZE)
    assert check_resumable(cfg, state(config())) == []


def test_the_lists_name_keys() -> None:
    cfg = get_cfg()
    add_unilabel_config(cfg)
    keys = [k for k, _ in leaves(cfg)]
    for name in (*resume.NO_MATTER, *resume.REMEDIES, *resume.LATER, *resume.SCHEDULING):
        assert any(resume.is_key(key, [name]) for key in keys), f"{name} is no key"


# --- schedules ---


def longer(index: int, by: int) -> list[list]:
    entries = [list(e) for e in SCHEDULE]
    entries[index][1] += by
    return entries


@pytest.mark.parametrize(
    ("schedule", "iteration", "running", "decay", "reason"),
    [
        (SCHEDULE, 28, False, 0, ""),
        (longer(-1, 8), 28, False, 0, "the learning rate of iteration 13 would have been"),
        (longer(-1, 8), 28, False, 100, "links were pruned at another iteration"),
        (longer(-1, 8), 22, True, 100, ""),
        (longer(-1, 8), 24, True, 100, ""),  # pruned before iteration 24, or 28: both to come
        (longer(-1, 8), 25, True, 100, "links were pruned at another iteration"),
        (longer(-1, 8), 8, False, 0, ""),  # later stages have a learning rate of their own
        (longer(0, 12), 28, False, 100, "MULTI_HEAD had 8 iterations"),
        (longer(0, 12), 8, False, 100, ""),
        (longer(0, 12), 8, False, 0, "the learning rate of iteration 1 would have been"),
        (longer(0, -4), 8, False, 100, "MULTI_HEAD had 8 iterations"),
        (longer(1, 4), 10, True, 100, "how the mapping turns from soft to solved depends on"),
        (longer(1, 4), 12, False, 100, "how the mapping turns from soft to solved depends on"),
        (longer(2, 4), 14, True, 100, ""),
        (longer(2, -2), 14, True, 100, "SEG was under way, the new one ends it there"),
        ([["MULTI_HEAD", 20]], 28, False, 100, "the new SCHEDULE ends at 20"),
        ([["MULTI_HEAD", 40]], 28, False, 100, "MULTI_HEAD had 8 iterations"),
        ([["MULTI_HEAD", 40]], 5, True, 100, ""),
        ([["MULTI_HEAD", 5], ["FINAL", 9]], 5, True, 100, "MULTI_HEAD was under way, the new one"),
        ([["MULTI_HEAD", 8], ["FINAL", 9]], 8, False, 100, ""),
    ],
)
def test_schedules_may_change_where_nothing_was_done_yet(
    schedule: list, iteration: int, running: bool, decay: int, reason: str
) -> None:
    old = config(SOLVER__DECAY_ITERS=decay)
    new = config(SCHEDULE=schedule, SOLVER__DECAY_ITERS=decay)
    assert schedule_conflict(old, new, iteration, running).startswith(reason)
    if not reason:
        assert schedule_conflict(old, new, iteration, running) == ""


def test_the_sum_of_a_schedule_may_stand_for_it() -> None:
    """-1 and the number that it means give the same learning rates."""
    new = config(SOLVER__DECAY_ITERS=20)
    assert check_resumable(new, state(config(SOLVER__DECAY_ITERS=-1))) == []
    with pytest.raises(UniLabelError, match=r"DECAY_ITERS was -1, is 21 \(the learning rate of"):
        check_resumable(config(SOLVER__DECAY_ITERS=21), state(config(SOLVER__DECAY_ITERS=-1)))


LENGTHS = st.lists(st.integers(1, 30), min_size=2, max_size=2)


@given(LENGTHS, LENGTHS, st.sampled_from([0, 60]), st.data())
def test_what_is_accepted_was_done_alike(old_lengths, new_lengths, decay, data) -> None:
    """The rule against its meaning: rates and stages of all iterations done are the same."""
    cfgs = []
    for lengths in (old_lengths, new_lengths):
        cfg = CFG.clone()
        cfg.SCHEDULE = [["SEG", lengths[0]], ["FINAL", lengths[1]]]
        cfg.SOLVER.DECAY_ITERS = decay
        cfgs.append(cfg)
    old, new = (StageSchedule(c.SCHEDULE) for c in cfgs)
    iteration = data.draw(st.integers(1, old.total))
    running = iteration not in (old.segments[0].stop, old.total)
    if schedule_conflict(*cfgs, iteration, running):
        return
    for i in range(iteration):
        one, two = old.at(i), new.at(i)
        assert (one.stage, one.start) == (two.stage, two.start)
        assert learning_rate(cfgs[0], old, one, i) == learning_rate(cfgs[1], new, two, i)
        pruned = [s.prune_iteration(0.5) == i for s in (old, new)]
        assert pruned[0] == pruned[1]


CFG = config()


# --- whole runs ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A finished run on two folders, and its overrides."""
    root = tmp_path_factory.mktemp("resume")
    folders = [
        write_folder(root / "city", "road car sky", train=4),
        write_folder(root / "idd", "road marking", train=3, seed=1),
    ]
    values = {
        "DATASETS__TOY": False,
        "DATASETS__CUSTOM": [str(f) for f in folders],
        "OUTPUT_DIR": str(root / "out"),
        "INPUT__CROP_SIZE": [32, 32],
        "UNIFY__FIT_ITERATIONS": 2,
        "UNIFY__CACHE_PIXELS": 100,
        "GRAPH__PIXELS": 32,
        "SOLVER__DECAY_ITERS": 100,
        "SCHEDULE": [["MULTI_HEAD", 8], ["GNN", 4], ["FINAL", 4]],
    }
    run.train(config(**values), "x", resume=False)
    return root / "out", values


def iterations(folder: Path) -> list[tuple[str, int]]:
    stages = json.loads((folder / "results.json").read_text())["stages"]
    return [(s["name"], s["iterations"]) for s in stages if s["name"] != "REFIT"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"SCHEDULE": [["MULTI_HEAD", 20]]},
            r"SCHEDULE was \[\['MULTI_HEAD', 8\], .* is \[\['MULTI_HEAD', 20\]\] \(MULTI_HEAD",
        ),
        ({"MODEL__EMBED_DIM": 16}, "MODEL.EMBED_DIM was 48, is 16"),
        ({"MODEL__TIMM__NAME": "resnet34"}, "MODEL.TIMM.NAME was 'resnet18', is 'resnet34'"),
    ],
)
def test_another_configuration_is_refused_and_nothing_is_touched(finished, change, message) -> None:
    folder, values = finished
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".pth"}
    with pytest.raises(UniLabelError, match=message):
        run.train(config(**{**values, **change}), "x", resume=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".pth"} == before
    assert iterations(folder) == [("MULTI_HEAD", 8), ("GNN", 4), ("FINAL", 4)]


def test_a_longer_last_stage_counts_what_was_run(finished, tmp_path: Path) -> None:
    values = finished[1]
    values = {**values, "UNIFY__PRUNE_AT": 0.0, "OUTPUT_DIR": str(tmp_path)}
    run.train(config(**values), "x", resume=False)
    longer_one = {**values, "SCHEDULE": [["MULTI_HEAD", 8], ["GNN", 4], ["FINAL", 10]]}
    results = run.train(config(**longer_one), "x", resume=True)
    assert iterations(tmp_path) == [("MULTI_HEAD", 8), ("GNN", 4), ("FINAL", 4), ("FINAL", 6)]
    assert CheckpointKeeper(tmp_path, 1).load_newest()["iteration"] == 22
    assert "resumed at iteration 16: FINAL goes on to 22 with a new optimizer" in "\n".join(
        results["notes"]
    )


def test_a_remedy_is_told_in_the_results(finished, tmp_path: Path) -> None:
    values = finished[1]
    results = run.train(config(**values, SOLVER__BASE_LR=0.001), "x", resume=True)
    assert "resumed at iteration 16: SOLVER.BASE_LR was 0.004, is 0.001" in results["notes"]
