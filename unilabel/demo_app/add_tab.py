"""The tab that adds a visitor's dataset to the model."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from unilabel.demo_app.add_photos import ADD_HINT, add_photos
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.job_part import JobPart, job_part
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox


def add_tab(engine: Engine, state: gr.State, inbox: Inbox) -> None:
    """Upload, progress, cancel, result."""
    gr.Markdown(ADD_HINT, elem_classes="ul-intro")

    def work(session: Session, path: str | None) -> Iterator[str]:
        return add_photos(engine, inbox, path)

    job_part(engine, state, JobPart("add", "Zip of labelled photos", [".zip"]), work)
