"""Head, upsampling and loss: the fused path against full-resolution logits.

    OMP_NUM_THREADS=1 python benchmarks/head.py --b 2 --s 256 --n 217 --c 150 --loss ohem
    python benchmarks/head.py --device cuda --dtype bf16 --b 21 --s 768 --datasets 7

The reference is the usual path: unified logits, mapping, bilinear upsampling, cross-entropy. Both
sides start from the same pixel embeddings (channels-last, as the pixel decoder gives them) and end
with the gradients of the embeddings and of X_u.
Rows: time, peak of live tensors beyond the inputs, error against float64 (gradients with the same
pixel weights on all sides), and the bytes saved for the backward pass at a training size, counted
from shapes without computing anything.
"""

from __future__ import annotations

import argparse
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from common import Report, compare
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unilabel.core.fused_loss import (
    LinkTable,
    upsampled_cross_entropy,
    upsampled_marginal_cross_entropy,
)
from unilabel.core.losses import reduce_pixel_loss
from unilabel.core.projection import MAPPING_MODES, unified_logits

IGNORE = 255
STRIDE = 4
# Cityscapes, Mapillary, SUN RGB-D, BDD100K, IDD, ADE20K, COCO: the paper's seven datasets.
SEVEN = (19, 64, 37, 19, 26, 150, 133)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Problem:
    """Inputs of one step: B images, the images of a dataset beside each other."""

    embedding: Tensor  # (B, D, h, w)
    label_embedding: Tensor  # (N, D)
    mappings: list[Tensor]  # bool (N, C_i)
    target: Tensor  # (B, H, W) uint8
    dataset_index: Tensor  # (B,)
    table: LinkTable | None
    mode: str
    ohem: bool

    def to(self, dtype: torch.dtype) -> Problem:
        """Copy with other floating-point inputs, as leaves."""
        leaves = (
            x.detach().to(dtype, copy=True).requires_grad_()
            for x in (self.embedding, self.label_embedding)
        )
        rest = (self.mappings, self.target, self.dataset_index, self.table, self.mode, self.ohem)
        return Problem(*leaves, *rest)

    def groups(self) -> list[tuple[int, slice]]:
        """Dataset and its images."""
        each = len(self.target) // len(self.mappings)
        return [(i, slice(i * each, (i + 1) * each)) for i in range(len(self.mappings))]


def make_problem(args: argparse.Namespace, mode: str, device: str) -> Problem:
    """Random embeddings of unit length, logits of a trained size, valid mappings."""
    torch.manual_seed(0)
    classes = [args.c] if args.datasets == 1 else list(SEVEN[: args.datasets])
    mappings = []
    for c in classes:
        mapping = torch.zeros(args.n, c, dtype=torch.bool)
        column = torch.cat([torch.arange(c), torch.randint(0, c, (args.n - c,))])
        mapping[torch.randperm(args.n), column] = True
        mappings.append(mapping)
    table = LinkTable.from_mappings(mappings)
    side = args.s // STRIDE
    each = args.b // len(classes)
    if device == "meta":
        embedding = torch.empty(args.b, args.d, side, side)
    else:
        embedding = F.normalize(torch.randn(args.b, args.d, side, side), dim=1)
    target = torch.cat([torch.randint(0, c, (each, args.s, args.s)) for c in classes])
    target[torch.rand(target.shape) < 0.05] = IGNORE
    table = LinkTable(*(t.to(device) for t in (table.links, table.node_class, table.num_classes)))
    problem = Problem(
        embedding.to(device).contiguous(memory_format=torch.channels_last),
        (3 * torch.randn(args.n, args.d)).to(device),
        [m.to(device) for m in mappings],
        target.to(torch.uint8).to(device),
        torch.arange(len(classes)).repeat_interleave(each).to(device),
        table,
        mode,
        args.loss == "ohem",
    )
    return problem.to(DTYPES[args.dtype])


