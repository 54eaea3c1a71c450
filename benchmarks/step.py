"""A whole training step: ours against the usual way, on one device.

    OMP_NUM_THREADS=1 python benchmarks/step.py
    python benchmarks/step.py --device cuda --name hrnet_w48 --b 21 --s 768 --datasets 7

Both sides do the same work with equal weights: uint8 images to normalised ones, backbone, pixel
embedding, loss of every dataset, backward pass, gradient clipping, AdamW. The reference runs in
plain NCHW memory, upsamples all branches before the first convolution, and stores logits at image
resolution, one dataset after the other. On CUDA both run under autocast (``--dtype``).

Parity: the losses of both sides before the first update, and the gradients of the unified label
embedding. ``share of peak`` is the model's floating-point operations (counted) over time and
``--peak``, the TFLOP/s of dense products that the device reaches: 790 is an H200's in bf16.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import Report, compare
from detectron2.config import get_cfg
from head import DTYPES, IGNORE, SEVEN
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unilabel.config import add_unilabel_config
from unilabel.core.label_space import LabelSpace, LabelSpaceSet, default_color
from unilabel.core.losses import reduce_pixel_loss
from unilabel.engine.optim import build_network_optimizer, set_learning_rate
from unilabel.modeling.meta_arch import UniLabelSegmentor

Batch = list[dict]
OHEM = 0.7


def make_model(args: argparse.Namespace, channels_last: bool) -> tuple[UniLabelSegmentor, object]:
    """A network with a random unified head, and its optimizer."""
    cfg = get_cfg()
    add_unilabel_config(cfg)
    cfg.MODEL.TIMM.NAME = args.name
    cfg.MODEL.MAPPING_MODE = args.mode
    cfg.MODEL.CHANNELS_LAST = channels_last
    cfg.LOSS.OHEM_THRESHOLD = OHEM if args.loss == "ohem" else 0.0
    spaces = LabelSpaceSet(
        LabelSpace(f"d{i}", tuple(f"c{k}" for k in range(c)), tuple(map(default_color, range(c))))
        for i, c in enumerate(SEVEN[: args.datasets])
    )
    torch.manual_seed(0)
    model = UniLabelSegmentor(cfg, label_spaces=spaces, num_unified=args.n)
    columns = []
    for count in spaces.num_classes:
        column = torch.zeros(args.n, count, dtype=torch.bool)
        owner = torch.cat([torch.arange(count), torch.randint(0, count, (args.n - count,))])
        column[torch.randperm(args.n), owner] = True
        columns.append(column)
    embedding = 0.1 * torch.randn(args.n, cfg.MODEL.EMBED_DIM)
    model.uni_head.set_label_space(embedding, torch.cat(columns, dim=1))
    model.to(args.device).train()
    optimizer = build_network_optimizer(cfg, model)
    set_learning_rate(optimizer, 1e-4)
    return model, optimizer


def make_batch(args: argparse.Namespace) -> Batch:
    """Images of a dataset beside each other, on the device."""
    torch.manual_seed(1)
    each = args.b // args.datasets
    batch = []
    for dataset in range(args.datasets):
        for _ in range(each):
            image = torch.randint(0, 256, (3, args.s, args.s), dtype=torch.uint8)
            cells = torch.randint(0, SEVEN[dataset], (1, 1, args.s // 16, args.s // 16))
            label = F.interpolate(cells.float(), (args.s, args.s))[0, 0].to(torch.uint8)
            label[torch.rand(label.shape) < 0.05] = IGNORE
            item = {"image": image.to(args.device), "sem_seg": label.to(args.device)}
            batch.append({**item, "dataset_name": f"d{dataset}"})
    return batch


def naive_embedding(model: UniLabelSegmentor, images: Tensor) -> Tensor:
    """(B, D, h, w), all branches upsampled first."""
    decoder = model.pixel_decoder
    x = (images.float() - model.pixel_mean) / model.pixel_std
    features = list(model.backbone(x).values())
    size = features[0].shape[-2:]
    wide = [
        F.interpolate(f, size, mode="bilinear", align_corners=model.align_corners)
        for f in features[1:]
    ]
    x = torch.cat([features[0], *wide], dim=1)
    x = F.relu(decoder.norm(F.conv2d(x, decoder.reduce.weight, decoder.reduce.bias)))
    x = decoder.context(x)
    return F.conv2d(x, decoder.project.weight, decoder.project.bias)


def naive_losses(model: UniLabelSegmentor, batch: Batch) -> dict[str, Tensor]:
    """Loss of every dataset through logits at image resolution."""
    embedding = naive_embedding(model, torch.stack([item["image"] for item in batch]))
    head = model.uni_head
    names = [item["dataset_name"] for item in batch]
    losses = {}
    for dataset, name in enumerate(model.label_spaces.names):
        chosen = torch.tensor([n == name for n in names], device=embedding.device)
        target = torch.stack([i["sem_seg"] for i in batch if i["dataset_name"] == name]).long()
        mapping = head.dataset_mapping(dataset)
        logits = torch.einsum("bdhw,nd->bnhw", embedding[chosen], head.label_embedding)
        logits = logits + head.dataset_bias[dataset][:, None, None]
        if head.mode == "logit_sum":
            logits = torch.einsum("bnhw,nc->bchw", logits, mapping.to(logits.dtype))
        size = target.shape[1:]
        logits = F.interpolate(
            logits, size, mode="bilinear", align_corners=model.align_corners
        ).float()
        if head.mode == "logit_sum":
            loss = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
        else:
            p = torch.einsum("bnhw,nc->bchw", logits.softmax(1), mapping.float())
            log_p = p.clamp(min=1e-30).log().contiguous()  # CUDA's nll_loss takes no other layout
            loss = F.nll_loss(log_p, target, ignore_index=IGNORE, reduction="none")
        losses[f"loss_ce/{name}"] = reduce_pixel_loss(
            loss, target, IGNORE, ohem_threshold=model.ohem_threshold
        )
    return losses


class Side:
    """One way to train, with its own copy of the network."""

    def __init__(self, args: argparse.Namespace, ours: bool) -> None:
        self.model, self.optimizer = make_model(args, channels_last=ours)
        self.losses: Callable[[Batch], dict[str, Tensor]] = (
            self.model if ours else lambda batch: naive_losses(self.model, batch)
        )
        self.device, self.dtype = args.device, DTYPES[args.dtype]

    def total(self, batch: Batch) -> Tensor:
        """Mean loss of the datasets."""
        with torch.autocast(self.device, self.dtype, self.dtype is not torch.float32):
            return torch.stack(list(self.losses(batch).values())).mean()

    def step(self, batch: Batch) -> None:
        """Forward and backward pass and update; waits for the device."""
        self.optimizer.zero_grad(set_to_none=True)
        self.total(batch).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def probe(self, batch: Batch) -> tuple[float, Tensor, int]:
        """Loss, gradient of X_u, and floating-point operations of a pass without update."""
        self.optimizer.zero_grad(set_to_none=True)
        with FlopCounterMode(display=False) as counter:
            loss = self.total(batch)
            loss.backward()
        return (
            float(loss.detach()),
            self.model.uni_head.label_embedding.grad,
            counter.get_total_flops(),
        )


def measure(report: Report, args: argparse.Namespace) -> None:
    """All rows."""
    case = f"{args.name}, {args.mode}, {args.b} x {args.s}^2, {args.datasets} datasets"
    batch = make_batch(args)
    ours, naive = Side(args, ours=True), Side(args, ours=False)
    tolerance = 1e-4 if args.dtype == "fp32" else 2e-2
    loss, gradient, operations = ours.probe(batch)
    naive_loss, naive_gradient, _ = naive.probe(batch)
    difference = abs(loss - naive_loss) / abs(naive_loss)
    equal = difference <= tolerance
    limit = f"<= {tolerance:g}"
    report.row(case, "relative difference of the loss", difference, target=limit, ok=equal)
    difference = float((gradient - naive_gradient).norm() / naive_gradient.norm())
    similar = difference <= 10 * tolerance
    limit = f"<= {10 * tolerance:g}"
    report.row(case, "relative difference of dX_u", difference, target=limit, ok=similar)
    if args.compile:
        ours.model.backbone.compile(dynamic=False)
    seconds = compare(
        lambda: ours.step(batch), lambda: naive.step(batch), rounds=args.rounds, warmup=args.warmup
    )
    parity = equal and similar
    cuda = args.device == "cuda"
    report.row(case, "step [s]", *seconds, target=1.5 if cuda else None, parity=parity)
    if cuda:
        share = operations / seconds[0] / (args.peak * 1e12)
        enough = share >= 0.35
        report.row(case, "share of peak", share, target=">= 0.35", parity=parity, ok=enough)
        torch.cuda.empty_cache()
        peaks = []
        for side in (ours, naive):
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            side.step(batch)
            peaks.append(torch.cuda.max_memory_allocated() - before)
        report.row(case, "memory of a step [bytes]", *peaks, parity=parity)


def main() -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="", help="timm model; default: hrnet_w48 on CUDA")
    parser.add_argument("--b", type=int, default=2, help="images")
    parser.add_argument("--s", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--datasets", type=int, default=0, help="1 to 7; default: 7 on CUDA, or 2")
    parser.add_argument("--n", type=int, default=217, help="unified labels")
    parser.add_argument(
        "--mode", choices=("probability_sum", "logit_sum"), default="probability_sum"
    )
    parser.add_argument("--loss", choices=("ohem", "mean"), default="ohem")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="", help="default: bf16 on CUDA")
    parser.add_argument("--compile", action="store_true", help="torch.compile our backbone")
    parser.add_argument("--peak", type=float, default=790.0, help="TFLOP/s of the device")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--json", help="file for the report")
    args = parser.parse_args()
    cuda = args.device == "cuda"
    if cuda and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no CUDA device")
    args.name = args.name or ("hrnet_w48" if cuda else "hrnet_w18_small")
    args.datasets = args.datasets or (7 if cuda else 2)
    args.dtype = args.dtype or ("bf16" if cuda else "fp32")
    if not 1 <= args.datasets <= len(SEVEN) or args.b % args.datasets:
        parser.error(f"--b {args.b} must be a multiple of --datasets (1 to {len(SEVEN)})")
    report = Report("step")
    measure(report, args)
    report.print()
    if args.json:
        report.write(args.json)
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
