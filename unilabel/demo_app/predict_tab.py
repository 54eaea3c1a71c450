"""The tab that shows pictures with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from unilabel.core.errors import UniLabelError
from unilabel.demo_app import actions, components, video
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import ADDRESS, BUSY, IDLE, MODEL, QUIET, SWITCH, started
from unilabel.demo_app.images import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from unilabel.demo_app.job_part import JobPart, job_part
from unilabel.demo_app.payloads import thumbnails
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox

# Label maps that the browser may want later; they do not keep the next picture waiting.
MAPS = {
    "concurrency_id": "maps",
    "concurrency_limit": 1,
    "show_progress": "hidden",
    "api_visibility": "private",
}

# A question that is answered at once, whatever else goes on; see ``static/pulse.js``.
POKE = {
    "trigger_mode": "multiple",
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "private",
}


def predict_tab(
    engine: Engine,
    state: gr.State,
    inbox: Inbox,
    download: gr.HTML,
    page: gr.Blocks,
    tab: gr.Tab,
) -> None:
    """Pictures and videos."""
    first = actions.space_choices(engine)[0][1]
    with gr.Row(elem_classes="ul-predict"):
        with gr.Column(scale=1, min_width=300, elem_classes="ul-inputs"):
            gr.Markdown(
                "**Choose a picture** or drop your own."
                if engine.examples
                else "**Drop a picture**, or click to choose one.",
                elem_classes="ul-intro",
            )
            picker = components.picker("examples")
            upload = components.upload(
                "Picture", (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES), 130, "picture"
            )
            gr.Markdown("A video? Open **Short video** below.", elem_classes="ul-hint")
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
        with gr.Column(scale=3, min_width=300, elem_classes="ul-result"):
            view = components.viewer("viewer")
            maps = components.more_maps("maps")
    address = gr.Textbox(visible=False)
    with gr.Accordion("Short video", open=False, elem_id="short-video"):
        _videos(engine, state, inbox, space)

    def show(session: Session | None, *values: Any) -> tuple[Session, str]:
        session = _options(engine, session, values)
        return session, actions.answer(engine, session, values[:2])

    def again(session: Session | None, *values: Any) -> tuple[Any, ...]:
        session = _options(engine, session, values)
        # Gradio selects the tab when the page starts, too: its first answer is on its way then.
        if session.shown in (None, session.asked()):
            return session, gr.skip()  # nothing was edited meanwhile
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

    def begin(session: Session | None, *values: Any) -> tuple[Any, ...]:
        session = _options(engine, session, values)
        index, name = actions.read_address(engine, session, values[-1])
        spaces = (name or values[0], values[1])
        shown = (
            actions.choose_example(engine, session, index, spaces)
            if engine.examples
            else actions.answer(engine, session, spaces)
        )
        chosen = gr.skip() if name is None else gr.Dropdown(value=name)
        return session, thumbnails(engine.examples), shown, chosen

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

    def rest(session: Session | None) -> tuple[Any, ...]:
        session = started(engine, session)
        # An answer without maps must not be sent: the page may see the last of two answers alone.
        return session, actions.other_spaces(engine, session) or gr.skip()

    def take(session: Session | None, event: gr.EventData) -> tuple[Session, str]:
        session = started(engine, session)
        try:
            return session, actions.form_file(engine, session, event._data)
        except UniLabelError as error:
            raise gr.Error(str(error)) from error

    inputs = [space, beside, side, tta]
    answers = [
        picker.pick(example, [state, *inputs], [state, view], js=BUSY, **QUIET),
        upload.upload(
            picture,
            [state, upload, *inputs],
            [state, view, upload],
            api_name="predict",
            js=BUSY,
            **{**MODEL, "show_progress": "hidden"},
        ),
        own.upload(
            label_space,
            [state, own, *inputs],
            [state, view, own, space],
            api_name="label_space",
            js=BUSY,
            **{**MODEL, "show_progress": "hidden"},
        ),
        page.load(
            begin,
            [state, *inputs, address],
            [state, picker, view, space],
            js=ADDRESS,
            **QUIET,
        ),
        tab.select(again, [state, *inputs], [state, view], **QUIET),
        # Gradio's "input" event fires twice for one choice in a dropdown
        side.select(show, [state, *inputs], [state, view], js=BUSY, **QUIET),
        tta.input(show, [state, *inputs], [state, view], js=BUSY, **QUIET),
    ]
    for answer in answers:
        answer.then(rest, [state], [state, maps], **MAPS)
        answer.failure(None, js=IDLE)
    for changed in (space.select, beside.select):  # within the browser, without the server
        changed(None, [space, beside], None, js=SWITCH)
    maps.poke(lambda: None, None, None, **POKE)
    view.take(take, [state], [state, download], **QUIET)


def _videos(engine: Engine, state: gr.State, inbox: Inbox, space: gr.Dropdown) -> None:
    """The part that predicts short videos."""
    gr.Markdown(
        f"At most {video.MAX_SECONDS:.0f} seconds; {video.FRAMES_PER_SECOND:.0f} frames of every "
        "second are predicted in the label space above."
    )

    def work(session: Session, path: str | None, name: str) -> Iterator[str]:
        return video.predict_video(engine, session, inbox, path, name, 0.6)

    part = JobPart("video", "Video", VIDEO_SUFFIXES, "videos")
    job_part(engine, state, part, work, lambda: [space])


def _options(engine: Engine, session: Session | None, values: Sequence[Any]) -> Session:
    session = started(engine, session)
    side = values[2] if values[2] in actions.SIDES.values() else -1
    session.short_side = side if side >= 0 else None
    session.tta = values[3] is True
    return session
