"""Cross-entropy of bilinearly upsampled logits that never stores full-resolution logits.

The usual path keeps several (B, C, H, W) tensors for the backward pass. Here the upsampling, the
softmax and the loss of a few image rows are computed at a time, and computed again in the backward
pass; only the low-resolution logits, the labels and one number per pixel are kept. Values and
gradients are those of the usual path up to rounding.

On CUDA, Triton kernels do the same in one launch per pass (``triton_loss.py``).

Shapes: B images, N unified labels, C classes, L largest number of unified labels of a class,
K datasets, h x w feature size, H x W image size, T rows of a chunk.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE
from unilabel.core.upsampling import add_transposed_rows, source_axes, upsampled_rows

__all__ = ["LinkTable", "upsampled_cross_entropy", "upsampled_marginal_cross_entropy"]

BACKENDS = ("auto", "torch", "triton")

# Upsampled logits held at a time: the cache of a CPU core; elsewhere enough work for a launch.
_CHUNK_ELEMENTS = {"cpu": 2**19}
_CHUNK_ELEMENTS_ELSEWHERE = 2**25


@dataclass(frozen=True)
class LinkTable:
    """Label mappings of K datasets as index tables; build it once per label space.

    Attributes:
        links: (K, C, L) int64, unified labels of each class, -1 where a class has fewer.
        node_class: (K, N) int32, class of each unified label, -1 if it has none.
        num_classes: (K,) int64, classes of each dataset; C is the largest.
    """

    links: Tensor
    node_class: Tensor
    num_classes: Tensor

    @classmethod
    def from_mappings(cls, mappings: Sequence[Tensor]) -> LinkTable:
        """Build the tables.

        Args:
            mappings: bool (N, C_i) per dataset; at most one class per unified label, at least one
                unified label per class. The tables are made on their device.

        Raises:
            UniLabelError: a mapping is not bool, of another N, or breaks a constraint.
        """
        if not mappings:
            raise UniLabelError("no label mapping was given; expected one per dataset.")
        nodes = mappings[0].shape[0]
        for i, mapping in enumerate(mappings):
            problem = ""
            if mapping.dtype != torch.bool or mapping.dim() != 2 or mapping.shape[0] != nodes:
                problem = f"is {mapping.dtype} {tuple(mapping.shape)}, not bool ({nodes}, classes)"
            elif (mapping.sum(1) > 1).any():
                problem = "links a unified label to several classes; at most one is allowed"
            elif not mapping.any(0).all():
                empty = (~mapping.any(0)).nonzero().flatten().tolist()
                problem = f"has no unified label for the classes {empty}; link each to at least one"
            if problem:
                raise UniLabelError(f"label mapping {i} {problem}.")
        device = mappings[0].device
        num_classes = torch.tensor([m.shape[1] for m in mappings], device=device)
        most = max(int(m.sum(0).max()) for m in mappings)
        shape = (len(mappings), max(m.shape[1] for m in mappings), most)
        links = torch.full(shape, -1, device=device)
        node_class = torch.full((len(mappings), nodes), -1, dtype=torch.int32, device=device)
        for i, mapping in enumerate(mappings):
            node, label = mapping.nonzero(as_tuple=True)
            rank = mapping.cumsum(0)[node, label] - 1
            links[i, label, rank] = node
            node_class[i, node] = label.int()
        return cls(links, node_class, num_classes)


def _link_index(labels: Tensor, ignored: Tensor, links: Tensor | None, group: Tensor) -> Tensor:
    """Unified labels (or, without links, the class) of each pixel: (B, T, W, L), padded by -1."""
    known = labels.long().masked_fill(ignored, 0)
    if links is None:
        return known[..., None]
    return links[group[:, None, None], known]


class _UpsampledLoss(torch.autograd.Function):
    """Per-pixel loss in plain torch, some image rows at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        links: Tensor | None,
        group: Tensor,
        ignore_label: int,
        align_corners: bool,
        chunk: int,
    ) -> Tensor:
        z = logits.permute(0, 2, 3, 1).contiguous()
        size = (labels.shape[1], labels.shape[2])
        dtype = torch.promote_types(z.dtype, torch.float32)
        axes = source_axes(z, size, align_corners)
        loss = torch.empty(labels.shape, dtype=dtype, device=z.device)
        lse = torch.empty_like(loss)
        for start in range(0, size[0], chunk):
            rows = range(start, min(start + chunk, size[0]))
            part = slice(rows.start, rows.stop)
            s = upsampled_rows(z, rows, size, axes)
            ignored = labels[:, part] == ignore_label
            index = _link_index(labels[:, part], ignored, links, group)
            log_p = torch.log_softmax(s, dim=-1)
            first = index[..., :1]
            lse[:, part] = (s.gather(-1, first) - log_p.gather(-1, first))[..., 0]
            picked = log_p.gather(-1, index.clamp(min=0))
            if links is not None:
                picked = picked.masked_fill(index < 0, -torch.inf).logsumexp(-1, keepdim=True)
            loss[:, part] = -picked[..., 0].masked_fill(ignored, 0.0)
        saved_loss = loss if links is not None else None
        ctx.save_for_backward(z, labels, lse, saved_loss, links, group)
        ctx.options = (ignore_label, axes, chunk)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, labels, lse, loss, links, group = ctx.saved_tensors
        ignore_label, axes, chunk = ctx.options
        size = (labels.shape[1], labels.shape[2])
        dz = torch.zeros(z.shape, dtype=lse.dtype, device=z.device)
        for start in range(0, size[0], chunk):
            rows = range(start, min(start + chunk, size[0]))
            part = slice(rows.start, rows.stop)
            s = upsampled_rows(z, rows, size, axes)
            ignored = labels[:, part] == ignore_label
            g = grad[:, part].masked_fill(ignored, 0.0)[..., None]
            index = _link_index(labels[:, part], ignored, links, group)
            share = -g  # of the linked unified labels in the target's probability, times -g
            if loss is not None:
                linked_lse = (lse[:, part] - loss[:, part])[..., None]
                linked = s.gather(-1, index.clamp(min=0)).sub_(linked_lse).exp_()
                share = linked.mul_(share).masked_fill_(index < 0, 0.0)
            ds = s.sub_(lse[:, part, :, None]).exp_().mul_(g)
            ds.scatter_add_(-1, index.clamp(min=0), share)
            add_transposed_rows(dz, ds, rows, size, axes)
        return dz.to(z.dtype).permute(0, 3, 1, 2), *([None] * 6)


