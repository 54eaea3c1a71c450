"""Harmonising a zip and adding its dataset, without the page."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

from unilabel.core.synthetic import atom_table, render_scene, toy_label_spaces
from unilabel.demo_app.add_photos import add_photos
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.harmonise import harmonise
from unilabel.demo_app.jobs import CANCELLED, Job, job_status, until_cancelled
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox
from unilabel.predictor import build_predictor

pytestmark = pytest.mark.d2


@pytest.fixture(scope="module")
def engine(toy_weights: Path) -> Engine:
    return Engine(build_predictor(toy_weights), title="toy", weights=toy_weights)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    (tmp_path / "uploads").mkdir()
    return Inbox(str(tmp_path / "uploads"))


def sent(inbox: Inbox, photos: int, name: str) -> str:
    """A zip of drawings that has just been uploaded."""
    space = next(s for s in toy_label_spaces() if s.name == "toy_coarse")
    path = inbox.root / "abc" / "mine.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/classes.json", json.dumps({**space.to_dict(), "name": name}))
        for number in range(photos):
            scene, atoms = render_scene(np.random.default_rng(number), "toy_coarse")
            labels = atom_table("toy_coarse")[atoms]
            for kind, pixels in (("images", scene), ("labels", labels)):
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "PNG")
                archive.writestr(f"x/{kind}/train/{number}.png", buffer.getvalue())
    return str(path)


def files_of(status: dict[str, Any]) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(base64.b64decode(status["url"].split(",")[1])))


def test_a_zip_is_harmonised(engine: Engine, inbox: Inbox) -> None:
    path = sent(inbox, 3, "toy_coarse")
    session = Session.start(engine)
    said = [json.loads(s) for s in harmonise(engine, session, inbox, path, "unified")]
    assert [s["lines"][0] for s in said[1:4]] == [f"Photo {i} of 3" for i in (1, 2, 3)]
    assert said[-1]["lines"][0] == "3 photos are harmonised."
    assert said[-1]["share"] is None
    assert len(said[-1]["pictures"]) == 3
    names = files_of(said[-1]).namelist()
    assert sum(name.startswith("labels/train/") for name in names) == 3
    assert not any(name.startswith("images/") for name in names)
    assert list(inbox.root.rglob("*.zip")) == []


def test_a_dataset_that_the_model_does_not_know(engine: Engine, inbox: Inbox) -> None:
    path = sent(inbox, 1, "garden")
    said = [json.loads(s) for s in harmonise(engine, Session.start(engine), inbox, path, "unified")]
    assert said[-1]["kind"] == "error"
    assert "was not trained on 'garden' (the zip" in said[-1]["lines"][0]
    assert "/tmp" not in said[-1]["lines"][0]  # visitors do not see folders of the server


@pytest.mark.slow
def test_a_zip_becomes_a_label_space(engine: Engine, inbox: Inbox, tmp_path: Path) -> None:
    said = [json.loads(s) for s in add_photos(engine, inbox, sent(inbox, 4, "garden"))]
    assert said[-1]["kind"] == "info", said[-1]["lines"]
    assert any("Learning" in s["lines"][0] for s in said[:-1])
    with files_of(said[-1]) as files:
        (tmp_path / "added.pth").write_bytes(files.read("model_added.pth"))
    added = build_predictor(tmp_path / "added.pth", optimize=False)
    assert set(added.spaces) == {*engine.predictor.spaces, "garden"}


@pytest.mark.slow
def test_a_job_that_is_left_ends(engine: Engine, inbox: Inbox) -> None:
    from unilabel.demo_app import children

    work = add_photos(engine, inbox, sent(inbox, 4, "garden"))
    while not children._running:
        next(work)
    (process,) = children._running
    work.close()
    assert process.poll() is not None
    assert not children._running


def steps(count: int, closed: list[bool]) -> Iterator[str]:
    try:
        for number in range(count):
            yield job_status([f"step {number}"], number / count)
    finally:
        closed.append(True)


def test_a_job_that_is_cancelled_says_so_and_ends_its_work() -> None:
    job, closed = Job("file"), []
    said = until_cancelled(job, steps(5, closed))
    assert json.loads(next(said))["lines"] == ["step 0"]
    assert job.begun
    job.cancelled.set()
    assert list(said) == [CANCELLED]
    assert closed == [True]
    assert len(list(until_cancelled(Job("file"), steps(5, closed)))) == 5  # not cancelled: all


def test_a_job_that_is_cancelled_before_its_turn_does_nothing() -> None:
    job, closed = Job("file"), []
    job.cancelled.set()
    assert list(until_cancelled(job, steps(5, closed))) == [CANCELLED]


def test_labels_are_named_like_the_photos_of_the_visitor(engine: Engine, inbox: Inbox) -> None:
    path = sent(inbox, 2, "toy_coarse")
    said = list(harmonise(engine, Session.start(engine), inbox, path, "unified"))
    names = {n for n in files_of(json.loads(said[-1])).namelist() if n.startswith("labels/")}
    assert names == {"labels/train/0.png", "labels/train/1.png"}
