#!/usr/bin/env python
"""Cut a validation part out of the training images of folder datasets, to tune settings on.

Validation images are for final figures. A setting is chosen on a copy of the datasets (links, no
files) whose ``val`` is part of ``train``. Images that look alike must not lie on both sides: names
are grouped by what stands before the first "_" (a sequence, a subject). Of large groups the last
images by name are held out, of small ones the last whole groups.

Example:
  python benchmarks/holdout.py --datasets datasets/camvid11 datasets/camvid7 --out held
  DETECTRON2_DATASETS=held python train_net.py --config-file configs/mini.yaml
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from unilabel.core.errors import UniLabelError
from unilabel.data.folders import folder_source

LARGE = 10  # images; a smaller group stays whole


def held_out(stems: list[str], share: float) -> set[str]:
    """The names to hold out, about ``share`` of them."""
    groups: dict[str, list[str]] = {}
    for stem in sorted(stems):
        groups.setdefault(stem.split("_")[0], []).append(stem)
    chosen: set[str] = set()
    small = [group for group in groups.values() if len(group) < LARGE]
    for group in groups.values():
        if len(group) >= LARGE:
            chosen.update(group[len(group) - round(share * len(group)) :])
    for group in small[len(small) - round(share * len(small)) :]:
        chosen.update(group)
    return chosen


def cut(dataset: Path, out: Path, share: float) -> tuple[int, int]:
    """Lay out one dataset; the numbers of its training and held-out images.

    Raises:
        UniLabelError: no training images, files without partner, or an existing copy.
    """
    target = out / dataset.name
    if target.exists():
        raise UniLabelError(f"{target} exists already; choose another --out or remove it.")
    samples = folder_source(str(dataset)).samples("train")
    files = {Path(s.image).stem: s for s in samples}
    held = held_out(list(files), share)
    for stem, sample in files.items():
        for kind, file in (("images", sample.image), ("labels", sample.label)):
            folder = target / kind / ("val" if stem in held else "train")
            folder.mkdir(parents=True, exist_ok=True)
            os.symlink(Path(file).resolve(), folder / Path(file).name)
    shutil.copy(dataset / "classes.json", target / "classes.json")
    return len(files) - len(held), len(held)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", type=Path, required=True, help="their folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.2, help="of the training images")
    args = parser.parse_args()
    if not 0 < args.share < 1:
        parser.error(f"--share is {args.share}, expected more than 0 and less than 1")
    try:
        for dataset in args.datasets:
            train, held = cut(dataset, args.out, args.share)
            print(f"{dataset.name}: {train} training images, {held} held out")
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
