"""The tab that harmonises a visitor's labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from unilabel.demo_app import actions, components
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import started
from unilabel.demo_app.harmonise import HARMONISE_HINT, harmonise, job_status
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox


def harmonise_tab(engine: Engine, state: gr.State, inbox: Inbox) -> None:
    """Upload, label space, progress, cancel, result."""
    gr.Markdown(HARMONISE_HINT, elem_classes="ul-intro")
    choices = actions.space_choices(engine)
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            space = gr.Dropdown(
                choices, value=choices[0][1], label="Labels to write", elem_id="harmonise-space"
            )
            upload = components.upload("Zip of photos and labels", [".zip"], 150, "harmonise-file")
            cancel = gr.Button("Cancel", size="sm", elem_id="harmonise-cancel")
        with gr.Column(scale=3, min_width=300):
            result = components.job("harmonise")

    def run(session: Session | None, path: str | None, name: str) -> Iterator[tuple[Any, ...]]:
        session = started(engine, session)
        for status in harmonise(engine, session, inbox, path, name):
            yield session, status, None

    job = upload.upload(
        run,
        [state, upload, space],
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
