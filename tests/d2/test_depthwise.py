"""Depthwise convolutions with a backward pass of their own: the same values, gradients, keys."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from unilabel.modeling.backbone import TimmBackbone
from unilabel.modeling.depthwise import DepthwiseConv2d, _Depthwise, use_depthwise_convs

pytestmark = pytest.mark.d2

SHAPES = [(3, 1, 1), (3, 2, 1), (3, 2, 0), (5, 1, 2), (5, 2, 0), (5, 2, 2), (5, 3, 1), (7, 2, 3)]


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("size", [(8, 9), (11, 10)])
def test_gradients_are_those_of_finite_differences(
    kernel: int, stride: int, padding: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    found = _Depthwise.apply(x, weight, stride, padding)
    expected = nn.functional.conv2d(x, weight, None, stride, padding, groups=3)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, [x, weight], upstream),
        torch.autograd.grad(expected, [x, weight], upstream),
        strict=True,
    ):
        if kernel < 5:  # larger kernels: their gradient is made in float32
            torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    if kernel < 5:
        assert torch.autograd.gradcheck(
            lambda a, b: _Depthwise.apply(a, b, stride, padding), (x, weight)
        )


@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("half", [True, False])
def test_a_replaced_convolution_answers_as_before(kind: type, bias: bool, half: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(kind(6, 6, 5, stride=2, padding=2, groups=6, bias=bias))
    x = torch.randn(2, 6, 13, 10).to(memory_format=torch.channels_last)
    results = []
    for _ in range(2):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, half):
            y = net(x.requires_grad_())
        y.float().square().sum().backward()
        results.append([y.detach(), x.grad.clone(), *(p.grad.clone() for p in net.parameters())])
        x.grad = None
        keys = list(net.state_dict())
        assert use_depthwise_convs(net) == (1 if len(results) == 1 else 0)
        assert list(net.state_dict()) == keys
    assert type(net[0]) is DepthwiseConv2d
    for before, after in zip(*results, strict=True):
        assert before.dtype is after.dtype
        scale = float(before.float().abs().max())
        assert float((before.float() - after.float()).abs().max()) <= (0.02 * scale if half else 0)


def test_only_depthwise_convolutions_are_replaced() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 8, 3, groups=4),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, (3, 5), groups=4),
        nn.Conv2d(4, 4, 3, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", groups=4),
        nn.Conv2d(4, 4, 3, padding="same", groups=4),
        nn.Conv2d(1, 1, 3),
    )
    assert use_depthwise_convs(net) == 0


def test_a_whole_network_learns_alike() -> None:
    torch.manual_seed(0)
    backbone = TimmBackbone("tf_efficientnet_lite0", out_indices=(1, 2)).train()
    x = torch.randn(2, 3, 64, 64)

    def gradient() -> torch.Tensor:
        backbone.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            maps = backbone(x)
        sum(m.float().square().mean() for m in maps.values()).backward()
        return torch.cat([p.grad.flatten() for p in backbone.parameters() if p.grad is not None])

    before = gradient()
    assert use_depthwise_convs(backbone) > 2
    after = gradient()
    assert float(nn.functional.cosine_similarity(before, after, dim=0)) > 0.99
