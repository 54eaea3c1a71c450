#!/usr/bin/env python
"""Whether harmonising needs more memory for more photos: the resident set after every 500.

Photos of toy worlds are linked under many names. Those of the dataset with the finest labels are
certain, so the network is not asked; every tenth is of a coarse one and is predicted.

Example:
  python benchmarks/harmonize_memory.py --weights output/toy/model_final.pth --photos 5000
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from unilabel.core.io import write_json
from unilabel.core.synthetic import write_toy_world
from unilabel.data.folders import folder_source
from unilabel.harmonize.options import Options
from unilabel.harmonize.setup import prepare
from unilabel.predictor import build_predictor

FINE, COARSE, EVERY, EACH = "toy_fine", "toy_coarse", 10, 500


def resident() -> float:
    """MiB of this process, now."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def many(world: Path, target: Path, name: str, count: int) -> Path:
    """A dataset of ``count`` photos: links to the few of a toy world."""
    folder = target / name
    for kind in ("images", "labels"):
        (folder / kind / "train").mkdir(parents=True)
        files = sorted((world / name / kind / "train").iterdir())
        for number in range(count):
            file = files[number % len(files)]
            os.symlink(file, folder / kind / "train" / f"{number:05d}{file.suffix}")
    shutil.copy(world / name / "classes.json", folder)
    return folder


def measure(weights: str, photos: int, work: Path) -> list[tuple[int, float, float]]:
    """(photos made, MiB, CPU seconds) after every :data:`EACH` photos."""
    world = work / "world"
    write_toy_world(world, 0, 8, 1)
    parts = {FINE: photos - photos // EVERY, COARSE: photos // EVERY}
    sources = [folder_source(str(many(world, work, *part))) for part in parts.items()]
    predictor = build_predictor(weights)
    job = prepare(predictor, weights, sources, work / "merged", options=Options(("train",)))
    job.start(resume=False)
    # in turn, so that certain and predicted photos are spread over the run
    order = sorted(range(photos), key=lambda i: (job.photos[i].name.split("__")[1], i))
    job.photos = [job.photos[i] for i in order]
    rows = []
    everything = job.photos
    start = time.process_time()
    for done in range(EACH, photos + 1, EACH):
        job.photos = everything[done - EACH : done]
        job.run(workers=1)
        rows.append((done, round(resident(), 1), round(time.process_time() - start, 1)))
        print(f"{rows[-1][0]} photos: {rows[-1][1]} MiB, {rows[-1][2]} s of CPU", flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; ``--json`` keeps the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="model_final.pth of a toy run")
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args.weights, args.photos, Path(folder))
    if args.json:
        write_json(args.json, {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
