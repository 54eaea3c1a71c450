"""What the scripts ``prepare_*.py`` share: official labels in, 8-bit PNGs of class ids out.

The loaders read the official labels as well; the PNGs are faster to read, because no segment table
or polygon has to be looked up for each sample. Every file is written whole or not at all, and
existing ones are kept: a run that was stopped is completed by starting it again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path
from unilabel.data.builtin import BuiltinDataset, builtin_dataset, datasets_root
from unilabel.data.label_files import read_id_png
from unilabel.data.layouts import Decoder
from unilabel.data.parallel import default_workers, run_parallel
from unilabel.data.sources import SPLITS

SHOWN = 20  # errors that are printed

Job = tuple[str, str]  # official label, PNG


def run(
    name: str,
    description: str,
    argv: Sequence[str] | None = None,
    find_jobs: Callable[[BuiltinDataset], tuple[list[Job], Decoder]] | None = None,
    finish: Callable[[BuiltinDataset], None] | None = None,
) -> int:
    """Command line of one script.

    Args:
        name: the built-in dataset.
        description: for ``--help``.
        argv: arguments; None: those of the process.
        find_jobs: the labels and their decoder; None: a PNG for each label file.
        finish: what is written at last, when all labels are there.

    Returns:
        Exit code: 0 done, 1 some labels failed, 2 there are no official labels.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", type=Path, default=datasets_root(), help="folder of all datasets")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; compare each PNG with its label"
    )
    args = parser.parse_args(argv)
    dataset = builtin_dataset(name, args.root)
    try:
        jobs, decoder = (find_jobs or _jobs)(dataset)
    except UniLabelError as error:
        print(error, file=sys.stderr)
        return 2
    todo = jobs if args.check else [job for job in jobs if not Path(job[1]).exists()]
    task = partial(_check if args.check else _convert, decoder)
    errors = [e for e in run_parallel(task, todo, args.workers, description) if e]
    verb = "checked" if args.check else "written"
    print(f"{name}: {len(todo) - len(errors)} labels {verb}, {len(jobs) - len(todo)} already there")
    for error in errors[:SHOWN]:
        print(f"  {error}", file=sys.stderr)
    if len(errors) > SHOWN:
        print(f"  ... and {len(errors) - SHOWN} more", file=sys.stderr)
    if finish is not None and not errors and not args.check:
        finish(dataset)
    return 1 if errors else 0


def _jobs(dataset: BuiltinDataset) -> tuple[list[Job], Decoder]:
    """All official labels of train and val with their PNGs, and the decoder of the former."""
    layout = dataset.place.layout
    prepared, official = layout.labels[:2]
    jobs: dict[Job, None] = {}  # both splits of a dataset may share one folder
    for split in SPLITS:
        for folder, name in product(dataset.place.folders, layout.splits[split]):
            labels = official.tree.scan(folder, name)
            if labels:
                dataset.preload(official, split)
            for key, label in sorted(labels.items()):
                jobs[label, str(prepared.tree.path_of(folder, name, key))] = None
    if not jobs:
        raise UniLabelError(
            f"no official labels of {dataset.name} below {dataset.folder}; see datasets/README.md "
            "for its folders, and set $DETECTRON2_DATASETS or give --root."
        )
    return list(jobs), official.decoder(dataset.table, dataset.name)


def _convert(decoder: Decoder, job: Job) -> str:
    """Write one PNG; the error as text, or ""."""
    label, target = job
    try:
        ids = decoder(label)
        done, data = cv2.imencode(".png", ids)
        if not done:
            return f"{label}: the label map {ids.shape} cannot be stored as PNG."
        with atomic_path(target) as temporary:
            temporary.write_bytes(data.tobytes())
    except UniLabelError as error:
        return str(error)
    return ""


def _check(decoder: Decoder, job: Job) -> str:
    """Compare one PNG with its official label; the difference as text, or ""."""
    label, target = job
    if not Path(target).exists():
        return f"{target} is missing; run this script without --check."
    try:
        if np.array_equal(read_id_png(target), decoder(label)):
            return ""
    except UniLabelError as error:
        return str(error)
    return f"{target} differs from {label}; remove it and run this script without --check."