def naive_pixel_loss(problem: Problem, dataset: int, part: slice) -> Tensor:
    """(B, H, W) loss of one dataset through full-resolution logits."""
    mapping = problem.mappings[dataset]
    target = problem.target[part].long()
    size = target.shape[1:]
    logits = unified_logits(problem.embedding[part], problem.label_embedding)
    weights = mapping.to(logits.dtype)
    if problem.mode == "logit_sum":
        logits = torch.einsum("bnhw,nc->bchw", logits, weights)
        logits = F.interpolate(logits, size, mode="bilinear", align_corners=True)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
    logits = F.interpolate(logits, size, mode="bilinear", align_corners=True)
    log_p = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(1)
    ignored = target == IGNORE
    linked = mapping.T[target.masked_fill(ignored, 0)].permute(0, 3, 1, 2)
    return -log_p.masked_fill(~linked, -torch.inf).logsumexp(1).masked_fill(ignored, 0.0)


def naive_loss(problem: Problem) -> Tensor:
    """(B, H, W) loss, one dataset after the other."""
    return torch.cat([naive_pixel_loss(problem, i, part) for i, part in problem.groups()])


def folded_classifiers(problem: Problem) -> list[Tensor]:
    """(C_i, D) classifier of each dataset: everything before the softmax is linear."""
    x = problem.label_embedding
    return [mapping.T.to(x.dtype) @ x for mapping in problem.mappings]


def fused_loss(problem: Problem) -> Tensor:
    """(B, H, W) loss through the fused functions, all datasets in one call."""
    if problem.mode == "probability_sum":
        logits = unified_logits(problem.embedding, problem.label_embedding)
        return upsampled_marginal_cross_entropy(
            logits, problem.target, problem.table, IGNORE, dataset_index=problem.dataset_index
        )
    classifiers = folded_classifiers(problem)
    if len(classifiers) == 1:
        logits = unified_logits(problem.embedding, classifiers[0])
        return upsampled_cross_entropy(logits, problem.target, IGNORE)
    most = max(len(c) for c in classifiers)
    weights = torch.stack([F.pad(c, (0, 0, 0, most - len(c))) for c in classifiers])
    pixels = problem.embedding.flatten(2).transpose(1, 2)  # (B, hw, D)
    logits = pixels @ weights[problem.dataset_index].transpose(1, 2)
    logits = logits.transpose(1, 2).unflatten(2, problem.embedding.shape[-2:])
    counts = problem.table.num_classes[problem.dataset_index]
    return upsampled_cross_entropy(logits, problem.target, IGNORE, num_classes=counts)


def step(problem: Problem, loss_of: Callable[[Problem], Tensor]) -> None:
    """Forward and backward pass of one training step."""
    problem.embedding.grad = problem.label_embedding.grad = None
    loss = loss_of(problem)
    threshold = 0.7 if problem.ohem else 0.0
    total = sum(
        reduce_pixel_loss(loss[part], problem.target[part], IGNORE, ohem_threshold=threshold)
        for _, part in problem.groups()
    )
    total.backward()
    if problem.embedding.is_cuda:
        torch.cuda.synchronize()


