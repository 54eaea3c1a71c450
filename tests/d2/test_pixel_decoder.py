"""PixelDecoder: equality with the plain formula, exact fold, gradients, published names."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.modeling.pixel_decoder import PixelDecoder

pytestmark = pytest.mark.d2

CHANNELS = (6, 12, 24, 40)


def branches(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Four branches of a 50 x 70 image: sizes that are no multiples of each other."""
    sizes = [(13, 18), (7, 9), (4, 5), (2, 3)]
    return [torch.randn(2, c, *s, dtype=dtype) for c, s in zip(CHANNELS, sizes, strict=True)]


def published_head(hidden: int, embed_dim: int) -> nn.Module:
    """The projection head under the names of the published checkpoints."""
    head = nn.Module()
    head.proj = nn.Sequential(
        nn.Conv2d(sum(CHANNELS), hidden, 1),
        nn.Sequential(nn.BatchNorm2d(hidden), nn.ReLU()),
        nn.Conv2d(hidden, embed_dim, 1),
    )
    return head


def plain_forward(head: nn.Module, features: list[Tensor]) -> Tensor:
    size = features[0].shape[-2:]
    up = [F.interpolate(x, size=size, mode="bilinear", align_corners=True) for x in features]
    return F.normalize(head.proj(torch.cat(up, 1)), dim=1)


def load_published(decoder: PixelDecoder, head: nn.Module) -> None:
    names = {"proj.0.": "reduce.", "proj.1.0.": "norm.", "proj.2.": "project."}
    state = {}
    for key, value in head.state_dict().items():
        prefix = next(p for p in names if key.startswith(p))
        state[names[prefix] + key.removeprefix(prefix)] = value
    decoder.load_state_dict(state, strict=True)


@pytest.mark.parametrize("hidden_dim", [0, 8, 30])
@pytest.mark.parametrize("training", [False, True])
def test_published_weights_give_the_published_embedding(hidden_dim: int, training: bool) -> None:
    torch.manual_seed(0)
    head = published_head(hidden_dim or sum(CHANNELS), 16).double().train(training)
    decoder = (
        PixelDecoder(CHANNELS, hidden_dim, 16, normalize=True, align_corners=True)
        .double()
        .train(training)
    )
    load_published(decoder, head)
    features = [x.requires_grad_() for x in branches(torch.float64)]
    out, expected = decoder(features), plain_forward(head, features)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12)
    weight = torch.randn_like(out)
    grads = torch.autograd.grad((out * weight).sum(), [*features, decoder.reduce.weight])
    expected = torch.autograd.grad((expected * weight).sum(), [*features, head.proj[0].weight])
    for grad, reference in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, reference, rtol=1e-8, atol=1e-10)


def test_wide_branches_are_folded() -> None:
    hrnet_w48, lite0 = (48, 96, 192, 384), (24, 40, 112, 320)
    assert PixelDecoder(hrnet_w48, 0, 512, True).fold_branches == (False, False, True, True)
    assert PixelDecoder(lite0, 128, 64, True).fold_branches == (False, False, True, True)
    assert PixelDecoder((64,), 8, 4, True).fold_branches == (False,)


def test_fold_is_exact_in_single_precision() -> None:
    torch.manual_seed(0)
    decoder = PixelDecoder(CHANNELS, 8, 16, normalize=False).eval()
    features = branches()
    assert any(decoder.fold_branches)
    folded = decoder(features)
    decoder.fold_branches = (False,) * 4
    torch.testing.assert_close(folded, decoder(features), rtol=1e-5, atol=1e-5)


def test_unit_length_and_mapping_input() -> None:
    decoder = PixelDecoder(CHANNELS, 8, 16, normalize=True, context=2)
    features = branches()
    named = dict(zip(("f4", "f8", "f16", "f32"), features, strict=True))
    out = decoder.eval()(named)
    assert out.shape == (2, 16, 13, 18)
    torch.testing.assert_close(out.norm(dim=1), torch.ones(2, 13, 18))
    assert torch.equal(out, decoder(features))


@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
def test_gradients_reach_every_parameter(norm: str) -> None:
    torch.manual_seed(0)
    decoder = PixelDecoder(CHANNELS, 8, 16, normalize=True, norm=norm, context=1)
    (decoder(branches()) * torch.randn(2, 16, 13, 18)).sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert decoder.reduce.weight.grad.abs().sum() > 0
    assert decoder.context[0][0].weight.grad.abs().sum() > 0


def test_context_blocks_widen_the_view() -> None:
    torch.manual_seed(0)
    decoder = PixelDecoder((6,), 8, 4, normalize=False, context=2).eval()
    x = torch.randn(1, 6, 9, 9)
    changed = x.clone()
    changed[..., 4, 4] += 1.0
    touched = (decoder([x]) != decoder([changed])).any(1)[0]
    assert touched[2:7, 2:7].any(0).any()
    assert not touched[:2].any()
    assert touched.sum() > 1


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "LN"},
        {"embed_dim": 0},
        {"hidden_dim": -1},
        {"context": -1},
        {"in_channels": ()},
    ],
)
def test_wrong_arguments_are_refused(options: dict) -> None:
    arguments = {"in_channels": CHANNELS, "hidden_dim": 8, "embed_dim": 4, "normalize": True}
    with pytest.raises(UniLabelError):
        PixelDecoder(**(arguments | options))


def test_wrong_branches_are_refused() -> None:
    decoder = PixelDecoder(CHANNELS, 8, 4, normalize=True)
    with pytest.raises(UniLabelError, match="finest branch first"):
        decoder(branches()[::-1])
