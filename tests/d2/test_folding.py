"""Folded BatchNorms: same outputs, none left, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.modeling.backbone import TimmBackbone
from unilabel.modeling.folding import fold_batch_norms
from unilabel.modeling.pixel_decoder import PixelDecoder

pytestmark = pytest.mark.d2


def with_statistics(module: nn.Module) -> nn.Module:
    """Evaluation mode, with BatchNorms that do something."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            nn.init.uniform_(child.weight, 0.5, 1.0)
            nn.init.normal_(child.bias, std=0.1)
            nn.init.normal_(child.running_mean, std=0.1)
            nn.init.uniform_(child.running_var, 0.5, 1.5)
    return module.eval()


@pytest.mark.parametrize(
    ("name", "count"), [("hrnet_w18_small", 71), ("tf_efficientnet_lite0", 48), ("resnet18", 20)]
)
def test_same_features_without_norms(name: str, count: int) -> None:
    torch.manual_seed(0)
    backbone = with_statistics(TimmBackbone(name))
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = backbone(images)
        norms = sum(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
        assert fold_batch_norms(backbone, torch.randn(1, 3, 64, 64)) == norms == count
        assert not any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
        for key, feature in backbone(images).items():
            scale = expected[key].abs().max()
            assert (feature - expected[key]).abs().max() <= 1e-5 * scale, key


def test_norm_behind_a_fold_of_the_decoder_stays() -> None:
    """The decoder convolves branch by branch, so its first norm follows no convolution module."""
    torch.manual_seed(1)
    decoder = with_statistics(PixelDecoder((8, 16), 8, 4, normalize=True, context=1))
    features = [torch.randn(1, 8, 12, 12), torch.randn(1, 16, 6, 6)]
    with torch.no_grad():
        expected = decoder(features)
        assert any(decoder.fold_branches)
        assert fold_batch_norms(decoder, features) == 1
        torch.testing.assert_close(decoder(features), expected, rtol=1e-4, atol=1e-5)


def test_shared_layers_are_left_alone() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(self.norm(self.conv(x))))

    assert fold_batch_norms(Shared().eval(), torch.randn(1, 3, 4, 4)) == 0


def test_refusals() -> None:
    class TwoNorms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.a, self.b = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.a(y) + self.b(y)

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return y + self.norm(y)

    with pytest.raises(UniLabelError, match="other layers"):
        fold_batch_norms(with_statistics(Skip()), torch.randn(1, 3, 4, 4))
    with pytest.raises(UniLabelError, match="two BatchNorms"):
        fold_batch_norms(TwoNorms().eval(), torch.randn(1, 3, 4, 4))
    with pytest.raises(UniLabelError, match=r"model\.eval"):
        fold_batch_norms(TimmBackbone("resnet18"), torch.randn(1, 3, 32, 32))
