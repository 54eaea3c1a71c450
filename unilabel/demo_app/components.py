"""Page components of our own: a script of ``static`` inside Gradio's HTML component."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like

from unilabel.visual.graph_page import graph_script, static_text

_MOUNT = """
const host = element.querySelector(".ul-host");
const pulse = window.unilabelPulses;
const ask = (event, data) => {{ pulse.ask(event); trigger(event, data); }};
const part = {function}(host, ask, typeof server === "undefined" ? null : server);
const refresh = () => {{
  if (!props.value) return;
  pulse.answered("{name}");
  part.update(JSON.parse(props.value));
}};
watch("value", refresh);
refresh();
"""


def upload(label: str, suffixes: Sequence[str], height: int, elem_id: str) -> gr.File:
    """A file field that hands over the path of the uploaded file and does nothing else.

    Gradio's own would fetch a file from any address that a visitor names, refuse a wrong suffix
    before our code can say why and delete the file, and leave an empty file behind each time. (The
    methods are replaced on the object: for a subclass Gradio writes a file beside this one.)
    """
    field = gr.File(label=label, file_types=list(suffixes), height=height, elem_id=elem_id)
    keep = field.async_move_resource_to_block_cache

    async def place(path: str | Path | None) -> str | None:
        if path is not None and is_http_url_like(str(path)):
            raise gr.Error("addresses are not fetched; upload the file.")
        return await keep(path)

    def preprocess(payload: Any) -> str | None:
        return None if payload is None else str(payload.path)

    field.async_move_resource_to_block_cache = place
    field.preprocess = preprocess
    return field


def own_text(name: str) -> str:
    """Content of a file of ``unilabel/demo_app/static``."""
    return resources.files("unilabel.demo_app").joinpath("static", name).read_text("utf-8")


def styles() -> str:
    """Styles of all components."""
    own = [own_text(f"{name}.css") for name in ("app", "predict", "review")]
    return "".join(own) + static_text("graph.css") + static_text("evidence.css")


def component(
    script: str,
    function: str,
    elem_id: str,
    classes: str = "",
    functions: Sequence[Callable[..., Any]] = (),
) -> gr.HTML:
    """A component that a script draws; its value is JSON for the script's ``update``.

    Args:
        script: the source of ``function``.
        function: name of a function (host, trigger, server) -> {update}.
        elem_id: id in the page.
        classes: further class names.
        functions: that the script may call as methods of ``server``.
    """
    return gr.HTML(
        value="",
        html_template=f'<div class="ul-host {classes}"></div>',
        js_on_load=static_text("dom.js")
        + own_text("pulse.js")
        + script
        + _MOUNT.format(function=function, name=elem_id),
        apply_default_css=False,
        elem_id=elem_id,
        container=False,
        server_functions=list(functions) or None,
    )


def viewer(elem_id: str) -> gr.HTML:
    """A picture with its label maps; its event is ``take``, a label map in another form."""
    scripts = "".join(
        own_text(f"{name}.js") for name in ("png", "zoom", "painting", "outlines", "viewer")
    )
    return component(scripts, "unilabelViewer", elem_id)


def more_maps(elem_id: str) -> gr.HTML:
    """Invisible: hands its value, further label maps, to the viewer; its event is ``poke``."""
    return component(own_text("more.js"), "unilabelMore", elem_id)


def picker(elem_id: str) -> gr.HTML:
    """Pictures to choose from; its event is ``pick``."""
    return component(own_text("pick.js"), "unilabelPick", elem_id)


def downloader(elem_id: str) -> gr.HTML:
    """Invisible: hands its value, a file, to the browser."""
    return component(own_text("download.js"), "unilabelDownload", elem_id)


def graph(elem_id: str, link_evidence: Callable[..., Any]) -> gr.HTML:
    """The interactive label graph."""
    return component(graph_script(), "unilabelGraph", elem_id, functions=[link_evidence])


def review(elem_id: str, link_evidence: Callable[..., Any]) -> gr.HTML:
    """The editor of the links; its event is ``edit``."""
    script = static_text("evidence.js") + own_text("review.js")
    return component(script, "unilabelReview", elem_id, functions=[link_evidence])


def draft(elem_id: str) -> gr.HTML:
    """How the edits stand, above all tabs; its event is ``resume``."""
    script = own_text("draft.js") + own_text("address.js") + "unilabelAddress();"
    return component(script, "unilabelDraft", elem_id)


def job(elem_id: str) -> gr.HTML:
    """Progress and result of a longer job; its event is ``cancel``."""
    return component(own_text("job.js"), "unilabelJob", elem_id, "ul-job")
