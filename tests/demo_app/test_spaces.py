"""All label spaces of an answer, the forms of a label map, and what the address names."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.demo_app import actions
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.forms import FORMS
from unilabel.demo_app.session import Session
from unilabel.predictor import build_predictor

pytestmark = pytest.mark.d2

TOY = ["toy_city", "toy_coarse", "toy_fine", "toy_idd"]


@pytest.fixture(scope="module")
def engine(toy_weights: Path) -> Engine:
    return Engine(build_predictor(toy_weights), title="toy")


@pytest.fixture
def session(engine: Engine) -> Session:
    session = Session.start(engine)
    session.picture = engine.examples[0]
    return session


def ids(panel: dict) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(panel["labels"].split(",")[1]))))


def test_the_other_label_spaces_follow_without_the_photo(engine: Engine, session: Session) -> None:
    answer = json.loads(actions.answer(engine, session, ["toy_idd", "none"]))
    more = json.loads(actions.other_spaces(engine, session))
    assert more["run"] == answer["run"]
    assert "image" not in more
    assert actions.other_spaces(engine, session) == ""  # once is enough
    found = {panel["id"]: panel for panel in [*answer["panels"], *more["panels"]]}
    assert sorted(found) == sorted(["unified", *TOY])
    for name, panel in found.items():
        expected = engine.predictor.predict(engine.examples[0].pixels, name)
        assert (ids(panel) == expected.labels).all()


def test_with_edits_the_spaces_before_them_follow_too(engine: Engine, session: Session) -> None:
    session.review.rename(0, "heaven")
    actions.answer(engine, session, ["unified"])
    more = json.loads(actions.other_spaces(engine, session))
    names = [panel["id"] for panel in more["panels"]]
    assert sorted(names) == sorted([*TOY, "base:unified", *(f"base:{name}" for name in TOY)])


def test_an_answer_to_something_else_ends_the_rest(
    engine: Engine, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions.answer(engine, session, ["unified"])
    asked = []

    def predict(self, *arguments, **options):  # the visitor chooses another picture meanwhile
        asked.append(arguments[1])
        session.run += 1
        return real(self, *arguments, **options)

    real = type(engine.predictor).predict
    monkeypatch.setattr(type(engine.predictor), "predict", predict)
    actions.other_spaces(engine, session)
    assert len(asked) == 1


def test_rows_say_which_labels_agree(engine: Engine, session: Session) -> None:
    unified, idd = json.loads(actions.answer(engine, session, ["unified", "toy_idd"]))["panels"]
    column = engine.predictor.label_space.mapping.class_of("toy_idd")
    for entry in unified["entries"]:
        agree = {b["id"] for b in idd["entries"] if set(entry["rows"]) & set(b["rows"])}
        assert agree <= {int(column[entry["id"]])}


@pytest.mark.parametrize("form", FORMS)
def test_forms(engine: Engine, session: Session, form: str) -> None:
    file = json.loads(actions.form_file(engine, session, {"form": form, "space": "toy_idd"}))
    data = base64.b64decode(file["url"].split(",")[1])
    expected = engine.predictor.predict(engine.examples[0].pixels, "toy_idd")
    assert file["name"].startswith("toy_street_1_Toy_streets_mixed_classes")
    if form == "coco":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            rgb = np.array(Image.open(io.BytesIO(archive.read("panoptic.png")))).astype(int)
        assert (rgb[..., 0] - 1 == expected.labels).all()
    elif form == "geojson":
        found = json.loads(data)["features"]
        assert {f["properties"]["id"] for f in found} == set(np.unique(expected.labels).tolist())
        for ring in (ring for f in found for ring in f["geometry"]["coordinates"]):
            assert ring[0] == ring[-1]  # RFC 7946: closed
            assert len(ring) >= 4
    elif form == "labelme":
        found = json.loads(data)
        assert (found["imageHeight"], found["imageWidth"]) == expected.labels.shape
        assert {s["shape_type"] for s in found["shapes"]} == {"polygon"}
    else:
        doubt = np.array(Image.open(io.BytesIO(data))).astype(float) / 255
        assert np.abs(1 - doubt - expected.confidence).max() < 0.004


@pytest.mark.parametrize(
    "asked", [None, {}, {"form": "exe", "space": "unified"}, {"form": "coco", "space": "x"}]
)
def test_forms_that_are_not(engine: Engine, session: Session, asked: object) -> None:
    with pytest.raises(UniLabelError, match="there is no"):
        actions.form_file(engine, session, asked)


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("?picture=2&space=toy_idd", (2, "toy_idd")),
        ("?tab=review", (0, None)),
        ("?picture=99&space=nothing", (0, None)),
        ("?picture=-1", (0, None)),
        (None, (0, None)),
        ("?picture=²", (0, None)),
        ("?picture=" + "9" * 5000, (0, None)),
    ],
)
def test_the_address(engine: Engine, session: Session, search: object, expected: tuple) -> None:
    assert actions.read_address(engine, session, search) == expected
