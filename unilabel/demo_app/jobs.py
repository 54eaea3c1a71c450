"""Work on a visitor's file that takes a while: what is told of it, and how it is cancelled."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from unilabel.demo_app.payloads import data_url


@dataclass
class Job:
    """A file that waits for its turn, or is worked on.

    Attributes:
        path: the uploaded file.
        begun: whether its turn has come.
        cancelled: set by the visitor.
    """

    path: str | None
    begun: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class JobFile:
    """A result to save.

    Attributes:
        name: of the file.
        data: its content.
        kind: media type; a video is also shown.
    """

    name: str
    data: bytes
    kind: str = "application/zip"


def job_status(
    lines: Sequence[str],
    share: float | None = None,
    kind: str = "info",
    file: JobFile | None = None,
    pictures: Sequence[str] = (),
) -> str:
    """What ``job.js`` shows.

    Args:
        lines: sentences.
        share: done so far, 0 to 1; None: nothing is going on.
        kind: "error" or "info".
        file: a result to save.
        pictures: data URLs.
    """
    name, url = ("", "") if file is None else (file.name, data_url(file.data, file.kind))
    content = {
        "lines": list(lines), "share": share, "kind": kind, "name": name, "url": url,
        "pictures": list(pictures),
    }  # fmt: skip
    return json.dumps(content, ensure_ascii=False)


WAITING = job_status(["Waiting for its turn."], 0.0)
CANCELLED = job_status(["Cancelled; nothing was kept."])


def until_cancelled(job: Job, steps: Iterator[str]) -> Iterator[str]:
    """The statuses of a job; the work ends where it is when the visitor cancels or leaves."""
    job.begun = True
    try:
        while not job.cancelled.is_set():
            status = next(steps, None)
            if status is None:
                return
            yield status
        yield CANCELLED
    finally:
        if close := getattr(steps, "close", None):
            close()
