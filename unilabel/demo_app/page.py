"""The page: tabs, styles, limits."""

from __future__ import annotations

import gradio as gr

from unilabel.demo_app import components
from unilabel.demo_app.add_tab import add_tab
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.events import PRIVATE, started
from unilabel.demo_app.graph_tab import graph_tab
from unilabel.demo_app.harmonise_tab import harmonise_tab
from unilabel.demo_app.predict_tab import predict_tab
from unilabel.demo_app.review_payload import draft_payload
from unilabel.demo_app.review_tab import review_tab
from unilabel.demo_app.session import Session
from unilabel.demo_app.uploads import Inbox

SESSION_SECONDS = 3600  # a visitor's edits are forgotten this long after the page was closed
FILE_SECONDS = 600  # uploads that nobody asked about
MAX_WAITING = 40  # requests in the queue

_INTRO = """# unilabel
One model, several datasets, one unified label space. Model: **{title}**. {seen}
"""
_EXPLAINED = """
Every picture below is cut into regions, and each region gets the name of what it shows. Datasets do
not agree on those names: one says *vehicle* where another tells *car* from *bus*. This model was
trained on several such datasets at once and found the **unified labels** behind them, so one answer
can be read in the words of each. Choose a picture, change the **label space**, put a second one
beside it, and point at a pixel to see what every dataset would call it.
"""
FONT = ["system-ui", "sans-serif"]


def theme() -> gr.themes.Base:
    """A theme of system fonts: nothing is loaded from elsewhere."""
    mono = ["ui-monospace", "monospace"]
    return gr.themes.Default(primary_hue="blue", font=FONT, font_mono=mono)


def build_page(engine: Engine, inbox: Inbox) -> gr.Blocks:
    """All tabs of a model; those about unified labels only if it has them.

    Args:
        engine: the model.
        inbox: of uploads, in Gradio's own folder.
    """

    def stand(session: Session | None) -> str:
        return draft_payload(started(engine, session))

    with gr.Blocks(
        title="unilabel", analytics_enabled=False, delete_cache=(60, FILE_SECONDS), fill_width=True
    ) as page:
        state = gr.State(None, time_to_live=SESSION_SECONDS)
        title = engine.title.replace("*", "")
        gr.Markdown(_INTRO.format(title=title, seen=engine.seen), elem_id="intro")
        with gr.Accordion("What am I looking at?", open=False, elem_id="explained"):
            gr.Markdown(_EXPLAINED)
        download = components.downloader("download")
        draft = components.draft("draft")
        with gr.Tabs():
            with gr.Tab("Predict", id="predict") as tab:
                predict_tab(engine, state, inbox, download, page, tab)
            if engine.predictor.label_space is not None:
                with gr.Tab("Label graph", id="graph") as graph:
                    graph_tab(engine, state, graph, download)
                with gr.Tab("Review", id="review") as review:
                    review_tab(engine, state, review, download, draft, inbox)
                with gr.Tab("Harmonise", id="harmonise"):
                    harmonise_tab(engine, state, inbox)
                with gr.Tab("Add", id="add"):
                    add_tab(engine, state, inbox)
        page.load(stand, state, draft, **PRIVATE)
    page.queue(max_size=MAX_WAITING, api_open=True)
    return page
