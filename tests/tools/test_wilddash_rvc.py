"""A model that was trained on the benchmarks' datasets answers in the ids of each of them."""

from __future__ import annotations

import json
import runpy
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from unilabel.config import load_config
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.run import FINAL_MODEL, save_final
from unilabel.engine.segmentor import build_segmentor, install_label_space_size
from unilabel.predictor import build_predictor
from unilabel.submission.formats import benchmark_names, get_benchmark
from unilabel.text.label_tables import load_label_spaces

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ["cityscapes", "mapillary@paper_64", "wilddash2"]
rvc: Callable[[list[str]], int] = runpy.run_path(str(REPOSITORY / "tools/rvc_submit.py"))["main"]
wilddash: Callable[[list[str]], int] = runpy.run_path(str(REPOSITORY / "tools/wilddash_submit.py"))[
    "main"
]


def label_space(spaces: LabelSpaceSet) -> UnifiedLabelSpace:
    """One unified label per class, except that label 0 is a road in all datasets."""
    matrix = torch.eye(spaces.total)
    roads = [
        offset + space.index("Road" if space.name == "mapillary" else "road")
        for offset, space in zip(spaces.class_offsets, spaces, strict=False)
    ]
    matrix[roads[0], roads] = 1
    rows = [i for i in range(spaces.total) if i not in roads[1:]]
    return UnifiedLabelSpace.from_mapping(LabelMapping.from_stacked(spaces, matrix[rows]))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of random weights, written as a training run writes it."""
    folder = tmp_path_factory.mktemp("rvc")
    torch.manual_seed(0)
    cfg = load_config(REPOSITORY / "configs/toy.yaml", ["OUTPUT_DIR", str(folder)])
    spaces = load_label_spaces(NAMES)
    space = label_space(spaces)
    model = build_segmentor(cfg, spaces)
    install_label_space_size(cfg, model, len(space.names))
    model.uni_head.set_label_space(
        2 * torch.randn(len(space.names), cfg.MODEL.EMBED_DIM),
        space.mapping.stacked(),
        torch.zeros(len(spaces), len(space.names)),
    )
    save_final(cfg, model, space)
    return folder / FINAL_MODEL


def write_photo(path: Path, seed: int) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
    pixels = np.repeat(np.repeat(coarse, 12, 0), 12, 1)
    Image.fromarray(pixels).save(path)
    return pixels


PATHS = {
    "cityscapes": ("berlin/berlin_000000_000019_leftImg8bit.png", "bonn/bonn_000001_000019_x.png"),
    "mapillary": ("images/abcdefghijklmnopqrstuv.png",),
    "wilddash2": ("wd0000_100000.png", "ae0013_100000.png"),
}


@pytest.mark.parametrize("name", PATHS)
def test_learned_answers_in_the_ids_of_the_benchmark(
    name: str, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = {Path(p).stem: write_photo(tmp_path / "in" / p, i) for i, p in enumerate(PATHS[name])}
    output = tmp_path / "out.zip"
    tool = wilddash if name == "wilddash2" else rvc
    which = [] if name == "wilddash2" else ["--benchmark", name]
    where = ["--images", str(tmp_path / "in")]
    options = [*which, "--weights", str(weights), *where, "--output", str(output), "--void", "none"]
    assert tool(options) == 0
    printed = capsys.readouterr().out
    assert "mapping: learned" in printed
    assert printed.startswith("size of the images for the network: ")
    assert "as the model was tested (INPUT.TEST_SHORT_SIDE" in printed.splitlines()[0]
    assert "look up before the upload" in printed
    benchmark = get_benchmark(name)
    predictor = build_predictor(weights)
    names = predictor.model.label_spaces.get(name).class_names
    table = np.array([benchmark.ids[n] for n in names], np.uint8)
    with zipfile.ZipFile(output) as archive:
        assert archive.namelist() == sorted(f"{stem}.png" for stem in photos)
        for stem, pixels in photos.items():
            data = np.frombuffer(archive.read(f"{stem}.png"), np.uint8)
            expected = table[predictor.predict(pixels, name).labels]
            assert (cv2.imdecode(data, cv2.IMREAD_UNCHANGED) == expected).mean() > 0.999
    assert tool([*which, "--check-only", str(output), *where]) == 0
    side = json.loads(output.with_suffix(".json").read_text())
    assert side["benchmark"] == name
    assert side.get("also_public") == (["ae0013_100000"] if name == "wilddash2" else None)


def test_labels_of_other_datasets_only_are_void(weights: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "in/wd0000_100000.png", 3)
    shares = {}
    for words in ("none", "unmapped"):
        output = tmp_path / f"{words}.zip"
        options = ["--weights", str(weights), "--images", str(tmp_path / "in"), "--void", words]
        assert wilddash([*options, "--output", str(output)]) == 0
        shares[words] = json.loads(output.with_suffix(".json").read_text())["pixel_share"]
    assert "void" not in shares["none"]
    assert shares["unmapped"]["void"] > 0.5  # 82 of 107 labels have no link to WildDash 2


def test_a_missing_dataset_is_told(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photo(tmp_path / "in/001_00010.png", 0)
    options = ["--weights", str(weights), "--images", str(tmp_path / "in")]
    more = ["--benchmark", "viper", "--output", str(tmp_path / "x.zip")]
    assert rvc([*options, *more]) == 2
    assert "zero-shot mapping to wilddash2 only" in capsys.readouterr().err
    assert rvc([*options, *more, "--mapping", "learned"]) == 2
    assert "not trained on 'viper'" in capsys.readouterr().err


def test_formats_are_listed_with_what_is_certain(capsys: pytest.CaptureFixture[str]) -> None:
    assert rvc(["--list"]) == 0
    printed = capsys.readouterr().out
    for name in benchmark_names():
        assert f"{name}: " in printed
        assert get_benchmark(name).verified
        assert get_benchmark(name).unverified
    with pytest.raises(SystemExit):
        rvc(["--benchmark", "coco"])
