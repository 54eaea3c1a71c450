"""Datasets leave a model or are renamed: all other answers stay, bit by bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import UNIFIED
from unilabel.core.unified_space import Link, UnifiedLabelSpace
from unilabel.editing.datasets import remove_dataset, rename_dataset
from unilabel.editing.parts import read_parts, write_parts
from unilabel.engine.checkpoint import load_file, save_file
from unilabel.predictor import UniLabelPredictor, build_predictor

pytestmark = pytest.mark.d2
IMAGES = [np.random.default_rng(i).integers(0, 256, (40, 57, 3), np.uint8) for i in range(3)]


@pytest.fixture(
    params=[
        "toy_weights",
        "logit_sum_weights",
        "shifted_weights",
        "shifted_logit_sum_weights",
        "multi_head_weights",
    ]
)
def weights(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def assert_same_answers(one: UniLabelPredictor, two: UniLabelPredictor, **renamed: str) -> None:
    """In all label spaces of ``two``; ``renamed``: name in ``two`` = name in ``one``."""
    for image in IMAGES:
        for space in two.spaces:
            if space == UNIFIED:
                continue
            before = one.predict(image, renamed.get(space, space))
            after = two.predict(image, space)
            assert np.array_equal(before.labels, after.labels), space
            assert before.names == after.names


def reviewed(weights: Path, path: Path) -> Path:
    """The model as a person left it: a name, a colour, two checks, a link."""
    content = {k: v for k, v in load_file(weights).items() if k not in ("format", "version")}
    space = UnifiedLabelSpace.from_dict(content["label_space"])
    key = next(k for k in space.links if k[0] == 5)
    space = replace(
        space,
        names=tuple("mine" if i == 5 else n for i, n in enumerate(space.names)),
        colors=tuple((9, 8, 7) if i == 5 else c for i, c in enumerate(space.colors)),
        links={**space.links, key: Link("human", 0.25)},
        checked=frozenset({5, len(space.names) - 1}),
    )
    save_file(path, {**content, "label_space": space.to_dict()})
    return path


def by_name(space: UnifiedLabelSpace) -> dict[str, tuple]:
    """What is said about each unified label, whatever its id."""
    links: dict[int, dict] = {}
    for (row, dataset, column), link in space.links.items():
        links.setdefault(row, {})[dataset, column] = link
    return {
        name: (space.colors[row], row in space.checked, links.get(row, {}))
        for row, name in enumerate(space.names)
    }


def test_a_dataset_leaves(weights: Path, tmp_path: Path) -> None:
    before = build_predictor(weights)
    for name in before.model.label_spaces.names:
        out = tmp_path / name / "new.pth"
        write_parts(remove_dataset(read_parts(weights), name), out)
        after = build_predictor(out)
        left = [n for n in before.model.label_spaces.names if n != name]
        assert after.model.label_spaces.names == left
        assert_same_answers(before, after)
        if after.label_space is not None:
            assert after.label_space.mapping.active().all()
            beside = UnifiedLabelSpace.load(out.parent / "label_space.json")
            assert beside == after.label_space


def test_a_review_outlives_removals(toy_weights: Path, tmp_path: Path) -> None:
    parts = read_parts(reviewed(toy_weights, tmp_path / "old.pth"))
    name = parts.label_spaces.names[0]
    before = by_name(parts.space)
    done = remove_dataset(parts, name)
    for label, (color, checked, links) in by_name(done.space).items():
        left = {key: link for key, link in before[label][2].items() if key[0] != name}
        assert (color, checked, links) == (*before[label][:2], left)
    assert done.space.provenance["edits"] == [{"removed_dataset": name}]


def test_labels_of_the_dataset_alone_go_or_stay(toy_weights: Path) -> None:
    parts = read_parts(toy_weights)
    links = {n: parts.space.mapping[n].any(1) for n in parts.label_spaces.names}
    for name in links:
        others = torch.stack([m for n, m in links.items() if n != name]).any(0)
        gone = [n for n, there in zip(parts.space.names, others.tolist(), strict=True) if not there]
        kept = remove_dataset(parts, name, keep_labels=True)
        assert kept.space.names == parts.space.names
        small = remove_dataset(parts, name)
        assert small.space.names == tuple(n for n in parts.space.names if n not in gone)
        for done, said in ((kept, "stand for no class now"), (small, f"that go with {name}")):
            assert any(said in note and all(g in note for g in gone) for note in done.notes) == (
                bool(gone)
            )


def test_the_last_dataset_stays(toy_weights: Path) -> None:
    parts = read_parts(toy_weights)
    for name in parts.label_spaces.names[:-1]:
        parts = remove_dataset(parts, name)
    with pytest.raises(UniLabelError, match=r"is the only dataset of .*; nothing would stay"):
        remove_dataset(parts, parts.label_spaces.names[0])
    with pytest.raises(UniLabelError, match="unknown dataset 'nothing'; this label space knows"):
        remove_dataset(parts, "nothing")


def test_a_dataset_gets_another_name(weights: Path, tmp_path: Path) -> None:
    parts = read_parts(weights)
    old = parts.label_spaces.names[1]
    done = rename_dataset(parts, old, "Straßen 2024")
    write_parts(done, tmp_path / "new.pth")
    before, after = build_predictor(weights), build_predictor(tmp_path / "new.pth")
    assert_same_answers(before, after, **{"Straßen 2024": old})
    assert any('set "name": "Straßen 2024"' in note for note in done.notes)
    if parts.space is not None:
        assert done.space.names == parts.space.names
        assert done.space.colors == parts.space.colors
        assert len(done.space.links) == len(parts.space.links)
    back = rename_dataset(done, "Straßen 2024", old)
    assert back.label_spaces.names == parts.label_spaces.names
    assert torch.equal(back.weights["class_weight"], parts.weights["class_weight"])


@pytest.mark.parametrize("name", ["unified", "a/b", "", ".hidden", "x\n"])
def test_impossible_names_are_refused(toy_weights: Path, name: str) -> None:
    parts = read_parts(toy_weights)
    with pytest.raises(UniLabelError):
        rename_dataset(parts, parts.label_spaces.names[0], name)
    first, second = parts.label_spaces.names[:2]
    with pytest.raises(UniLabelError, match=f"has a dataset '{second}' already"):
        rename_dataset(parts, first, second)


def test_configurations_follow(toy_weights: Path, tmp_path: Path) -> None:
    parts = read_parts(toy_weights)
    parts.cfg.DATASETS.CLASSES = [["toy_city", "a"], ["toy_idd", "b"]]
    parts.cfg.DATASETS.CUSTOM = ["/data/toy_city", "/data/other"]
    small = remove_dataset(parts, "toy_city")
    assert small.cfg.DATASETS.CLASSES == [["toy_idd", "b"]]
    assert small.cfg.DATASETS.CUSTOM == ["/data/other"]
    named = rename_dataset(parts, "toy_idd", "mine")
    assert named.cfg.DATASETS.CLASSES == [["toy_city", "a"], ["mine", "b"]]
    assert parts.cfg.DATASETS.CLASSES[1][0] == "toy_idd"  # untouched
