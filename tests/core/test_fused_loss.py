"""The fused loss against the plain formula: values, gradients, memory, kernels."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.fused_loss import (
    LinkTable,
    upsampled_cross_entropy,
    upsampled_marginal_cross_entropy,
)


def plain_loss(
    logits: Tensor, target: Tensor, mapping: Tensor | None, align_corners: bool = True
) -> Tensor:
    """The formula, with full-resolution logits."""
    up = F.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=align_corners)
    if mapping is None:
        return F.cross_entropy(up, target.long(), ignore_index=255, reduction="none")
    ignored = target == 255
    linked = mapping.T[target.long().masked_fill(ignored, 0)].permute(0, 3, 1, 2)
    of_target = up.masked_fill(~linked, -torch.inf).logsumexp(1)
    return (up.logsumexp(1) - of_target).masked_fill(ignored, 0.0)


def random_mapping(nodes: int, classes: int, unlinked: int = 2) -> Tensor:
    """Every class gets a unified label, the others go anywhere, some nowhere."""
    mapping = torch.zeros(nodes, classes, dtype=torch.bool)
    more = torch.randint(0, classes, (nodes - classes - unlinked,))
    columns = torch.cat([torch.arange(classes), more])
    mapping[torch.arange(len(columns)), columns] = True
    return mapping[torch.randperm(nodes)]


def random_target(batch: int, size: tuple[int, int], classes: int) -> Tensor:
    target = torch.randint(0, classes, (batch, *size))
    target[torch.rand(target.shape) < 0.2] = 255
    return target


def loss_and_grad(logits: Tensor, function) -> tuple[Tensor, Tensor]:
    """Loss, and its gradient for fixed random pixel weights (as after OHEM and class weights)."""
    logits = logits.detach().requires_grad_()
    loss = function(logits)
    generator = torch.Generator().manual_seed(5)
    weight = torch.rand(loss.shape, generator=generator).to(loss.device)
    (grad,) = torch.autograd.grad((loss * weight).sum(), logits)
    return loss.detach(), grad


def fused(target: Tensor, mapping: Tensor | None, **options):
    if mapping is None:
        return lambda z: upsampled_cross_entropy(z, target, **options)
    return lambda z: upsampled_marginal_cross_entropy(z, target, mapping, **options)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("marginal", [False, True])
@pytest.mark.parametrize(
    ("small", "large"),
    [
        ((5, 7), (20, 28)),
        ((5, 7), (13, 30)),
        ((1, 1), (4, 4)),
        ((4, 6), (4, 6)),
        ((7, 6), (3, 4)),
        ((3, 1), (9, 1)),
    ],
)
def test_equals_the_formula_at_any_size(small, large, marginal: bool, align_corners: bool) -> None:
    torch.manual_seed(0)
    mapping = random_mapping(9, 5) if marginal else None
    logits = 3 * torch.randn(2, 9 if marginal else 5, *small, dtype=torch.float64)
    target = random_target(2, large, 5)
    options = {"align_corners": align_corners, "rows": 3}
    loss, grad = loss_and_grad(logits, fused(target, mapping, **options))
    expected = loss_and_grad(logits, lambda z: plain_loss(z, target, mapping, align_corners))
    torch.testing.assert_close(loss, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, expected[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("marginal", [False, True])
def test_gradcheck(marginal: bool, align_corners: bool) -> None:
    torch.manual_seed(1)
    mapping = random_mapping(6, 3, unlinked=1) if marginal else None
    logits = torch.randn(2, 6 if marginal else 3, 2, 3, dtype=torch.float64, requires_grad=True)
    target = random_target(2, (5, 6), 3)
    function = fused(target, mapping, align_corners=align_corners, rows=2)
    assert torch.autograd.gradcheck(function, (logits,))


@pytest.mark.parametrize("marginal", [False, True])
def test_rounding_error_is_that_of_the_formula(marginal: bool) -> None:
    torch.manual_seed(2)
    mapping = random_mapping(40, 21) if marginal else None
    logits = 4 * torch.randn(2, 40 if marginal else 21, 32, 48)
    target = random_target(2, (128, 192), 21)
    exact = loss_and_grad(logits.double(), lambda z: plain_loss(z, target, mapping))
    ours = loss_and_grad(logits, fused(target, mapping))
    naive = loss_and_grad(logits, lambda z: plain_loss(z, target, mapping))
    for value, other, truth in zip(ours, naive, exact, strict=True):
        assert (value - truth).abs().max() <= 1.5 * (other - truth).abs().max() + 1e-6


def test_chunks_do_not_matter_and_runs_repeat() -> None:
    torch.manual_seed(3)
    mapping, logits = random_mapping(12, 7), torch.randn(2, 12, 9, 10)
    target = random_target(2, (36, 40), 7)
    once = loss_and_grad(logits, fused(target, mapping, rows=36))
    again = loss_and_grad(logits, fused(target, mapping, rows=36))
    assert all(map(torch.equal, once, again))
    for rows in (1, 5):
        for value, other in zip(
            once, loss_and_grad(logits, fused(target, mapping, rows=rows)), strict=True
        ):
            torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-5)


def test_hand_worked_marginal() -> None:
    """Three equal logits, two of them linked to class 0: p = 2/3; one to class 1: p = 1/3."""
    mapping = torch.tensor([[True, False], [True, False], [False, True]])
    target = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    loss = upsampled_marginal_cross_entropy(torch.zeros(1, 3, 1, 2), target, mapping)
    torch.testing.assert_close(loss, torch.tensor([[[math.log(1.5), math.log(3.0)]]]))


def test_one_label_per_class_is_the_plain_loss() -> None:
    torch.manual_seed(4)
    logits, target = torch.randn(2, 5, 6, 6), random_target(2, (24, 24), 5)
    mapping = torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close(
        upsampled_marginal_cross_entropy(logits, target, mapping),
        upsampled_cross_entropy(logits, target),
    )


@pytest.mark.parametrize("marginal", [False, True])
def test_ignored_pixels_cost_nothing(marginal: bool) -> None:
    mapping = random_mapping(6, 3) if marginal else None
    logits = torch.randn(1, 6 if marginal else 3, 3, 3)
    target = torch.full((1, 12, 12), 255)
    loss, grad = loss_and_grad(logits, fused(target, mapping))
    assert (loss == 0).all()
    assert (grad == 0).all()


def test_huge_logits_stay_finite() -> None:
    torch.manual_seed(5)
    mapping = random_mapping(8, 4)
    logits = 1e3 * torch.randn(1, 8, 4, 4)
    target = torch.randint(0, 4, (1, 16, 16))
    for m in (None, mapping):
        loss, grad = loss_and_grad(logits, fused(target, m))
        exact = loss_and_grad(logits.double(), lambda z, m=m: plain_loss(z, target, m))
        assert loss.max() > 500
        torch.testing.assert_close(loss.double(), exact[0], rtol=1e-5, atol=1e-2)
        assert grad.isfinite().all()


def test_images_of_several_datasets_in_one_call() -> None:
    torch.manual_seed(6)
    sizes = (3, 6, 4)
    mappings = [random_mapping(10, c) for c in sizes]
    table = LinkTable.from_mappings(mappings)
    order = torch.tensor([2, 0, 1, 0])
    target = torch.cat([random_target(1, (20, 24), sizes[i]) for i in order])
    unified, plain = torch.randn(4, 10, 5, 6), torch.randn(4, 6, 5, 6)
    loss, grad = loss_and_grad(unified, fused(target, table, dataset_index=order))
    padded = upsampled_cross_entropy(plain, target, num_classes=torch.tensor(sizes)[order])
    for b, i in enumerate(order):
        part = slice(b, b + 1)
        expected = plain_loss(unified[part], target[part], mappings[i])
        torch.testing.assert_close(loss[part], expected, rtol=1e-4, atol=1e-5)
        expected = plain_loss(plain[part, : sizes[i]], target[part], None)
        torch.testing.assert_close(padded[part], expected, rtol=1e-4, atol=1e-5)
    assert grad.shape == unified.shape


def test_many_classes_and_other_ignore_labels() -> None:
    torch.manual_seed(7)
    logits = torch.randn(1, 300, 3, 3)
    target = torch.randint(0, 300, (1, 12, 12))
    target[0, :2] = -1
    target[0, 2] = 299
    up = F.interpolate(logits, (12, 12), mode="bilinear", align_corners=True)
    expected = F.cross_entropy(up, target, ignore_index=-1, reduction="none")
    torch.testing.assert_close(upsampled_cross_entropy(logits, target, -1), expected)


def test_half_precision_logits() -> None:
    torch.manual_seed(8)
    logits, target = torch.randn(2, 5, 6, 6).bfloat16(), random_target(2, (24, 24), 5).byte()
    loss, grad = loss_and_grad(logits, fused(target, None))
    expected = loss_and_grad(logits.float(), lambda z: plain_loss(z, target, None))
    assert loss.dtype == torch.float32
    assert grad.dtype == torch.bfloat16
    torch.testing.assert_close(loss, expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grad.float(), expected[1], rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("marginal", [False, True])
def test_full_resolution_logits_are_not_saved(marginal: bool) -> None:
    mapping = random_mapping(60, 50) if marginal else None
    logits = torch.randn(2, 60 if marginal else 50, 16, 16, requires_grad=True)
    target = random_target(2, (64, 64), 50).byte()
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = fused(target, mapping)(logits)
    per_pixel = 4 if mapping is None else 8  # log-sum-exp, and the loss itself
    tables = 20_000  # link tables
    assert sum(saved.values()) <= logits.nbytes + target.numel() * (1 + per_pixel) + tables
    loss.sum().backward()
    assert logits.grad is not None


def test_link_table() -> None:
    mappings = [
        torch.tensor([[1, 0], [0, 0], [1, 0], [0, 1]], dtype=torch.bool),
        torch.tensor([[1], [1], [1], [0]], dtype=torch.bool),
    ]
    table = LinkTable.from_mappings(mappings)
    assert table.links.tolist() == [[[0, 2, -1], [3, -1, -1]], [[0, 1, 2], [-1, -1, -1]]]
    assert table.node_class.tolist() == [[0, -1, 0, 1], [0, 0, 0, -1]]
    assert table.num_classes.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("mappings", "message"),
    [
        ([], "no label mapping"),
        ([torch.ones(2, 1)], "not bool"),
        ([torch.ones(2, 1).bool(), torch.ones(3, 1).bool()], r"not bool \(2, classes\)"),
        ([torch.ones(3, 2).bool()], "several classes"),
        ([torch.tensor([[True, False], [True, False]])], r"classes \[1\]"),
    ],
)
def test_wrong_mappings_are_refused(mappings: list[Tensor], message: str) -> None:
    with pytest.raises(UniLabelError, match=message):
        LinkTable.from_mappings(mappings)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (torch.full((1, 4, 4), 3), {}, r"labels \[3\], expected 0\.\.2"),
        (torch.full((1, 4, 4), -7), {}, r"labels \[-7\]"),
        (torch.full((1, 4, 4), 256 + 255), {}, r"labels \[511\]"),
        (torch.zeros(1, 4, 4), {}, "expected integer"),
        (torch.zeros(2, 4, 4).long(), {}, "do not fit"),
        (torch.zeros(1, 4, 4).long(), {"backend": "cuda"}, "backend"),
        (torch.full((1, 4, 4), 2), {"num_classes": torch.tensor([2])}, r"labels \[2\]"),
    ],
)
def test_wrong_targets_are_refused(target: Tensor, options: dict, message: str) -> None:
    with pytest.raises(UniLabelError, match=message):
        upsampled_cross_entropy(torch.zeros(1, 3, 2, 2), target, **options)


def test_logits_of_another_label_space_are_refused() -> None:
    with pytest.raises(UniLabelError, match="3 unified labels, the logits have 4"):
        upsampled_marginal_cross_entropy(
            torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 4).long(), torch.eye(3).bool()
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("marginal", [False, True])
def test_cuda_equals_the_formula(marginal: bool, backend: str) -> None:
    torch.manual_seed(9)
    mapping = random_mapping(217, 150) if marginal else None
    logits = 4 * torch.randn(2, 217 if marginal else 150, 48, 64)
    target = random_target(2, (192, 256), 150)
    exact = loss_and_grad(logits.double(), lambda z: plain_loss(z, target, mapping))
    on_gpu = None if mapping is None else mapping.cuda()
    function = fused(target.cuda(), on_gpu, backend=backend)
    once, again = (loss_and_grad(logits.cuda(), function) for _ in range(2))
    assert all(map(torch.equal, once, again))
    for value, truth in zip(once, exact, strict=True):
        assert (value.cpu() - truth).abs().max() <= 2e-4
