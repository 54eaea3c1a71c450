"""Children of ``test_saving.py``: they save checkpoints without pause, or on a bad disk."""

from __future__ import annotations

import resource
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from breakable import become_nobody

VALUES = 500_000  # numbers in a checkpoint


def content(iteration: int) -> dict[str, Any]:
    """A checkpoint whose numbers all tell its iteration."""
    import torch

    return {
        "iteration": iteration,
        "values": torch.full((VALUES,), float(iteration)),
        "nested": [{"iteration": iteration}] * 3,
    }


def save_forever(folder: Path, events: Connection) -> None:
    """Say an iteration before its save and its negative after."""
    from unilabel.engine.checkpoint import CheckpointKeeper

    keeper = CheckpointKeeper(folder, 2)
    newest = keeper.load_newest()
    iteration = 1 if newest is None else newest["iteration"] + 1
    while True:
        events.send(iteration)
        keeper.save(iteration, content(iteration))
        events.send(-iteration)
        iteration += 1


def save_once(folder: Path, iteration: int, limit: int | None, events: Connection) -> None:
    """Save with a limit of the size of files, or (None) as a user who may not write there."""
    from unilabel.core.errors import UniLabelError
    from unilabel.engine.checkpoint import CheckpointKeeper

    if limit is None:
        become_nobody()
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        CheckpointKeeper(folder, 2).save(iteration, content(iteration))
    except UniLabelError as error:
        events.send(str(error))
        sys.exit(2)
    events.send("")
