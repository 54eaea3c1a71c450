"""A part of the page in which a visitor's file is worked on: upload, progress, cancel, result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from unilabel.demo_app import components
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import started
from unilabel.demo_app.jobs import CANCELLED, WAITING, Job, until_cancelled
from unilabel.demo_app.session import Session

# (session, path of the upload, values of the fields) -> statuses for ``job.js``
Work = Callable[..., Iterator[str]]


@dataclass(frozen=True)
class JobPart:
    """What such parts differ in.

    Attributes:
        name: of the part; also the element's id.
        label: of the field for the file.
        suffixes: of files that are meant.
        line: jobs of one line wait for each other, also those of other visitors.
    """

    name: str
    label: str
    suffixes: Sequence[str]
    line: str = "jobs"


def job_part(
    engine: Engine,
    state: gr.State,
    part: JobPart,
    work: Work,
    fields: Callable[[], list[Any]] = list,
) -> None:
    """Draw the part.

    Args:
        engine: the model.
        state: the visitor's session.
        part: its names.
        work: what is done with the file; it is closed where the visitor cancels.
        fields: draws what else the work depends on, above the field for the file.
    """
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            inputs = fields()
            upload = components.upload(part.label, part.suffixes, 150, f"{part.name}-file")
        with gr.Column(scale=3, min_width=300):
            result = components.job(part.name)

    def join(session: Session | None, path: str | None) -> tuple[Session, str, None]:
        session = started(engine, session)
        if before := session.jobs.get(part.name):
            before.cancelled.set()  # a visitor works on one file at a time: the newest
        session.jobs[part.name] = Job(path)
        return session, WAITING, None

    def run(session: Session | None, *values: Any) -> Iterator[tuple[Any, ...]]:
        session = started(engine, session)
        job = session.jobs.get(part.name)
        if job is None or job.begun:  # joined twice in a row: the first turn took the newest file
            yield session, gr.skip()
            return
        for status in until_cancelled(job, work(session, job.path, *values)):
            newest = session.jobs.get(part.name) is job
            yield session, status if newest else gr.skip()

    def cancel(session: Session | None) -> tuple[Session, Any]:
        session = started(engine, session)
        job = session.jobs.get(part.name)
        if job is None:
            return session, CANCELLED
        job.cancelled.set()
        return session, gr.skip() if job.begun else CANCELLED

    # Gradio's own "cancels" loses the next file if that is chosen before the server has answered.
    at_once = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
    upload.upload(join, [state, upload], [state, result, upload], **at_once).then(
        run,
        [state, *inputs],
        [state, result],
        concurrency_id=part.line,
        concurrency_limit=1,
        trigger_mode="multiple",
        show_progress="hidden",
        api_visibility="private",
    )
    result.cancel(cancel, state, [state, result], **at_once)
