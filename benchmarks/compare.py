#!/usr/bin/env python
"""Train and compare every way to learn from several datasets: the paper's Tables 2 and 5 in small.

Each cell (method, seed) is a run of train_net.py with the same backbone, data order and number of
network iterations. Finished cells are kept, so an interrupted comparison continues. Methods that
train the same multi-head network first share it: it is trained once per seed (``stem_*``), or taken
from the finished multi_head cell where that passed through it (SOLVER.DECAY_ITERS), and the cells
go on from its last checkpoint, which equals an uninterrupted run bit by bit.

With --cells the results of every cell are kept as DIR/METHOD_SEED.json as well. Cells found there
count as finished, and the table is made from them: a few kilobytes carry a comparison to another
machine or into the repository, while the runs with their checkpoints stay where they are.

Examples:
  python benchmarks/compare.py --config configs/mini.yaml --methods all --seeds 0 1 --out output/cmp
  python benchmarks/compare.py --config configs/toy.yaml --methods paper ours --out output/t
  python benchmarks/compare.py --methods multi_head ours --out output/hrnet \
      --set MODEL.TIMM.NAME hrnet_w18_small MODEL.TIMM.PRETRAINED "" MODEL.TIMM.OUT_INDICES "[]"
  python benchmarks/compare.py --device cuda --budget full --jobs 5 --out output/full
  python benchmarks/compare.py --out output/cmp --table-only
  python benchmarks/compare.py --cells benchmarks/results/mini --out output/cmp --table-only
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import RLock
from typing import Any

from cells import before_markdown, draw, links_markdown, markdown, parts_markdown, read_cells
from detectron2.config import CfgNode
from methods import CONTINUES, METHODS

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path, read_json, write_json
from unilabel.core.stages import Stage, StageSchedule
from unilabel.engine.checkpoint import CheckpointKeeper, load_file
from unilabel.engine.resume import LATER, is_key

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = "last_checkpoint.json"
PLACES = ("OUTPUT_DIR", "INPUT.TOKEN_CACHE")  # no figure depends on them
ABSOLUTE = re.compile(r"(?<![^\s\"'\[,])/[^\s\"'\],]+")  # a path, alone or in a list
BUDGETS = {"quick": 1, "full": 10}  # times the iterations of the configuration
# One run at a time in a folder: with --jobs, cells wait here for the one that they go on from.
LOCKS: dict[Path, RLock] = defaultdict(RLock)


def schedule_of(cfg: CfgNode, kind: str, budget: int) -> str:
    """The stages of a method, with the network iterations of the configuration.

    ``heads`` spends all of them with one head per dataset; ``fixed`` leaves the GNN stages out;
    ``learned`` is the configuration's own.
    """
    segments = StageSchedule(cfg.SCHEDULE).segments
    if kind == "heads":
        total = sum(s.length for s in segments if s.stage.trains_network)
        entries = [["MULTI_HEAD", total * budget]]
    elif kind == "fixed":
        heads = sum(s.length for s in segments if s.stage is Stage.MULTI_HEAD)
        rest = sum(s.length for s in segments if s.stage in (Stage.SEG, Stage.FINAL))
        entries = [["MULTI_HEAD", heads * budget], ["FINAL", rest * budget]]
    else:
        entries = [
            [s.stage.value, s.length * (budget if s.stage.trains_network else 1)] for s in segments
        ]
    return json.dumps(entries)


def run_cell(
    args: argparse.Namespace, method: str, seed: int, with_checkpoint: bool = False
) -> bool:
    """Train one cell unless it is finished; its log is beside its results.

    Others go on from a cell ``with_checkpoint``: its results alone are not enough then.
    """
    folder = args.out / f"{method}_{seed}"
    with LOCKS[folder]:
        if (folder / "results.json").is_file():
            print(f"{folder.name}: finished before", flush=True)
        elif not with_checkpoint and is_kept(args, folder.name):
            print(f"{folder.name}: finished before, in {args.cells}", flush=True)
            return True
        elif not train_cell(args, method, seed, folder):
            return False
        if args.cells and not is_kept(args, folder.name):
            results = read_json(folder / "results.json")
            write_json(args.cells / f"{folder.name}.json", {**results, "cell": options(args)})
        return True


def options(args: argparse.Namespace) -> dict[str, Any]:
    """What a kept cell must have in common with the present command.

    Cells are for other machines too: keys that say where something is kept are left out, and of a
    path its last part is enough.
    """
    pairs = zip(args.set[::2], args.set[1::2], strict=True)
    words = [word for key, value in pairs if key not in PLACES for word in (key, value)]
    named = [ABSOLUTE.sub(lambda found: Path(found[0]).name, word) for word in words]
    return {"config": Path(args.config).name, "budget": args.budget, "set": named}


def is_kept(args: argparse.Namespace, name: str) -> bool:
    """Whether the results of a cell lie in --cells.

    Raises:
        UniLabelError: they are those of another configuration.
    """
    if not args.cells or not (args.cells / f"{name}.json").is_file():
        return False
    kept = read_json(args.cells / f"{name}.json")
    found = kept.get("cell", {"config": Path(kept["config"]).name, "budget": "quick", "set": []})
    for key, wanted in options(args).items():
        if found[key] != wanted:
            raise UniLabelError(
                f"{args.cells / name}.json is a cell of {key} {found[key]}, not {wanted}; give "
                "another --cells folder."
            )
    return True


def train_cell(args: argparse.Namespace, method: str, seed: int, folder: Path) -> bool:
    """Train a cell, from the checkpoint that it shares with others where there is one."""
    kind, overrides = METHODS[method]
    schedule = schedule_of(load_config(args.config, args.set), kind, BUDGETS[args.budget])
    if (kind != "heads" or method in CONTINUES) and not (folder / CHECKPOINTS).is_file():
        if method in CONTINUES:
            done = run_cell(args, CONTINUES[method], seed, with_checkpoint=True)
            stem = args.out / f"{CONTINUES[method]}_{seed}" if done else None
        else:
            stem = train_stem(args, overrides, json.dumps(json.loads(schedule)[:1]), seed)
        if stem is None:
            return False
        folder.mkdir(parents=True, exist_ok=True)
        newest = read_json(stem / CHECKPOINTS)["checkpoints"][-1]["file"]
        shutil.copy(stem / newest, folder / newest)
        shutil.copy(stem / CHECKPOINTS, folder / CHECKPOINTS)  # last: it makes the copy valid
    return train(args, folder, seed, {"SCHEDULE": schedule, **overrides})


def early_overrides(overrides: dict[str, str]) -> dict[str, str]:
    """What a method sets that matters before there are unified labels."""
    early = {k: v for k, v in overrides.items() if not is_key(k, LATER)}
    return {**early, "SOLVER.REFIT": "False"}


def train_stem(
    args: argparse.Namespace, overrides: dict[str, str], schedule: str, seed: int
) -> Path | None:
    """The folder of the multi-head network that a method starts from, or None if it failed."""
    early = early_overrides(overrides)
    digest = hashlib.sha256(json.dumps(sorted(early.items())).encode()).hexdigest()[:8]
    folder = args.out / (f"stem_{digest}_{seed}" if len(early) > 1 else f"stem_{seed}")
    length = json.loads(schedule)[0][1]
    whole = args.out / f"multi_head_{seed}"
    with LOCKS[folder]:
        if (folder / CHECKPOINTS).is_file() and read_json(folder / CHECKPOINTS)["checkpoints"][-1][
            "iteration"
        ] == length:
            return folder
        with LOCKS[whole]:  # its run may be the one to cut the stem from
            if len(early) == 1 and cut_stem(args, whole, length, folder):
                return folder
        return folder if train(args, folder, seed, {"SCHEDULE": schedule, **early}) else None


def cut_stem(args: argparse.Namespace, whole: Path, length: int, folder: Path) -> bool:
    """Take a multi-head network after ``length`` iterations out of a longer run of the same kind.

    The learning rate must not depend on the length of the stage (SOLVER.DECAY_ITERS, and a warm-up
    that a tenth of either length covers); a checkpoint must have been kept there.

    Returns:
        whether ``folder`` now holds the checkpoint of a run that ended there.
    """
    cfg = load_config(args.config, args.set)
    file = whole / f"model_{length:07d}.pth"
    warmup = cfg.SOLVER.WARMUP_ITERS <= length // 10
    if not cfg.SOLVER.DECAY_ITERS or not warmup or not file.is_file():
        return False
    state = load_file(file)
    stage = {"name": Stage.MULTI_HEAD.value, "iterations": length, "seconds": state["seconds"]}
    state |= {"last_optimizer": state["optimizer"], "optimizer": None, "running": False}
    state |= {"seconds": 0.0, "records": [stage]}
    folder.mkdir(parents=True, exist_ok=True)
    CheckpointKeeper(folder, 1).save(length, state)
    print(f"{folder.name}: taken from {whole.name}", flush=True)
    return True


def train(args: argparse.Namespace, folder: Path, seed: int, overrides: dict[str, str]) -> bool:
    """One run of train_net.py, continued where an earlier one ended."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = load_config(args.config, args.set)
    decay = cfg.SOLVER.DECAY_ITERS
    if decay < 0:  # a stem is the beginning of a longer schedule
        decay = StageSchedule(cfg.SCHEDULE).network_iterations()
    values = {
        "OUTPUT_DIR": str(folder),
        "SEED": str(seed),
        "MODEL.DEVICE": args.device,
        **dict(zip(args.set[::2], args.set[1::2], strict=True)),
        "SOLVER.DECAY_ITERS": str(decay * BUDGETS[args.budget]),
        **overrides,
    }
    command = [sys.executable, "-W", "ignore", str(ROOT / "train_net.py")]
    command += ["--config-file", args.config, "--resume"]
    command += [part for pair in values.items() for part in pair]
    print(f"{folder.name}: training", flush=True)
    with open(folder / "output.txt", "w", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        print(f"{folder.name}: failed with exit code {code}, see {folder / 'output.txt'}")
    return code == 0


def run_cells(args: argparse.Namespace, methods: list[str]) -> bool:
    """Train all cells, ``args.jobs`` at a time; whether all have succeeded."""
    cells = [(method, seed) for seed in args.seeds for method in methods]
    if args.jobs > 1:  # first those that others go on from
        cells.sort(key=lambda cell: (METHODS[cell[0]][0] != "heads", cell[0] in CONTINUES))
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = [pool.submit(run_cell, args, *cell) for cell in cells]
        try:
            return all([future.result() for future in futures])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/mini.yaml")
    parser.add_argument("--methods", nargs="+", default=["all"], choices=["all", *METHODS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--cells", type=Path, help="folder that keeps the results of the cells")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--budget", choices=sorted(BUDGETS), default="quick", help="full: 10 times the iterations"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY VALUE",
        help="configuration keys of all cells, where a method does not set them itself",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="cells at a time; small networks leave a GPU idle most of the time (set "
        "OMP_NUM_THREADS 1 too)",
    )
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="cells of earlier code: before.md has the gains"
    )
    parser.add_argument("--table-only", action="store_true", help="only read finished cells")
    args = parser.parse_args()
    if len(args.set) % 2:
        parser.error(f"--set takes KEY VALUE pairs, found {len(args.set)} words")
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}, expected 1 or more")
    methods = list(METHODS) if "all" in args.methods else args.methods
    try:
        done = args.table_only or run_cells(args, methods)
        cells = read_cells(args.out, args.cells, METHODS)
        if not cells:
            raise UniLabelError(f"no finished cell in {args.cells or args.out}.")
        args.out.mkdir(parents=True, exist_ok=True)
        table = markdown(cells)
        with atomic_path(args.out / "table.md") as temporary:
            temporary.write_text(table, encoding="utf-8")
        texts = {"links": links_markdown(cells), "parts": parts_markdown(cells)}
        if args.before:
            before = read_cells(args.out, args.before, METHODS)
            texts["before"] = before_markdown(cells, before)
        for name, text in texts.items():
            if text:
                with atomic_path(args.out / f"{name}.md") as temporary:
                    temporary.write_text(text, encoding="utf-8")
        draw(cells, args.out / "table.png")
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
