"""Payloads of the label graph, and its files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from unilabel.demo_app.engine import Engine
from unilabel.demo_app.payloads import download_payload
from unilabel.demo_app.session import Session
from unilabel.demo_app.statistics import label_statistics
from unilabel.visual.graph_page import graph_data, graph_html
from unilabel.visual.label_graph import draw_label_graph

_TYPES = {"png": "image/png", "svg": "image/svg+xml", "html": "text/html"}


def graph_payload(engine: Engine, session: Session) -> str:
    """What ``graph.js`` shows: the visitor's label space, with statistics of the pictures."""
    if session.review is None:
        return ""
    pictures = list(engine.examples)
    if session.picture is not None and session.picture not in pictures:
        pictures.append(session.picture)
    stats = label_statistics(engine, pictures)
    return json.dumps(graph_data(session.review.valid, stats), ensure_ascii=False)


def graph_file(engine: Engine, session: Session, kind: str) -> str:
    """The graph as a file for ``download.js``.

    Args:
        engine: for the title.
        session: its label space is drawn.
        kind: png, svg or html.
    """
    if session.review is None:
        return ""
    space = session.review.valid
    if kind == "html":
        data = graph_html(space, f"Label graph of {engine.title}").encode()
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"graph.{kind}")
            draw_label_graph(space, path, engine.title)
            data = path.read_bytes()
    return download_payload(f"label_graph.{kind}", data, _TYPES[kind])
