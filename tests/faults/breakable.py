"""Tiny runs in child processes that are easy to break.

The children are forked from one server process that has imported everything and has never used a
thread: a run of all stages takes about a second, and a ``SIGKILL`` in it is a real one.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

QUICK = Path(__file__).parents[2] / "configs/quick/toy.yaml"
SCHEDULE = [["MULTI_HEAD", 6], ["GNN", 5], ["SEG", 4], ["GNN", 5], ["FINAL", 6]]
TOTAL = sum(length for _, length in SCHEDULE)
BOUNDARIES = [6, 11, 15, 20]
PERIOD = 2  # iterations between two checkpoints
NOBODY = 65534  # user without rights
TIMEOUT = 120  # seconds that a child may take


def overrides(folders: list[Path], output: Path, **more: Any) -> list[str]:
    """KEY VALUE pairs of a tiny run; ``SOLVER__BASE_LR=1`` sets SOLVER.BASE_LR."""
    values = {
        "DATASETS__TOY": False,
        "DATASETS__CUSTOM": [str(f) for f in folders],
        "OUTPUT_DIR": str(output),
        "SCHEDULE": SCHEDULE,
        "INPUT__CROP_SIZE": [32, 32],
        "UNIFY__FIT_ITERATIONS": 3,
        "UNIFY__CACHE_PIXELS": 200,
        "GRAPH__PIXELS": 32,
        "LOG_PERIOD": 1,
        "SOLVER__CHECKPOINT_PERIOD": PERIOD,
        "SOLVER__KEEP_CHECKPOINTS": 2,
        **more,
    }
    pairs = [(k.replace("__", "."), str(v)) for k, v in values.items()]
    return [part for pair in pairs for part in pair]


# --- in the child ---


def train(
    output: Path,
    options: list[str],
    resume: bool,
    kill: tuple[int, str] | None,
    limit: int | None = None,
) -> None:
    """Train and evaluate.

    Args:
        output: the log goes into its ``terminal.txt``.
        options: KEY VALUE pairs.
        resume: as on the command line.
        kill: an iteration and the moment in it, see :func:`_armed`.
        limit: bytes that a file may have: where the disk is "full".
    """
    from unilabel.config import load_config
    from unilabel.core.errors import UniLabelError
    from unilabel.engine import run

    _redirect(output)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with _armed(kill):
            run.train(load_config(QUICK, options), "tiny", resume)
    except UniLabelError as error:
        print(f"error: {error}", flush=True)
        raise SystemExit(2) from None


def _redirect(folder: Path) -> None:
    """What is printed goes into ``terminal.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "terminal.txt", "a", encoding="utf-8") as terminal:
        os.dup2(terminal.fileno(), 1)
        os.dup2(terminal.fileno(), 2)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)


@contextlib.contextmanager
def _armed(kill: tuple[int, str] | None) -> Iterator[None]:
    """Kill this process in an iteration.

    ``before`` the step; ``prepared``: a new stage is set up; ``stepped``: weights are changed, but
    nothing is saved; ``saved``: after all hooks; ``saving``: the checkpoint is written, the list of
    checkpoints is not; ``evaluating``, ``finishing``: after the last iteration.
    """
    from unilabel.engine import checkpoint, run
    from unilabel.engine.trainer import UniLabelTrainer

    if kill is None:
        yield
        return
    iteration, moment = kill
    places = {
        "before": (UniLabelTrainer, "run_step", "in front"),
        "prepared": (UniLabelTrainer, "enter_segment", "behind"),
        "stepped": (UniLabelTrainer, "run_step", "behind"),
        "saved": (UniLabelTrainer, "after_step", "behind"),
        "saving": (checkpoint, "save_file", "behind"),
        "evaluating": (run, "evaluate_model", "in front"),
        "finishing": (run, "save_file", "behind"),
    }
    owner, name, side = places[moment]
    original = getattr(owner, name)
    trainers: list[UniLabelTrainer] = []
    built = UniLabelTrainer.__init__

    def remember(self: UniLabelTrainer, *args: Any) -> None:
        trainers.append(self)
        built(self, *args)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        due = trainers[-1].iter >= iteration
        if due and side == "in front":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    UniLabelTrainer.__init__ = remember
    setattr(owner, name, wrapped)
    yield


def join(rank: int, world: int, port: int, timeout: int) -> None:
    """Become one of several processes, as torchrun makes them."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "UNILABEL_TIMEOUT": str(timeout),
    }
    from unilabel.engine.distributed import init_from_environment

    init_from_environment()


def train_together(
    place: tuple[int, int, int, int],
    output: Path,
    options: list[str],
    kill: tuple[int, str] | None = None,
    spoil: int | None = None,
) -> None:
    """Train as one of several processes.

    Args:
        place: arguments of :func:`join`.
        output: the log goes into ``rank<n>/terminal.txt`` below.
        options: KEY VALUE pairs.
        kill: as for :func:`train`.
        spoil: iteration whose loss becomes NaN in this process.
    """
    from unilabel.config import load_config
    from unilabel.core.errors import UniLabelError
    from unilabel.engine import guards, run

    _redirect(output / f"rank{place[0]}")
    if spoil is not None:
        saw = guards.StepGuard.saw
        calls = iter(range(10**6))

        def spoiled(guard: guards.StepGuard, batch: Any, losses: Any) -> None:
            if next(calls) == spoil:
                for value in losses.values():
                    value.data.mul_(float("nan"))
                batch_loss = next(iter(losses.values()))
                batch_loss.register_hook(lambda g: g * float("nan"))
            saw(guard, batch, losses)

        guards.StepGuard.saw = spoiled
    try:
        join(*place)
        with _armed(kill):
            run.train(load_config(QUICK, options), "tiny", resume=True)
    except UniLabelError as error:
        print(f"error: {error}", flush=True)
        raise SystemExit(2) from None


def evaluate_together(
    place: tuple[int, int, int, int], output: Path, options: list[str], send: Connection
) -> None:
    """Evaluate as one of several processes; sends the results."""
    from unilabel.config import load_config
    from unilabel.engine import run

    _redirect(output / f"rank{place[0]}")
    join(*place)
    send.send(run.evaluate(load_config(QUICK, options), "tiny"))


def become_nobody() -> None:
    """Give up the rights of the administrator, who may read and write everything."""
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def read_as_nobody(paths: list[str], send: Connection) -> None:
    """Send what reading an image and a label map says."""
    from unilabel.core.errors import UniLabelError
    from unilabel.data.images import read_image
    from unilabel.data.label_files import read_id_png

    become_nobody()
    messages = []
    for path, read in zip(paths, (read_image, read_id_png), strict=True):
        try:
            read(path)
            messages.append("")
        except UniLabelError as error:
            messages.append(str(error))
    send.send(messages)


# --- in the test ---


def server() -> multiprocessing.context.ForkServerContext:
    """Context whose processes are forked from one that has imported everything."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["breakable_imports"])
    return context


def finish(process: multiprocessing.process.BaseProcess) -> int:
    """Wait for a child: its exit code, negative for a signal."""
    process.join(TIMEOUT)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"the child did not end within {TIMEOUT} seconds")
    return process.exitcode
