"""From scores at feature resolution to a label map: ours against upsampling, then the arg max.

    OMP_NUM_THREADS=1 python benchmarks/predict.py --c 65

Two ways to score classes, as in the model: ``logits`` of the classes (one head per dataset, or
summed logits of unified labels), and ``probability_sum`` over unified labels.

The reference of ``logits`` is the authors' path: bilinear upsampling to the image (aligned
corners), the same once more to the size of the answer (Detectron2's ``sem_seg_postprocess``), arg
max. Its float32 tensors of full resolution would need many gigabytes with N unified labels, so the
reference of ``probability_sum`` works in row chunks, too: softmax over all N, sums, arg max.

Agreement is the share of equal labels. The scores are smooth fields with noise, so that labels form
regions with ragged borders. The limit is the time to upsample with each source row read once,
nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import Report, compare
from head import LiveBytes
from torch import Tensor

from unilabel.core.grid import CellGrid
from unilabel.core.projection import dataset_logits
from unilabel.core.reading import read_labels
from unilabel.core.upsampling import source_axes, upsampled_rows

STRIDE = 4
ALIGNED = CellGrid((1, 1), 0)  # as the authors interpolate
CHUNK = 2**22  # scores at image resolution that the reference of probability sums holds


def make_scores(channels: int, size: tuple[int, int]) -> Tensor:
    """(1, R, H / 4, W / 4) scores."""
    torch.manual_seed(channels)
    height, width = (side // STRIDE for side in size)
    coarse = 4 * torch.randn(1, channels, height // 16 + 1, width // 16 + 1)
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")
    return smooth + 0.3 * torch.randn(1, channels, height, width)


def make_mapping(nodes: int, classes: int) -> Tensor:
    """Bool (N, C): every unified label has a class."""
    mapping = torch.zeros(nodes, classes, dtype=torch.bool)
    column = torch.cat([torch.arange(classes), torch.randint(0, classes, (nodes - classes,))])
    mapping[torch.randperm(nodes), column] = True
    return mapping


def double_interpolation(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """The authors' label map, (H, W)."""
    image = F.interpolate(scores, size, mode="bilinear", align_corners=True)[0]
    image = image[:, : size[0], : size[1]].expand(1, -1, -1, -1)
    answer = F.interpolate(image, size, mode="bilinear", align_corners=False)[0]
    return answer.argmax(0)


def softmax_of_all(scores: Tensor, size: tuple[int, int], mapping: Tensor) -> Tensor:
    """Sums of probabilities by their definition, in row chunks; (H, W)."""
    answer = torch.empty(size, dtype=torch.int64)
    source = scores.permute(0, 2, 3, 1)
    step = max(1, CHUNK // (scores.shape[1] * size[1]))
    for top in range(0, size[0], step):
        rows = range(top, min(top + step, size[0]))
        axes = source_axes(source, size, align_corners=True)
        chunk = upsampled_rows(source, rows, size, axes).permute(0, 3, 1, 2)
        classes = dataset_logits(chunk, mapping, "probability_sum", eps=0.0)[0]
        answer[rows.start : rows.stop] = classes.argmax(0)
    return answer


def upsample_only(scores: Tensor, size: tuple[int, int]) -> None:
    """Every upsampled value once, then dropped."""
    source = scores.permute(0, 2, 3, 1).contiguous()
    for top in range(0, size[0], STRIDE):
        rows = range(top, min(top + STRIDE, size[0]))
        upsampled_rows(source, rows, size, source_axes(source, size, align_corners=True))


def peak_bytes(function: Callable[[Tensor], object], scores: Tensor) -> int:
    """Most bytes of tensors alive at a time, the scores not counted."""
    with LiveBytes() as live:
        live.known.add(scores.untyped_storage()._cdata)
        function(scores)
    return live.peak


def measure(
    report: Report,
    case: str,
    scores: Tensor,
    size: tuple[int, int],
    mapping: Tensor | None,
    rounds: int,
) -> None:
    """Agreement, time and memory of one case."""

    def ours(z: Tensor) -> Tensor:
        return read_labels(z, ALIGNED, size, mapping).labels[0]

    def reference(z: Tensor) -> Tensor:
        if mapping is None:
            return double_interpolation(z, size)
        return softmax_of_all(z, size, mapping)

    agreement = float((ours(scores) == reference(scores)).double().mean())
    parity = agreement >= 0.99999
    report.row(case, "agreement", agreement, target=">= 0.99999", ok=parity)
    seconds = compare(lambda: ours(scores), lambda: reference(scores), rounds, warmup=0)
    floor, _ = compare(lambda: upsample_only(scores, size), lambda: None, rounds, warmup=0)
    report.row(case, "label map [s]", *seconds, target=1.4, parity=parity, limit=floor)
    peaks = peak_bytes(ours, scores), peak_bytes(reference, scores)
    target = 50.0 if mapping is None else None
    report.row(case, "peak of live tensors [bytes]", *peaks, target=target, parity=parity)


@torch.no_grad()
def main() -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--c", type=int, default=65, help="classes")
    parser.add_argument("--n", type=int, default=217, help="unified labels; 0: logits only")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), help="height, width")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the report")
    args = parser.parse_args()
    size = tuple(args.size)
    report = Report("predict")
    scores = make_scores(args.c, size)
    case = f"C={args.c}, {size[0]} x {size[1]}"
    measure(report, f"logits, {case}", scores, size, None, args.rounds)
    if args.n:
        scores, mapping = make_scores(args.n, size), make_mapping(args.n, args.c)
        rounds = max(1, args.rounds // 3)  # seconds each
        measure(report, f"probability_sum, N={args.n}, {case}", scores, size, mapping, rounds)
    report.print()
    if args.json:
        report.write(args.json)
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
