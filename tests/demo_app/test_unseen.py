"""Answers in the classes of a dataset that a model was not trained on, by a mapping file."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace
from unilabel.core.synthetic import render_scene
from unilabel.core.transfer import TransferMapping
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.demo_app import actions
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox
from unilabel.predictor import NO_CLASS, UniLabelPredictor, build_predictor

pytestmark = pytest.mark.d2

PREDICT = Path(__file__).parents[2] / "demo/predict.py"


@pytest.fixture(scope="module")
def predictor(toy_weights: Path) -> UniLabelPredictor:
    return build_predictor(toy_weights)


@pytest.fixture
def mapping(toy_space: UnifiedLabelSpace) -> TransferMapping:
    """Every third label is high, every third low, the others are nothing."""
    garden = LabelSpace("garden", ("low", "high"), ((9, 9, 9), (200, 0, 0)), display_name="Garden")
    class_of = torch.arange(19) % 3
    class_of = torch.where(class_of == 2, -1, class_of)
    return TransferMapping(garden, "unified", toy_space.names, class_of, (1.0,) * 19)


@pytest.fixture
def image() -> np.ndarray:
    return render_scene(np.random.default_rng(4), "toy_city")[0]


def test_labels_become_classes(
    predictor: UniLabelPredictor, mapping: TransferMapping, image: np.ndarray, tmp_path: Path
) -> None:
    mapping.save(tmp_path / "mapping.json")
    unified = predictor.predict(image)
    answer = predictor.predict(image, str(tmp_path / "mapping.json"))
    assert answer.names == ("low", "high", NO_CLASS)
    assert answer.space == "garden"
    assert (answer.labels == unified.labels % 3).all()
    assert answer.shares.tolist() == pytest.approx(
        [float((unified.labels % 3 == i).mean()) for i in range(3)]
    )
    assert "garden" not in predictor.spaces  # the predictor itself does not change
    with_it = predictor.with_mapping(mapping)
    assert with_it.spaces == [*predictor.spaces, "garden"]
    assert (with_it.predict(image, "garden").labels == answer.labels).all()


def test_a_head_can_be_read_too(
    predictor: UniLabelPredictor, mapping: TransferMapping, image: np.ndarray
) -> None:
    names = predictor.labels_of("toy_city")[0]
    class_of = torch.arange(len(names)) % 2
    read = TransferMapping(mapping.label_space, "toy_city", names, class_of, (1.0,) * len(names))
    answer = predictor.with_mapping(read).predict(image, "garden")
    assert (answer.labels == predictor.predict(image, "toy_city").labels % 2).all()


def wrong_names(data: dict[str, Any]) -> None:
    data["labels"][3]["name"] = "zebra"


def known_dataset(data: dict[str, Any]) -> None:
    data["dataset"]["name"] = "toy_city"


def unknown_class(data: dict[str, Any]) -> None:
    data["labels"][0]["class"] = "middle"


def fewer_labels(data: dict[str, Any]) -> None:
    data["labels"].pop()


def unknown_space(data: dict[str, Any]) -> None:
    data["space"] = "toy_moon"


FAULTS = {
    wrong_names: "zebra",
    known_dataset: "answers by itself",
    unknown_class: "middle",
    fewer_labels: "18 labels",
    unknown_space: "toy_moon",
}


@pytest.mark.parametrize("change", FAULTS)
def test_a_wrong_mapping_is_told_without_a_path(
    change: Any, predictor: UniLabelPredictor, mapping: TransferMapping, tmp_path: Path
) -> None:
    data = mapping.to_dict()
    change(data)
    (tmp_path / "mapping.json").write_text(json.dumps(data))
    with pytest.raises(UniLabelError, match=FAULTS[change]):
        predictor.resolve(str(tmp_path / "mapping.json"))
    engine = Engine(predictor)
    session = Session.start(engine)
    session.picture = engine.examples[0]
    inbox = Inbox(str(tmp_path))
    path = str(tmp_path / "mapping.json")
    answer = json.loads(actions.upload_label_space(engine, session, inbox, path, ["unified"]))
    kind, note = answer["notes"][0]
    assert kind == "error"
    assert FAULTS[change] in note
    assert "/" not in note
    assert session.unseen is None


def test_a_visitor_s_mapping(
    predictor: UniLabelPredictor, mapping: TransferMapping, tmp_path: Path
) -> None:
    engine = Engine(predictor)
    session, other = Session.start(engine), Session.start(engine)
    session.picture = other.picture = engine.examples[0]
    mapping.save(tmp_path / "mapping.json")
    inbox, path = Inbox(str(tmp_path)), str(tmp_path / "mapping.json")
    spaces = ["unified", "toy_idd"]
    answer = json.loads(actions.upload_label_space(engine, session, inbox, path, spaces))
    assert [panel["space"] for panel in answer["panels"]] == ["garden", "toy_idd"]
    panel = answer["panels"][0]
    assert panel["title"] == "Unseen: Garden"
    called = {entry["name"]: entry["called"][0] for entry in panel["entries"]}
    assert called["low"][0] == "labels of unified"
    assert "sky" in called["low"][1].split(", ")
    assert actions.space_choices(engine, session)[-1] == ("Unseen: Garden", "garden")
    assert actions.space_choices(engine, other) == actions.space_choices(engine)
    forgotten = json.loads(actions.answer(engine, other, ["garden", "unified"]))
    assert "not known any more" in forgotten["notes"][0][1]
    assert len(forgotten["panels"]) == 1


def test_edits_of_links_leave_the_mapping(
    predictor: UniLabelPredictor, mapping: TransferMapping
) -> None:
    engine = Engine(predictor)
    session = Session.start(engine)
    session.picture, session.unseen = engine.examples[0], mapping
    before = json.loads(actions.answer(engine, session, ["garden"]))["panels"][0]["labels"]
    assert session.review is not None
    session.review.rename(0, "heaven")
    assert session.edited
    after = json.loads(actions.answer(engine, session, ["garden"]))["panels"][0]["labels"]
    assert after == before


def test_on_the_command_line(
    toy_weights: Path, mapping: TransferMapping, image: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(image).save(tmp_path / "photo.png")
    mapping.save(tmp_path / "mapping.json")
    main = runpy.run_path(str(PREDICT))["main"]
    common = ["--weights", str(toy_weights), "--input", str(tmp_path / "photo.png")]
    options = [*common, "--mapping", str(tmp_path / "mapping.json"), "--output"]
    assert main([*options, str(tmp_path / "one")]) == 0
    record = json.loads((tmp_path / "one/photo.json").read_text())
    assert record["space"] == "garden"
    assert {entry["name"] for entry in record["labels"]} <= {"low", "high", NO_CLASS}
    listed = json.loads((tmp_path / "one/classes.json").read_text())
    assert [c["name"] for c in listed["classes"]] == ["low", "high"]
    assert listed["ignore_values"] == [2]  # the id of "no class"
    assert main([*options, str(tmp_path / "two"), "--space", "unified"]) == 0
    assert {p.name for p in (tmp_path / "two").glob("[!.]*")} == {"unified", "mapping"}