class LiveBytes(TorchDispatchMode):
    """Follows the storages that operators create, and their largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()
        self.now = self.peak = 0

    def _free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size

    def follow(self, tensor: Tensor) -> None:
        """Count a new storage, until it is freed."""
        storage = tensor.untyped_storage()
        if storage._cdata in self.known:
            return
        self.known.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.follow(leaf)
        return out


def peak_bytes(problem: Problem, loss_of: Callable[[Problem], Tensor]) -> int:
    """Most bytes alive at a time during a step, inputs not counted."""
    if problem.embedding.is_cuda:
        step(problem, loss_of)
        problem.embedding.grad = problem.label_embedding.grad = None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(problem, loss_of)
        return torch.cuda.max_memory_allocated() - before
    inputs = {
        t.untyped_storage()._cdata
        for t in (problem.embedding, problem.label_embedding, problem.target)
    }
    with LiveBytes() as live:
        live.known |= inputs
        step(problem, loss_of)
    return live.peak


def saved_bytes(problems: list[Problem], loss_of: Callable[[Problem], Tensor]) -> int:
    """Bytes that the losses keep for their backward pass, the inputs of the head not counted."""
    skip = {
        t.untyped_storage()._cdata
        for problem in problems
        for t in (problem.embedding, problem.label_embedding, *problem.mappings)
    }
    found: dict[int, int] = {}
    kept = []  # a freed storage could give its address to the next one

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.append(tensor)
        if storage._cdata not in skip:
            found[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        for problem in problems:
            kept.append(loss_of(problem))
    return sum(found.values())


def errors(
    problem: Problem, exact: list[Tensor], loss_of: Callable[[Problem], Tensor]
) -> list[float]:
    """Largest errors of loss, gradient of the embeddings and gradient of X_u."""
    return [
        float((a.double() - b).abs().max())
        for a, b in zip(results(problem, loss_of), exact, strict=True)
    ]


def results(problem: Problem, loss_of: Callable[[Problem], Tensor]) -> list[Tensor]:
    """Per-pixel loss, and gradients of its mean."""
    loss = loss_of(problem)
    inputs = (problem.embedding, problem.label_embedding)
    return [loss.detach(), *torch.autograd.grad(loss.mean(), inputs)]


def measure(report: Report, args: argparse.Namespace, mode: str) -> None:
    """All rows of one mapping mode."""
    cuda = args.device == "cuda"
    problem = make_problem(args, mode, args.device)
    case = (
        f"{mode}, B={args.b}, {args.s}^2, N={args.n}, C={args.c if args.datasets == 1 else '7ds'}"
    )
    exact = results(problem.to(torch.float64), naive_loss)
    ours_err = errors(problem, exact, fused_loss)
    naive_err = errors(problem, exact, naive_loss)
    for name, ours, naive in zip(("loss", "dP", "dX_u"), ours_err, naive_err, strict=True):
        ok = ours <= 1.5 * naive
        report.row(case, f"error of {name}", ours, naive, target="error <= 1.5 x", ok=ok)
    del exact
    ours, naive = compare(
        lambda: step(problem, fused_loss), lambda: step(problem, naive_loss), rounds=args.rounds
    )
    report.row(case, "forward + backward [s]", ours, naive, target=8.0 if cuda else 1.3)
    if cuda:
        report.row(case, "forward + backward [s]", ours, target="<= 2.5 ms", ok=ours <= 2.5e-3)
    ours_peak, naive_peak = peak_bytes(problem, fused_loss), peak_bytes(problem, naive_loss)
    target = 6.0 if args.datasets == 1 else None  # else the embeddings' gradient is most of it
    report.row(case, "peak of live tensors [bytes]", ours_peak, naive_peak, target=target)


def measure_saved(report: Report, args: argparse.Namespace, mode: str) -> None:
    """Bytes saved for the backward pass at the paper's batch, without any computation."""
    sizes = argparse.Namespace(**vars(args))
    sizes.b, sizes.s, sizes.datasets, sizes.dtype = 21, 768, 7, "bf16"
    problem = make_problem(sizes, mode, "meta")
    parts = [
        Problem(
            problem.embedding[part],
            problem.label_embedding,
            [problem.mappings[i]],
            problem.target[part],
            problem.dataset_index[part] - i,
            LinkTable(*(t[i : i + 1] for t in vars(problem.table).values())),
            mode,
            problem.ohem,
        )
        for i, part in problem.groups()
    ]
    case = f"{mode}, B=21, 768^2, 7 datasets, bf16, N={args.n}"
    ours, naive = saved_bytes(parts, fused_loss), saved_bytes(parts, naive_loss)
    report.row(case, "saved for backward [bytes]", ours, naive, target=20.0)


def main() -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--b", type=int, default=2, help="images")
    parser.add_argument("--s", type=int, default=256, help="side of the image in pixels")
    parser.add_argument("--n", type=int, default=217, help="unified labels")
    parser.add_argument("--c", type=int, default=150, help="classes, with one dataset")
    parser.add_argument("--d", type=int, default=512, help="embedding dimension")
    parser.add_argument("--datasets", type=int, default=1, help="1 to 7")
    parser.add_argument("--loss", choices=("ohem", "mean"), default="ohem")
    parser.add_argument("--modes", nargs="+", choices=MAPPING_MODES, default=MAPPING_MODES)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the report")
    args = parser.parse_args()
    if args.b % args.datasets or args.datasets > len(SEVEN):
        parser.error(f"--b {args.b} must be a multiple of --datasets (1 to {len(SEVEN)})")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no CUDA device")
    report = Report("head")
    for mode in args.modes:
        measure(report, args, mode)
        measure_saved(report, args, mode)
    report.print()
    if args.json:
        report.write(args.json)
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
