"""The exported graph against the predictor, on the shipped model and on an HRNet."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scripts import load_script

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("detectron2")

import onnx
import onnxruntime as runtime
from detectron2.config import get_cfg
from PIL import Image

from unilabel.config import add_unilabel_config
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.synthetic import toy_label_spaces
from unilabel.modeling.meta_arch import UniLabelSegmentor
from unilabel.predictor import UniLabelPredictor, build_predictor

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
WEIGHTS = str(ROOT / "demo/assets/toy_model.pth")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_script("tools/export_onnx.py")


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    grid = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.array(Image.fromarray(grid).resize((width, height), Image.BICUBIC))


def test_any_size_in_the_unified_space(tool, tmp_path: Path, capsys) -> None:
    path = tmp_path / "toy.onnx"
    assert tool.main(["--weights", WEIGHTS, "--output", str(path)]) == 0
    share = re.search(r"equal labels: ([01]\.\d+)", capsys.readouterr().out)
    assert float(share[1]) > 0.9995
    session = runtime.InferenceSession(str(path))
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type) == ("image", "tensor(uint8)")
    assert (answer.name, answer.type) == ("labels", "tensor(uint8)")
    predictor = build_predictor(WEIGHTS)
    for size in ((96, 128), (77, 101), (200, 64)):
        image = photo(*size)
        found = session.run(None, {"image": image[None]})[0]
        assert found.shape == (1, *size)
        expected = predictor.predict(image, confidence=False).labels
        assert (found[0] == expected).mean() > 0.99  # noise, enlarged inside the graph
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert properties["space"] == "unified"
    labels = json.loads(properties["labels"])
    assert [entry["name"] for entry in labels] == list(predictor.label_space.names)
    assert [tuple(entry["color"]) for entry in labels] == list(predictor.label_space.colors)


def test_one_size_in_the_space_of_a_dataset_with_own_images(tool, tmp_path: Path, capsys) -> None:
    files = []
    for seed in range(2):
        files.append(str(tmp_path / f"{seed}.png"))
        Image.fromarray(photo(96, 128, seed)).save(files[-1])
    path = tmp_path / "city.onnx"
    arguments = ["--weights", WEIGHTS, "--space", "toy_city", "--output", str(path)]
    assert tool.main([*arguments, "--size", "96", "128", "--images", *files]) == 0
    assert "1.000000 on 2 images" in capsys.readouterr().out
    shape = runtime.InferenceSession(str(path)).get_inputs()[0].shape
    assert shape == ["batch", 96, 128, 3]
    assert tool.main([*arguments, "--size", "64", "128", "--images", *files]) == 2
    assert "96 x 128 pixels, expected 64 x 128" in capsys.readouterr().err


def test_edited_links_are_exported(tool, tmp_path: Path) -> None:
    own = build_predictor(WEIGHTS).label_space
    path = tmp_path / "label_space.json"
    own.save(path)
    edited = json.loads(path.read_text())
    edited["labels"][0]["name"] = "heaven"
    path.write_text(json.dumps(edited))
    for space in (str(path), f"{path}:toy_idd"):
        output = tmp_path / "edited.onnx"
        assert tool.main(["--weights", WEIGHTS, "--space", space, "--output", str(output)]) == 0
        properties = {e.key: json.loads(e.value) for e in onnx.load(output).metadata_props[1:]}
        named = [entry["name"] for entry in properties["labels"]]
        assert ("heaven" in named) == (space == str(path))


def test_summed_logits(tool, tmp_path: Path) -> None:
    module, predictor, space = tool.label_map_module(WEIGHTS, "toy_fine")
    module.model.uni_head.mode = predictor.model.uni_head.mode = "logit_sum"
    path = tmp_path / "sum.onnx"
    tool.export(module, predictor, path)
    assert tool.check(path, predictor, space, [photo(96, 128)])[0] > 0.9999


def test_hrnet_with_one_head_per_dataset(tool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cfg = get_cfg()
    add_unilabel_config(cfg)
    cfg.MODEL.TIMM.NAME = "hrnet_w18_small"
    spaces = LabelSpaceSet(toy_label_spaces())
    model = UniLabelSegmentor(cfg, label_spaces=spaces).eval()
    predictor = UniLabelPredictor(model, None)
    name = spaces.names[0]
    module = tool.LabelMap(model, name, None, spaces[0].num_classes, 0).eval()
    path = tmp_path / "hrnet.onnx"
    tool.export(module, predictor, path)
    images = [photo(96, 128), photo(75, 106)]
    assert tool.check(path, predictor, name, images)[0] > 0.999


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "mars"], "unknown label space 'mars'"),
        (["--size", "0", "64"], "expected two positive numbers"),
        (["--short-side", "-3"], "expected 0 or more"),
        (["--weights", "nothing.pth"], "nothing.pth"),
    ],
)
def test_mistakes_are_one_line(tool, tmp_path: Path, capsys, arguments, message: str) -> None:
    path = tmp_path / "x.onnx"
    assert tool.main(["--weights", WEIGHTS, "--output", str(path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not path.exists()
