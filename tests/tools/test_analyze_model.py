from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
from scripts import load_script

pytest.importorskip("detectron2")

from unilabel.config import load_config
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.synthetic import toy_label_spaces
from unilabel.engine.segmentor import build_segmentor

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
SMALL = [
    *("MODEL.TIMM.NAME", "resnet18", "MODEL.TIMM.OUT_INDICES", "[1, 2, 3, 4]"),
    *("MODEL.TIMM.PRETRAINED", "", "MODEL.EMBED_DIM", "32", "GRAPH.HIDDEN_DIM", "64"),
    *("MODEL.PIXEL_DECODER.HIDDEN_DIM", "64"),
]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_script("tools/analyze_model.py")


def test_report_of_seven_datasets(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs/7ds.yaml")
    arguments = ["--config-file", config, "--tflops", "100", "--num-gpus", "4", "--unified", "217"]
    assert tool.main([*arguments, *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "7 datasets, 448 classes, 217 unified labels" in printed
    assert "21 images a step and GPU, 84 in all" in printed
    stages = re.findall(r"^([A-Z_]+) +(\d+) ", printed, flags=re.MULTILINE)
    assert stages == [
        ("MULTI_HEAD", "100000"),
        *[("GNN", "20000"), ("SEG", "20000")] * 2,
        ("GNN", "20000"),
        ("FINAL", "100000"),
    ]


def test_counts(tool: ModuleType) -> None:
    cfg = load_config(ROOT / "configs/toy.yaml", ["INPUT.CROP_SIZE", "[96, 128]"])
    spaces = LabelSpaceSet(toy_label_spaces())
    network = tool.build_network(cfg, spaces)
    cost = tool.network_cost(cfg, network)
    model = build_segmentor(cfg, spaces)
    parts = (model.backbone, model.pixel_decoder)
    assert cost.parameters == sum(p.numel() for part in parts for p in part.parameters())
    strides = [shape.stride for shape in model.backbone.output_shape().values()]
    cells = [96 * 128 // stride**2 for stride in strides]
    assert cost.cells == cells[0]
    # The decoder: a 1x1 convolution to 64 channels and one to 48 at the finest stride; a branch
    # that is wide enough goes through the first one at its own size.
    decoder = model.pixel_decoder
    sizes = [
        own if fold else cells[0] for own, fold in zip(cells, decoder.fold_branches, strict=True)
    ]
    reduce = sum(w * c for w, c in zip(decoder.in_channels, sizes, strict=True)) * 64
    expected = reduce + 64 * 48 * cells[0]
    # fvcore also counts a few operations per value for normalisation and resizing
    assert expected <= cost.modules["pixel_decoder"][1] <= 1.2 * expected


def test_saved_values_of_a_known_network(tool: ModuleType) -> None:
    class Known(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
            self.pixel_decoder = torch.nn.Conv2d(8, 4, 1, bias=False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.pixel_decoder(self.backbone(images).relu())

    cfg = load_config(ROOT / "configs/toy.yaml", ["INPUT.CROP_SIZE", "[64, 64]"])
    cost = tool.network_cost(cfg, Known())
    assert cost.saved_values == (3 + 8) * 64 * 64  # the image, and the output of ReLU
    assert cost.multiply_adds == (3 * 9 * 8 + 8 * 4) * 64 * 64


def test_mistakes_are_named(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--config-file", "configs/none.yaml"]) == 2
    assert "no such file" in capsys.readouterr().err
    config = str(ROOT / "configs/7ds.yaml")
    assert tool.main(["--config-file", config, "--num-gpus", "0"]) == 2
    assert "--num-gpus" in capsys.readouterr().err
