"""How a command line tool runs and ends: mistakes and Ctrl-C are one line, not a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from tqdm import tqdm

from unilabel.core.errors import UniLabelError

INTERRUPTED = 130  # as shells report it


def run_tool(action: Callable[[], int], after_interrupt: str = "") -> int:
    """Run a tool.

    Args:
        action: does the work and returns the exit code.
        after_interrupt: what to do after Ctrl-C, in words.

    Returns:
        what ``action`` returned, 2 after a mistake of the user, 130 after Ctrl-C.
    """
    try:
        return action()
    except UniLabelError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted{': ' if after_interrupt else ''}{after_interrupt}\n")
        return INTERRUPTED


def show_progress(items: Iterable[Any], before: int, total: int) -> Iterable[Any]:
    """A progress bar that counts what an earlier process did."""
    return tqdm(items, total=total, initial=before, unit="frame", dynamic_ncols=True)
