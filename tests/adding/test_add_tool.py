"""tools/add_dataset.py on a model of random weights: what is written, and where it loads."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import load_script

pytest.importorskip("detectron2")

from unilabel.adding.base import read_base
from unilabel.adding.job import add_dataset, read_source
from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import UNIFIED
from unilabel.core.synthetic import TOY_DATASETS, render_scene
from unilabel.core.typed_relations import TypedRelation
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file
from unilabel.predictor import build_predictor

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]


def load_tool(name: str) -> ModuleType:
    return load_script(f"tools/{name}.py")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("add_dataset")


@pytest.fixture(scope="module")
def dataset(toy_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A dataset whose classes are groups of the model's own answers, and a white kiosk.

    Returns:
        its folder, and the class of each unified label, -1 for those that never occur.
    """
    folder = tmp_path_factory.mktemp("mine")
    predictor = build_predictor(toy_weights)
    rng = np.random.default_rng(3)
    images = [render_scene(rng, "toy_fine")[0] for _ in range(6)]
    answers = [predictor.predict(image, UNIFIED).labels for image in images]
    counts = np.bincount(np.stack(answers[:4]).reshape(-1), minlength=19)
    used = np.argsort(-counts)[: int((counts > 50).sum())]
    group = np.full(19, -1)
    group[used] = np.arange(len(used)) % 3
    for number, (image, answer) in enumerate(zip(images, answers, strict=True)):
        split = "train" if number < 4 else "val"
        label = (group[answer] % 256).astype(np.uint8)
        image, at = image.copy(), (8 + 8 * number, 16)
        image[at[0] : at[0] + 20, at[1] : at[1] + 12] = 255
        label[at[0] : at[0] + 20, at[1] : at[1] + 12] = 3
        for kind, array in (("images", image), ("labels", label)):
            path = folder / kind / split / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    names = ["alpha", "beta", "gamma", "kiosk"]
    classes = [{"id": i, "name": n} for i, n in enumerate(names)]
    (folder / "classes.json").write_text(json.dumps({"name": "groups", "classes": classes}))
    return folder, group


@pytest.fixture(scope="module")
def call(tool: ModuleType, toy_weights: Path, dataset):
    def run(output: Path, *more: str) -> int:
        words = ["--weights", str(toy_weights), "--dataset", str(dataset[0])]
        return tool.main([*words, "--output", str(output), "--encoder", "hashed", *more])

    return run


