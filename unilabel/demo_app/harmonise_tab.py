"""The tab that harmonises a visitor's labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from unilabel.demo_app import actions
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.harmonise import HARMONISE_HINT, harmonise
from unilabel.demo_app.job_part import JobPart, job_part
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox


def harmonise_tab(engine: Engine, state: gr.State, inbox: Inbox) -> None:
    """Label space, upload, progress, cancel, result."""
    gr.Markdown(HARMONISE_HINT, elem_classes="ul-intro")
    choices = actions.space_choices(engine)

    def fields() -> list[Any]:
        first = choices[0][1]
        name = "harmonise-space"
        return [gr.Dropdown(choices, value=first, label="Labels to write", elem_id=name)]

    def work(session: Session, path: str | None, space: str) -> Iterator[str]:
        return harmonise(engine, session, inbox, path, space)

    part = JobPart("harmonise", "Zip of photos and labels", [".zip"])
    job_part(engine, state, part, work, fields)
