"""One function over many files, in several processes, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import cv2
from tqdm import tqdm

Job = TypeVar("Job")
Result = TypeVar("Result")
_task: Callable[[Any], Any]
_FORK = "fork" if "fork" in multiprocessing.get_all_start_methods() else None


def default_workers() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_parallel(
    task: Callable[[Job], Result], jobs: Sequence[Job], workers: int, description: str
) -> Iterator[Result]:
    """Yield ``task(job)`` of all jobs, in order.

    The processes are forked, so that they share what was loaded before (a parsed annotation file),
    unless the program chose another start method; with one worker, or few jobs, everything runs
    here.

    Args:
        task: must not raise: report an error in its result.
        jobs: what to do; small objects, they are sent to the processes.
        workers: number of processes.
        description: words before the progress bar.
    """
    workers = min(workers, (len(jobs) + 15) // 16)
    bar = tqdm(total=len(jobs), desc=description, unit="file", leave=False, disable=None)
    with bar:
        if workers <= 1:
            for job in jobs:
                yield task(job)
                bar.update()
            return
        method = multiprocessing.get_start_method(allow_none=True)
        context = multiprocessing.get_context(method or _FORK)
        with ProcessPoolExecutor(workers, context, _start, (task,)) as pool:
            for result in pool.map(_run, jobs, chunksize=8):
                yield result
                bar.update()


def _start(task: Callable[[Any], Any]) -> None:
    global _task
    _task = task
    cv2.setNumThreads(1)  # a process per core already


def _run(job: Any) -> Any:
    return _task(job)
