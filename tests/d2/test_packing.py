"""Packed convolutions: the outputs of the network as it was, for any image size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unilabel.core.errors import UniLabelError
from unilabel.modeling.backbone import TimmBackbone
from unilabel.modeling.packing import (
    PackedBlock,
    PackedConv2d,
    pack_convolutions,
    prepare_for_prediction,
)

pytestmark = [
    pytest.mark.d2,
    pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN"),
]


def with_statistics(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("hrnet_w18_small", 15), ("resnet18", 8), ("resnet50", 16), ("tf_efficientnet_lite0", 0)],
)
@torch.no_grad()
def test_outputs_stay(name: str, blocks: int) -> None:
    plain = with_statistics(TimmBackbone(name))
    packed = TimmBackbone(name).eval()
    packed.load_state_dict(plain.state_dict())
    assert prepare_for_prediction(packed, torch.randn(1, 3, 64, 64)) is packed
    kinds = [type(module) for module in packed.modules()]
    assert kinds.count(PackedBlock) >= blocks
    assert PackedConv2d in kinds
    for batch, height, width in ((1, 64, 64), (2, 96, 128), (1, 64, 64), (1, 160, 96)):
        images = torch.randn(batch, 3, height, width)
        for a, b in zip(packed(images).values(), plain(images).values(), strict=True):
            assert a.shape == b.shape
            assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@torch.no_grad()
def test_geometry_of_a_convolution() -> None:
    torch.manual_seed(0)
    convs = [
        nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(8, 12, (1, 3), padding=(0, 2), dilation=2),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.Conv2d(8, 12, 1),
    ]
    x = torch.randn(2, 8, 13, 17)
    for conv in convs:
        torch.testing.assert_close(PackedConv2d(conv, relu=False)(x), conv(x))
        torch.testing.assert_close(PackedConv2d(conv, relu=True)(x), conv(x).relu())
        other = torch.randn_like(conv(x))
        packed = PackedConv2d(conv, relu=True)
        torch.testing.assert_close(packed(x, other), (conv(x) + other).relu())
        torch.testing.assert_close(PackedConv2d(conv, relu=False)(x, other), conv(x) + other)


@torch.no_grad()
def test_blocks_with_more_inside_keep_their_form() -> None:
    images = torch.randn(1, 3, 64, 64)
    args = {"block_args": {"attn_layer": "se"}}
    plain = with_statistics(TimmBackbone("resnet18", timm_args=args))
    packed = TimmBackbone("resnet18", timm_args=args).eval()
    packed.load_state_dict(plain.state_dict())
    prepare_for_prediction(packed, images)
    assert not any(isinstance(module, PackedBlock) for module in packed.modules())
    for a, b in zip(packed(images).values(), plain(images).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_activations_are_joined_only_behind_their_convolution() -> None:
    torch.manual_seed(0)
    conv, other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
    plain = nn.Sequential(conv, nn.Identity(), nn.ReLU(), other, nn.AvgPool2d(2), nn.ReLU())
    plain = plain.eval()
    images = torch.randn(2, 3, 9, 9)
    expected = plain(images)
    assert pack_convolutions(plain, images) == 2
    assert [plain[0].relu, plain[3].relu] == [True, False]
    assert type(plain[5]) is nn.ReLU
    torch.testing.assert_close(plain(images), expected)


def test_a_network_in_training_is_refused() -> None:
    with pytest.raises(UniLabelError, match=r"model\.eval"):
        pack_convolutions(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(1, 3, 8, 8))
