"""HRNet: our backbone against the same network in plain NCHW memory.

    OMP_NUM_THREADS=1 python benchmarks/hrnet.py --size 512

The reference is timm's network with its fuse layers upsampled bilinearly (the official network for
segmentation) in the default memory format; ours is ``TimmBackbone`` in channels-last memory with
the same weights. Rows: forward time for prediction (ours as it is, then prepared for prediction:
BatchNorms folded into the convolutions, on a CPU also packed weights), forward + backward time in
training mode, and the largest difference of the outputs relative to the largest output. On one
thread of a CPU the processor time is compared as well: it does not depend on who else is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from common import Report, compare_clocks
from torch import Tensor

from unilabel.modeling.backbone import TimmBackbone
from unilabel.modeling.packing import prepare_for_prediction


def forward(backbone: TimmBackbone, images: Tensor) -> list[Tensor]:
    """Features, without a graph."""
    with torch.no_grad():
        return list(backbone(images).values())


def train_step(backbone: TimmBackbone, images: Tensor) -> None:
    """Forward and backward pass."""
    backbone.zero_grad(set_to_none=True)
    sum(feature.square().mean() for feature in backbone(images).values()).backward()


def synchronized(function, *inputs) -> None:
    """Call and wait for the device."""
    function(*inputs)
    if inputs[-1].is_cuda:
        torch.cuda.synchronize()


def time_rows(
    report: Report,
    case: str,
    what: str,
    function: Callable[[TimmBackbone, Tensor], object],
    sides: dict[str, TimmBackbone],
    images: Tensor,
    rounds: int,
    target: float | None,
    parity: bool | None = None,
) -> None:
    """Wall time of both sides, and processor time where that is fair."""
    wall, busy = compare_clocks(
        *(lambda side=side: synchronized(function, side, images) for side in sides.values()),
        rounds=rounds,
    )
    report.row(case, f"{what} [s]", *wall, target=target, parity=parity)
    if not images.is_cuda and torch.get_num_threads() == 1:
        report.row(case, f"{what}, processor time [s]", *busy, target=target, parity=parity)


def main() -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="hrnet_w48", help="timm model")
    parser.add_argument("--size", type=int, default=512, help="side of the image in pixels")
    parser.add_argument("--b", type=int, default=1, help="images")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the report")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no CUDA device")
    torch.manual_seed(0)
    reference = TimmBackbone(args.name, channels_last=False).to(args.device)
    ours = TimmBackbone(args.name, channels_last=True).to(args.device)
    ours.load_state_dict(reference.state_dict())
    images = torch.randn(args.b, 3, args.size, args.size, device=args.device)
    case = f"{args.name}, {args.b} x {args.size}^2"
    report = Report("hrnet")

    ours.train(), reference.train()
    sides = {"ours": ours, "reference": reference}
    time_rows(report, case, "forward + backward", train_step, sides, images, args.rounds, 1.15)
    ours.eval(), reference.eval()
    ours.load_state_dict(reference.state_dict())  # the training steps moved the statistics
    for form, target in (("", None), (", prepared", 1.3)):
        if form:
            with torch.no_grad():
                prepare_for_prediction(ours, images[:1, :, :64, :64])
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # times are with TF32
            pairs = zip(forward(ours, images), forward(reference, images), strict=True)
            difference = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
        parity = difference <= 1e-4
        report.row(case, f"difference{form}", difference, target="<= 1e-4", ok=parity)
        time_rows(
            report, case, f"forward{form}", forward, sides, images, args.rounds, target, parity
        )
    report.print()
    if args.json:
        report.write(args.json)
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