class _Options(NamedTuple):
    ignore_label: int
    align_corners: bool
    rows: int
    backend: str
    padded: bool = False  # some images have fewer classes than channels


def _small_labels(target: Tensor, ignore_label: int, classes: int) -> tuple[Tensor, int]:
    """Labels in the smallest integer type, and the id of ignored pixels in it."""
    if target.dtype == torch.uint8:
        return target.contiguous(), ignore_label
    dtype, mark = (torch.uint8, 255) if classes < 255 else (torch.int16, 2**15 - 1)
    # Without this, a wrong label could become a right one when it loses its upper bits.
    known = torch.where((target < 0) | (target >= classes), classes, target)
    return known.masked_fill(target == ignore_label, mark).to(dtype).contiguous(), mark


def _check(logits: Tensor, target: Tensor, limits: Tensor, options: _Options) -> None:
    if options.backend not in BACKENDS:
        raise UniLabelError(f"backend is {options.backend!r}; use one of {', '.join(BACKENDS)}.")
    if logits.dim() != 4 or target.dim() != 3 or len(logits) != len(target):
        raise UniLabelError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} do not fit; expected "
            "(B, C, h, w) and (B, H, W)."
        )
    if target.is_floating_point() or target.dtype == torch.bool or target.device != logits.device:
        raise UniLabelError(
            f"target is {target.dtype} on {target.device}; expected integer class ids on "
            f"{logits.device}."
        )
    if target.device.type == "cpu":  # on other devices the test would stall the queue
        ignored = target == options.ignore_label
        wrong = ((target >= limits[:, None, None]) | (target < 0)) & ~ignored
        if wrong.any():
            found = target[wrong].unique().tolist()
            raise UniLabelError(
                f"the target holds the labels {found[:10]}, expected 0..{int(limits.max()) - 1} or "
                f"the ignore label {options.ignore_label}; check the dataset's label files."
            )


def _use_triton(logits: Tensor, width: int, options: _Options) -> bool:
    if options.backend != "auto":
        return options.backend == "triton"
    fits = logits.is_cuda and logits.dtype != torch.float64
    if not fits or importlib.util.find_spec("triton") is None:
        return False
    from unilabel.core.triton_loss import supports

    return supports(logits.shape[-1], width, options.align_corners)


