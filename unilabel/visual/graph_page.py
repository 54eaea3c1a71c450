"""The interactive label graph: its data, and a web page of its own that needs no other file."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping
from importlib import resources
from typing import Any

from unilabel.core.io import atomic_path
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.visual.graph_layout import DATASET_COLORS, layout_graph

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title><link rel="icon" href="data:,">
<style>body {{ margin: 16px; font-family: system-ui, sans-serif; }} h1 {{ font-size: 20px; }}
{style}</style></head>
<body><h1>{title}</h1><div id="graph"></div>
<script>{script}
unilabelGraph(document.getElementById("graph")).update({data});</script></body></html>
"""


def static_text(name: str) -> str:
    """Content of a file of ``unilabel/visual/static``."""
    return resources.files("unilabel.visual").joinpath("static", name).read_text("utf-8")


def graph_script() -> str:
    """The scripts of the graph; ``dom.js`` has to stand before them."""
    names = ("model", "layout", "draw", "side", "tables", "pointer")
    parts = [*(f"graph_{name}.js" for name in names), "graph.js"]
    return static_text("evidence.js") + "".join(map(static_text, parts))


def script_json(data: Any) -> str:
    """JSON that may stand inside a script element, whatever texts it holds."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def graph_data(
    space: UnifiedLabelSpace, stats: Mapping[int, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """What ``static/graph.js`` draws.

    Args:
        space: the label space.
        stats: unified label -> ``{"share", "confidence" (or None), "crops": [data URLs]}``.

    Returns:
        ``datasets`` (name, title, colour, classes as [name, colour, description], their order from
        top to bottom), ``unified`` (name, colour, checked, links as [dataset, class, weight,
        source]), ``relations`` of classes without a common label (two places as [dataset, class],
        type, reason, weight, source), ``order`` of the unified labels, and the columns ``left`` and
        ``right`` of them.
    """
    layout = layout_graph(space.mapping)
    names = space.label_spaces.names
    datasets = []
    for index, classes in enumerate(space.label_spaces):
        texts = classes.descriptions or ("",) * classes.num_classes
        datasets.append(
            {
                "name": classes.name,
                "title": classes.display_name or classes.name,
                "color": DATASET_COLORS[index % len(DATASET_COLORS)],
                "classes": [
                    [name, list(color), text]
                    for name, color, text in zip(
                        classes.class_names, classes.colors, texts, strict=True
                    )
                ],
                "order": layout.class_orders[classes.name],
            }
        )
    links: list[list[list[Any]]] = [[] for _ in space.names]
    for (row, dataset, column), link in sorted(
        space.links.items(), key=lambda item: (item[0][0], names.index(item[0][1]))
    ):
        links[row].append([names.index(dataset), column, link.weight, link.source])
    unified = [
        {"name": name, "color": list(color), "checked": row in space.checked, "links": links[row]}
        for row, (name, color) in enumerate(zip(space.names, space.colors, strict=True))
    ]
    place = {
        (classes.name, name): [index, column]
        for index, classes in enumerate(space.label_spaces)
        for column, name in enumerate(classes.class_names)
    }
    relations = [
        [place[r.a], place[r.b], r.type, r.why, r.weight, r.source] for r in space.beside()
    ]
    return {
        "datasets": datasets,
        "unified": unified,
        "relations": relations,
        "order": layout.unified_order,
        "left": [names.index(name) for name in layout.left],
        "right": [names.index(name) for name in layout.right],
        "stats": {str(row): dict(values) for row, values in (stats or {}).items()},
    }


def graph_html(
    space: UnifiedLabelSpace,
    title: str = "Label graph",
    stats: Mapping[int, Mapping[str, Any]] | None = None,
) -> str:
    """A page with the interactive graph; it loads nothing, also when opened from a disk."""
    return _PAGE.format(
        title=html.escape(title),
        style=static_text("graph.css"),
        script=static_text("dom.js") + graph_script(),
        data=script_json(graph_data(space, stats)),
    )


def write_graph_page(
    space: UnifiedLabelSpace, path: str | os.PathLike[str], title: str = "Label graph"
) -> None:
    """Write :func:`graph_html` to a file."""
    with atomic_path(path) as temporary:
        temporary.write_text(graph_html(space, title), encoding="utf-8")
