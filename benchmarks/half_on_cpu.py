"""A training step of a small network on a CPU: in bfloat16 (SOLVER.AMP_ON_CPU) against float32.

    OMP_NUM_THREADS=1 python benchmarks/half_on_cpu.py

The network and the batch are those of configs/mini.yaml: EfficientNet-lite0, 4 datasets, 16 crops
of 160 pixels. ``dX_u`` is the gradient of the unified label embedding. Rows: both ways, then
bfloat16 with and without the backward pass of ``unilabel/modeling/depthwise.py``. Times are those
of the processor.
"""

from __future__ import annotations

import argparse
import sys

import torch
import torch.nn.functional as F
from common import Report, compare_clocks
from step import Side, make_batch

from unilabel.engine.optim import cpu_has_bfloat16
from unilabel.modeling.depthwise import use_depthwise_convs

NETWORK = {"name": "tf_efficientnet_lite0", "mode": "probability_sum", "loss": "mean"}
BATCH = {"b": 16, "s": 160, "datasets": 4, "n": 217, "device": "cpu"}


def main() -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="file for the report")
    args = parser.parse_args()
    if not cpu_has_bfloat16():
        print("this CPU has no instructions for bfloat16 (AVX-512 BF16): nothing to measure")
        return 0
    torch.set_num_threads(1)

    def side(dtype: str) -> Side:
        return Side(argparse.Namespace(**NETWORK, **BATCH, dtype=dtype), ours=True)

    half, plain_half, full = side("bf16"), side("bf16"), side("fp32")
    use_depthwise_convs(half.model.backbone)
    batch = make_batch(argparse.Namespace(**BATCH))
    (loss, gradient, _), (full_loss, full_gradient, _) = half.probe(batch), full.probe(batch)
    difference = abs(loss - full_loss) / full_loss
    likeness = float(F.cosine_similarity(gradient.flatten(), full_gradient.flatten(), dim=0))
    report = Report("half_on_cpu")
    case = "lite0, 16 x 160^2, 4 datasets"
    report.row(
        case, "relative difference of the loss", difference, target="<= 0.02", ok=difference <= 0.02
    )
    report.row(case, "cosine of dX_u", likeness, target=">= 0.99", ok=likeness >= 0.99)
    for reference, name, target in ((full, "float32", 1.33), (plain_half, "plain bfloat16", 1.2)):
        _, seconds = compare_clocks(
            lambda: half.step(batch),
            lambda reference=reference: reference.step(batch),
            rounds=args.rounds,
            warmup=2,
        )
        report.row(case, f"step against {name} [s]", *seconds, target=target, parity=True)
    report.print()
    if args.json:
        report.write(args.json)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
