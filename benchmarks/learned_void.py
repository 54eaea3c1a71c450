#!/usr/bin/env python
"""Void as a learned class against void by a threshold, on small sets of real photos.

Two models of the same size and budget: one of the street sets alone, whose void is decided by
unmapped labels and a threshold chosen on training images; one whose first street set has one more
class, void, as the variant `with_void` of WildDash 2 gives it: unlabelled pixels, and whole
negative images. A negative image is one of --negatives that shows none of --street-classes.
Both are scored on validation images: of the street sets, of the negatives' dataset, and of --other,
images of a kind that neither model has seen.

Example:
  python benchmarks/learned_void.py --streets mini/camvid11 mini/camvid7 mini/iddlite \
      --negatives mini/msrc21 --other real/drone6/images/val --output output/learned_void
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.io import write_json
from unilabel.core.label_space import IGNORE
from unilabel.data.folders import folder_source
from unilabel.data.images import shown_size
from unilabel.data.sources import Sample
from unilabel.predictor import build_predictor
from unilabel.submission.calibration import KEPT, STEPS, SweepPoint, ThresholdSweep, best_point
from unilabel.submission.formats import get_benchmark
from unilabel.submission.frames import list_frames
from unilabel.submission.known_images import KnownImage, spread, wilddash_ids
from unilabel.submission.labeller import Labeller
from unilabel.submission.void import VoidPolicy
from unilabel.submission.wilddash import DATASET
from unilabel.submission.zero_shot import class_meanings, zero_shot_table

ROOT = Path(__file__).resolve().parents[1]
VOID_SET, VOID_CLASS = "streets_void", "void"
STREET_CLASSES = ("building", "road", "car", "bicycle", "sign", "body", "face")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    args = _parser().parse_args(argv)
    try:
        report = measure(args)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_json(args.output / "learned_void.json", report)
    print(table_of(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streets", nargs="+", type=Path, required=True, metavar="DIR")
    parser.add_argument("--negatives", type=Path, required=True, metavar="DIR", help="a dataset")
    parser.add_argument("--street-classes", nargs="+", default=list(STREET_CLASSES))
    parser.add_argument("--other", type=Path, required=True, metavar="DIR", help="images only")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--schedule", default='[["MULTI_HEAD", 90], ["GNN", 20], ["FINAL", 20]]')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=24, help="scored images of each set and split")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY VALUE", help="of train_net.py")
    return parser


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Train both models where they are not there yet, and score them."""
    negatives = {s: negative_images(args.negatives, args.street_classes, s) for s in PARTS}
    first = args.output / VOID_SET
    if not (first / "classes.json").is_file():
        write_void_set(args.streets[0], negatives["train"], first)
    alone = train(args, "threshold", args.streets)
    learned = train(args, "learned", [first, *args.streets[1:]])
    # what is known: street classes by their names, nothing about unlabelled pixels
    street = {s: street_images(args.streets[:2], s, args.limit) for s in PARTS}
    seen = {s: [KnownImage(str(p), None) for p in spread(negatives[s], args.limit)] for s in PARTS}
    frames = spread(list_frames(args.other, get_benchmark(DATASET)), args.limit)
    other = [KnownImage(f.path, None) for f in frames]
    rows = []
    for words in (["none"], ["unmapped"]):
        labeller = labeller_of(alone, words)
        chosen = swept(labeller, street["train"], seen["train"])
        kinds = [swept(labeller, street["val"], kind) for kind in (seen["val"], other)]
        for how, point in (
            ("", chosen[0]),
            ("threshold", best_point(chosen)),
            (f"threshold that keeps {100 * KEPT:.0f} %", best_point(chosen, KEPT)),
        ):
            rows.append(row_of("streets", " ".join([*words, how]).strip(), point, kinds))
    labeller = labeller_of(learned, [f"class={VOID_SET}:{VOID_CLASS}"])
    kinds = [swept(labeller, street["val"], kind) for kind in (seen["val"], other)]
    rows.append(
        row_of("streets, void learned", f"class={VOID_SET}:{VOID_CLASS}", kinds[0][0], kinds)
    )
    labeller = labeller_of(learned, ["unmapped"])
    kinds = [swept(labeller, street["val"], kind) for kind in (seen["val"], other)]
    rows.append(row_of("streets, void learned", "unmapped", kinds[0][0], kinds))
    return {
        "schedule": json.loads(args.schedule),
        "seed": args.seed,
        "images": {
            "negatives in training": len(negatives["train"]),
            "street val": len(street["val"]),
            "negatives val": len(negatives["val"]),
            "other": len(other),
        },
        "rows": rows,
    }


PARTS = ("train", "val")


def negative_images(folder: Path, street_classes: Sequence[str], split: str) -> list[Path]:
    """Images of a dataset that show none of some classes."""
    source = folder_source(folder)
    barred = [source.label_space.index(name) for name in street_classes]
    return [
        Path(sample.image)
        for sample in source.samples(split)
        if not np.isin(source.decode_label(sample.label), barred).any()
    ]


