"""The segmentation model: losses and answers equal the plain path written out here."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("detectron2")

from tiny_model import CLASSES, MAPPING, tiny_item, tiny_model
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.grid import CellGrid
from unilabel.modeling.meta_arch import UNIFIED, UniLabelSegmentor

pytestmark = pytest.mark.d2

MODES = [None, "logit_sum", "probability_sum"]
BATCH = [
    tiny_item("city", (29, 38), 1),
    tiny_item("city", (29, 38), 2),
    tiny_item("idd", (29, 38), 3),
]


def block(dataset: str) -> Tensor:
    return MAPPING[:, :2] if dataset == "city" else MAPPING[:, 2:]


def interpolate(x: Tensor, image, size, align_corners: bool) -> Tensor:
    """Cells of stride 4 as pixels of ``size``, written out pixel by pixel with grid_sample."""
    if align_corners:
        return F.interpolate(x, size, mode="bilinear", align_corners=True)
    y, x_ = (
        ((torch.arange(out) + 0.5) * side / out) / (4 * cells) * 2 - 1
        for out, side, cells in zip(size, image, x.shape[2:], strict=True)
    )
    grid = torch.stack(torch.meshgrid(y, x_, indexing="ij")[::-1], -1)[None].to(x)
    grid = grid.expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, align_corners=False, padding_mode="border")


def plain_scores(model: UniLabelSegmentor, embedding: Tensor, space: str, size, image) -> Tensor:
    """(B, classes, H, W) log-probabilities or logits: project, upsample, sum."""

    def upsampled(x: Tensor) -> Tensor:
        return interpolate(x, image, size, model.align_corners)

    if model.multi_head is not None:
        weight = model.multi_head.weights[list(CLASSES).index(space)]
        return upsampled(F.conv2d(embedding, weight[:, :, None, None]))
    logits = F.conv2d(embedding, model.uni_head.label_embedding[:, :, None, None])
    if space == UNIFIED:
        return upsampled(logits)
    logits = logits + model.uni_head.dataset_bias[list(CLASSES).index(space)][:, None, None]
    weights = block(space).to(logits)
    if model.uni_head.mode == "logit_sum":
        return upsampled(F.conv2d(logits, weights.T[:, :, None, None]))
    p = torch.softmax(upsampled(logits), 1)
    return F.conv2d(p, weights.T[:, :, None, None]).log()


def plain_losses(model: UniLabelSegmentor, batch: list[dict]) -> dict[str, Tensor]:
    losses = {}
    for dataset in CLASSES:
        own = [item for item in batch if item["dataset_name"] == dataset]
        images = torch.stack([item["image"] for item in own]).float()
        embedding = model.embed(images)
        target = torch.stack([item["sem_seg"] for item in own]).long()
        image = tuple(target.shape[1:])
        if model.loss_stride == 4:
            cells = tuple(embedding.shape[2:])
            target = CellGrid(image, 0 if model.align_corners else 4).labels(target, cells)
            scores = plain_scores(model, embedding, dataset, cells, tuple(4 * c for c in cells))
        else:
            scores = plain_scores(model, embedding, dataset, image, image)
        if model.multi_head is not None or model.uni_head.mode == "logit_sum":
            scores = F.log_softmax(scores, 1)
        start = model.label_spaces.class_offsets[list(CLASSES).index(dataset)]
        weight = model.class_weight[start : start + len(CLASSES[dataset])]
        losses[f"loss_ce/{dataset}"] = F.nll_loss(scores, target, weight, ignore_index=255)
    return losses


# --- training ---


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("mode", MODES)
def test_losses_and_gradients_equal_the_plain_path(mode, stride: int, aligned: bool) -> None:
    model = tiny_model(mode, loss_stride=stride, align_corners=aligned).train()
    model.class_weight.copy_(torch.tensor([1.0, 3.0, 0.5, 2.0, 1.0]))
    other = copy.deepcopy(model)
    losses, expected = model(BATCH), plain_losses(other, BATCH)
    assert set(losses) == set(expected) == {"loss_ce/city", "loss_ce/idd"}
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-4)
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=2e-5), name


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("mode", MODES)
def test_nothing_labelled_gives_zero_loss_with_a_graph(mode: str | None, stride: int) -> None:
    model = tiny_model(mode, loss_stride=stride, ohem_threshold=0.7).train()
    batch = [{**item, "sem_seg": torch.full_like(item["sem_seg"], 255)} for item in BATCH]
    losses = model(batch)
    assert [loss.item() for loss in losses.values()] == [0, 0]
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_hard_pixels_alone_give_a_larger_loss() -> None:
    plain = tiny_model().train()(BATCH)
    hard = tiny_model(ohem_threshold=0.3).train()(BATCH)
    assert all(hard[name] > plain[name] for name in plain)


def test_batches_in_the_wrong_order_are_refused() -> None:
    model = tiny_model().train()
    with pytest.raises(UniLabelError, match="images of 'city' are not beside each other"):
        model([BATCH[0], BATCH[2], BATCH[1]])
    with pytest.raises(UniLabelError, match="unknown dataset 'ade'; this label space knows: city"):
        model([{**BATCH[0], "dataset_name": "ade"}])


def test_memory_format_does_not_change_values() -> None:
    one = tiny_model(channels_last=True).train()(BATCH)
    two = tiny_model(channels_last=False).train()(BATCH)
    for name, loss in one.items():
        assert loss.item() == pytest.approx(two[name].item(), rel=1e-5)


def test_images_are_normalised_by_channel() -> None:
    model = tiny_model()
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.embed(torch.tensor([120, 160, 60], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8))
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([0, 1, -1])


# --- answers ---


def assert_best(answer: Tensor, scores: Tensor) -> None:
    """The answer has the best score everywhere, up to rounding at ties."""
    best = scores.max(0).values
    chosen = scores.gather(0, answer.long()[None])[0]
    assert (best - chosen).abs().max() < 1e-4
    assert (answer == scores.argmax(0)).float().mean() > 0.999


@pytest.mark.parametrize("size", [(32, 40), (29, 38), (4, 4), (5, 61)])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_answers_equal_upsampling_and_arg_max(mode, aligned, size: tuple[int, int]) -> None:
    model = tiny_model(mode, align_corners=aligned).eval()
    item = {**tiny_item("city", size), "spaces": model.spaces()}
    answers = model([item])[0]
    assert list(answers) == ["city", "idd"] + ([UNIFIED] if mode else [])
    embedding = model.embed(item["image"][None])
    for space, answer in answers.items():
        assert answer.shape == size
        assert answer.dtype == torch.int16
        assert_best(answer, plain_scores(model, embedding, space, size, size)[0])


@torch.no_grad()
def test_images_of_several_sizes_in_one_call() -> None:
    model = tiny_model().eval()
    sizes = [(20, 24), (32, 16), (20, 24), (8, 8)]
    items = [tiny_item("idd", size, seed) for seed, size in enumerate(sizes)]
    together = model(items)
    for item, size, answers in zip(items, sizes, together, strict=True):
        assert set(answers) == {"idd", UNIFIED}
        alone = model([item])[0]
        for space, answer in answers.items():
            assert answer.shape == size
            assert (answer == alone[space]).float().mean() > 0.999


@torch.no_grad()
def test_answers_have_the_size_of_the_original_image() -> None:
    model = tiny_model().eval()
    item = {**tiny_item("city", (20, 24)), "height": 51, "width": 37, "spaces": ["city"]}
    answer = model([item])[0]["city"]
    assert answer.shape == (51, 37)
    embedding = model.embed(item["image"][None])
    assert_best(answer, plain_scores(model, embedding, "city", (51, 37), (20, 24))[0])


@torch.no_grad()
def test_spaces_that_are_answered_by_default() -> None:
    item = tiny_item("city", (8, 8))
    assert set(tiny_model().eval()([item])[0]) == {"city", UNIFIED}
    assert set(tiny_model(None).eval()([item])[0]) == {"city"}
    nameless = {"image": item["image"]}
    assert set(tiny_model().eval()([nameless])[0]) == {UNIFIED}
    assert tiny_model(None).spaces() == ["city", "idd"]
    assert tiny_model().spaces() == ["city", "idd", UNIFIED]


@torch.no_grad()
def test_spaces_that_a_model_lacks_are_refused() -> None:
    embedding = torch.zeros(1, 6, 2, 2)
    with pytest.raises(UniLabelError, match="no unified label space: it was trained with one head"):
        tiny_model(None).scores(embedding, UNIFIED)
    for mode in (None, "logit_sum"):
        with pytest.raises(UniLabelError, match="unknown dataset 'ade'"):
            tiny_model(mode).scores(embedding, "ade")
    with pytest.raises(UniLabelError, match="unknown dataset 'ade'"):
        tiny_model().scores(embedding, "ade")


@torch.no_grad()
def test_padding_is_of_the_mean_colour_and_only_as_much_as_needed() -> None:
    model = tiny_model().eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    image = torch.full((1, 3, 9, 16), 200, dtype=torch.uint8)
    assert model.embed(image).shape[2:] == (3, 4)
    assert seen[0].shape[2:] == (12, 16)
    assert not seen[0][:, :, 9:].any()  # 0 after normalisation
    model.embed(image[:, :, :8])
    assert seen[1].shape[2:] == (8, 16)
    aligned = tiny_model(align_corners=True).eval()
    assert aligned.embed(image).shape[2:] == (3, 4)


@torch.no_grad()
def test_answers_do_not_hang_on_what_is_below_or_beside() -> None:
    """Of a photo and its top left part the network of stride 4 sees the same pixels there."""
    model = tiny_model().eval()
    whole = tiny_item("city", (64, 80))
    part = {**tiny_item("city", (41, 50)), "image": whole["image"][:, :41, :50]}
    one, two = (model([{**item, "spaces": [UNIFIED]}])[0][UNIFIED] for item in (whole, part))
    assert torch.equal(one[:32, :40], two[:32, :40])


def test_state_holds_class_weights_but_not_the_pixel_mean() -> None:
    model = tiny_model()
    keys = set(model.state_dict())
    assert {"class_weight", "uni_head.mapping", "uni_head.dataset_bias"} <= keys
    assert not any("pixel_mean" in key for key in keys)
    other = tiny_model(seed=5)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        one, two = (m.eval()(BATCH[:1])[0] for m in (model, other))
    assert all(torch.equal(one[space], two[space]) for space in one)
