from __future__ import annotations

import base64
import io
import json
import threading
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.demo_app import actions, exports, payloads, review_actions, video
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.pictures import Picture
from unilabel.demo_app.session import Session
from unilabel.demo_app.statistics import label_statistics
from unilabel.demo_app.uploads import Inbox, shown_name
from unilabel.predictor import Prediction, build_predictor

pytestmark = pytest.mark.d2


@pytest.fixture(scope="module")
def engine(toy_weights: Path) -> Engine:
    return Engine(build_predictor(toy_weights), title="toy")


@pytest.fixture
def session(engine: Engine) -> Session:
    session = Session.start(engine)
    session.picture = engine.examples[0]
    return session


def labels_of(panel: dict[str, Any]) -> np.ndarray:
    data = base64.b64decode(panel["labels"].split(",")[1])
    return np.array(Image.open(io.BytesIO(data)))


def test_answer_holds_what_the_predictor_says(engine: Engine, session: Session) -> None:
    payload = json.loads(actions.answer(engine, session, ["unified", "toy_idd"]))
    assert [panel["space"] for panel in payload["panels"]] == ["unified", "toy_idd"]
    for panel in payload["panels"]:
        expected = engine.predictor.predict(engine.examples[0].pixels, panel["space"])
        assert (labels_of(panel) == expected.labels).all()
        assert sum(entry["share"] for entry in panel["entries"]) == pytest.approx(1)
        shares = [entry["share"] for entry in panel["entries"]]
        assert shares == sorted(shares, reverse=True)


def test_selecting_the_tab_answers_only_what_was_edited(engine: Engine, tmp_path: Path) -> None:
    """Gradio selects the first tab when the page starts, while the first answer is on its way."""
    from unilabel.demo_app.page import build_page

    page = build_page(engine, Inbox(str(tmp_path)))
    named = {f.fn.__name__: f.fn for f in page.fns.values() if f.fn is not None}
    begin, again = named["begin"], named["again"]
    options = ("unified", actions.NONE, -1, False)
    assert again(None, *options)[1] == gr.skip()
    session, _, shown, _ = begin(None, *options, "")
    assert json.loads(shown)["panels"]
    assert again(session, *options)[1] == gr.skip()
    assert session.review is not None
    session.review.rename(0, "another name")
    payload = json.loads(again(session, *options)[1])
    assert payload["run"] > json.loads(shown)["run"]
    assert again(session, *options)[1] == gr.skip()


def test_names_in_the_other_datasets(engine: Engine, session: Session) -> None:
    payload = json.loads(actions.answer(engine, session, ["unified", "toy_idd"]))
    space = engine.predictor.label_space
    assert space is not None
    for entry in payload["panels"][0]["entries"]:
        called = dict(entry["called"])
        assert len(called) == 4
        column = int(space.mapping.class_of("toy_idd")[entry["id"]])
        names = space.label_spaces.get("toy_idd").class_names
        assert called["Toy streets, mixed classes"] == (names[column] if column >= 0 else "")
    for entry in payload["panels"][1]["entries"]:
        called = dict(entry["called"])
        assert set(called) == {
            "unified labels",
            "Toy streets, fine classes",
            "Toy streets, city classes",
            "Toy streets, coarse classes",
        }


def test_an_edit_changes_the_prediction_at_once(engine: Engine, session: Session) -> None:
    unified = json.loads(actions.answer(engine, session, ["unified"]))["panels"][0]
    label = unified["entries"][0]["id"]
    before = labels_of(json.loads(actions.answer(engine, session, ["toy_idd"]))["panels"][0])
    pole = engine.predictor.model.label_spaces.get("toy_idd").index("pole")
    change = {"op": "link", "id": label, "dataset": "toy_idd", "value": pole}
    state, dataset = review_actions.edit(engine, session, change)
    assert dataset == "toy_idd"
    assert json.loads(state)["can_undo"]
    panels = json.loads(actions.answer(engine, session, ["toy_idd", "base:toy_idd"]))["panels"]
    assert (labels_of(panels[0]) != before).any()
    assert (labels_of(panels[1]) == before).all()
    other = Session.start(engine)  # another visitor sees nothing of it
    other.picture = engine.examples[0]
    theirs = json.loads(actions.answer(engine, other, ["toy_idd"]))["panels"][0]
    assert (labels_of(theirs) == before).all()
    review_actions.edit(engine, session, {"op": "undo"})
    again = json.loads(actions.answer(engine, session, ["toy_idd"]))["panels"][0]
    assert (labels_of(again) == before).all()


