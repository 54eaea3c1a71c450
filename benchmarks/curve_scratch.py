"""Cells of a learning curve that train from scratch: one dataset cut to a few photos."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from compare import ROOT, schedule_of
from methods import METHODS

from unilabel.adding.job import read_source
from unilabel.adding.photos import choose_photos
from unilabel.config import load_config
from unilabel.core.io import read_json, write_json
from unilabel.data.sources import resolve_folder

SCRATCH = ("single", "multi_head", "multi_head_refit", "ours")


def cut_folder(dataset: str, photos: int, draw: int, folder: Path) -> Path:
    """A folder with the same classes and validation photos and ``photos`` of training, as links.

    The draw is that of tools/add_dataset.py with this seed.
    """
    source = read_source(dataset)
    root = resolve_folder(dataset)
    samples = choose_photos(source.samples("train"), photos, draw)
    target = folder / source.name
    for split, chosen in (("train", samples), ("val", source.samples("val"))):
        for sample in chosen:
            for kind, file in (("images", sample.image), ("labels", sample.label)):
                place = target / kind / split / Path(file).name
                place.parent.mkdir(parents=True, exist_ok=True)
                if not place.exists():
                    os.symlink(Path(file).resolve(), place)
    write_json(target / "classes.json", read_json(root / "classes.json"))
    return target


def train_cell(
    args: argparse.Namespace, method: str, seed: int, dataset: str, photos: int, draw: int
) -> dict[str, Any] | None:
    """Train and score one cell; None if the training failed. An interrupted run goes on."""
    folder = args.out / "runs" / f"{Path(dataset).name}_{method}_{seed}_{photos}_{draw}"
    cut = cut_folder(dataset, photos, draw, args.out / "cut" / f"{photos}_{draw}")
    kind, overrides = METHODS["multi_head_refit" if method == "single" else method]
    others = [] if method == "single" else args.others
    schedule = schedule_of(load_config(args.config, []), kind, 1)
    values = {
        "OUTPUT_DIR": str(folder),
        "SEED": str(seed),
        "SCHEDULE": schedule,
        "DATASETS.CUSTOM": json.dumps([*others, str(cut.resolve())]),
        "DATASETS.RELATIONS": '""',
        **overrides,
    }
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", str(ROOT / "train_net.py")]
    command += ["--config-file", args.config, "--resume"]
    command += [part for pair in values.items() for part in pair]
    print(f"{folder.name}: training", flush=True)
    with open(folder / "output.txt", "w", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        print(f"{folder.name}: failed with exit code {code}, see {folder / 'output.txt'}")
        return None
    results = read_json(folder / "results.json")
    scores = {name: entry["miou"] for name, entry in results["datasets"].items()}
    spent = sum(stage["seconds"] for stage in results.get("stages", []))
    return {"miou": scores[read_source(dataset).name], "all": scores, "seconds": spent}
