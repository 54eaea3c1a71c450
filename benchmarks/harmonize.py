#!/usr/bin/env python
r"""How right harmonised labels are, where the finer truth of the same photos is known.

The free answer of a model (arg max over all labels) against the answer that the photo's own labels
allow, as tools/harmonize.py writes it. Two kinds of truth: the atoms of toy worlds, where each
unified label is named after the atom that it covers most on the training photos; and finer label
maps of photos that a model saw with coarse labels only (never used for anything but this score).

Examples:
  python benchmarks/harmonize.py --toy output/toy_0 output/toy_1 output/toy_2
  python benchmarks/harmonize.py --weights output/mini_0/model_final.pth --photos datasets/camvid7 \
      --space camvid11 --truth hidden/camvid7_as_camvid11/labels --short-side 240
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.io import write_json
from unilabel.core.label_space import UNIFIED
from unilabel.core.metrics import iou_from_confusion, update_confusion
from unilabel.data.folders import folder_source
from unilabel.data.label_files import read_label
from unilabel.data.sources import SPLITS, DatasetSource, load_sample
from unilabel.evaluation.atoms import read_atoms, score_atoms
from unilabel.harmonize.labelling import Labeller
from unilabel.harmonize.options import Options
from unilabel.harmonize.setup import parts_of
from unilabel.harmonize.target import Target
from unilabel.predictor import UniLabelPredictor, build_predictor

WAYS = ("free", "constrained")


class Score(NamedTuple):
    """Pixel accuracy and mean IoU, 0..1, and IoU by class where there are classes."""

    accuracy: float
    miou: float
    classes: dict[str, float]


Row = dict[str, Score]  # way -> score
Counts = dict[str, dict[str, Tensor]]  # way -> split -> (truth, labels) counts


def answers(
    labeller: Labeller, source: DatasetSource, truth: Path, split: str
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """True labels of each photo (H, W), and those of both ways; -1: none."""
    predictor, options, space = labeller.predictor, labeller.options, labeller.target.name
    index = [part.source.name for part in labeller.parts].index(source.name)
    for sample in source.samples(split):
        image, drawn = load_sample(source, sample)
        right = read_label(str(truth / split / Path(sample.label).name)).values
        free = predictor.predict(
            image, space, short_side=options.short_side, tta=options.tta, confidence=False
        ).labels
        found = labeller.label(index, image, drawn).values
        both = {"free": free, "constrained": found}
        yield (
            torch.from_numpy(right.astype(np.int32)),
            {way: torch.from_numpy(values.astype(np.int32)) for way, values in both.items()},
        )


def count(
    labeller: Labeller, source: DatasetSource, truth: Path, classes: int, splits: Sequence[str]
) -> Counts:
    """Counts of true and written labels; the last column is for pixels without a label."""
    columns = len(labeller.target.names) + 1
    counts: Counts = {way: {} for way in WAYS}
    for split in splits:
        for way in WAYS:
            counts[way][split] = torch.zeros(classes, columns, dtype=torch.int64)
        for right, found in answers(labeller, source, truth, split):
            for way, values in found.items():
                last = torch.where(values < 0, columns - 1, values)
                update_confusion(counts[way][split], last, right)
    return counts


def labeller_of(
    predictor: UniLabelPredictor, sources: Sequence[DatasetSource], space: str, options: Options
) -> Labeller:
    """As tools/harmonize.py makes it."""
    assert predictor.label_space is not None
    target = Target.of(predictor.label_space, space)
    parts = parts_of(predictor.label_space, sources, target, options)
    return Labeller(predictor, parts, target, options)


def score_toy(run: Path, options: Options) -> dict[str, Row]:
    """Validation photos of a toy run against their atoms."""
    predictor = build_predictor(run / "model_final.pth")
    world = run / "toy_world"
    names = predictor.model.label_spaces.names
    atoms = read_atoms([str(world / name) for name in names])
    if atoms is None:
        raise UniLabelError(f"{world} has no atoms; name the folder of a toy run.")
    sources = [folder_source(str(world / name)) for name in names]
    labeller = labeller_of(predictor, sources, UNIFIED, options)
    counts = {
        source.name: count(
            labeller, source, Path(source.root) / "atoms", len(atoms["atoms"]), SPLITS
        )
        for source in sources
    }
    row = {}
    for way in WAYS:
        train, val = ({n: c[way][split][:, :-1] for n, c in counts.items()} for split in SPLITS)
        found = score_atoms(train, val, atoms)
        row[way] = Score(found["atom_accuracy"], found["atom_miou"], {})
    return {"toy, val": row}


def score_finer(
    weights: Path, photos: str, space: str, truth: Path, options: Options
) -> dict[str, Row]:
    """Photos of one dataset in the classes of another one against the hidden truth."""
    predictor = build_predictor(weights)
    source = folder_source(photos)
    labeller = labeller_of(predictor, [source], space, options)
    names = labeller.target.names
    counts = count(labeller, source, truth, len(names), options.splits)
    rows = {}
    for split in options.splits:
        row = {}
        for way in WAYS:
            matrix = counts[way][split]
            iou = iou_from_confusion(matrix)
            accuracy = float(matrix.diagonal().sum() / matrix.sum())
            known = {n: round(float(v), 4) for n, v in zip(names, iou, strict=True) if v == v}
            row[way] = Score(accuracy, float(torch.nanmean(iou)), known)
        rows[f"{source.name} in {space}, {split}"] = row
    return rows


def markdown(results: dict[str, dict[str, Row]]) -> str:
    """A line for each model and kind of photos, and one with the means."""
    lines = [
        "| photos | model | free arg max: accuracy / mIoU | constrained by the labels |",
        "| --- | --- | --- | --- |",
    ]
    cases: dict[str, list[Row]] = {}
    for model, rows in results.items():
        for case, row in rows.items():
            cases.setdefault(case, []).append(row)
            cells = [f"{row[way].accuracy:.3f} / {row[way].miou:.3f}" for way in WAYS]
            lines.append(f"| {case} | {model} | {cells[0]} | {cells[1]} |")
    for case, found in cases.items():
        cells = []
        for way in WAYS:
            means = [sum(row[way][i] for row in found) / len(found) for i in (0, 1)]
            cells.append(f"**{means[0]:.3f} / {means[1]:.3f}**")
        lines.append(f"| {case} | mean of {len(found)} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--toy", nargs="+", type=Path, default=[], metavar="DIR", help="output folders of toy runs")
    add("--weights", nargs="+", type=Path, default=[], metavar="FILE")
    add("--photos", metavar="DIR", help="dataset of the model whose finer truth is known")
    add("--space", metavar="DATASET", help="whose classes the truth has")
    add("--truth", type=Path, metavar="DIR", help="{train,val}/NAME.png, as the dataset's labels")
    add("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    add("--tta", action="store_true")
    add("--short-side", type=int, metavar="PIXELS", help="as of tools/harmonize.py")
    add("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict[str, Row]] = {}
    try:
        splits = tuple(s for s in SPLITS if s in args.splits)
        options = Options(splits, tta=args.tta, short_side=args.short_side)
        for run in args.toy:
            results[run.name] = score_toy(run, options)
        for file in args.weights:
            where = (file, args.photos, args.space, args.truth)
            results[file.parent.name] = score_finer(*where, options)
        if args.json:
            plain = {
                m: {c: {w: s._asdict() for w, s in r.items()} for c, r in rows.items()}
                for m, rows in results.items()
            }
            write_json(args.json, plain)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
