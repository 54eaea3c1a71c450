from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.core.synthetic import TOY_DATASETS, write_toy_world
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.folders import folder_source
from unilabel.data.sources import DatasetSource, load_sample
from unilabel.demo_app import review_actions
from unilabel.demo_app.changes import is_changes
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import evidence_server
from unilabel.demo_app.launch import ready_folder
from unilabel.demo_app.link_evidence import LinkEvidence, choose_photos, link_facts
from unilabel.demo_app.link_photos import find_sources
from unilabel.demo_app.session import Session
from unilabel.predictor import UniLabelPredictor, build_predictor

pytestmark = pytest.mark.d2


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[DatasetSource]:
    root = tmp_path_factory.mktemp("world")
    write_toy_world(root, 3, 3, 1)
    return [folder_source(root / name) for name in TOY_DATASETS]


@pytest.fixture(scope="module")
def predictor(toy_weights: Path) -> UniLabelPredictor:
    return build_predictor(toy_weights)


@pytest.fixture(scope="module")
def engine(predictor: UniLabelPredictor, sources: list[DatasetSource]) -> Engine:
    engine = Engine(predictor, title="toy")
    engine.evidence.look(lambda: sources[:2])
    return engine


def test_counts_are_those_of_the_answers(engine: Engine, sources: list[DatasetSource]) -> None:
    space = engine.predictor.label_space
    assert space is not None
    counts = engine.evidence.counts()
    assert set(counts) == {"toy_fine", "toy_city"}
    photos = [p for p in choose_photos(sources[:2]) if p.dataset == 1]
    expected = np.zeros(counts["toy_city"].shape, np.int64)
    for photo in photos:
        image, drawn = load_sample(sources[1], photo.sample)
        encoded = engine.predictor.encode(image, None, False, 0)
        read = engine.predictor.predict(encoded, "unified").labels
        known = drawn < expected.shape[0]
        np.add.at(expected, (drawn[known], read[known]), 1)
    # the conflict report reads with the bias of the dataset, the unified answer without
    assert counts["toy_city"].sum() == expected.sum()
    assert (counts["toy_city"].sum(1) == expected.sum(1)).all()
    assert engine.evidence.status == f"{engine.evidence.total} training photos were looked at"


def test_the_photos_of_a_link(engine: Engine) -> None:
    ask = evidence_server(engine)
    space = engine.predictor.label_space
    assert space is not None
    counts = engine.evidence.counts()["toy_fine"]
    found = {"agree": 0, "differ": 0}
    for row, dataset, column in space.links:
        answer = ask([dataset, column, row])
        if dataset not in ("toy_fine", "toy_city"):
            assert answer["status"] == f"no photos of {dataset} were looked at"
            continue
        for kind in found:
            assert len(answer[kind]) <= 3
            assert all(c["image"].startswith("data:image/jpeg;base64,") for c in answer[kind])
            found[kind] += len(answer[kind])
        if dataset == "toy_fine" and counts[column].sum():
            assert f"Of {counts[column].sum():,} pixels drawn" in answer["facts"][0]
    assert found["differ"] > 0


def test_facts_of_a_link_by_hand() -> None:
    counts = np.array([[30, 10], [20, 940]])
    assert link_facts(counts, 0, 0, "bus", "car", "set") == [
        "Of 40 pixels drawn as “bus”, 75 % are read as “car”.",
        "Of 50 pixels read as “car” in set, 60 % are drawn as “bus”.",
    ]
    assert link_facts(0 * counts, 0, 0, "bus", "car", "set") == [
        "The photos looked at show no “bus”."
    ]


@pytest.mark.parametrize(
    "link",
    [
        None,
        "x",
        [],
        ["toy_fine"],
        ["x", 0, 0],
        ["toy_fine", 99, 0],
        ["toy_fine", 0, -1],
        ["toy_fine", True, 0],
        [["toy_fine"], 0, 0],
        {"a": 1},
    ],
)
def test_nonsense_about_links_is_answered(engine: Engine, link: Any) -> None:
    assert evidence_server(engine)(link)["status"] == "there is no such link"


def test_a_missing_dataset_becomes_a_note(predictor: UniLabelPredictor) -> None:
    evidence = LinkEvidence(predictor)

    def find() -> list[DatasetSource]:
        raise UniLabelError("not there; give --datasets.")

    evidence.look(find)
    assert evidence.counts() == {}
    assert evidence.of_link("toy_fine", 0, 0)["status"] == "not there; give --datasets."


def test_the_toy_model_draws_its_photos_anew(
    toy_weights: Path, toy_space: UnifiedLabelSpace, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    found = find_sources(toy_weights, toy_space, (), str(tmp_path))
    assert [source.name for source in found] == list(TOY_DATASETS)
    assert all(source.has("train") for source in found)


def test_photos_show_every_class(sources: list[DatasetSource]) -> None:
    chosen = choose_photos(sources, most=2)
    assert [photo.dataset for photo in chosen[:4]] == [0, 1, 2, 3]
    assert len(chosen) <= 8


def test_edits_are_stored_as_they_are_made(
    predictor: UniLabelPredictor, toy_space: UnifiedLabelSpace, tmp_path: Path
) -> None:
    engine = Engine(predictor, reviews=ready_folder(tmp_path / "reviews"))
    session = Session.start(engine)
    review_actions.edit(engine, session, {"op": "undo"})
    assert list(engine.reviews.iterdir()) == []  # type: ignore[union-attr]  # nothing changed yet
    review_actions.edit(engine, session, {"op": "name", "id": 0, "value": "heaven"})
    folder = tmp_path / "reviews" / session.key
    assert UnifiedLabelSpace.load(folder / "label_space.json").names[0] == "heaven"
    changes = json.loads((folder / "changes.json").read_text())
    assert is_changes(changes)
    other = Session.start(engine)
    assert review_actions.use_edits(other, changes, "changes.json").startswith("The label space")
    assert other.review is not None
    assert other.review.draft.names[0] == "heaven"
    assert other.key != session.key


def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UniLabelError, match="--save-reviews"):
        ready_folder(tmp_path / "file")
    assert stat.S_ISREG((tmp_path / "file").stat().st_mode)


def test_visitors_go_first(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("unilabel.demo_app.engine.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "unilabel.demo_app.engine.time.sleep", lambda s: now.__setitem__(0, now[0] + s)
    )
    engine.asked = 99.0
    engine.make_way()
    assert now[0] == pytest.approx(101, abs=0.11)  # two seconds after the request
    engine.make_way()
    assert now[0] == pytest.approx(101, abs=0.11)  # nobody asks: at once
    engine.asked = 1e9
    engine.make_way()
    assert now[0] == pytest.approx(111, abs=0.3)  # many ask: not for ever
    engine.asked = 0.0
