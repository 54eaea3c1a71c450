"""The tab that shows pictures with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from unilabel.data.images import IMAGE_SUFFIXES
from unilabel.demo_app import actions, components
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import MODEL, PRIVATE, started
from unilabel.demo_app.payloads import thumbnails
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox
from unilabel.demo_app.video_part import video_part


def predict_tab(engine: Engine, state: gr.State, inbox: Inbox) -> tuple[dict[str, Any], list[Any]]:
    """Pictures and videos.

    Returns:
        the event that shows the present picture again, and the one that shows the first example:
        function, inputs and outputs.
    """
    first = actions.space_choices(engine)[0][1]
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            gr.Markdown("**Choose a picture** or drop your own.", elem_classes="ul-intro")
            picker = components.picker("examples")
            upload = components.upload("Picture", IMAGE_SUFFIXES, 130, "picture")
            space = gr.Dropdown(
                actions.space_choices(engine), value=first, label="Label space", elem_id="space"
            )
            beside = gr.Dropdown(
                actions.second_choices(engine),
                value=actions.NONE,
                label="Beside it",
                elem_id="beside",
            )
            with gr.Accordion("More", open=False):
                side = gr.Dropdown(
                    list(actions.SIDES.items()), value=-1, label="Short side for the network"
                )
                tta = gr.Checkbox(label="Average three sizes and mirror images (slower)")
                own = components.upload(
                    "Label space or mapping (JSON)", [".json"], 145, "label-space"
                )
        with gr.Column(scale=3, min_width=300):
            view = components.viewer("viewer")
    with gr.Accordion("Short video", open=False):
        video_part(engine, state, inbox, space)

    def show(session: Session | None, *values: Any) -> tuple[Session, str]:
        session = _options(engine, session, values)
        return session, actions.answer(engine, session, values[:2])

    def example(
        session: Session | None,
        name: str,
        second: str,
        side_pixels: int,
        averaged: bool,
        event: gr.EventData,
    ) -> tuple[Session, str]:
        session = _options(engine, session, (name, second, side_pixels, averaged))
        index = event._data.get("index")
        return session, actions.choose_example(engine, session, index, (name, second))

    def begin(session: Session | None, *values: Any) -> tuple[Session, str, str]:
        session = _options(engine, session, values)
        return (
            session,
            thumbnails(engine.examples),
            actions.choose_example(engine, session, 0, values[:2]),
        )

    def picture(session: Session | None, path: str | None, *values: Any) -> tuple[Any, ...]:
        session = _options(engine, session, values)
        return session, actions.choose_upload(engine, session, inbox, path, values[:2]), None

    def label_space(session: Session | None, path: str | None, *values: Any) -> tuple[Any, ...]:
        session = _options(engine, session, values)
        before = session.unseen
        shown = actions.upload_label_space(engine, session, inbox, path, values[:2])
        if session.unseen is before:
            return session, shown, None, gr.skip()
        choices = actions.space_choices(engine, session)
        return session, shown, None, gr.Dropdown(choices, value=choices[-1][1])

    inputs = [space, beside, side, tta]
    picker.pick(example, [state, *inputs], [state, view], **PRIVATE)
    upload.upload(
        picture, [state, upload, *inputs], [state, view, upload], api_name="predict", **MODEL
    )
    own.upload(
        label_space,
        [state, own, *inputs],
        [state, view, own, space],
        api_name="label_space",
        **MODEL,
    )
    # Gradio's "input" event fires twice for one choice in a dropdown
    for changed in (space.select, beside.select, side.select, tta.input):
        changed(show, [state, *inputs], [state, view], **PRIVATE)
    again = {"fn": show, "inputs": [state, *inputs], "outputs": [state, view], **PRIVATE}
    return again, [begin, [state, *inputs], [state, picker, view]]


def _options(engine: Engine, session: Session | None, values: Sequence[Any]) -> Session:
    session = started(engine, session)
    side = values[2] if values[2] in actions.SIDES.values() else -1
    session.short_side = side if side >= 0 else None
    session.tta = values[3] is True
    return session
