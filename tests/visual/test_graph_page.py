from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.visual.graph_page import graph_data, graph_html, script_json, write_graph_page


def test_data_holds_every_label_and_link(toy_space: UnifiedLabelSpace) -> None:
    data = graph_data(toy_space, {3: {"share": 0.25, "confidence": None, "crops": []}})
    assert [len(d["classes"]) for d in data["datasets"]] == [17, 14, 11, 11]
    assert sorted(data["order"]) == list(range(19))
    assert sorted([*data["left"], *data["right"]]) == [0, 1, 2, 3]
    links = {
        (row, toy_space.label_spaces.names[dataset], column)
        for row, entry in enumerate(data["unified"])
        for dataset, column, _, _ in entry["links"]
    }
    assert links == set(toy_space.links)
    assert data["datasets"][0]["classes"][3][2].startswith("Painted lines")
    assert data["stats"]["3"]["share"] == 0.25
    json.dumps(data)


def test_texts_cannot_leave_the_script() -> None:
    nasty = {"name": "</script><img src=x onerror=alert(1)>&\u2028'\"\\"}
    text = script_json(nasty)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == nasty


def test_page_is_self_contained(toy_space: UnifiedLabelSpace, tmp_path: Path) -> None:
    names = ("<b>sky</b>", *toy_space.names[1:])
    write_graph_page(replace(toy_space, names=names), tmp_path / "graph.html", "A & B <i>")
    page = (tmp_path / "graph.html").read_text(encoding="utf-8")
    assert "<b>sky" not in page
    assert "<title>A &amp; B &lt;i&gt;</title>" in page
    for address in ("http://", "https://", "//cdn", "src="):
        rest = page.replace("http://www.w3.org/2000/svg", "")
        assert address not in rest


def test_large_page_is_small(large_space: UnifiedLabelSpace) -> None:
    assert len(graph_html(large_space)) < 200_000
