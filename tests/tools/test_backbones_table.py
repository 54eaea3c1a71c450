"""Transformers of few layers go all the way: a step, odd sizes, a graph of any size, windows."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("detectron2")

pytestmark = pytest.mark.d2
VIT = {"embed_dim": 24, "depth": 2, "num_heads": 2}
SWIN = {"depths": [1, 1, 1, 1], "embed_dim": 24, "num_heads": [1, 2, 3, 4]}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_script("benchmarks/backbones.py")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("vit_small_patch14_dinov2", VIT),
        ("vit_small_patch16_dinov3", VIT),
        ("swin_tiny_patch4_window7_224", SWIN),
        ("eva02_tiny_patch14_224", {"depth": 1}),
    ],
)
def test_transformers_go_all_the_way(tool: ModuleType, tmp_path: Path, name: str, args) -> None:
    row = tool.measure(name, "", tmp_path, args)
    assert row["trains"]
    assert row["odd"]
    assert row["graph"] in EXPECTED[name]
    assert row["graph_labels"] >= 0.995
    assert 0 < row["windows"] <= 1
    text = tool.table([row])
    assert name in text
    assert text.count("\n") == 3


EXPECTED = {
    "vit_small_patch14_dinov2": ["any size"],
    "vit_small_patch16_dinov3": ["any size", "one size"],
    "swin_tiny_patch4_window7_224": ["any size", "one size"],
    "eva02_tiny_patch14_224": ["any size"],
}