@pytest.mark.parametrize(
    "change",
    [
        None,
        [],
        "undo",
        {"op": "drop table"},
        {"op": "link", "id": "0", "dataset": "toy_idd", "value": 1},
        {"op": "link", "id": 0, "dataset": ["toy_idd"], "value": 1},
        {"op": "link", "id": 0, "dataset": "toy_idd", "value": 99},
        {"op": "link", "id": 0, "dataset": "toy_idd", "value": True},
        {"op": "name", "id": 0, "value": {"a": 1}},
        {"op": "colour", "id": 0, "value": "#12"},
        {"op": "colour", "id": 0, "value": "#zzzzzz"},
        {"op": "check", "id": 10**9, "value": True},
    ],
)
def test_nonsense_from_the_page_is_answered(engine: Engine, session: Session, change: Any) -> None:
    state = json.loads(review_actions.edit(engine, session, change)[0])
    assert state["notes"][0][0] == "error"
    assert not state["changed"]


def test_examples_are_chosen_by_number_only(engine: Engine, session: Session) -> None:
    for wrong in (-1, 99, "0", None, 1.0, True):
        payload = json.loads(actions.choose_example(engine, session, wrong, ["unified"]))
        assert payload["notes"][0][0] == "error"
    actions.choose_example(engine, session, 3, ["unified"])
    assert session.picture is engine.examples[3]


def test_saved_label_space_and_diff(
    engine: Engine, session: Session, toy_space: UnifiedLabelSpace, tmp_path: Path
) -> None:
    review_actions.edit(engine, session, {"op": "name", "id": 0, "value": "heaven"})
    text = review_actions.save_label_space(session)
    assert review_actions.save_label_space(session) != text  # else the page overlooks it
    file = json.loads(text)
    (tmp_path / "edited.json").write_bytes(base64.b64decode(file["url"].split(",")[1]))
    assert UnifiedLabelSpace.load(tmp_path / "edited.json").names[0] == "heaven"
    diff = json.loads(
        base64.b64decode(json.loads(review_actions.save_diff(session))["url"].split(",")[1])
    )
    assert diff["names"] == [{"id": 0, "before": toy_space.names[0], "after": "heaven"}]


