"""The tab in which a person corrects the links."""

from __future__ import annotations

from typing import Any

import gradio as gr

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import UNIFIED
from unilabel.demo_app import actions, components, review_actions
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import PRIVATE, started
from unilabel.demo_app.review_payload import review_payload
from unilabel.demo_app.session import Session


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
        session = started(engine, session)
        payload = review_payload(session, engine.similarity)
        return session, payload, pair(session, name)

    def other(session: Session | None, name: str) -> tuple[Session, str]:
        session = started(engine, session)
        return session, pair(session, name)

    def edit(session: Session | None, name: str, event: gr.EventData) -> tuple[Any, ...]:
        session = started(engine, session)
        payload, dataset = review_actions.edit(engine, session, event._data)
        name = dataset or name
        return session, payload, name, pair(session, name)

    def store(session: Session | None) -> tuple[Any, ...]:
        session = started(engine, session)
        try:
            return session, review_actions.save_label_space(session), gr.skip()
        except UniLabelError as error:
            notes = [("error", str(error))]
            return session, gr.skip(), review_payload(session, engine.similarity, notes)

    def store_diff(session: Session | None) -> tuple[Session, str]:
        session = started(engine, session)
        return session, review_actions.save_diff(session)

    tab.select(show, [state, space], [state, editor, view], **PRIVATE)
    space.select(other, [state, space], [state, view], **PRIVATE)
    editor.edit(
        edit, [state, space], [state, editor, space, view], trigger_mode="multiple", **PRIVATE
    )
    save.click(store, state, [state, download, editor], **PRIVATE)
    diff.click(store_diff, state, [state, download], **PRIVATE)
