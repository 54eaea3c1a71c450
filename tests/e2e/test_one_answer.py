"""Whatever way a person asks a model, the same photo gives the same answer."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scripts import load_script

pytest.importorskip("detectron2")

from unilabel.data.build import EvalDataset
from unilabel.data.folders import folder_source
from unilabel.data.test_size import TestSize
from unilabel.demo_app import actions
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.pictures import Picture
from unilabel.demo_app.session import Session
from unilabel.engine.checkpoint import load_file, save_file
from unilabel.engine.loading import config_of, load_model
from unilabel.predictor import build_predictor
from unilabel.submission.formats import Benchmark, input_stem
from unilabel.submission.label_table import learned_table
from unilabel.submission.labeller import Labeller
from unilabel.submission.void import VoidPolicy

DATASET = "toy_city"
Answer = NDArray[np.int64]
MODELS = ["native", "resized", "enlarged", "logit_sum", "heads", "aligned"]


@pytest.fixture(scope="module", params=MODELS)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that differ in what a way of asking might forget."""
    fixture = {"logit_sum": "logit_sum_weights", "heads": "multi_head_weights"}
    source = request.getfixturevalue(fixture.get(request.param, "toy_weights"))
    content = load_file(source)
    cfg = config_of(content["config"], str(source))
    sides = {"native": 0, "enlarged": 176}
    cfg.INPUT.TEST_SHORT_SIDE = sides.get(request.param, 88)
    cfg.MODEL.ALIGN_CORNERS = request.param == "aligned"
    path = tmp_path_factory.mktemp("model") / "model_final.pth"
    known = {key: value for key, value in content.items() if key not in ("format", "version")}
    save_file(path, {**known, "config": cfg.dump()})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of odd size, as a dataset of one image."""
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    photo = coarse.resize((187, 131), Image.Resampling.BICUBIC)
    root = tmp_path_factory.mktemp("photos")
    from unilabel.core.synthetic import toy_label_spaces

    space = next(s for s in toy_label_spaces() if s.name == DATASET)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        photo.save(root / "images" / split / "photo.png")
        Image.new("L", photo.size, 0).save(root / "labels" / split / "photo.png")
    (root / "classes.json").write_text(json.dumps(space.to_dict()))
    return root


def evaluation(weights: Path, folder: Path, space: str) -> Answer:
    model, _ = load_model(weights)
    source = folder_source(str(folder))
    side = config_of(load_file(weights)["config"], str(weights)).INPUT.TEST_SHORT_SIDE
    item = EvalDataset(source, 0, source.samples("val"), TestSize(side), [space])[0]
    return model([item])[0][space].numpy()


def from_path(weights: Path, folder: Path, space: str) -> Answer:
    return build_predictor(weights).predict(photo_of(folder), space).labels


def from_array(weights: Path, folder: Path, space: str) -> Answer:
    image = np.array(Image.open(photo_of(folder)))
    return build_predictor(weights).predict(image, space, confidence=False).labels


def script(path: str) -> ModuleType:
    """A program of the repository as a module: seconds less than a process of its own."""
    return load_script(path)


def command_line(weights: Path, folder: Path, space: str) -> Answer:
    output = weights.parent / f"predicted_{space}"
    options = ["--weights", weights, "--input", photo_of(folder), "--space", space]
    assert script("demo/predict.py").main([*map(str, options), "--output", str(output)]) == 0
    return np.array(Image.open(next(output.rglob("photo.png"))))


def onnx(weights: Path, folder: Path, space: str) -> Answer:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    path = weights.parent / f"{space}.onnx"
    tool = script("tools/export_onnx.py")
    tool.export(*tool.label_map_module(str(weights), space)[:2], path)
    image = np.array(Image.open(photo_of(folder)))
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    both = session.run(None, {"image": np.stack([image, image[::-1]])})[0]  # a batch of two
    assert both.shape == (2, *image.shape[:2])
    return both[0]


def submission(weights: Path, folder: Path, space: str) -> Answer:
    predictor = build_predictor(weights)
    spaces = predictor.model.label_spaces
    if space != DATASET:
        pytest.skip("benchmarks are datasets")
    ids = {name: i for i, name in enumerate(spaces.get(DATASET).class_names)}
    benchmark = Benchmark(DATASET, 0, ids, input_stem, None)
    table = learned_table(benchmark, spaces, predictor.label_space)
    labeller = Labeller(predictor, benchmark, table, VoidPolicy(unmapped=False))
    return labeller(np.array(Image.open(photo_of(folder))))


def demo(weights: Path, folder: Path, space: str) -> Answer:
    engine = Engine(build_predictor(weights))
    session = Session.start(engine)
    session.picture = Picture("photo", np.array(Image.open(photo_of(folder))))
    payload = actions.answer(engine, session, [space])
    encoded = re.search(r'"labels": ?"data:image/png;base64,([^"]+)"', payload)
    return np.array(Image.open(io.BytesIO(base64.b64decode(encoded[1]))))


def photo_of(folder: Path) -> Path:
    return folder / "images" / "val" / "photo.png"


WAYS: dict[Callable[[Path, Path, str], Answer], float] = {
    from_path: 0.999,
    from_array: 0.999,
    command_line: 0.999,
    onnx: 0.995,
    submission: 0.999,
    demo: 0.999,
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("space", ["unified", DATASET])
def test_every_way_of_asking_gives_the_answer_of_the_evaluation(
    weights: Path, folder: Path, space: str, way: Callable[[Path, Path, str], Answer]
) -> None:
    if space not in build_predictor(weights).spaces:
        pytest.skip("a model with one head per dataset")
    expected = evaluation(weights, folder, space)
    assert len(np.unique(expected)) > 2  # else agreement would mean nothing
    found = way(weights, folder, space)
    assert found.shape == expected.shape
    assert (found == expected).mean() >= WAYS[way]
