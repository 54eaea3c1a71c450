#!/usr/bin/env python
r"""How right harmonised labels are, where the finer truth of the same photos is known.

The free answer of a model (arg max over all labels) against the answer that the photo's own labels
allow, as tools/harmonize.py writes it. Two kinds of truth: the atoms of toy worlds, where each
unified label is named after the atom that it covers most on the training photos; and finer label
maps of photos that a model saw with coarse labels only (never used for anything but this score).

Every result is kept as a file below --cells and not computed again; --markdown puts the table of
all that are there into a page.

Examples:
  python benchmarks/harmonize.py --toy output/toy_0 output/toy_1 output/toy_2
  python benchmarks/harmonize.py --weights output/mini_0/model_final.pth --photos datasets/camvid7 \
      --space camvid11 --truth hidden/camvid7_as_camvid11/labels --short-side 240
  # the mean of two models' probabilities
  python benchmarks/harmonize.py --weights output/mini_{0,1}/model_final.pth --mean \
      --photos datasets/camvid7 --space camvid11 --truth hidden/camvid7_as_camvid11/labels
  python benchmarks/harmonize.py --markdown docs/HARMONIZE.md
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unilabel import __version__
from unilabel.core.errors import UniLabelError
from unilabel.core.io import put_table, read_json, write_json
from unilabel.core.label_space import UNIFIED
from unilabel.core.metrics import iou_from_confusion, update_confusion
from unilabel.data.folders import folder_source
from unilabel.data.label_files import read_label
from unilabel.data.sources import SPLITS, DatasetSource, load_sample
from unilabel.evaluation.atoms import read_atoms, score_atoms
from unilabel.harmonize.labelling import Labeller
from unilabel.harmonize.options import Options
from unilabel.harmonize.setup import adviser_of, parts_of
from unilabel.harmonize.target import Target
from unilabel.predictor import build_predictor

WAYS = ("free", "constrained")


class Score(NamedTuple):
    """Pixel accuracy and mean IoU, 0..1, and IoU by class where there are classes."""

    accuracy: float
    miou: float
    classes: dict[str, float]


Row = dict[str, Score]  # way -> score
TABLE = "harmonize"  # in docs/HARMONIZE.md
CELLS = Path(__file__).parent / "results/harmonize"
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
        both = {"constrained": labeller.label(index, image, drawn).values}
        if not labeller.advisers:
            both["free"] = predictor.predict(
                image, space, short_side=options.short_side, tta=options.tta, confidence=False
            ).labels
        yield (
            torch.from_numpy(right.astype(np.int32)),
            {way: torch.from_numpy(values.astype(np.int32)) for way, values in both.items()},
        )


def count(
    labeller: Labeller, source: DatasetSource, truth: Path, classes: int, splits: Sequence[str]
) -> Counts:
    """Counts of true and written labels; the last column is for pixels without a label."""
    columns = len(labeller.target.names) + 1
    ways = WAYS[1:] if labeller.advisers else WAYS
    counts: Counts = {way: {} for way in ways}
    for split in splits:
        for way in ways:
            counts[way][split] = torch.zeros(classes, columns, dtype=torch.int64)
        for right, found in answers(labeller, source, truth, split):
            for way, values in found.items():
                last = torch.where(values < 0, columns - 1, values)
                update_confusion(counts[way][split], last, right)
    return counts


def labeller_of(
    weights: Sequence[Path], sources: Sequence[DatasetSource], space: str, options: Options
) -> Labeller:
    """As tools/harmonize.py makes it."""
    predictor, *others = (build_predictor(file) for file in weights)
    own = predictor.label_space
    assert own is not None
    target = Target.of(own, space)
    parts = parts_of(own, sources, target, options)
    advisers = [
        adviser_of(own, target, sources, options, other, file)
        for other, file in zip(others, weights[1:], strict=True)
    ]
    return Labeller(predictor, parts, target, options, advisers)


def score_toy(run: Path, options: Options) -> dict[str, Row]:
    """Validation photos of a toy run against their atoms."""
    weights = run / "model_final.pth"
    world = run / "toy_world"
    names = build_predictor(weights).model.label_spaces.names
    atoms = read_atoms([str(world / name) for name in names])
    if atoms is None:
        raise UniLabelError(f"{world} has no atoms; name the folder of a toy run.")
    sources = [folder_source(str(world / name)) for name in names]
    labeller = labeller_of([weights], sources, UNIFIED, options)
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
    weights: Sequence[Path], photos: str, space: str, truth: Path, options: Options
) -> dict[str, Row]:
    """Photos of one dataset in the classes of another one against the hidden truth."""
    source = folder_source(photos)
    labeller = labeller_of(weights, [source], space, options)
    names = labeller.target.names
    counts = count(labeller, source, truth, len(names), options.splits)
    rows = {}
    for split in options.splits:
        row = {}
        for way in counts:
            matrix = counts[way][split]
            iou = iou_from_confusion(matrix)
            accuracy = float(matrix.diagonal().sum() / matrix.sum())
            known = {n: round(float(v), 4) for n, v in zip(names, iou, strict=True) if v == v}
            row[way] = Score(accuracy, float(torch.nanmean(iou)), known)
        rows[f"{source.name} in {space}, {split}"] = row
    return rows


def kept(
    folder: Path, models: Sequence[str], case: str, options: Options, score: Callable[[], Any]
) -> None:
    """Compute the rows of some models unless their file is there, and keep them."""
    how = {"short_side": options.short_side, "tta": options.tta, "splits": list(options.splits)}
    words = [case, *models, *(f"{k}{v}" for k, v in how.items() if v and k != "splits")]
    if len(options.splits) == 1:
        words += options.splits
    file = folder / f"{re.sub('[^A-Za-z0-9]+', '_', ' '.join(words))}.json"
    if file.is_file():
        print(f"{file.name} is there already")
        return
    start = time.process_time()
    rows = score()
    plain = {c: {w: s._asdict() for w, s in row.items()} for c, row in rows.items()}
    seconds = round(time.process_time() - start, 1)
    cell = {"models": list(models), "options": how, "rows": plain}
    write_json(file, {**cell, "cpu_seconds": seconds, "unilabel": __version__})
    print(f"{file.name}: {seconds} s of CPU")


def markdown(folder: Path) -> str:
    """A line for each kind of photos, size and number of models: means, and the range of seeds."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(folder.glob("*.json")):
        cell = read_json(file)
        size = cell["options"]["short_side"]
        how = f"short side {size}" if size else "size of the tests"
        how += ", three scales" if cell["options"]["tta"] else ""
        for case, row in cell["rows"].items():
            groups[case, how, len(cell["models"])].append({**cell, "row": row})
    lines = [
        "| photos | size | models | free arg max: accuracy / mIoU | constrained by the labels |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (case, how, joined), cells in sorted(groups.items()):
        models = ", ".join(" + ".join(cell["models"]) for cell in cells)
        texts = [means([c["row"][way] for c in cells if way in c["row"]]) for way in WAYS]
        text = f"{models} (mean of the probabilities)" if joined > 1 else models
        lines.append(f"| {case} | {how} | {text} | {texts[0]} | **{texts[1]}** |")
    return "\n".join(lines)


def means(scores: Sequence[dict[str, Any]]) -> str:
    """Mean accuracy and mIoU, with the range over several runs."""
    if not scores:
        return "-"
    parts = []
    for key in ("accuracy", "miou"):
        values = [score[key] for score in scores]
        span = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
        parts.append(f"{sum(values) / len(values):.4f}{span}")
    return " / ".join(parts)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--toy", nargs="+", type=Path, default=[], metavar="DIR", help="output folders of toy runs")
    add("--weights", nargs="+", type=Path, default=[], metavar="FILE")
    add("--mean", action="store_true", help="one row: the mean of all models' probabilities")
    add("--photos", metavar="DIR", help="dataset of the model whose finer truth is known")
    add("--space", metavar="DATASET", help="whose classes the truth has")
    add("--truth", type=Path, metavar="DIR", help="{train,val}/NAME.png, as the dataset's labels")
    add("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    add("--tta", action="store_true")
    add("--short-side", type=int, metavar="PIXELS", help="as of tools/harmonize.py")
    add("--cells", type=Path, default=CELLS, metavar="DIR", help="where results are kept")
    add("--markdown", type=Path, metavar="PAGE", help="put the table of all results there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        splits = tuple(s for s in SPLITS if s in args.splits)
        options = Options(splits, tta=args.tta, short_side=args.short_side)
        for run in args.toy:
            kept(args.cells, [run.name], "toy", options, partial(score_toy, run, options))
        if args.weights and not (args.photos and args.space and args.truth):
            raise UniLabelError("--weights needs --photos, --space and --truth.")
        for files in [args.weights] if args.mean else [[file] for file in args.weights]:
            case = f"{Path(args.photos).name} in {args.space}"
            names = [file.parent.name for file in files]
            where = (files, args.photos, args.space, args.truth)
            kept(args.cells, names, case, options, partial(score_finer, *where, options))
        text = markdown(args.cells)
        if args.markdown:
            put_table(args.markdown, TABLE, text)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