def test_encodings_are_kept_and_bounded(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(build_predictor(toy_weights))
    first = engine.encode(engine.examples[0])
    assert engine.encode(engine.examples[0]) is first
    monkeypatch.setattr("unilabel.demo_app.engine.MAX_CACHED", first.embedding.nbytes * 3)
    for picture in engine.examples:
        engine.encode(picture)
    assert len(engine._encoded) == 3


def test_statistics_count_every_pixel(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = label_statistics(engine, engine.examples[:3])
    monkeypatch.setattr(engine, "predictor", None)  # what is known is not predicted again
    assert label_statistics(engine, engine.examples[:3]) == stats
    assert sum(entry["share"] for entry in stats.values()) == pytest.approx(1)
    for entry in stats.values():
        assert 0 < entry["confidence"] <= 1
        assert len(entry["crops"]) <= 3
        assert all(url.startswith("data:image/") for url in entry["crops"])


@pytest.mark.parametrize("kind", ["png", "svg", "html"])
def test_graph_files(engine: Engine, session: Session, kind: str) -> None:
    file = json.loads(exports.graph_file(engine, session, kind))
    assert file["name"] == f"label_graph.{kind}"
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!DOCTYPE"}
    assert base64.b64decode(file["url"].split(",")[1]).startswith(starts[kind])


def test_many_labels_travel_in_two_bytes() -> None:
    count = 300
    labels = np.arange(count, dtype=np.int16).reshape(15, 20)
    names = tuple(f"label {i}" for i in range(count))
    shares = np.full(count, 1 / count)
    prediction = Prediction("unified", labels, names, ((1, 2, 3),) * count, shares)
    picture = Picture("x", np.zeros((15, 20, 3), np.uint8))
    panel = payloads.Panel("t", "t", prediction, None)
    sent = json.loads(payloads.viewer_payload(picture, [panel]))["panels"][0]
    assert (labels_of(sent) == labels).all()


def sent(root: Path, name: str, data: bytes) -> str:
    file = root / "abc" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return str(file)


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_inbox_deletes_and_guards(tmp_path: Path) -> None:
    root = tmp_path / "uploads"
    path = sent(root, "a.png", b"x")
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    inbox = Inbox(str(root))
    assert inbox.take(path, 10) == ("a.png", b"x")
    assert files_below(root) == []
    (root / "link.png").symlink_to(secret)
    for wrong in (str(secret), str(root), f"{root}/../secret", f"{root}/link.png", None, ""):
        with pytest.raises(UniLabelError):
            inbox.take(wrong, 10)
    assert secret.exists()
    with pytest.raises(UniLabelError, match="at most 0 MB"):
        inbox.take(sent(root, "b.png", bytes(20)), 10)
    assert files_below(root) == [root / "link.png"] or files_below(root) == []
    assert shown_name(Path("/a/b\x07" + "c" * 90)).startswith("b?ccc")
    assert len(shown_name(Path("c" * 90))) == 60


def test_inbox_gives_the_same_file_to_two_visitors(tmp_path: Path) -> None:
    root = tmp_path / "uploads"
    path = sent(root, "a.png", b"x")
    inbox = Inbox(str(root))
    assert inbox.take(path, 10) == inbox.take(path, 10)


def test_inbox_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unilabel.demo_app.uploads._REMEMBER_SECONDS", 0.0)
    monkeypatch.setattr("unilabel.demo_app.uploads._ARRIVAL_SECONDS", 0.0)
    root = tmp_path / "uploads"
    path = sent(root, "a.png", b"x")
    inbox = Inbox(str(root))
    inbox.take(path, 10)
    with pytest.raises(UniLabelError, match="did not arrive"):
        inbox.take(path, 10)
    assert list(root.iterdir()) == []


def test_inbox_waits_for_a_file_on_its_way(tmp_path: Path) -> None:
    root = tmp_path / "uploads"
    (root / "abc").mkdir(parents=True)
    inbox = Inbox(str(root))
    late = threading.Timer(0.2, lambda: (root / "abc/a.png").write_bytes(b"x"))
    late.start()
    assert inbox.take(str(root / "abc/a.png"), 10)[1] == b"x"
    late.join()


def make_video(path: Path, frames: int, rate: float = 16.0) -> None:
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (96, 64))
    for number in range(frames):
        writer.write(np.full((64, 96, 3), number % 256, np.uint8))
    writer.release()


def test_video(engine: Engine, session: Session, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    file = Path(sent(uploads, "street.avi", b""))
    make_video(file, 16)
    steps = [
        json.loads(status)
        for status in video.predict_video(
            engine, session, Inbox(str(uploads)), str(file), "unified", 0.6
        )
    ]
    assert len(steps) == 9  # every second of 16 frames, and the result
    assert steps[-1]["url"].startswith("data:video/webm")
    assert steps[-1]["name"] == "street_labels.webm"
    assert files_below(uploads) == []


def test_cancelled_video_leaves_nothing(engine: Engine, session: Session, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    file = Path(sent(uploads, "street.avi", b""))
    make_video(file, 16)
    inbox = Inbox(str(uploads))
    job = video.predict_video(engine, session, inbox, str(file), "toy_idd", 0.6)
    assert json.loads(next(job))["share"] == pytest.approx(1 / 8)
    job.close()
    assert files_below(uploads) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", "no video"),
        ("a.mp4", b"\x00\x00\x00\x18ftypmp42" + bytes(99), "no video"),
        ("a.avi", 300, "longer"),
    ],
)
def test_bad_videos(
    engine: Engine, session: Session, tmp_path: Path, name: str, content: Any, message: str
) -> None:
    root = tmp_path / "up"
    file = Path(sent(root, name, content if isinstance(content, bytes) else b""))
    if not isinstance(content, bytes):
        make_video(file, content)
    job = video.predict_video(engine, session, Inbox(str(root)), str(file), "unified", 0.6)
    (status,) = [json.loads(step) for step in job]
    assert message in status["lines"][0]
    assert status["kind"] == "error"
    assert files_below(root) == []


def test_models_without_unified_labels(multi_head_weights: Path) -> None:
    engine = Engine(build_predictor(multi_head_weights))
    session = Session.start(engine)
    session.picture = engine.examples[0]
    assert actions.space_choices(engine)[0][1] == "toy_fine"
    panel = json.loads(actions.answer(engine, session, ["toy_fine"]))["panels"][0]
    assert all(entry["called"] == [] for entry in panel["entries"])
    with pytest.raises(UniLabelError):
        review_actions.save_label_space(session)
