#!/usr/bin/env python
"""Is one method better than another, or were the few validation photos kind to it?

The mIoU of 48 photos hangs on the four of them that hold a building. Both models of a pair (same
seed) answer the same photos in the datasets' own labels; the photos are then drawn anew, with
replacement, the same ones for all models, and the difference of mIoU is taken again on every draw
(paired bootstrap: B. Efron, Bootstrap methods, Annals of Statistics 1979). The table says between
which values 95 % of the draws lie. What differs from training to training is another matter: the
difference of every seed stands beside.

Confusion counts of every photo are kept below --cache, with the processor seconds that they took.

Example:
  python benchmarks/photo_spread.py --models output/real/ours_{0,1,2} \
      --against output/real/multi_head_refit_{0,1,2} --cache output/photo_spread \
      --json benchmarks/results/photo_spread/real.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from kept_pixels import kept, weights_of
from torch import Tensor

import unilabel.modeling  # noqa: F401  registers backbone and meta-architecture
from unilabel.core.errors import UniLabelError
from unilabel.core.io import file_digest, write_json
from unilabel.core.metrics import mean_iou, update_confusion
from unilabel.data.build import build_eval_loader, build_sources
from unilabel.engine.checkpoint import load_file
from unilabel.engine.evaluate import test_asking
from unilabel.engine.loading import config_of, load_model

Counts = dict[str, Tensor]  # dataset -> (P, C_i, C_i) of P photos
INNER = (0.025, 0.975)  # 95 % of the draws lie between


def main() -> int:
    """Print the table, and write it where asked; the exit code is 2 after a wrong argument."""
    try:
        report(parse_arguments())
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def report(args: argparse.Namespace) -> None:
    """The work of the command line.

    Raises:
        UniLabelError: a run is not finished, or two of a pair do not fit.
    """
    pairs, seconds = [], 0.0
    for ours, other in zip(args.models, args.against, strict=True):
        sides = [counts_of_photos(folder, args.cache) for folder in (ours, other)]
        check_alike(ours, other, *(counts for counts, _ in sides))
        pairs.append((sides[0][0], sides[1][0]))
        seconds += sum(took for _, took in sides)
    rows = spread(pairs, args.draws)
    print(markdown(rows))
    print(f"\nProcessor time of the answers: {seconds / 60:.1f} minutes.")
    if args.json:
        write_json(args.json, {"draws": args.draws, "seconds": round(seconds), "rows": rows})


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UniLabelError: the two lists differ in length.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = {"type": Path, "nargs": "+", "required": True, "metavar": "RUN"}
    parser.add_argument("--models", help="finished runs of one method, by seed", **folder)
    parser.add_argument("--against", help="those of the other one, the same seeds", **folder)
    parser.add_argument("--cache", type=Path, required=True, help="where counts are kept")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--json", help="write the rows as well")
    args = parser.parse_args(arguments)
    if len(args.models) != len(args.against):
        raise UniLabelError(
            f"{len(args.models)} runs of --models and {len(args.against)} of --against: give one "
            "of each for every seed."
        )
    return args


def counts_of_photos(folder: Path, cache: Path) -> tuple[Counts, float]:
    """Counts of every validation photo in its dataset's own labels, and processor seconds."""
    weights = weights_of(folder)

    def make() -> dict[str, Any]:
        cfg = config_of(load_file(weights)["config"], str(weights))
        model, _ = load_model(weights, cfg.MODEL.DEVICE)
        model.eval()
        model.asking = test_asking(cfg)
        counts = {}
        for i, source in enumerate(build_sources(cfg)):
            photos, classes = [], source.label_space.num_classes
            loader = build_eval_loader(cfg, source, i, source.samples("val"), 0, 1, [source.name])
            for batch in loader:
                with torch.no_grad():
                    answers = model(batch)
                for item, answer in zip(batch, answers, strict=True):
                    photo = torch.zeros(classes, classes, dtype=torch.int64)
                    update_confusion(photo, answer[source.name].cpu(), item["sem_seg"])
                    photos.append(photo)
            counts[source.name] = torch.stack(photos)
        return {"counts": counts}

    content = kept(cache / f"photos_{file_digest(weights)[:12]}.pt", make)
    return content["counts"], content["seconds"]


def check_alike(ours: Path, other: Path, first: Counts, second: Counts) -> None:
    """Refuse to compare what was not measured on the same photos.

    Raises:
        UniLabelError: datasets, classes or truth differ.
    """
    for name in sorted(first.keys() | second.keys()):
        both = first.get(name), second.get(name)
        if None in both or not torch.equal(*(c.sum(2) for c in both)):
            raise UniLabelError(
                f"{ours} and {other} were not measured on the same photos and classes of {name}; "
                "give runs of one configuration."
            )


def spread(pairs: Sequence[tuple[Counts, Counts]], draws: int) -> list[dict[str, Any]]:
    """Rows of the table, a dataset each, and their mean in the end.

    Args:
        pairs: counts of both methods, a pair for every seed.
        draws: how often photos are drawn anew.
    """
    generator = torch.Generator().manual_seed(0)
    rows, at, all_draws = [], [], []
    for name, counts in pairs[0][0].items():
        photos = len(counts)
        index = torch.randint(photos, (draws, photos), generator=generator)
        weights = torch.zeros(draws, photos).scatter_add_(1, index, torch.ones(draws, photos))
        one = torch.ones(1, photos)
        seeds = [_difference(pair, name, one)[0] for pair in pairs]
        drawn = torch.stack([_difference(pair, name, weights) for pair in pairs]).mean(0)
        rows.append(_row(name, photos, seeds, drawn))
        at.append(seeds)
        all_draws.append(drawn)
    seeds = [sum(values) / len(values) for values in zip(*at, strict=True)]
    photos = sum(row["photos"] for row in rows)
    rows.append(_row("mean", photos, seeds, torch.stack(all_draws).mean(0)))
    return rows


def _difference(pair: tuple[Mapping[str, Tensor], ...], name: str, weights: Tensor) -> Tensor:
    """(draws,) difference of mIoU where photo p counts ``weights[:, p]`` times."""
    sides = []
    for counts in pair:
        flat = counts[name].double().flatten(1)  # (P, C * C)
        drawn = (weights.double() @ flat).view(-1, *counts[name].shape[1:])
        sides.append(torch.tensor([mean_iou(confusion) for confusion in drawn]))
    return sides[0] - sides[1]


def _row(name: str, photos: int, seeds: Sequence[Any], drawn: Tensor) -> dict[str, Any]:
    drawn = drawn[~drawn.isnan()]
    low, high = torch.quantile(drawn.double(), torch.tensor(INNER, dtype=torch.float64)).tolist()
    values = [round(float(value), 3) for value in seeds]
    return {
        "dataset": name,
        "photos": photos,
        "difference": round(sum(values) / len(values), 3),
        "seeds": values,
        "low": round(low, 3),
        "high": round(high, 3),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table."""
    lines = [
        "| dataset | photos | difference of mIoU | each seed | 95 % of drawn photos |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        seeds = ", ".join(f"{value:+.2f}" for value in row["seeds"])
        inner = f"{row['low']:+.2f} to {row['high']:+.2f}"
        cells = [row["dataset"], str(row["photos"]), f"{row['difference']:+.2f}", seeds, inner]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
