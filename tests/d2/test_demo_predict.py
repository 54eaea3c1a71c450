from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

from unilabel.core.synthetic import render_scene
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.demo_app.outputs import label_png, prediction_record
from unilabel.predictor import Prediction, build_predictor

pytestmark = pytest.mark.d2


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    path = Path(__file__).parents[2] / "demo/predict.py"
    spec = importlib.util.spec_from_file_location("demo_predict", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    assert names == expected
    image = np.array(Image.open(photos / "scene0.png"))
    answer = build_predictor(toy_weights).predict(image)
    with Image.open(output / "scene0.png") as labels:
        assert labels.mode == "L"
        assert (np.array(labels) == answer.labels).all()
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
    assert sorted(p.name for p in output.iterdir()) == folders
    record = json.loads((output / "edited/scene1.json").read_text())
    assert record["labels"][0]["name"].startswith("my ")
    record = json.loads((output / "edited_toy_city/scene1.json").read_text())
    assert record["space"] == "toy_city"


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
    record = prediction_record(prediction, "wide.png")
    assert len(record["labels"]) == count
    assert record["mean_confidence"] is None
