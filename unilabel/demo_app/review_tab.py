"""The tab in which a person corrects the links."""

from __future__ import annotations

from typing import Any

import gradio as gr

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import UNIFIED
from unilabel.demo_app import actions, components, review_actions
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import PRIVATE, evidence_server, started
from unilabel.demo_app.review_payload import draft_payload, review_payload
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox


def review_tab(
    engine: Engine,
    state: gr.State,
    tab: gr.Tab,
    download: gr.HTML,
    draft: gr.HTML,
    inbox: Inbox,
) -> None:
    """The editor of the links, with the prediction before and after.

    Args:
        engine: the model.
        state: the visitor's session.
        tab: where this is drawn.
        download: hands files to the browser.
        draft: says above all tabs how the edits stand.
        inbox: of uploaded files.
    """
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
    with gr.Accordion("Load a label_space.json or saved changes", open=False):
        own = components.upload("Label space or changes (JSON)", [".json"], 120, "load-edits")
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            editor = components.review("review", evidence_server(engine))
        with gr.Column(scale=2, min_width=320, elem_classes="ul-sticky"):
            space = gr.Dropdown(
                actions.space_choices(engine),
                value=names[0],
                label="Prediction in the label space",
                elem_id="review-space",
            )
            view = components.viewer("review-viewer")

    def pair(session: Session, name: str) -> str:
        if session.picture is None and engine.examples:
            session.picture = engine.examples[0]
        names = [name, actions.BASE + name] if session.edited else [name]
        return actions.answer(engine, session, names, aside=True)

    def show(session: Session | None, name: str) -> tuple[Session, str, str, str]:
        session = started(engine, session)
        payload = review_payload(engine, session)
        return session, payload, draft_payload(session), pair(session, name)

    def other(session: Session | None, name: str) -> tuple[Session, str]:
        session = started(engine, session)
        return session, pair(session, name)

    def edit(session: Session | None, name: str, event: gr.EventData) -> tuple[Any, ...]:
        session = started(engine, session)
        payload, dataset = review_actions.edit(engine, session, event._data)
        name = dataset or name
        return session, payload, draft_payload(session), name, pair(session, name)

    def load(session: Session | None, path: str | None, name: str) -> tuple[Any, ...]:
        session = started(engine, session)
        payload = review_actions.load_edits(engine, session, inbox, path)
        return session, None, payload, draft_payload(session), pair(session, name)

    def store(session: Session | None) -> tuple[Any, ...]:
        session = started(engine, session)
        try:
            file = review_actions.save_label_space(session)
        except UniLabelError as error:
            notes = [("error", str(error))]
            return session, gr.skip(), review_payload(engine, session, notes), gr.skip()
        return session, file, gr.skip(), draft_payload(session)

    def store_diff(session: Session | None) -> tuple[Session, str, str]:
        session = started(engine, session)
        file = review_actions.save_diff(session)
        return session, file, draft_payload(session)

    tab.select(show, [state, space], [state, editor, draft, view], **PRIVATE)
    space.select(other, [state, space], [state, view], **PRIVATE)
    edited = {
        "fn": edit,
        "inputs": [state, space],
        "outputs": [state, editor, draft, space, view],
        "trigger_mode": "multiple",
    }
    editor.edit(**edited, **PRIVATE)
    draft.resume(**edited, **PRIVATE)
    own.upload(load, [state, own, space], [state, own, editor, draft, view], **PRIVATE)
    save.click(store, state, [state, download, editor, draft], **PRIVATE)
    diff.click(store_diff, state, [state, download, draft], **PRIVATE)
