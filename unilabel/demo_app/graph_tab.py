"""The tab of the label graph."""

from __future__ import annotations

import gradio as gr

from unilabel.demo_app import components, exports
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import PRIVATE, evidence_server, started
from unilabel.demo_app.session import Session


def graph_tab(engine: Engine, state: gr.State, tab: gr.Tab, download: gr.HTML) -> None:
    """The interactive label graph and its exports."""
    gr.Markdown(
        "The classes of every dataset and the unified labels that they share. "
        "Edits of the review tab show here as well.",
        elem_classes="ul-intro",
    )
    view = components.graph("graph", evidence_server(engine))
    with gr.Row():
        buttons = {
            kind: gr.Button(f"Export {kind.upper()}", size="sm", elem_id=f"export-{kind}")
            for kind in ("png", "svg", "html")
        }

    def show(session: Session | None) -> tuple[Session, str]:
        session = started(engine, session)
        return session, exports.graph_payload(engine, session)

    tab.select(show, state, [state, view], **PRIVATE)
    for kind, button in buttons.items():

        def export(session: Session | None, kind: str = kind) -> tuple[Session, str]:
            session = started(engine, session)
            return session, exports.graph_file(engine, session, kind)

        button.click(export, state, [state, download], **PRIVATE)
