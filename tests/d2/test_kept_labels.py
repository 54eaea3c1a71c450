"""Runs that go on with the unified labels of an older model (MODEL.WEIGHTS, UNIFY.KEEP)."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

import made_up_world as world
from detectron2.engine.train_loop import HookBase
from folder_datasets import write_folder
from small_runs import small_config, small_trainer, two_folders

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.unified_space import Link, UnifiedLabelSpace
from unilabel.engine import run
from unilabel.engine.checkpoint import load_file, save_file
from unilabel.engine.kept_labels import KeptLabels
from unilabel.engine.loading import load_model
from unilabel.engine.pixel_cache import PixelCache
from unilabel.engine.warm_start import read_start, start_from

pytestmark = pytest.mark.d2
SCHEDULES = (
    [["FINAL", 4]],
    [["GNN", 3], ["FINAL", 3]],
    [["MULTI_HEAD", 2], ["GNN", 2], ["SEG", 2]],
)
STILL = {"SOLVER__BASE_LR": 0.0, "SOLVER__WEIGHT_DECAY": 0.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("datasets")
    return [*two_folders(root), write_folder(root / "new", "road tree", seed=2)]


def reviewed(path: Path) -> Path:
    """The model after a person looked at its label space: a name, a colour, a check, a link."""
    content = load_file(path)
    space = UnifiedLabelSpace.from_dict(content["label_space"])
    names = ("what I call it", *space.names[1:])
    colors = ((1, 2, 3), *space.colors[1:])
    key = next(k for k in space.links if k[0] == 0)
    links = {**space.links, key: Link("human", 0.75)}
    space = replace(space, names=names, colors=colors, links=links, checked=frozenset({0}))
    save_file(path, {**content, "label_space": space.to_dict()})
    return path


@pytest.fixture(scope="module", params=["probability_sum", "logit_sum"])
def old(request, folders, tmp_path_factory) -> tuple[str, Path]:
    """Reading and file of a finished model of city and idd."""
    out = tmp_path_factory.mktemp("old")
    schedule = [["MULTI_HEAD", 2], ["GNN", 2], ["FINAL", 2]]
    cfg = small_config(folders[:2], out, SCHEDULE=schedule, MODEL__MAPPING_MODE=request.param)
    run.train(cfg, "x", resume=False)
    return request.param, reviewed(out / "model_final.pth")


def config(folders, output: Path, old: tuple[str, Path], **values):
    mode, path = old
    values = {"MODEL__MAPPING_MODE": mode, "MODEL__WEIGHTS": str(path), "SEED": 7, **values}
    return small_config(folders, output, **values)


def assert_kept(space: UnifiedLabelSpace, before: UnifiedLabelSpace) -> None:
    """Ids, names, colours, checks and links to known classes are those of before."""
    count = len(before.names)
    assert space.names[:count] == before.names
    assert space.colors[:count] == before.colors
    assert space.checked == before.checked
    for (row, dataset, column), link in before.links.items():
        if dataset in space.label_spaces.names:
            assert space.links[row, dataset, column] == link
    for name in before.label_spaces.names:
        assert torch.equal(space.mapping[name][:count], before.mapping[name])


def test_known_datasets_go_on_as_they_were(folders, old, tmp_path, caplog) -> None:
    before, space = load_model(old[1])
    with caplog.at_level(logging.INFO, logger="unilabel"):
        cfg = config(folders[:2], tmp_path, old, SCHEDULE=[["FINAL", 2]], **STILL)
        run.train(cfg, "x", resume=False)
    after, again = load_model(tmp_path / "model_final.pth")
    theirs = before.state_dict()
    for name, value in after.state_dict().items():
        if "running" not in name and "tracked" not in name and name != "class_weight":
            assert torch.equal(value, theirs[name]), name
    assert again.to_dict()["labels"] == space.to_dict()["labels"]
    assert "are kept" in caplog.text
    assert "left out" not in caplog.text


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s[0][0])
def test_a_new_dataset_joins_what_is_there(folders, old, tmp_path, schedule) -> None:
    _, before = load_model(old[1])
    chosen = [folders[2], *folders[:2]]  # the new one first
    run.train(config(chosen, tmp_path, old, SCHEDULE=schedule), "x", resume=False)
    model, space = load_model(tmp_path / "model_final.pth")
    assert model.label_spaces.names == ["new", "city", "idd"]
    assert_kept(space, before)
    assert space.mapping["new"].any(0).all()


def test_datasets_that_leave_take_their_labels_along(folders, old, tmp_path) -> None:
    _, before = load_model(old[1])
    results = run.train(
        config([folders[1], folders[2]], tmp_path, old, SCHEDULE=[["FINAL", 2]]), "x", resume=False
    )
    _, space = load_model(tmp_path / "model_final.pth")
    alone = ~before.mapping["idd"].any(1)
    for row, name in enumerate(before.names):
        told = any("have no links" in n and name in n for n in results["notes"])
        joined = name in space.names
        assert joined or told
        assert joined or bool(alone[row])


@pytest.mark.parametrize("schedule", [[["FINAL", 3]], [["GNN", 2], ["FINAL", 2]]], ids=str)
def test_runs_with_a_last_fit_go_on_from_each_other(folders, tmp_path, schedule) -> None:
    """Whose datasets have classifiers of their own, which learn beside X_u."""
    first = {"SCHEDULE": [["MULTI_HEAD", 2], ["FINAL", 2]], "SOLVER__REFIT": True}
    run.train(small_config(folders[:2], tmp_path / "old", **first), "x", resume=False)
    path = tmp_path / "old/model_final.pth"
    before = load_model(path)[1]
    again = {"SCHEDULE": schedule, "SOLVER__REFIT": True, "MODEL__WEIGHTS": str(path)}
    run.train(small_config(folders, tmp_path / "new", **again), "x", resume=False)
    model, space = load_model(tmp_path / "new/model_final.pth")
    assert_kept(space, before)
    assert model.uni_head.dataset_shift is not None


class StopAfter(HookBase):
    def __init__(self, iteration: int, path: Path) -> None:
        self.iteration, self.path = iteration, path

    def after_step(self) -> None:
        if self.trainer.iter + 1 == self.iteration:
            save_file(self.path, self.trainer.state())


@pytest.mark.parametrize("old", ["probability_sum"], indirect=True)
@pytest.mark.parametrize("iteration", [1, 2, 3, 4, 5, 6])
def test_interrupted_runs_end_the_same(folders, old, tmp_path, iteration: int) -> None:
    values = {"SCHEDULE": [["MULTI_HEAD", 2], ["GNN", 2], ["FINAL", 3]], "SEED": 7}
    whole = small_trainer(folders, tmp_path, **values)
    start_from(whole, read_start(str(old[1])), str(old[1]))
    whole.register_hooks([StopAfter(iteration, tmp_path / "state.pth")])
    whole.train()
    resumed = small_trainer(folders, tmp_path, **values)
    resumed.load_state(load_file(tmp_path / "state.pth"))
    resumed.train()
    theirs = whole.model.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in resumed.model.state_dict().items())
    assert resumed.unifier.finish() == whole.unifier.finish()
    assert resumed.notes == whole.notes


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"UNIFY__KEEP": False}, "UNIFY.KEEP is False"),
        ({"SCHEDULE": [["MULTI_HEAD", 1]]}, "SCHEDULE has no stage with unified labels"),
        ({"UNIFY__NODES": "file", "MODEL__LABEL_SPACE": "x.json"}, "those of MODEL.LABEL_SPACE x"),
    ],
)
def test_labels_that_are_not_wanted_are_named(
    folders, old, tmp_path, caplog, values, reason
) -> None:
    values = {"SCHEDULE": [["FINAL", 1]], **values}
    trainer = small_trainer(folders[:2], tmp_path, MODEL__WEIGHTS=str(old[1]), **values)
    with caplog.at_level(logging.WARNING, logger="unilabel"):
        start_from(trainer, read_start(str(old[1])), str(old[1]))
    assert trainer.unifier.kept is None
    assert f"its unified labels are left out: {reason}" in caplog.text
    assert "heads of city, idd are fitted" in " ".join(trainer.notes)


def test_only_strangers_take_the_network_alone(folders, old, tmp_path, caplog) -> None:
    cfg = config(folders[2:], tmp_path, old, SCHEDULE=[["FINAL", 1]])
    results = run.train(cfg, "x", resume=False)
    assert "unified labels are left out: none of its datasets is in this run" in caplog.text
    assert results["num_unified"] == 2


@pytest.mark.parametrize("old", ["probability_sum"], indirect=True)
def test_another_reading_is_fitted_anew(folders, old, tmp_path, caplog) -> None:
    values = {"MODEL__MAPPING_MODE": "logit_sum", "MODEL__DATASET_BIAS": False}
    run.train(config(folders[:2], tmp_path, old, SCHEDULE=[["FINAL", 1]], **values), "x", False)
    assert "X_u is fitted anew for logit_sum" in caplog.text
    model, space = load_model(tmp_path / "model_final.pth")
    assert_kept(space, load_model(old[1])[1])
    assert not model.uni_head.dataset_bias.any()


def test_own_classifiers_of_datasets_and_silent_labels_are_fitted_anew(
    folders, old, tmp_path
) -> None:
    """What only the last fit or an added dataset knows is no place to train on from."""
    content = load_file(old[1])
    x_u, bias = (content["model"][f"uni_head.{n}"] for n in ("label_embedding", "dataset_bias"))
    assert_fitted = {
        "shift": {"uni_head.dataset_shift": torch.randn(len(bias), *x_u.shape)},
        "silent": {"uni_head.dataset_bias": torch.where(torch.rand(bias.shape) < 0.5, -1e4, bias)},
        "bias": {"uni_head.dataset_bias": bias + 1},
    }
    for name, changed in assert_fitted.items():
        path = tmp_path / f"{name}.pth"
        model = {**content["model"], **changed}
        rest = {k: v for k, v in content.items() if k not in ("format", "version", "model")}
        save_file(path, {**rest, "model": model})
        mode = {"MODEL__MAPPING_MODE": old[0], "MODEL__DATASET_BIAS": name != "bias"}
        cfg = {"SCHEDULE": [["FINAL", 1]], "MODEL__WEIGHTS": str(path), **mode}
        trainer = small_trainer(folders[:2], tmp_path / name, **cfg)
        start_from(trainer, read_start(str(path)), str(path))
        kept = trainer.unifier.kept
        assert not kept.complete, name
        assert float(kept.bias.min()) > -100
        assert name != "bias" or not kept.bias.any()


# --- who joins whom, on pixels of a network that has learned everything ---


def kept_of(known: tuple[str, ...]) -> KeptLabels:
    """The true unified labels of some datasets of the made-up world, one of each known atom."""
    spaces = LabelSpaceSet(s for s in world.spaces() if s.name in known)
    columns = [c for s in spaces for c in range(*world_range(s.name))]
    links = world.atom_links()[:, columns]
    rows = links.any(1)
    mapping = LabelMapping.from_stacked(spaces, links[rows])
    embedding = 3 * torch.eye(world.DIM)[: len(world.ATOMS)][rows]
    bias = torch.zeros(len(world.spaces()), int(rows.sum()))
    space = UnifiedLabelSpace.from_mapping(mapping)
    return KeptLabels(space, embedding, bias, world.spaces(), True)


def world_range(name: str) -> tuple[int, int]:
    spaces = world.spaces()
    place = spaces.dataset_index(name)
    return spaces.class_offsets[place], spaces.class_offsets[place + 1]


@pytest.mark.parametrize(
    "known", [("city", "idd"), ("city", "ade"), ("idd",), ("ade",), ("idd", "ade")]
)
@pytest.mark.parametrize("trained", [False, True])
def test_new_classes_find_their_labels(known: tuple[str, ...], trained: bool) -> None:
    cfg = world.config(UNIFY__TEXT_WEIGHT=0.0)
    kept = kept_of(known)
    count = len(kept.links)
    cache: PixelCache = world.pixels()
    found = kept.propose(cfg, lambda: cache, world.heads(), world.random_text(), trained)
    assert torch.equal(found.links[:count][kept.held], kept.links[kept.held])
    related = LabelMapping.from_stacked(world.spaces(), found.links).links()
    truth = LabelMapping.from_stacked(world.spaces(), world.atom_links()).links()
    assert torch.equal(related, truth)


def test_without_a_new_class_nothing_is_looked_at() -> None:
    kept = kept_of(("city", "idd", "ade"))

    def refuse() -> PixelCache:
        raise AssertionError

    found = kept.propose(world.config(), refuse, world.heads(), world.random_text(), True)
    assert torch.equal(found.links, kept.links)
    embedding, bias = kept.start(found.links, world.heads())
    assert torch.equal(embedding, kept.embedding)
    assert torch.equal(bias, kept.bias)


def test_graph_first_needs_weights(folders, tmp_path) -> None:
    with pytest.raises(UniLabelError, match=r"SCHEDULE begins with GNN.* or name a trained model"):
        small_config(folders, tmp_path, SCHEDULE=[["GNN", 1], ["FINAL", 1]])
