"""The tab that adds a visitor's dataset to the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from unilabel.demo_app import components
from unilabel.demo_app.add_photos import ADD_HINT, add_photos
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import started
from unilabel.demo_app.harmonise import job_status
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox


def add_tab(engine: Engine, state: gr.State, inbox: Inbox) -> None:
    """Upload, progress, cancel, result."""
    gr.Markdown(ADD_HINT, elem_classes="ul-intro")
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            upload = components.upload("Zip of labelled photos", [".zip"], 150, "add-file")
            cancel = gr.Button("Cancel", size="sm", elem_id="add-cancel")
        with gr.Column(scale=3, min_width=300):
            result = components.job("add")

    def run(session: Session | None, path: str | None) -> Iterator[tuple[Any, ...]]:
        session = started(engine, session)
        for status in add_photos(engine, inbox, path):
            yield session, status, None

    job = upload.upload(
        run,
        [state, upload],
        [state, result, upload],
        concurrency_id="jobs",
        concurrency_limit=1,
        show_progress="hidden",
        api_visibility="private",
    )
    cancel.click(
        lambda: job_status(["Cancelled; nothing was kept."]),
        outputs=result,
        cancels=[job],
        queue=False,
        api_visibility="private",
    )