def _torch_loss(
    logits: Tensor,
    labels: Tensor,
    links: Tensor | None,
    group: Tensor,
    mark: int,
    options: _Options,
) -> Tensor:
    rows = options.rows
    if rows < 1:
        budget = _CHUNK_ELEMENTS.get(logits.device.type, _CHUNK_ELEMENTS_ELSEWHERE)
        rows = max(budget // max(len(logits) * logits.shape[1] * labels.shape[2], 1), 1)
    loss: Tensor = _UpsampledLoss.apply(
        logits, labels, links, group, mark, options.align_corners, rows
    )
    return loss


def _loss(
    logits: Tensor,
    target: Tensor,
    table: LinkTable | None,
    group: Tensor,
    limits: Tensor,
    options: _Options,
) -> Tensor:
    """Choose the implementation; ``limits`` (B,) are classes, ``group`` (B,) rows of the table."""
    _check(logits, target, limits, options)
    classes = logits.shape[1] if table is None else table.links.shape[1]
    labels, mark = _small_labels(target, options.ignore_label, classes)
    if _use_triton(logits, target.shape[2], options):
        from unilabel.core.triton_loss import triton_loss

        node_class = None if table is None else table.node_class
        return triton_loss(logits, labels, node_class, group, limits, mark, options.align_corners)
    links = None if table is None else table.links
    if not options.padded:
        return _torch_loss(logits, labels, links, group, mark, options)
    counts, runs = limits.unique_consecutive(return_counts=True)
    parts = zip(logits.split(runs.tolist()), labels.split(runs.tolist()), strict=True)
    return torch.cat(
        [
            _torch_loss(part[:, :count], part_labels, None, group, mark, options)
            for count, (part, part_labels) in zip(counts.tolist(), parts, strict=True)
        ]
    )


def upsampled_cross_entropy(
    logits: Tensor,
    target: Tensor,
    ignore_label: int = IGNORE,
    *,
    num_classes: Tensor | None = None,
    align_corners: bool = True,
    rows: int = 0,
    backend: str = "auto",
) -> Tensor:
    """Cross-entropy per pixel of ``interpolate(logits, (H, W), "bilinear")``, Eq. (6).

    Saved for the backward pass: the low-resolution logits, the labels in 8 bits and one number per
    pixel. Class weights, OHEM and the mean are applied to the result, outside.

    Args:
        logits: (B, C, h, w) floats; channels-last memory spares a copy.
        target: (B, H, W) integer class ids; uint8 spares a copy.
        ignore_label: pixels with this id get the loss 0 and no gradient.
        num_classes: (B,) int64, for images of several datasets in one batch: image b has only the
            first ``num_classes[b]`` channels. None: all have C.
        align_corners: as in ``torch.nn.functional.interpolate``.
        rows: image rows of a chunk of the plain torch path; 0 chooses by size.
        backend: "torch", "triton", or "auto" (Triton kernels on CUDA where possible).

    Returns:
        (B, H, W) loss, float32 (float64 for float64 logits).

    Raises:
        UniLabelError: sizes or types do not fit, or (on the CPU) a label is out of range. On other
            devices such a label gives an infinite loss or a device assertion.
    """
    if num_classes is None:
        limits = torch.full((len(logits),), logits.shape[1], device=logits.device)
    else:
        limits = num_classes.to(logits.device)
    options = _Options(ignore_label, align_corners, rows, backend, num_classes is not None)
    return _loss(logits, target, None, limits, limits, options)


def upsampled_marginal_cross_entropy(
    unified_logits: Tensor,
    target: Tensor,
    mapping: Tensor | LinkTable,
    ignore_label: int = IGNORE,
    *,
    dataset_index: Tensor | None = None,
    align_corners: bool = True,
    rows: int = 0,
    backend: str = "auto",
) -> Tensor:
    """Negative log of the summed probability of the unified labels linked to the target class.

    With u the upsampled unified logits of a pixel: logsumexp over all N of u minus logsumexp over
    the unified labels of the target class. The softmax runs over all N, so a pixel is also pushed
    away from unified labels that its dataset does not know.

    Args:
        unified_logits: (B, N, h, w) floats; channels-last memory spares a copy.
        target: (B, H, W) integer class ids of the image's dataset.
        mapping: bool (N, C) of one dataset, or the tables of several. On an accelerator build a
            :class:`LinkTable` once: making it from a mapping waits for the device.
        ignore_label: see :func:`upsampled_cross_entropy`.
        dataset_index: (B,) int64, dataset of each image in the table; None: the first.
        align_corners: see there.
        rows: see there.
        backend: see there.

    Returns:
        (B, H, W) loss, float32 (float64 for float64 logits).

    Raises:
        UniLabelError: as :func:`upsampled_cross_entropy`; the mapping breaks a constraint or has
            another number of unified labels.
    """
    table = mapping if isinstance(mapping, LinkTable) else LinkTable.from_mappings([mapping])
    if table.node_class.shape[1] != unified_logits.shape[1]:
        raise UniLabelError(
            f"the mapping has {table.node_class.shape[1]} unified labels, the logits have "
            f"{unified_logits.shape[1]}; were weights of another label space loaded?"
        )
    if dataset_index is None:
        dataset_index = table.num_classes.new_zeros(len(unified_logits))
    group = dataset_index.to(unified_logits.device)
    options = _Options(ignore_label, align_corners, rows, backend)
    return _loss(unified_logits, target, table, group, table.num_classes[group], options)
