"""Counting an image's predictions: ours against Detectron2's ``np.bincount``.

    OMP_NUM_THREADS=1 python benchmarks/confusion.py --c 19 65 150

The reference is the arithmetic of Detectron2's ``SemSegEvaluator``: both maps as 64-bit integers,
ignored pixels in a class of their own, one ``bincount`` over all pairs. Both sides get the label
map as the model gives it (int16) and the ground truth as a file holds it (uint8, 5 % ignored).
The limit is the time to read both maps once.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from common import Report, compare
from torch import Tensor

from unilabel.evaluation.counting import count_pixels

IGNORE = 255


def make_maps(classes: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Label map int16 and ground truth uint8: segments of 32 x 32 pixels, 20 % wrong."""
    rng = np.random.default_rng(classes)
    cells = rng.integers(0, classes, (-(-size[0] // 32), -(-size[1] // 32)))
    target = np.kron(cells, np.ones((32, 32), np.int64))[: size[0], : size[1]]
    prediction = np.where(rng.random(size) < 0.2, rng.integers(0, classes, size), target)
    target[rng.random(size) < 0.05] = IGNORE
    return torch.from_numpy(prediction.astype(np.int16)), torch.from_numpy(target.astype(np.uint8))


def detectron2_counts(prediction: Tensor, target: Tensor, classes: int) -> np.ndarray:
    """(C + 1, C + 1) counts, rows predictions."""
    predicted = np.array(prediction.numpy(), dtype=np.int64)
    truth = np.array(target.numpy(), dtype=np.int64)
    truth[truth == IGNORE] = classes
    pairs = (classes + 1) * predicted.reshape(-1) + truth.reshape(-1)
    return np.bincount(pairs, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)


def our_counts(prediction: Tensor, target: Tensor, classes: int) -> Tensor:
    """(C, C) counts, rows ground truth."""
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    count_pixels(confusion, prediction, target)
    return confusion


def main() -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--c", type=int, nargs="+", default=[19, 65, 150], help="classes")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), help="height, width")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", help="file for the report")
    args = parser.parse_args()
    report = Report("confusion")
    for classes in args.c:
        maps = make_maps(classes, tuple(args.size))
        reference = detectron2_counts(*maps, classes)[:classes, :classes].T
        parity = np.array_equal(our_counts(*maps, classes).numpy(), reference)
        seconds = compare(
            lambda maps=maps, c=classes: our_counts(*maps, c),
            lambda maps=maps, c=classes: detectron2_counts(*maps, c),
            rounds=args.rounds,
        )
        read, _ = compare(
            lambda maps=maps: [m.numpy().max() for m in maps], lambda: None, args.rounds
        )
        case = f"C={classes}, {args.size[0]} x {args.size[1]}"
        report.row(case, "count an image [s]", *seconds, target=4.0, parity=parity, limit=read)
    report.print()
    if args.json:
        report.write(args.json)
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
