"""Plain transformers: their maps at any size, frozen layers, detail branch, tokens kept on disk."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

pytest.importorskip("detectron2")

from detectron2.layers import ShapeSpec

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.data.build import EvalDataset, TrainDataset, build_sources
from unilabel.data.samplers import Draw
from unilabel.engine.optim import build_network_optimizer
from unilabel.engine.segmentor import build_segmentor
from unilabel.engine.token_cache import TokenCache, use_token_cache
from unilabel.modeling.backbone import TimmBackbone
from unilabel.modeling.detail import DetailedBackbone
from unilabel.modeling.freezing import freeze_first

pytestmark = pytest.mark.d2

VIT = {"embed_dim": 24, "depth": 3, "num_heads": 2}
TOY_VIT = '{"embed_dim": 24, "depth": 2, "num_heads": 2}'


@pytest.mark.parametrize("stride", [0, 8])
def test_a_token_covers_as_many_pixels_as_asked_for(stride: int) -> None:
    torch.manual_seed(0)
    backbone = TimmBackbone("vit_tiny_patch16_224", timm_args=VIT, token_stride=stride).eval()
    own = stride or 16
    assert backbone.output_shape() == {f"f{own}": ShapeSpec(channels=24, stride=own)}
    images = torch.randn(2, 3, 48, 80)
    with torch.no_grad():
        (found,) = backbone(images).values()
        seen = F.interpolate(images, scale_factor=16 / own, mode="bilinear")
        model = backbone.net.model
        tokens = model.forward_features(seen)
    assert found.shape == (2, 24, 48 // own, 80 // own)
    # the class token is left out, and the last norm is applied
    expected = tokens[:, 1:].transpose(1, 2).unflatten(2, found.shape[2:])
    torch.testing.assert_close(found, expected)


def test_register_tokens_are_left_out() -> None:
    backbone = TimmBackbone("vit_small_patch16_dinov3", timm_args=VIT).eval()
    assert backbone.net.model.num_prefix_tokens == 5
    with torch.no_grad():
        (found,) = backbone(torch.randn(1, 3, 48, 80)).values()
    assert found.shape == (1, 24, 3, 5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"token_stride": 7}, "'resnet18' is no plain transformer"),
        ("vit_tiny_patch16_224", {"token_stride": 17}, "is 17, expected 0 to 16"),
        ("vit_tiny_patch16_224", {"out_indices": (9,)}, "OUT_INDICES .9. do not fit"),
        ("vit_tiny_patch16_224", {"train_layers": 9}, "has 4 layers"),
    ],
)
def test_what_does_not_fit_names_its_key(name: str, options: dict, message: str) -> None:
    args = VIT if name.startswith("vit") else {}
    with pytest.raises(UniLabelError, match=message):
        TimmBackbone(name, timm_args=args, **options)


def test_networks_whose_layers_are_unknown_are_frozen_as_a_whole_or_not() -> None:
    net = nn.Linear(2, 2)
    with pytest.raises(UniLabelError, match="timm knows no order of the layers of 'some'"):
        freeze_first(net, {}, 1, "some")
    freeze_first(net, {}, -1, "some")
    assert net.weight.requires_grad
    freeze_first(net, {}, 0, "some")
    assert not net.weight.requires_grad


@pytest.mark.parametrize(("layers", "trained"), [(0, 0), (1, 1), (2, 2), (4, 3), (-1, 3)])
def test_the_last_layers_are_trained(layers: int, trained: int) -> None:
    backbone = TimmBackbone("vit_tiny_patch16_224", timm_args=VIT, train_layers=layers).train()
    blocks = backbone.net.model.blocks
    learns = [all(p.requires_grad for p in b.parameters()) for b in blocks]
    assert learns == [False] * (3 - trained) + [True] * trained
    assert backbone.net.model.cls_token.requires_grad == (layers in (4, -1))
    assert [b.training for b in blocks] == learns
    (out,) = backbone(torch.randn(1, 3, 32, 32)).values()
    assert out.requires_grad == (trained > 0)


@pytest.mark.parametrize("layers", [0, 6])
def test_frozen_batch_norms_keep_their_statistics(layers: int) -> None:
    backbone = TimmBackbone("tf_efficientnet_lite0", train_layers=layers)
    before = {k: v.clone() for k, v in backbone.state_dict().items() if "running_mean" in k}
    backbone.train()(torch.randn(2, 3, 64, 64))
    moved = {k for k, v in before.items() if not torch.equal(v, backbone.state_dict()[k])}
    learning = {n for n, p in backbone.named_parameters() if p.requires_grad}
    assert {k.replace("running_mean", "weight") for k in moved} <= learning
    assert bool(moved) == (layers > 0)
    assert len(moved) < len(before)


def test_layers_in_front_learn_more_slowly() -> None:
    model = nn.Module()
    model.backbone = TimmBackbone("vit_tiny_patch16_224", timm_args=VIT)
    model.head = nn.Linear(2, 2)
    solver = SimpleNamespace(BACKBONE_FACTOR=0.5, LAYER_DECAY=0.1, WEIGHT_DECAY=0.0)
    timm = SimpleNamespace(NAME="vit")
    cfg = SimpleNamespace(SOLVER=solver, MODEL=SimpleNamespace(TIMM=timm))
    optimizer = build_network_optimizer(cfg, model)
    factors = {
        id(p): group["lr_factor"] for group in optimizer.param_groups for p in group["params"]
    }
    vit = model.backbone.net.model
    assert factors[id(model.head.weight)] == 1
    for depth, block in enumerate(reversed(vit.blocks)):
        assert factors[id(block.attn.qkv.weight)] == pytest.approx(0.5 * 0.1**depth)
    assert factors[id(vit.norm.weight)] == pytest.approx(0.5)
    assert factors[id(vit.patch_embed.proj.weight)] == pytest.approx(0.5 * 0.1**3)
    model.backbone.parameter_depths = dict
    with pytest.raises(UniLabelError, match=r"SOLVER\.LAYER_DECAY is 0\.1"):
        build_network_optimizer(cfg, model)


class Means(nn.Module):
    """A transformer of no layers: a token is the mean of its pixels."""

    tokens = True

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {f"f{self.stride}": ShapeSpec(channels=3, stride=self.stride)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {f"f{self.stride}": F.avg_pool2d(images, self.stride) * self.scale}


def detailed(stride: int) -> DetailedBackbone:
    detail = TimmBackbone("tf_efficientnet_lite0", out_indices=(1, 2), cut=True)
    return DetailedBackbone(Means(stride), detail, [0.0] * 3, [1.0] * 3)


@pytest.mark.parametrize(("own", "new"), [(7, 8), (5, 4), (4, 4), (14, 8), (10, 8)])
def test_tokens_lie_under_the_cells_of_the_detail_branch(own: int, new: int) -> None:
    """On a ramp the mean of a cell is its middle, whatever its size."""
    backbone = detailed(own).eval()
    assert backbone.stride == new
    ramp = torch.arange(80.0).expand(1, 3, 64, 80) + 1000 * torch.arange(64.0)[:, None]
    with torch.no_grad():
        maps = backbone(ramp)
    assert list(maps) == ["f4", "f8", f"t{new}"]
    found, expected = maps[f"t{new}"], F.avg_pool2d(ramp, new)
    assert found.shape == expected.shape
    rows, columns = (slice(2, -2 - own // 7) for _ in range(2))  # beyond the image there is padding
    torch.testing.assert_close(found[..., rows, columns], expected[..., rows, columns])


def test_the_detail_branch_sees_its_own_normalisation() -> None:
    mean, std = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
    detail = TimmBackbone("tf_efficientnet_lite0", out_indices=(1,), cut=True).eval()
    both = DetailedBackbone(Means(4), detail, mean, std).eval()
    pixels = torch.rand(1, 3, 32, 32) * 255
    mine = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        found = both(mine)["f4"]
        expected = detail((pixels / 255 - 0.5) / 0.5)["f4"]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_what_lies_behind_the_last_detail_map_is_cut() -> None:
    whole = TimmBackbone("tf_efficientnet_lite0", out_indices=(1,)).eval()
    cut = TimmBackbone("tf_efficientnet_lite0", out_indices=(1,), cut=True).eval()
    kept = {k: v for k, v in whole.state_dict().items() if k in cut.state_dict()}
    assert len(kept) < len(whole.state_dict()) / 4
    cut.load_state_dict(kept)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(cut(images)["f4"], whole(images)["f4"])


@pytest.mark.parametrize(
    ("main", "detail"), [("resnet18", "resnet18"), ("vit_tiny_patch16_224",) * 2]
)
def test_a_detail_branch_is_for_transformers(main: str, detail: str) -> None:
    parts = [TimmBackbone(n, timm_args=VIT if "vit" in n else {}) for n in (main, detail)]
    with pytest.raises(UniLabelError, match=r"MODEL\.TIMM\.DETAIL is for plain transformers"):
        DetailedBackbone(*parts, [0.0] * 3, [1.0] * 3)


# --- tokens kept on disk -----------------------------------------------------------------------


@pytest.fixture
def ramp_folder(tmp_path):
    """Two photos whose red grows to the right and whose green grows downwards."""
    root = tmp_path / "ramps"
    y, x = np.mgrid[:96, :128]
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        photo = np.stack([x * 1.5, y * 2.0, 0 * x], axis=2).astype(np.uint8)
        Image.fromarray(photo).save(root / "images" / split / f"{split}.png")
        Image.fromarray((x // 64).astype(np.uint8)).save(root / "labels" / split / f"{split}.png")
    (root / "classes.json").write_text('{"0": "left", "1": "right"}')
    return root


def token_config(root, folder, *more: str):
    overrides = ["DATASETS.CUSTOM", f"['{root}']", "INPUT.TOKEN_CACHE", str(folder)]
    overrides += ["DATASETS.TOY", "False", "MODEL.TIMM.NAME", "vit_tiny_patch16_224"]
    overrides += [
        "MODEL.TIMM.OUT_INDICES",
        "[]",
        "MODEL.TIMM.ARGS",
        TOY_VIT,
        "MODEL.TIMM.TRAIN_LAYERS",
        "0",
    ]
    overrides += ["MODEL.TIMM.DETAIL.NAME", "tf_efficientnet_lite0", "MODEL.TIMM.TOKEN_STRIDE", "5"]
    overrides += ["INPUT.CROP_SIZE", "[48, 64]", "INPUT.TEST_SHORT_SIDE", "64"]
    overrides += ["INPUT.BASE_SHORT_SIDE", "64", "INPUT.SCALE_RANGE", "[1.1, 1.6]"]
    return load_config("configs/toy.yaml", [*overrides, *more])


@pytest.mark.parametrize("flip", ["0.0", "1.0"])
def test_crops_find_their_tokens_in_the_photo(ramp_folder, tmp_path, flip: str) -> None:
    """Tokens that are means of a ramp say where in the photo they were taken."""
    more = ("INPUT.FLIP_PROB", flip, "INPUT.COLOR_JITTER", "0.0")
    cfg = token_config(ramp_folder, tmp_path / "tokens", *more)
    sources = build_sources(cfg)
    model = build_segmentor(cfg, build_spaces(sources)).eval()
    model.backbone = detailed(4)
    model.pixel_mean.zero_()
    model.pixel_std.fill_(1)
    cache = TokenCache(cfg, model, sources)
    dataset = TrainDataset(cfg, sources)
    items = [dataset[Draw(0, 0, (0, 0, i))] for i in range(4)]
    (tokens,) = cache(items)
    crops = torch.stack([item["image"] for item in items]).float()
    expected = F.avg_pool2d(crops, 4)
    inside = (slice(None), slice(0, 2), slice(1, -1), slice(1, -1))
    assert (tokens[inside] - expected[inside]).abs().max() < 3  # grey levels: two pixels or less
    assert cache.made == 1
    whole = EvalDataset(sources[0], 0, sources[0].samples("train"), cache.size)[0]
    (tokens,) = cache([whole])
    expected = F.avg_pool2d(whole["image"].float(), 4)[None]
    torch.testing.assert_close(tokens[..., : expected.shape[3]], expected, atol=0.1, rtol=0)
    assert cache.made == 1


def build_spaces(sources):
    from unilabel.core.label_space import LabelSpaceSet

    return LabelSpaceSet(s.label_space for s in sources)


def test_known_tokens_answer_as_new_ones(ramp_folder, tmp_path) -> None:
    cfg = token_config(ramp_folder, tmp_path / "tokens")
    sources = build_sources(cfg)
    torch.manual_seed(0)
    model = build_segmentor(cfg, build_spaces(sources)).eval()
    item = EvalDataset(sources[0], 0, sources[0].samples("val"), TokenCache(cfg, model, []).size)[0]
    with torch.no_grad():
        live = model.embed_items([item])
        use_token_cache(cfg, model, sources)
        first, second = model.embed_items([item]), model.embed_items([item])
    assert torch.equal(first, second)
    assert model.known_tokens.made == 1
    torch.testing.assert_close(first, live, rtol=0, atol=2e-3 * float(live.abs().max()))
    with torch.no_grad():  # other weights, other tokens
        model.backbone.main.net.model.norm.weight.add_(1)
    assert TokenCache(cfg, model, sources).folder != model.known_tokens.folder
    (file,) = (tmp_path / "tokens").rglob("*.npy")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UniLabelError, match=r"holds no tokens.*delete this file"):
        model.embed_items([item])


def test_tokens_are_kept_of_frozen_networks_alone(ramp_folder, tmp_path) -> None:
    with pytest.raises(UniLabelError, match=r"set MODEL\.TIMM\.TRAIN_LAYERS 0 \(it is -1\)"):
        token_config(ramp_folder, tmp_path, "MODEL.TIMM.TRAIN_LAYERS", "-1")
