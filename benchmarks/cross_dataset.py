#!/usr/bin/env python
"""Every label space of trained models on every dataset: the paper's Tables 7 to 10 in small.

Reads the cells of benchmarks/compare.py. For each model and dataset, tools/map_unseen.py finds what
each label space of the model says in the dataset's classes (on training images) and scores it on
the validation images. Finished files are kept.

Example:
  python benchmarks/cross_dataset.py --cells output/compare --methods single multi_head ours \
      --datasets datasets/camvid11 datasets/camvid7 --images 60
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path, read_json

ROOT = Path(__file__).resolve().parents[1]
MODEL = "model_final.pth"
UNIFIED = "unified"

Rows = dict[str, dict[str, float]]  # label space of a model -> dataset -> mIoU in percent


def find_models(cells: Path, methods: list[str], seed: int) -> dict[str, Path]:
    """Name of a model -> its weights; single-dataset models lie in folders of their datasets."""
    found = {}
    for method in methods:
        folder = cells / f"{method}_{seed}"
        files = sorted(folder.glob(MODEL)) or sorted(folder.glob(f"*/{MODEL}"))
        if not files:
            raise UniLabelError(f"no {MODEL} in {folder}: train the cell with compare.py first.")
        for file in files:
            name = method if file.parent == folder else f"{method} {file.parent.name}"
            found[name] = file
    return found


def score(weights: Path, dataset: Path, out: Path, images: int) -> dict[str, float]:
    """Mean IoU on a dataset of every label space of a model, each by its best mapping."""
    file = out / f"{dataset.name}.json"
    if not file.is_file():
        out.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-W", "ignore", str(ROOT / "tools/map_unseen.py"), "--heads"]
        command += ["--weights", str(weights), "--dataset", str(dataset)]
        command += ["--images", str(images), "--output", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UniLabelError(f"{weights} on {dataset}: {done.stderr.strip()[-500:]}")
    found = read_json(file)["provenance"]["val_miou"]
    return {k.removesuffix(", images"): v for k, v in found.items() if k.endswith(", images")}


def with_summaries(rows: Rows) -> Rows:
    """The rows, and for each model that has unified labels what its datasets' own spaces reach.

    The best of them is chosen for every dataset by its validation score: no choice could be better.
    """
    found = dict(rows)
    for name in rows:
        model, _, space = name.partition(": ")
        if space != UNIFIED:
            continue
        own = [v for n, v in rows.items() if n.startswith(f"{model}: ") and n != name]
        for title, combined in (("best", max), ("mean", statistics.fmean)):
            if own:
                found[f"{model}: {title} of the others"] = {
                    d: combined([scores[d] for scores in own]) for d in own[0]
                }
    return found


def markdown(rows: Rows, datasets: list[str]) -> str:
    """The table, a line per label space."""
    lines = ["| label space | " + " | ".join(datasets) + " | mean |"]
    lines += ["|" + " --- |" * (len(datasets) + 2)]
    for name, scores in rows.items():
        values = [f"{scores[d]:.1f}" for d in datasets]
        mean = statistics.fmean(scores[d] for d in datasets)
        lines.append(f"| {name} | " + " | ".join(values) + f" | {mean:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=Path, required=True, help="--out of compare.py")
    parser.add_argument("--methods", nargs="+", default=["single", "multi_head", "ours"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--datasets", nargs="+", type=Path, required=True, metavar="DIR")
    parser.add_argument("--images", type=int, default=60, help="training images of each dataset")
    args = parser.parse_args()
    rows: Rows = {}
    try:
        for model, weights in find_models(args.cells, args.methods, args.seed).items():
            for dataset in args.datasets:
                out = args.cells / "cross" / f"{model.replace(' ', '_')}_{args.seed}"
                for space, value in score(weights, dataset, out, args.images).items():
                    name = f"{model}: {space}"
                    rows.setdefault(name, {})[dataset.name] = value
        table = markdown(with_summaries(rows), [d.name for d in args.datasets])
        with atomic_path(args.cells / "cross_dataset.md") as temporary:
            temporary.write_text(table, encoding="utf-8")
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