@pytest.fixture(scope="module")
def added(call, toy_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = hashlib.sha256(toy_weights.read_bytes()).hexdigest()
    output = tmp_path_factory.mktemp("added") / "new.pth"
    assert call(output, "--report", str(output.with_name("report.html"))) == 0
    assert hashlib.sha256(toy_weights.read_bytes()).hexdigest() == before
    return output


def test_old_answers_are_equal_and_new_ones_right(added: Path, toy_weights: Path, dataset) -> None:
    old, new = build_predictor(toy_weights), build_predictor(added)
    assert new.spaces == [*old.model.label_spaces.names, "groups", UNIFIED]
    rng = np.random.default_rng(11)
    for number in range(20):
        image = render_scene(rng, list(TOY_DATASETS)[number % len(TOY_DATASETS)])[0]
        one, two = old.encode(image), new.encode(image)
        for space in old.model.label_spaces.names:
            before, after = (p.predict(e, space) for p, e in ((old, one), (new, two)))
            assert np.array_equal(before.labels, after.labels)
            assert np.allclose(before.confidence, after.confidence, atol=1e-3)
    folder = dataset[0]
    right = total = 0
    for file in sorted((folder / "images/val").iterdir()):
        label = np.array(Image.open(folder / "labels/val" / file.name))
        answer = new.predict(str(file), "groups").labels
        right += int((answer == label)[label < 255].sum())
        total += int((label < 255).sum())
    assert right / total > 0.75


def test_what_is_written(added: Path, toy_space: UnifiedLabelSpace, dataset) -> None:
    file = added.with_name("label_space.json")
    space = UnifiedLabelSpace.load(file)
    assert space.names[:19] == toy_space.names
    assert space.names[19:]
    before = {k: v for k, v in space.links.items() if k[0] < 19 and k[1] != "groups"}
    assert before == toy_space.links
    group, found = dataset[1], space.mapping.class_of("groups")[:19].numpy()
    told = (found >= 0) & (group >= 0)
    assert told.sum() >= 3
    assert (found == group)[told].all()
    entry = space.provenance["added"][0]
    assert (entry["dataset"], entry["photos"]) == ("groups", 4)
    content = torch.load(added, weights_only=True)
    assert content["label_space"] == json.loads(file.read_text())


def test_the_page_shows_every_class_with_crops(added: Path) -> None:
    page = added.with_name("report.html").read_text()
    assert all(f"<bdi>{name}</bdi>" in page for name in ("alpha", "beta", "gamma", "kiosk"))
    assert page.count("data:image/jpeg") >= 4
    assert "new, part of" in page
    assert "the model answered" in page


def test_no_photo_and_one_photo(call, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "none.pth", "--photos", "0") == 0
    printed = capsys.readouterr().out
    assert "by names and descriptions alone" in printed
    assert "few relations were found" in printed
    assert "groups" in build_predictor(tmp_path / "none.pth").spaces
    assert call(tmp_path / "one.pth", "--photos", "1") == 0
    assert "1 photos" in capsys.readouterr().out
    assert (tmp_path / "one.label_space.json").is_file()  # the other model's file stays


def test_where_it_loads(added: Path, dataset, tmp_path: Path, capsys) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    export = load_tool("export_onnx")
    graph = ["--weights", str(added), "--space", "groups", "--size", "96", "128"]
    assert export.main([*graph, "--output", str(tmp_path / "new.onnx")]) == 0
    harmonize = load_tool("harmonize")
    merged = ["--weights", str(added), "--output", str(tmp_path / "merged"), "--workers", "1"]
    assert harmonize.main([*merged, "--folders", str(dataset[0])]) == 0
    assert harmonize.main(["--check", str(tmp_path / "merged")]) == 0
    wilddash = load_tool("wilddash_submit")
    table = ["--weights", str(added), "--write-mapping", str(tmp_path / "mapping.json")]
    assert wilddash.main(table) == 0
    pytest.importorskip("gradio")
    from unilabel.demo_app.engine import Engine

    engine = Engine(build_predictor(added))
    assert "groups" in engine.predictor.spaces
    capsys.readouterr()


def test_mistakes_are_named(
    call, tool, toy_weights, multi_head_weights, toy_space, added, dataset, tmp_path, capsys
) -> None:
    folder = dataset[0]
    words = ["--dataset", str(folder), "--encoder", "hashed", "--output", str(tmp_path / "x.pth")]

    def told(*more: str) -> str:
        assert tool.main([*words, *more]) == 2
        return capsys.readouterr().err

    assert "already answers in 'groups'" in told("--weights", str(added))
    assert "no unified labels" in told("--weights", str(multi_head_weights))
    plain = ("--weights", str(toy_weights))
    assert "is the model itself" in told(*plain, "--output", str(toy_weights))
    assert "--photos 9" in told(*plain, "--photos", "9")
    assert "--photos -1" in told(*plain, "--photos", "-1")
    empty = tmp_path / "empty"
    shutil.copytree(folder, empty)
    for file in (empty / "labels/train").iterdir():
        Image.fromarray(np.full((96, 128), 255, np.uint8)).save(file)
    assert "labelled pixel" in told(*plain, "--dataset", str(empty))
    copy = tmp_path / "edited/model.pth"
    copy.parent.mkdir()
    shutil.copy(toy_weights, copy)
    data = toy_space.to_dict()
    data["labels"][0]["name"] = "something else"
    data["labels"][3]["checked"] = True
    (copy.parent / "label_space.json").write_text(json.dumps(data))
    assert "somebody edited it since" in told("--weights", str(copy))
    edited = ["--weights", str(copy), "--label-space", str(copy.parent / "label_space.json")]
    assert tool.main([*words, *edited]) == 0
    written = UnifiedLabelSpace.load(tmp_path / "label_space.json")
    assert written.names[0] == "something else"
    gained = int(written.mapping.class_of("groups")[3]) >= 0
    assert (3 in written.checked) is not gained


def _write_forever(tool_path: str, words: list[str], ready) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    module = load_tool("add_dataset")
    import unilabel.engine.checkpoint as checkpoint

    plain = checkpoint.torch.save

    def slow(content, path) -> None:  # half of the file, then a pause, then the whole
        Path(path).write_bytes(b"half")
        ready.set()
        time.sleep(30)
        plain(content, path)

    checkpoint.torch.save = slow
    module.main(words)


def test_a_kill_while_writing_leaves_the_old_file(toy_weights, dataset, tmp_path: Path) -> None:
    output = tmp_path / "new.pth"
    output.write_bytes(b"what was there")
    words = ["--weights", str(toy_weights), "--dataset", str(dataset[0]), "--encoder", "hashed"]
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    target = (str(ROOT), [*words, "--photos", "1", "--output", str(output)], ready)
    process = context.Process(target=_write_forever, args=target)
    process.start()
    assert ready.wait(120)
    process.kill()
    process.join()
    assert output.read_bytes() == b"what was there"
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == ["new.pth"]


def _run(tool_path: str, words: list[str]) -> None:
    torch.set_num_threads(1)
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        load_tool("add_dataset").main(words)


@pytest.mark.faults
def test_kills_at_any_moment_leave_whole_files(toy_weights, dataset, tmp_path: Path) -> None:
    """The old model keeps its bytes; a new one is whole or not there."""
    words = ["--weights", str(toy_weights), "--dataset", str(dataset[0]), "--encoder", "hashed"]
    context = multiprocessing.get_context("fork")
    before = hashlib.sha256(toy_weights.read_bytes()).hexdigest()
    rng = np.random.default_rng(0)

    def run(output: Path, seconds: float | None) -> float:
        start = time.monotonic()
        options = [*words, "--photos", "2", "--output", str(output)]
        process = context.Process(target=_run, args=(str(ROOT), options))
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        return time.monotonic() - start

    whole = run(tmp_path / "whole.pth", None)
    expected = load_file(tmp_path / "whole.pth")
    ends = []
    # Half of the kills fall into the last tenth, in which files are written.
    for number, share in enumerate([*rng.uniform(0, 0.9, 6), *rng.uniform(0.9, 1.05, 6)]):
        output = tmp_path / str(number) / "new.pth"
        output.parent.mkdir()
        run(output, whole * share)
        assert hashlib.sha256(toy_weights.read_bytes()).hexdigest() == before
        ends.append(output.is_file())
        if output.is_file():
            found = load_file(output)
            assert found.keys() == expected.keys()
            assert all(torch.equal(v, expected["model"][k]) for k, v in found["model"].items())
        seen = {p.name for p in output.parent.iterdir() if not p.name.startswith(".")}
        assert seen <= {"new.pth", "label_space.json"}
    assert not all(ends)


def test_related_classes_that_share_no_label_are_told(toy_weights: Path, tmp_path: Path) -> None:
    """A unified label stands for one class: of a truck and a vehicle the truck gets its own."""
    folder = tmp_path / "mine"
    for kind in ("images", "labels"):
        (folder / kind / "train").mkdir(parents=True)
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / kind / "train/0.png")
    described = {"id": 0, "name": "vehicle", "description": "Cars, trucks and buses."}
    classes = [described, {"id": 1, "name": "truck", "description": "A truck."}]
    (folder / "classes.json").write_text(json.dumps({"name": "mine", "classes": classes}))
    base = read_base(str(toy_weights))
    old = TypedRelation(("toy_fine", "car"), ("toy_idd", "sky"), "none", source="human")
    base = replace(base, space=replace(base.space, relations=(old,)))
    space = add_dataset(base, read_source(str(folder)), photos=0, encoder="hashed").space
    assert space.relations[0] == old
    linked, place = space.mapping.links(), space.label_spaces.places()
    found = {}
    for relation in space.relations[1:]:
        seen = relation.seen_from("mine")
        assert seen.a[0] == "mine"
        assert not linked[place[seen.a], place[seen.b]]
        found[seen.b] = (seen.a[1], seen.type, seen.why, seen.source)
    assert found["toy_fine", "truck"] == ("vehicle", "superset", "kind", "text")
    assert all(entry[0] == "vehicle" for entry in found.values())
    assert UnifiedLabelSpace.from_dict(space.to_dict(), "x").relations == space.relations


def test_without_the_models_encoder_names_speak_alone(
    toy_weights: Path, dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = read_base(str(toy_weights))
    cfg = base.cfg.clone()
    cfg.defrost()
    cfg.TEXT.ENCODER = str(tmp_path / "nowhere")
    base = replace(base, cfg=cfg)
    source = read_source(str(dataset[0]))
    added = add_dataset(base, source, photos=0)
    assert [r.getMessage()[:35] for r in caplog.records].count(
        "names are compared as words only, t"
    ) == 1
    assert added.space.relations == base.space.relations
    with pytest.raises(UniLabelError, match="nowhere"):
        add_dataset(base, source, photos=0, encoder=str(tmp_path / "nowhere"))
