"""The tabs of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import UNIFIED
from unilabel.data.images import IMAGE_SUFFIXES
from unilabel.demo_app import actions, components, exports, video
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.payloads import review_payload
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox

MODEL = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "minimal"}
PRIVATE = {**MODEL, "api_visibility": "private"}


def _started(engine: Engine, session: Session | None) -> Session:
    """The visitor's session; a new one on the first visit, or when it was forgotten meanwhile."""
    return Session.start(engine) if session is None else session


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
        _video_part(engine, state, inbox, space)

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
            exports.thumbnails(engine),
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
    session = _started(engine, session)
    side = values[2] if values[2] in actions.SIDES.values() else -1
    session.short_side = side if side >= 0 else None
    session.tta = values[3] is True
    return session


def _video_part(engine: Engine, state: gr.State, inbox: Inbox, space: gr.Dropdown) -> None:
    gr.Markdown(
        f"At most {video.MAX_SECONDS:.0f} seconds; {video.FRAMES_PER_SECOND:.0f} frames of every "
        "second are predicted in the label space above."
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            upload = components.upload("Video", video.SUFFIXES, 130, "video-file")
            cancel = gr.Button("Cancel", size="sm")
        with gr.Column(scale=3, min_width=300):
            result = components.video("video")

    def run(session: Session | None, path: str | None, name: str) -> Iterator[tuple[Any, ...]]:
        session = _started(engine, session)
        for status in video.predict_video(engine, session, inbox, path, name, 0.6):
            yield session, status, None

    job = upload.upload(
        run,
        [state, upload, space],
        [state, result, upload],
        concurrency_id="video",
        concurrency_limit=1,
        show_progress="hidden",
        api_visibility="private",
    )
    cancel.click(
        lambda: video.video_status("Cancelled."),
        outputs=result,
        cancels=[job],
        queue=False,
        api_visibility="private",
    )


def graph_tab(engine: Engine, state: gr.State, tab: gr.Tab, download: gr.HTML) -> None:
    """The interactive label graph and its exports."""
    gr.Markdown(
        "The classes of every dataset and the unified labels that they share. "
        "Edits of the review tab show here as well.",
        elem_classes="ul-intro",
    )
    view = components.graph("graph")
    with gr.Row():
        buttons = {
            kind: gr.Button(f"Export {kind.upper()}", size="sm", elem_id=f"export-{kind}")
            for kind in ("png", "svg", "html")
        }

    def show(session: Session | None) -> tuple[Session, str]:
        session = _started(engine, session)
        return session, exports.graph_payload(engine, session)

    tab.select(show, state, [state, view], **PRIVATE)
    for kind, button in buttons.items():

        def export(session: Session | None, kind: str = kind) -> tuple[Session, str]:
            session = _started(engine, session)
            return session, exports.graph_file(engine, session, kind)

        button.click(export, state, [state, download], **PRIVATE)


def review_tab(engine: Engine, state: gr.State, tab: gr.Tab, download: gr.HTML) -> None:
    """The editor of the links, with the prediction before and after."""
    gr.Markdown(
        "Correct what each unified label stands for. The prediction changes at once; nothing is "
        "trained. Save the result and train on with it: `python train_net.py ... UNIFY.NODES file "
        "MODEL.LABEL_SPACE label_space.json MODEL.FIX_HUMAN_LINKS True`",
        elem_classes="ul-intro",
    )
    names = [name for name in engine.predictor.spaces if name != UNIFIED]
    with gr.Row():
        save = gr.Button("Save label_space.json", variant="primary", size="sm", elem_id="save")
        diff = gr.Button("Save the changes only", size="sm", elem_id="save-diff")
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            editor = components.review("review")
        with gr.Column(scale=2, min_width=320, elem_classes="ul-sticky"):
            space = gr.Dropdown(
                actions.space_choices(engine),
                value=names[0],
                label="Prediction in the label space",
                elem_id="review-space",
            )
            view = components.viewer("review-viewer")

    def pair(session: Session, name: str) -> str:
        if session.picture is None:
            session.picture = engine.examples[0]
        names = [name, actions.BASE + name] if session.edited else [name]
        return actions.answer(engine, session, names)

    def show(session: Session | None, name: str) -> tuple[Session, str, str]:
        session = _started(engine, session)
        payload = review_payload(session, engine.similarity)
        return session, payload, pair(session, name)

    def other(session: Session | None, name: str) -> tuple[Session, str]:
        session = _started(engine, session)
        return session, pair(session, name)

    def edit(session: Session | None, name: str, event: gr.EventData) -> tuple[Any, ...]:
        session = _started(engine, session)
        payload, dataset = actions.edit(engine, session, event._data)
        name = dataset or name
        return session, payload, name, pair(session, name)

    def store(session: Session | None) -> tuple[Any, ...]:
        session = _started(engine, session)
        try:
            return session, actions.save_label_space(session), gr.skip()
        except UniLabelError as error:
            notes = [("error", str(error))]
            return session, gr.skip(), review_payload(session, engine.similarity, notes)

    def store_diff(session: Session | None) -> tuple[Session, str]:
        session = _started(engine, session)
        return session, actions.save_diff(session)

    tab.select(show, [state, space], [state, editor, view], **PRIVATE)
    space.select(other, [state, space], [state, view], **PRIVATE)
    editor.edit(
        edit, [state, space], [state, editor, space, view], trigger_mode="multiple", **PRIVATE
    )
    save.click(store, state, [state, download, editor], **PRIVATE)
    diff.click(store_diff, state, [state, download], **PRIVATE)
