"""1x1 convolutions as matrix products: the same values, gradients and keys."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unilabel.modeling.backbone import TimmBackbone
from unilabel.modeling.pointwise import PointwiseConv2d, pointwise_conv, use_pointwise_convs

pytestmark = pytest.mark.d2


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the product is used on one thread only
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_convolution_with_gradients(layout: torch.memory_format, bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 7, 1, bias=bias).double().to(memory_format=layout)
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64).to(memory_format=layout)
    inputs = [x.requires_grad_(), conv.weight, *([conv.bias] if bias else [])]
    ours = pointwise_conv(x, conv.weight, conv.bias)
    expected = conv(x)
    torch.testing.assert_close(ours, expected)
    upstream = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_keeps_the_memory_format() -> None:
    weight = torch.randn(7, 5, 1, 1)
    x = torch.randn(2, 5, 3, 4).contiguous(memory_format=torch.channels_last)
    assert pointwise_conv(x, weight).is_contiguous(memory_format=torch.channels_last)


def test_replaces_only_plain_1x1_convolutions() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 1, padding=1),
    )
    before = dict(net.named_parameters())
    assert use_pointwise_convs(net) == 1
    assert type(net[0]) is PointwiseConv2d
    assert all(type(conv) is nn.Conv2d for conv in net[1:])
    after = dict(net.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)


def test_hrnet_in_both_memory_formats() -> None:
    torch.manual_seed(0)
    plain = TimmBackbone("hrnet_w18_small", channels_last=False).eval()
    ours = TimmBackbone("hrnet_w18_small").eval()
    assert sum(isinstance(m, PointwiseConv2d) for m in ours.modules()) > 10
    ours.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for a, b in zip(ours(images).values(), plain(images).values(), strict=True):
            assert (a - b).abs().max() <= 1e-4 * b.abs().max()
