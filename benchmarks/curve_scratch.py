"""Cells of a learning curve that train from scratch: one dataset cut to a few photos."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import compare

from unilabel.adding.job import read_source
from unilabel.adding.photos import choose_photos
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
    """Train and score one cell; None if the training failed. An interrupted run goes on.

    Cells of one seed, dataset and draw share their first stage, as those of compare.py do.
    """
    alone = method == "single"
    name = f"{Path(dataset).name}_{photos}_{draw}" + ("_alone" if alone else "")
    cut = cut_folder(dataset, photos, draw, args.out / "cut" / f"{photos}_{draw}")
    folders = json.dumps([*([] if alone else args.others), str(cut.resolve())])
    plan = argparse.Namespace(
        config=args.config,
        set=["DATASETS.CUSTOM", folders, "DATASETS.RELATIONS", "", *args.set],
        out=args.out / "runs" / name,
        cells=None,
        budget="quick",
        device="cpu",
    )
    kind = "multi_head_refit" if alone else method
    if not compare.run_cell(plan, kind, seed):
        return None
    results = read_json(plan.out / f"{kind}_{seed}" / "results.json")
    scores = {name: entry["miou"] for name, entry in results["datasets"].items()}
    spent = sum(stage["seconds"] for stage in results.get("stages", []))
    return {"miou": scores[read_source(dataset).name], "all": scores, "seconds": spent}
