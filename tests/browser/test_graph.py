"""The label graph in a real browser, at two widths."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from visit import SIZES, Visit

from unilabel.core.unified_space import UnifiedLabelSpace, class_relations
from unilabel.visual.graph_page import write_graph_page

pytest.importorskip("playwright")

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def open_graph(
    browser: Any, space: UnifiedLabelSpace, width: int, name: str, folder: Path
) -> Visit:
    """The page of a graph that needs no server, all datasets shown."""
    write_graph_page(space, folder / "graph.html", "Large label space")
    visit = Visit(browser, f"file://{folder / 'graph.html'}", width, name, folder)
    count = visit.page.locator(".ul-count").inner_text()
    total = len(space.label_spaces)
    assert count.startswith(f"{total if width > 700 else 1} of {total} datasets shown")
    visit.page.locator(".ul-chips button", has_text="All").click()
    return visit


def links_of(space: UnifiedLabelSpace) -> Counter[int]:
    return Counter(row for row, _, _ in space.links)


def inside(visit: Visit, locator: Any) -> bool:
    """Whether boxes lie within the frame of the graph."""
    frame = visit.page.locator(".ul-stage").bounding_box()
    boxes = locator.evaluate_all(
        "all => all.map(n => { const b = n.getBoundingClientRect();"
        " return [b.left, b.top, b.right, b.bottom]; })"
    )
    right, bottom = frame["x"] + frame["width"], frame["y"] + frame["height"]
    return all(
        left >= frame["x"] - 1 and top >= frame["y"] and r <= right + 1 and b <= bottom + 1
        for left, top, r, b in boxes
    )


@pytest.mark.parametrize("width", SIZES)
def test_448_labels(
    browser: Any, large_space: UnifiedLabelSpace, tmp_path: Path, width: int
) -> None:
    visit = open_graph(browser, large_space, width, "448", tmp_path)
    page = visit.page
    # the heads stay while the graph is moved below them
    heads = page.locator(".ul-head")
    assert heads.count() == 8
    tops = (
        "all => all.map(h => h.getBoundingClientRect().top"
        " - h.closest('.ul-stage').getBoundingClientRect().top)"
    )
    before = heads.evaluate_all(tops)
    place = page.locator(".ul-drawing").get_attribute("transform")
    page.locator(".ul-stage").hover()
    page.mouse.wheel(0, 1500)
    page.wait_for_function(
        "old => document.querySelector('.ul-drawing').getAttribute('transform') !== old", arg=place
    )
    assert heads.evaluate_all(tops) == pytest.approx(before, abs=0.1)
    assert all(0 < top < 30 for top in before)
    visit.shot("moved", full=False)
    # the label of most links: the rest is folded, all of it is in sight; then back as it was
    row, count = links_of(large_space).most_common(1)[0]
    name = large_space.names[row]
    moved = page.locator(".ul-drawing").get_attribute("transform")
    search = page.locator(".ul-search")
    search.fill(name)
    hits = int(page.locator(".ul-found").inner_text().split()[0])
    for _ in range(hits):
        page.keyboard.press("Enter")
        if page.locator(".ul-side p").first.inner_text().startswith(f"Unified label {row}."):
            break
    nodes = page.locator(".ul-node")
    assert nodes.count() == count + 1
    assert page.locator(".ul-edge").count() == count
    assert page.locator(".ul-head").count() == count + 1
    assert inside(visit, nodes) or width < 700
    if count < 7:
        verb = "has" if count == 6 else "have"
        side = page.locator(".ul-side").inner_text()
        assert f"{7 - count} of 7 datasets {verb} no link to it" in side
    assert inside(visit, page.locator(".ul-node.picked"))
    tall = page.locator(".ul-node.picked text").bounding_box()["height"]
    assert tall >= 11  # read at 100 %
    assert page.locator(".ul-side li").count() == count
    visit.shot("folded", full=False)
    search.fill("")
    assert page.locator(".ul-drawing").get_attribute("transform") == moved
    assert nodes.count() == 448 + 217
    visit.check()


@pytest.mark.parametrize("width", SIZES)
def test_filters_show_what_they_say(
    browser: Any, large_space: UnifiedLabelSpace, tmp_path: Path, width: int
) -> None:
    visit = open_graph(browser, large_space, width, "filters", tmp_path)
    page = visit.page
    unified = page.locator(".ul-node.unified")
    links = links_of(large_space)
    page.get_by_label("Shared by at least").select_option("3")
    assert unified.count() == sum(count >= 3 for count in links.values())
    page.get_by_label("Shared by at least").select_option("1")
    page.get_by_label("Least weight of a link").fill("0.5")
    strong = Counter(r for (r, _, _), link in large_space.links.items() if link.weight >= 0.5)
    assert page.locator(".ul-edge").count() == sum(strong.values())
    assert unified.count() == len(strong)
    visit.shot("strong", full=False)
    page.get_by_label("Least weight of a link").fill("0")
    for kind in ("equal", "overlap"):
        page.get_by_label("Relation", exact=True).select_option(kind)
        rows = set()
        for pair in class_relations(large_space.mapping):
            if pair["type"] == kind:
                ends = [
                    large_space.mapping[pair[e]["dataset"]][
                        :, large_space.label_spaces.get(pair[e]["dataset"]).index(pair[e]["label"])
                    ]
                    for e in "ab"
                ]
                rows.update((ends[0] & ends[1]).nonzero().flatten().tolist())
        assert unified.count() == len(rows)
    page.get_by_label("Relation", exact=True).select_option("")
    assert unified.count() == 217
    # the colours by relation are explained
    explain = page.locator(".ul-explain")
    assert not explain.is_visible()
    page.get_by_label("Colour of the links").select_option("relation")
    assert "one of several" in explain.inner_text()
    # one dataset against another
    page.locator(".ul-mode").select_option("matrix")
    one, two = large_space.label_spaces.names[:2]
    related = [
        pair
        for pair in class_relations(large_space.mapping)
        if (pair["a"]["dataset"], pair["b"]["dataset"]) == (one, two)
    ]
    cells = page.locator(".ul-matrix td button")
    assert cells.count() == len(related)
    assert page.locator(".ul-matrix tbody tr").count() == len({p["a"]["label"] for p in related})
    head = page.locator(".ul-matrix thead th").first
    table = page.locator(".ul-table")
    table.evaluate("t => t.scrollTo(0, 300)")
    assert table.evaluate("t => t.scrollTop") == 300
    assert abs(head.bounding_box()["y"] - table.bounding_box()["y"]) < 3
    visit.shot("matrix", full=False)
    cells.first.click()
    assert "Class" in page.locator(".ul-side").inner_text()
    visit.check()


def test_links_that_only_texts_tell_are_dotted_and_explained(
    browser: Any, toy_space: UnifiedLabelSpace, tmp_path: Path
) -> None:
    place, link = next(iter(toy_space.links.items()))
    told = replace(toy_space, links={**toy_space.links, place: replace(link, source="text")})
    for space, count in ((told, 1), (toy_space, 0)):
        page = open_graph(browser, space, SIZES[0], f"dotted-{count}", tmp_path).page
        assert page.locator('.ul-edge path[stroke-dasharray="1.5 4"]').count() == count
        assert ("Dotted:" in page.locator(".ul-side").inner_text()) == bool(count)


@pytest.mark.parametrize("width", SIZES)
def test_keyboard_full_screen_and_links(
    browser: Any, toy_space: UnifiedLabelSpace, tmp_path: Path, width: int
) -> None:
    visit = open_graph(browser, toy_space, width, "keys", tmp_path)
    page = visit.page
    assert page.locator('.ul-node[tabindex="0"]').count() == 1
    page.locator('.ul-node[tabindex="0"]').focus()
    focus = "document.activeElement.dataset.key"
    first = page.evaluate(focus)
    assert first.startswith("u")
    page.keyboard.press("ArrowDown")
    second = page.evaluate(focus)
    assert second.startswith("u")
    assert second != first
    page.keyboard.press("ArrowRight")
    right = page.evaluate(focus)
    assert right.startswith("c")
    assert page.locator(f'.ul-node[data-key="{right}"]').get_attribute("aria-label").count(",")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focus).startswith("u")
    page.keyboard.press("Enter")
    assert "Unified label" in page.locator(".ul-side").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".ul-side h3").inner_text() == "Label graph"
    # a link can be pointed at
    spot = page.locator(".ul-edge .ul-touch").first.evaluate(
        "e => { const p = e.getPointAtLength(e.getTotalLength() * 0.5), m = e.getScreenCTM();"
        " return [p.x * m.a + m.e, p.y * m.d + m.f]; }"
    )
    page.mouse.move(*spot)
    assert page.locator(".ul-edge:hover").count() == 1
    page.mouse.click(*spot)
    side = page.locator(".ul-side").inner_text()
    assert side.startswith("Link")
    assert "Weight" in side
    assert page.locator(".ul-edge.on").count() == 1
    page.keyboard.press("Escape")
    # full screen, and back
    page.get_by_role("button", name="Full screen").click()
    box = page.locator(".ul-graph").bounding_box()
    assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, width, visit.height)
    visit.shot("full", full=False)
    page.keyboard.press("Escape")
    assert page.locator(".ul-graph").bounding_box()["height"] != visit.height
    # rows of the table are buttons
    page.locator(".ul-mode").select_option("table")
    page.locator(".ul-table tbody tr").nth(2).get_by_role("button").first.focus()
    page.keyboard.press("Enter")
    assert "Unified label" in page.locator(".ul-side").inner_text()
    visit.check()