def write_void_set(streets: Path, negatives: Sequence[Path], folder: Path) -> None:
    """A street set with one more class: its unlabelled pixels, and the negative images."""
    source = folder_source(streets)
    void = source.label_space.num_classes
    for split in PARTS:
        for part in ("images", "labels"):
            (folder / part / split).mkdir(parents=True, exist_ok=True)
        for sample in source.samples(split):
            ids = source.decode_label(sample.label)
            _write(folder, split, sample, np.where(ids == IGNORE, void, ids).astype(np.uint8))
    for path in negatives:
        width, height = shown_size(str(path))
        sample = Sample(str(path), f"negative_{path.stem}.png")
        _write(folder, "train", sample, np.full((height, width), void, np.uint8))
    classes = json.loads((streets / "classes.json").read_text("utf-8"))["classes"]
    entry = {"id": void, "name": VOID_CLASS, "color": [0, 0, 0]}
    write_json(folder / "classes.json", {"name": VOID_SET, "classes": [*classes, entry]})


def _write(folder: Path, split: str, sample: Sample, ids: np.ndarray) -> None:
    stem = Path(sample.label).stem
    shutil.copy(sample.image, folder / "images" / split / f"{stem}{Path(sample.image).suffix}")
    cv2.imwrite(str(folder / "labels" / split / f"{stem}.png"), ids)


def train(args: argparse.Namespace, name: str, folders: Sequence[Path]) -> Path:
    """One run of train_net.py, unless its model is there already."""
    output = args.output / name
    weights = output / "model_final.pth"
    if not weights.is_file():
        custom = json.dumps([str(folder.resolve()) for folder in folders])
        keys = {
            "OUTPUT_DIR": str(output), "DATASETS.CUSTOM": custom, "DATASETS.RELATIONS": "",
            "DATASETS.DESCRIPTIONS": "", "TEXT.MODE": "name", "SCHEDULE": args.schedule,
            "SEED": str(args.seed), "INPUT.IMAGES_PER_DATASET": "2",
            "INPUT.CROP_SIZE": "[112, 112]", "UNIFY.CACHE_IMAGES": "40",
            "UNIFY.CACHE_PIXELS": "10000", "SOLVER.REFIT": "False",
            "SOLVER.CHECKPOINT_PERIOD": "1000", "DATALOADER.NUM_WORKERS": "0",
        }  # fmt: skip
        options = [word for pair in keys.items() for word in pair]
        command = ["train_net.py", "--config-file", "configs/mini.yaml", *options, *args.set]
        subprocess.run([sys.executable, "-W", "ignore", *command], cwd=ROOT, check=True)
    return weights


def street_images(folders: Sequence[Path], split: str, limit: int) -> list[KnownImage]:
    """Labelled images of sets whose class names say what they are in WildDash 2."""
    images = []
    for source in map(folder_source, folders):
        ids = wilddash_ids(source, (), lambda line: None)
        images += [
            KnownImage(s.image, (source, s, ids)) for s in spread(source.samples(split), limit)
        ]
    return images


def labeller_of(weights: Path, words: Sequence[str]) -> Labeller:
    """A zero-shot labeller, as tools/wilddash_submit.py makes it."""
    predictor = build_predictor(weights)
    spaces = predictor.model.label_spaces
    table = zero_shot_table(spaces, predictor.label_space, class_meanings(spaces))
    return Labeller(predictor, get_benchmark(DATASET), table, VoidPolicy.parse(words))


def swept(
    labeller: Labeller, positive: Sequence[KnownImage], negative: Sequence[KnownImage]
) -> list[SweepPoint]:
    """Every threshold on these images."""
    sweep = ThresholdSweep(labeller)
    for image in [*positive, *negative]:
        sweep.add(*image.load())
    return sweep.points()


def row_of(
    model: str, void: str, point: SweepPoint, kinds: Sequence[list[SweepPoint]]
) -> dict[str, Any]:
    """One threshold on both kinds of negative images, percent."""
    seen, other = (points[round(point.threshold * STEPS)] for points in kinds)
    return {
        "model": model,
        "void": void,
        "threshold": point.threshold,
        "miou": round(100 * seen.miou, 1),
        "void_on_streets": round(100 * (1 - seen.kept), 1),
        "void_on_negatives": round(100 * seen.void, 1),
        "void_on_other": round(100 * other.void, 1),
        "meta": round(100 * seen.score, 1),
        "meta_other": round(100 * other.score, 1),
    }


def table_of(report: dict[str, Any]) -> str:
    """The rows as Markdown."""
    heads = ("model", "--void", "T", "mIoU", "void on streets", "void on negatives",
             "void on other", "Meta stand-in", "the same, other")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in report["rows"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
