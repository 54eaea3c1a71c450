"""Runs train_net.py for the tests: as it is, ended at an iteration, or several times in a process.

As a script::

    python program.py end ITERATION SIGNAL ARGUMENTS...    a signal to itself before an iteration
    python program.py cases < cases.json                   one run per list of arguments
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUICK = "configs/quick/toy.yaml"
TIMEOUT = 300  # seconds; a run takes about ten when the machine is free


def start(command: list[str], gpu: bool = False, **more) -> subprocess.CompletedProcess:
    """Run a command in the project's folder on one core, without GPUs unless asked."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if not gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        **more,
    )


def train_net(*arguments: str, gpu: bool = False) -> subprocess.CompletedProcess:
    return start([sys.executable, "train_net.py", *arguments], gpu)


def train_net_until(iteration: int, signal: int, *arguments: str) -> subprocess.CompletedProcess:
    """A run that sends a signal to itself before it does an iteration."""
    return start([sys.executable, __file__, "end", str(iteration), str(signal), *arguments])


def train_net_cases(cases: dict[str, list[str]]) -> dict[str, dict]:
    """Several runs in one process: name -> {"code", "out", "err"}."""
    done = start([sys.executable, __file__, "cases"], input=json.dumps(cases))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _end(iteration: int, signal: int, arguments: list[str]) -> None:
    import train_net as program
    from unilabel.engine.trainer import UniLabelTrainer

    run_step = UniLabelTrainer.run_step

    def run_step_or_end(trainer: UniLabelTrainer) -> None:
        if trainer.iter == iteration:
            os.kill(os.getpid(), signal)
        run_step(trainer)

    UniLabelTrainer.run_step = run_step_or_end
    program.main(program.parse_arguments(arguments))


def _cases() -> None:
    import train_net as program

    results = {}
    for name, arguments in json.load(sys.stdin).items():
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                program.main(program.parse_arguments(arguments))
            except SystemExit as stop:
                code = stop.code
            except Exception:  # what Python would show
                traceback.print_exc()
                code = 1
        results[name] = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1] == "end":
        _end(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    else:
        _cases()
