"""All stages in one process on two tiny datasets: methods, interruptions, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.config import CfgNode
from detectron2.engine.train_loop import HookBase
from small_runs import small_config, two_folders

from unilabel.core.errors import UniLabelError
from unilabel.core.stages import Stage
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.build import build_sources, build_train_loader
from unilabel.engine.checkpoint import load_file, save_file
from unilabel.engine.evaluate import evaluate_model
from unilabel.engine.trainer import UniLabelTrainer

pytestmark = pytest.mark.d2

SCHEDULE = [["MULTI_HEAD", 5], ["GNN", 4], ["SEG", 3], ["GNN", 4], ["FINAL", 4]]
TOTAL = 20


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return two_folders(tmp_path_factory.mktemp("datasets"))


def config(folders: list[Path], **values: Any) -> CfgNode:
    """``UNIFY__NODES="names"`` and the like, checked as on the command line."""
    defaults = {"SCHEDULE": SCHEDULE, "UNIFY__FIT_ITERATIONS": 5, "LOG_PERIOD": 1}
    return small_config(folders, **{**defaults, **values})


class Interrupt(Exception):
    pass


class StopAfter(HookBase):
    """Keeps the state after an iteration, as a checkpoint does, and ends the run."""

    def __init__(self, iteration: int, path: Path) -> None:
        self.iteration, self.path = iteration, path

    def after_step(self) -> None:
        if self.trainer.iter + 1 == self.iteration:
            save_file(self.path, self.trainer.state())
            raise Interrupt


SPEEDS = {"images_per_second", "waiting_share"}  # of the machine, not of the run


class Record(HookBase):
    """Stage, learning and losses of every iteration."""

    def __init__(self) -> None:
        self.losses: dict[int, dict[str, float]] = {}

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        here = {
            k: v for k, (v, at) in latest.items() if at == self.trainer.iter and k not in SPEEDS
        }
        self.losses[self.trainer.iter] = here


def run(cfg: CfgNode, *hooks: HookBase, state: dict | None = None) -> UniLabelTrainer:
    trainer = UniLabelTrainer(cfg, build_sources(cfg))
    if state is not None:
        trainer.load_state(state)
    trainer.register_hooks(list(hooks))
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def whole(folders: list[Path]) -> tuple[UniLabelTrainer, Record]:
    record = Record()
    return run(config(folders), record), record


def assert_same(one: UniLabelTrainer, two: UniLabelTrainer) -> None:
    assert one.notes == two.notes
    a, b = one.model.state_dict(), two.model.state_dict()
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name
    assert torch.equal(one.unifier.rows.edge_weights, two.unifier.rows.edge_weights)
    assert [r["name"] for r in one.records] == [r["name"] for r in two.records]


# --- the stages ---


def test_whole_run(whole: tuple[UniLabelTrainer, Record]) -> None:
    trainer, record = whole
    assert [(r["name"], r["iterations"]) for r in trainer.records] == [tuple(s) for s in SCHEDULE]
    assert sorted(record.losses) == list(range(TOTAL))
    for iteration, losses in record.losses.items():
        graph = trainer.schedule.at(iteration).stage is Stage.GNN
        wanted = {"loss_ce/graph"} if graph else {"loss_ce/city", "loss_ce/idd"}
        assert {k for k in losses if k.startswith("loss")} == wanted
        mean = sum(losses[k] for k in wanted) / len(wanted)
        assert losses["total_loss"] == pytest.approx(mean, rel=1e-5)
        assert losses["lr"] > 0
    mapping = trainer.unifier.mapping()
    assert mapping.num_unified >= 3
    text = "\n".join(trainer.notes)
    assert text.count("node selection") == 1
    assert text.count("mapping solve") == 2
    assert text.count("pruning") == 1
    assert mapping.checksum() in trainer.notes[-1]


def test_the_optimizer_of_the_network_goes_on_through_the_stages(whole) -> None:
    trainer, _ = whole
    steps = {
        name: int(trainer.optimizer.state[parameter]["step"])
        for name, parameter in trainer.model.named_parameters()
    }
    for name, count in steps.items():
        head = name.startswith("uni_head.")
        assert count == (SCHEDULE[-1][1] if head else trainer.schedule.network_iterations()), name


def test_what_each_stage_trains(folders: list[Path]) -> None:
    """Which parts change in which stage."""

    class Watch(HookBase):
        def __init__(self) -> None:
            self.changed: dict[str, set[str]] = {}

        def parts(self) -> dict[str, torch.Tensor]:
            trainer = self.trainer
            parts = {
                "network": next(trainer.model.backbone.parameters()),
                "graph": getattr(getattr(trainer.unifier.graph, "output", None), "weight", None),
                "X_u": getattr(trainer.model.uni_head, "label_embedding", None),
            }
            return {k: v.detach().clone() for k, v in parts.items() if v is not None}

        def before_step(self) -> None:
            segment = self.trainer.schedule.at(self.trainer.iter)
            # the first step of a stage prepares it, the last one of GNN installs the result
            inner = segment.start < self.trainer.iter < segment.stop - 1
            self.before = self.parts() if inner else None
            self.stage = segment.stage.name

        def after_step(self) -> None:
            if self.before is None:
                return
            after = self.parts()
            for name, value in self.before.items():
                if name in after and value.shape == after[name].shape:
                    if not torch.equal(value, after[name]):
                        self.changed.setdefault(self.stage, set()).add(name)

    watch = Watch()
    run(config(folders), watch)
    assert watch.changed == {
        "MULTI_HEAD": {"network"},
        "GNN": {"graph"},
        "SEG": {"network"},
        "FINAL": {"network", "X_u"},
    }


@pytest.mark.parametrize(("cached", "count"), [(True, 3), (False, 5)])
def test_images_are_loaded_only_where_they_are_used(folders, monkeypatch, cached, count) -> None:
    loaders = []

    def build(*args: Any) -> Any:
        loaders.append(args[2:4])
        return build_train_loader(*args)

    monkeypatch.setattr("unilabel.engine.trainer.build_train_loader", build)
    run(config(folders, GRAPH__CACHED=cached))
    assert len(loaders) == count
    assert loaders[0] == (0, 5)
    assert loaders[-1] == (16, 20)


def test_run_repeats_itself_whatever_the_workers(folders, whole) -> None:
    torch.manual_seed(1234)
    assert_same(run(config(folders, DATALOADER__NUM_WORKERS=1)), whole[0])


def test_other_seed_gives_another_run(folders, whole) -> None:
    other = run(config(folders, SEED=1))
    key = "pixel_decoder"
    states = [
        {k: v for k, v in t.model.state_dict().items() if key in k} for t in (other, whole[0])
    ]
    assert any(not torch.equal(v, states[1][k]) for k, v in states[0].items())


@pytest.mark.parametrize("iteration", range(1, TOTAL))
def test_interrupted_anywhere(folders, whole, tmp_path: Path, iteration: int) -> None:
    cfg, path = config(folders), tmp_path / "state.pth"
    with pytest.raises(Interrupt):
        run(cfg, StopAfter(iteration, path))
    record = Record()
    resumed = run(cfg, record, state=load_file(path))
    assert_same(resumed, whole[0])
    assert list(record.losses) == list(range(iteration, TOTAL))
    for at, losses in record.losses.items():
        for name, value in losses.items():
            assert value == whole[1].losses[at][name], (at, name)


def test_heads_last_until_the_network_trains_on(folders, tmp_path: Path) -> None:
    """The first fit starts from them, also after an interruption in the GNN stage."""
    cfg = config(folders)
    uninterrupted = run(cfg)
    for iteration, kept in ((7, True), (10, False), (14, False), (18, False)):
        path = tmp_path / f"{iteration}.pth"
        with pytest.raises(Interrupt):
            run(cfg, StopAfter(iteration, path))
        state = load_file(path)
        assert ("multi_head.weights.0" in state["model"]) is kept
        assert_same(run(cfg, state=state), uninterrupted)


# --- every method runs through all stages ---


@pytest.mark.parametrize(
    "values",
    [
        {"UNIFY__NODES": "ilp", "UNIFY__SOLVER": "uot", "MODEL__MAPPING_MODE": "logit_sum",
         "UNIFY__FIT_ITERATIONS": 0, "GRAPH__CACHED": False, "GRAPH__HARD_SHARE": 0.0,
         "GRAPH__SOFT_START": False, "GRAPH__ALLOW_NULL": False, "LOSS__ORTH_WEIGHT": 1.0},
        {"LOSS__STRIDE": 1, "LOSS__OHEM_THRESHOLD": 0.7},
        {"UNIFY__NODES": "concat", "UNIFY__SOLVER": "links", "GRAPH__DATASET_EMBEDDING": False},
        {"UNIFY__NODES": "names", "UNIFY__SOLVER": "links", "SCHEDULE": [["SEG", 2], ["FINAL", 2]]},
        {"UNIFY__NODES": "text_cluster", "INPUT__ACCUMULATE": 2, "MODEL__DATASET_BIAS": False},
        {"LOSS__CLASS_WEIGHT_POWER": 0.0, "UNIFY__PRUNE_AT": 0.0, "UNIFY__TEXT_WEIGHT": 0.0,
         "GRAPH__DROPOUT": 0.5},
    ],
    ids=lambda v: v.get("UNIFY__NODES", "fused"),
)  # fmt: skip
def test_methods(folders: list[Path], values: dict) -> None:
    cfg = config(folders, **values)
    trainer = run(cfg)
    space = trainer.unifier.finish()
    assert len(trainer.records) == len(trainer.schedule.segments)
    assert space.mapping.active().all()
    results = evaluate_model(cfg, trainer.model, trainer.sources, space)
    assert set(results["datasets"]) == {"city", "idd"}
    assert results["num_unified"] == space.mapping.num_unified
    assert 0 <= results["mean_miou"] <= 100
    assert "relations" not in results  # no truth is known
    assert "unified" not in results  # there are no atoms
    again = UnifiedLabelSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again.mapping == space.mapping


def test_multi_head_baseline_has_no_label_space(folders: list[Path]) -> None:
    cfg = config(folders, SCHEDULE=[["MULTI_HEAD", 2]])
    trainer = run(cfg)
    assert trainer.unifier.mapping() is None
    assert trainer.unifier.finish() is None
    results = evaluate_model(cfg, trainer.model, trainer.sources, None)
    assert "num_unified" not in results
    known = {"miou", "iou", "images", "unseen", "counted"}
    assert set(results["datasets"]["idd"]) == known


# --- links that a person fixed ---


def reviewed_file(folders: list[Path], path: Path) -> Path:
    """Both roads apart, and the marking on the road of city: a person has said so."""
    sources = build_sources(config(folders))
    labels = [
        ("road of city", {"city": "road"}, "human"),
        ("road of idd", {"idd": "road"}, "human"),
        ("painted", {"city": "road", "idd": "marking"}, "human"),
        ("car", {"city": "car"}, "learned"),
        ("sky", {"city": "sky"}, "learned"),
    ]
    data = {
        "schema": "unilabel/label_space",
        "version": 1,
        "datasets": [s.label_space.to_dict() for s in sources],
        "labels": [
            {"id": i, "name": name,
             "links": {d: {"class": c, "source": source, "weight": 1.0} for d, c in links.items()}}
            for i, (name, links, source) in enumerate(labels)
        ],
    }  # fmt: skip
    path.write_text(json.dumps(data))
    return path


def test_human_links_survive_learning_and_pruning(folders: list[Path], tmp_path: Path) -> None:
    path = reviewed_file(folders, tmp_path / "label_space.json")
    values = {
        "MODEL__LABEL_SPACE": str(path),
        "UNIFY__NODES": "file",
        "UNIFY__PRUNE_SHARE": 0.9,  # prunes whatever a person did not fix
        "GRAPH__EDGE_LR": 0.5,
    }
    trainer = run(config(folders, **values, MODEL__FIX_HUMAN_LINKS=True))
    space = trainer.unifier.finish()
    rows = [
        {(d, space.label_spaces.get(d).class_names[c]) for r, d, c in space.links if r == row}
        for row in range(space.mapping.num_unified)
    ]
    assert any(("city", "road") in r for r in rows)
    assert {("city", "road"), ("idd", "marking")} in rows
    human = {k for k, link in space.links.items() if link.source == "human"}
    assert len(human) == 4
    named = {(d, space.label_spaces.get(d).class_names[c]) for _, d, c in human}
    assert named == {("city", "road"), ("idd", "road"), ("idd", "marking")}
    # without the switch the same file is only a start, and nothing learned is called human
    free = run(config(folders, **values)).unifier.finish()
    assert {link.source for link in free.links.values()} == {"learned"}


def test_reviewed_file_without_learning_stays_what_a_person_said(folders, tmp_path: Path) -> None:
    path = reviewed_file(folders, tmp_path / "label_space.json")
    values = {"MODEL__LABEL_SPACE": str(path), "UNIFY__NODES": "file", "UNIFY__PRUNE_AT": 0.0}
    trainer = run(config(folders, **values, SCHEDULE=[["SEG", 2], ["FINAL", 2]]))
    space = trainer.unifier.finish()
    assert torch.equal(space.mapping.stacked(), UnifiedLabelSpace.load(path).mapping.stacked())
    assert space.links == UnifiedLabelSpace.load(path).links  # who said so, too


# --- mistakes ---


def test_state_of_other_data_or_another_schedule_is_refused(folders, whole, tmp_path: Path):
    with pytest.raises(Interrupt):
        run(config(folders), StopAfter(12, tmp_path / "state.pth"))
    state = load_file(tmp_path / "state.pth")
    message = r"was trained on \['city', 'idd'\] with 5 classes, this configuration names \['idd'\]"
    with pytest.raises(UniLabelError, match=message):
        run(config(folders, DATASETS__ONLY="['idd']"), state=state)
    with pytest.raises(UniLabelError, match="is at iteration 12, the SCHEDULE has only 10"):
        run(config(folders, SCHEDULE=[["MULTI_HEAD", 10]]), state=state)


def test_loss_that_is_not_finite_names_dataset_and_files(folders: list[Path]) -> None:
    cfg = config(folders, SCHEDULE=[["MULTI_HEAD", 3]])
    trainer = UniLabelTrainer(cfg, build_sources(cfg))
    trainer.model.multi_head.weights[1].data.fill_(float("nan"))
    message = r"the loss of idd is not finite at iteration 0; files: \S+/idd/images/train/train\d"
    with pytest.raises(UniLabelError, match=message) as caught:
        trainer.train()
    assert "city" not in str(caught.value).split("files:")[1].split("The last checkpoint")[0]


def test_class_weights_are_measured_once_and_kept(folders, whole) -> None:
    weights = whole[0].label_spaces.split(whole[0].model.class_weight)
    assert all(float(w.min()) < 1 < float(w.max()) for w in weights)
    plain = run(config(folders, LOSS__CLASS_WEIGHT_POWER=0.0, SCHEDULE=[["MULTI_HEAD", 1]]))
    assert plain.model.class_weight.tolist() == [1] * 5
