from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import load_script

pytest.importorskip("detectron2")

from unilabel.core.synthetic import render_scene
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.folders import folder_source
from unilabel.data.sources import load_sample
from unilabel.demo_app.outputs import class_list, label_png, prediction_record
from unilabel.predictor import Prediction, build_predictor

pytestmark = pytest.mark.d2


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    return load_script("demo/predict.py")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, suffix in enumerate(("png", "jpg")):
        image = render_scene(np.random.default_rng(number), "toy_fine")[0]
        Image.fromarray(image).save(folder / f"scene{number}.{suffix}")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_files_of_a_folder(
    demo: ModuleType, toy_weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "out"
    arguments = ["--weights", toy_weights, "--input", photos, "--output", output]
    assert demo.main([str(a) for a in arguments]) == 0
    names = {p.name for p in output.iterdir()}
    expected = {f"scene{i}{end}" for i in (0, 1) for end in (".png", "_overlay.jpg", ".json")}
    assert names == expected | {"classes.json", ".predict.json"}
    image = np.array(Image.open(photos / "scene0.png"))
    answer = build_predictor(toy_weights).predict(image)
    with Image.open(output / "scene0.png") as labels:
        assert labels.mode == "P"
        assert (np.array(labels) == answer.labels).all()
        shown = np.array(labels.convert("RGB"))
    assert (shown == np.array(answer.colors)[answer.labels]).all()
    names, colors = build_predictor(toy_weights).labels_of("unified")
    listed = json.loads((output / "classes.json").read_text())["classes"]
    assert [(c["id"], c["name"], tuple(c["color"])) for c in listed] == [
        (i, *pair) for i, pair in enumerate(zip(names, colors, strict=True))
    ]
    record = json.loads((output / "scene0.json").read_text())
    assert record["size"] == [128, 96]
    assert sum(entry["pixels"] for entry in record["labels"]) == 96 * 128
    assert record["labels"][0]["name"] == answer.legend()[0][0]
    with Image.open(output / "scene0_overlay.jpg") as picture:
        assert picture.height > 96
    assert "[2/2]" in capsys.readouterr().out


def test_several_spaces_get_folders(
    demo: ModuleType, toy_weights: Path, photos: Path, tmp_path: Path, toy_space: UnifiedLabelSpace
) -> None:
    renamed = replace(toy_space, names=tuple(f"my {name}" for name in toy_space.names))
    renamed.save(tmp_path / "edited.json")
    spaces = ["unified", "toy_idd", tmp_path / "edited.json", f"{tmp_path}/edited.json:toy_city"]
    arguments = ["--weights", toy_weights, "--input", photos / "scene1.jpg", "--space", *spaces]
    output = tmp_path / "out"
    assert demo.main([*map(str, arguments), "--output", str(output)]) == 0
    folders = ["edited", "edited_toy_city", "toy_idd", "unified"]
    assert sorted(p.name for p in output.iterdir()) == [".predict.json", *folders]
    record = json.loads((output / "edited/scene1.json").read_text())
    assert record["labels"][0]["name"].startswith("my ")
    record = json.loads((output / "edited_toy_city/scene1.json").read_text())
    assert record["space"] == "toy_city"


def test_subfolders_are_kept(
    demo: ModuleType, toy_weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Photos of one name in two folders, a second run, and a folder behind a link."""
    for place in ("berlin", "wien/ost", ".cache"):
        (photos / place).mkdir(parents=True)
        pair = ("scene0.png", "0.PNG") if place == "berlin" else ("scene1.jpg", "0.jpg")
        shutil.copy(photos / pair[0], photos / place / pair[1])
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(photos / "scene0.png", tmp_path / "elsewhere/linked.png")
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    output = photos / "answers"
    arguments = ["--weights", toy_weights, "--input", photos, "--output", output]
    expected = {"scene0", "scene1", "berlin/0", "wien/ost/0", "link/linked"}
    for run in range(2):
        assert demo.main([str(a) for a in arguments]) == 0
        found = {str(p.relative_to(output).with_suffix("")) for p in output.rglob("*.png")}
        assert found == expected
        assert ("10 images below" in capsys.readouterr().err) == (run == 1)
    for name, photo in (("berlin/0", "scene0.png"), ("wien/ost/0", "scene1.jpg")):
        alone = build_predictor(toy_weights).predict(photos / photo)
        assert (np.array(Image.open(output / f"{name}.png")) == alone.labels).all()
    assert json.loads((output / "wien/ost/0.json").read_text())["image"] == "0.jpg"
    assert len(list(output.rglob("classes.json"))) == 1


def test_folders_of_several_inputs_do_not_mix(
    demo: ModuleType, toy_weights: Path, photos: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(photos, tmp_path / "more"))
    arguments = ["--weights", toy_weights, "--input", photos, other, "--output", tmp_path / "out"]
    assert demo.main([str(a) for a in arguments]) == 0
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")}
    assert found == {f"{f}/scene{i}.png" for f in ("photos", "more") for i in (0, 1)}


@pytest.mark.parametrize("space", ["unified", "toy_idd"])
def test_answers_are_a_dataset(
    demo: ModuleType, toy_weights: Path, photos: Path, tmp_path: Path, space: str
) -> None:
    """classes.json says what the ids mean, in the form in which our datasets say it."""
    (photos / "sub").mkdir()
    shutil.copy(photos / "scene0.png", photos / "sub/scene0.png")
    labels = tmp_path / "made/labels/train"
    arguments = ["--weights", toy_weights, "--input", photos, "--output", labels, "--space", space]
    assert demo.main([str(a) for a in arguments]) == 0
    shutil.move(labels / "classes.json", tmp_path / "made/classes.json")
    for overlay in labels.rglob("*_overlay.jpg"):
        overlay.unlink()
    shutil.copytree(photos, tmp_path / "made/images/train")
    source = folder_source(str(tmp_path / "made"))
    predictor = build_predictor(toy_weights)
    assert source.label_space.class_names == predictor.labels_of(space)[0]
    samples = source.samples("train")
    assert len(samples) == 3
    for sample in samples:
        image, ids = load_sample(source, sample)
        assert (ids == predictor.predict(image, space).labels).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "missing.jpg"], "missing.jpg"),
        (["--input", "{photos}", "--weights", "none.pth"], "none.pth"),
        (["--input", "{photos}", "--weights", "{photos}/notes.txt"], "notes.txt"),
        (["--input", "{photos}", "--space", "cityscapes"], "toy_fine"),
        (["--input", "{photos}", "--space", "{photos}/none.json"], "none.json"),
        (["--input", "{photos}", "--opacity", "2"], "--opacity"),
        (["--input", "{photos}", "--window", "3"], "window"),
        (["--input", "{photos}", "--device", "tpu"], "tpu"),
        (["--input", "{photos}", "{photos}/scene0.png"], "rename one"),
        (["--input", "{photos}", "--output", "{photos}"], "overwritten"),
        (["--input", "{photos}", "--output", "{photos}/notes.txt"], "is a file"),
        (["--input", "{photos}/empty"], "no image in"),
        (["--input", "{photos}/classes.jpg"], "name of the list of all labels, classes.json"),
    ],
)
def test_mistakes_end_with_2_and_one_line(
    demo: ModuleType,
    toy_weights: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    arguments: list[str],
    message: str,
) -> None:
    (photos / "empty").mkdir()
    if "{photos}/classes.jpg" in arguments:
        shutil.copy(photos / "scene1.jpg", photos / "classes.jpg")
    filled = [a.replace("{photos}", str(photos)) for a in arguments]
    if "--weights" not in filled:
        filled += ["--weights", str(toy_weights)]
    if "--output" not in filled:
        filled += ["--output", str(tmp_path / "out")]
    assert demo.main(filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_damaged_image_does_not_stop_the_others(
    demo: ModuleType, toy_weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    whole = (photos / "scene0.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    arguments = ["--weights", toy_weights, "--input", photos, "--output", tmp_path / "out"]
    assert demo.main([str(a) for a in arguments]) == 2
    assert (tmp_path / "out/scene1.json").is_file()
    assert not (tmp_path / "out/cut.json").exists()
    assert "1 of 3 images failed" in capsys.readouterr().err


def test_shards_write_what_one_run_writes(
    demo: ModuleType, toy_weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def run(output: str, *more: str) -> int:
        base = ["--weights", toy_weights, "--input", photos, "--output", tmp_path / output]
        return demo.main([*map(str, base), *more])

    assert run("whole") == 0
    assert run("parts", "--shard", "2/2") == 0
    assert run("parts", "--finish") == 2
    assert "1 results are missing" in capsys.readouterr().err
    half = tmp_path / "parts/.scene0.png.77.tmp"  # of the other shard, which may still be writing
    half.write_bytes(b"half")
    assert run("parts", "--finish") == 2
    assert half.exists()
    capsys.readouterr()
    assert run("parts", "--shard", "1/2") == 0
    assert run("parts", "--finish") == 0
    whole, parts = (
        {p.name: p.read_bytes() for p in sorted((tmp_path / name).iterdir())}
        for name in ("whole", "parts")
    )
    assert whole == parts
    assert run("parts", "--shard", "3/2") == 2
    assert "expected I/N" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--tta"], "(--tta)"),
        (["--short-side", "40", "--opacity", "0.5"], "(--opacity, --short-side)"),
        (["--space", "{space}"], "(--space)"),
        (["--weights", "{model}"], "(--weights)"),
    ],
)
def test_resume_does_not_mix_answers(
    demo: ModuleType,
    toy_weights: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    options: list[str],
    named: str,
) -> None:
    out = tmp_path / "out"
    base = ["--input", str(photos), "--output", str(out)]
    assert demo.main(["--weights", str(toy_weights), *base]) == 0
    half = out / ".scene0.png.77.tmp"  # of a process that was killed
    half.write_bytes(b"half")
    (out / "scene0.json").unlink()
    assert demo.main(["--weights", str(toy_weights), *base, "--resume"]) == 0
    assert not half.exists()
    capsys.readouterr()
    other = tmp_path / "other.pth"
    content = torch.load(toy_weights, weights_only=True)
    torch.save({**content, "iteration": -1}, other)
    filled = [o.format(space="toy_fine", model=other) for o in options]
    weights = [] if "--weights" in filled else ["--weights", str(toy_weights)]
    before = {p: p.read_bytes() for p in out.iterdir()}
    for more in ("--resume", "--shard=1/2"):
        assert demo.main([*weights, *base, *filled, more]) == 2
        error = capsys.readouterr().err
        assert f"made with other settings {named}" in error
        assert "choose another --output" in error
    assert {p: p.read_bytes() for p in out.iterdir()} == before
    assert demo.main([*weights, *base, *filled]) == 0  # all of them anew


def test_more_than_255_labels_need_16_bit(tmp_path: Path) -> None:
    count = 300
    labels = np.arange(count, dtype=np.int16).reshape(15, 20)
    shares = np.full(count, 1 / count)
    names = tuple(f"label {i}" for i in range(count))
    prediction = Prediction("unified", labels, names, ((1, 2, 3),) * count, shares)
    (tmp_path / "wide.png").write_bytes(label_png(prediction))
    with Image.open(tmp_path / "wide.png") as picture:
        assert picture.mode.startswith("I")
        assert (np.array(picture) == labels).all()
    assert label_png(prediction, palette=True) == label_png(prediction)  # none for 16 bit
    listed = class_list("unified", names, prediction.colors)
    assert listed["ignore_values"] == [65535]  # 255 is a label here
    assert class_list("unified", names[:255], prediction.colors[:255])["ignore_values"] == [255]
    record = prediction_record(prediction, "wide.png")
    assert len(record["labels"]) == count
    assert record["mean_confidence"] is None
