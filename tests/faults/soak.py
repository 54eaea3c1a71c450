"""A long run in miniature: 20,000 tiny iterations through all stages, memory and files watched.

Usage::

    python tests/faults/soak.py --iterations 20000 --folder /tmp/soak

Prints a line for every stage and ends with code 1 if memory grows by 2 % or more after the first
cycle, if open files or threads become more, or if a loss is not finite.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "d2")]

import breakable  # noqa: E402
import torch  # noqa: E402
from detectron2.engine.train_loop import HookBase  # noqa: E402
from folder_datasets import write_folder  # noqa: E402

import unilabel.modeling  # noqa: E402, F401  registers backbone and meta-architecture
from unilabel.config import load_config  # noqa: E402
from unilabel.engine import run  # noqa: E402
from unilabel.engine.trainer import UniLabelTrainer  # noqa: E402

PERIOD = 50  # iterations between two looks
LIMIT = 0.02  # growth of memory that is allowed


@dataclass(frozen=True)
class Look:
    """What was seen at an iteration."""

    iteration: int
    cycle: int
    stage: str
    memory: float  # MiB, resident
    files: int
    threads: int


def resident() -> float:
    """Memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch(HookBase):
    """Looks at memory, files, threads and losses."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self.losses = 0

    def after_step(self) -> None:
        """Look every ``PERIOD`` iterations; losses whenever there are new ones."""
        trainer = self.trainer
        for name, (value, at) in trainer.storage.latest().items():
            if at == trainer.iter and name.startswith("loss"):
                self.losses += 1
                if not math.isfinite(value):
                    raise SystemExit(f"{name} is {value} at iteration {at}")
        segment = trainer.segment
        if segment is None or trainer.iter % PERIOD != PERIOD // 2:
            return
        self.looks.append(
            Look(
                trainer.iter + 1,
                segment.cycle,
                segment.stage.value,
                resident(),
                len(os.listdir("/proc/self/fd")),
                len(os.listdir("/proc/self/task")),
            )
        )


def schedule(iterations: int, cycles: int = 8) -> list[list]:
    """MULTI_HEAD, then GNN and SEG in turn, then FINAL."""
    part = iterations // (2 * cycles + 4)
    turns = [[stage, part] for _ in range(cycles) for stage in ("GNN", "SEG")]
    used = 2 * part + len(turns) * part
    return [["MULTI_HEAD", 2 * part], *turns, ["FINAL", iterations - used]]


def soak(folder: Path, iterations: int) -> dict:
    """Run and sum up."""
    torch.set_num_threads(1)
    folders = [
        write_folder(folder / "city", "road car sky", train=6),
        write_folder(folder / "idd", "road marking", train=5, seed=1),
    ]
    options = breakable.overrides(
        folders,
        folder / "out",
        SCHEDULE=schedule(iterations),
        LOG_PERIOD=20,
        SOLVER__CHECKPOINT_PERIOD=max(1, iterations // 40),
        GRAPH__SOLVE_PERIOD=100,
    )
    watch = Watch()
    register = UniLabelTrainer.register_hooks

    def with_watch(trainer: UniLabelTrainer, hooks: list) -> None:
        register(trainer, [*hooks, watch])

    UniLabelTrainer.register_hooks = with_watch
    start = time.monotonic()
    run.train(load_config(breakable.QUICK, options), "soak", resume=False)
    seconds = time.monotonic() - start
    UniLabelTrainer.register_hooks = register
    return {"iterations": iterations, "seconds": round(seconds, 1), **summary(watch)}


def summary(watch: Watch) -> dict:
    """Growth from the second cycle (the first warms up) to the last, stage by stage."""
    last = max(look.cycle for look in watch.looks)
    growth = {}
    for stage in ("GNN", "SEG"):
        early, late = (
            [k.memory for k in watch.looks if (k.cycle, k.stage) == (cycle, stage)]
            for cycle in (2, last)
        )
        growth[stage] = round(sum(late) / len(late) / (sum(early) / len(early)) - 1, 5)
    warm = [k for k in watch.looks if k.cycle >= 2]
    return {
        "losses": watch.losses,
        "memory_mib": [round(warm[0].memory, 1), round(warm[-1].memory, 1)],
        "peak_mib": round(max(k.memory for k in warm), 1),
        "growth": growth,
        "files": sorted({k.files for k in warm}),
        "threads": sorted({k.threads for k in warm}),
        "stages": {
            f"{cycle} {stage}": round(
                max(k.memory for k in watch.looks if (k.cycle, k.stage) == (cycle, stage)), 1
            )
            for cycle, stage in dict.fromkeys((k.cycle, k.stage) for k in watch.looks)
        },
    }


def is_flat(result: dict) -> bool:
    """Whether nothing grew."""
    small = all(value < LIMIT for value in result["growth"].values())
    return small and len(result["files"]) == 1 and len(result["threads"]) == 1


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = soak(args.folder or Path(temporary), args.iterations)
    print(json.dumps(result, indent=1))
    print("flat" if is_flat(result) else "NOT FLAT")
    return 0 if is_flat(result) else 1


if __name__ == "__main__":
    sys.exit(main())
