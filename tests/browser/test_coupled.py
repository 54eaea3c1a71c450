"""Panels beside each other: one pointer, one isolated label, one zoom, a line that wipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from visit import SIZES, Visit

pytest.importorskip("playwright")
pytest.importorskip("detectron2")

pytestmark = [pytest.mark.browser, pytest.mark.d2, pytest.mark.slow]

# What is drawn in the first two canvases: opaque pixels of each, and of both.
DRAWN = """() => { const c = [...document.querySelectorAll('#viewer canvas')].map(c =>
 c.getContext('2d').getImageData(0, 0, c.width, c.height).data);
 const on = c.map(d => Array.from({length: d.length / 4}, (_, i) => d[4 * i + 3] > 0));
 return [on.map(m => m.filter(Boolean).length), on[0].every((v, i) => v === on[1][i])]; }"""
PLACES = """() => [...document.querySelectorAll('#viewer .ul-frame')].map(f => {
 const m = f.querySelector('.ul-mark');
 const b = f.getBoundingClientRect(), p = m.getBoundingClientRect();
 return [m.hidden, (p.left + p.width / 2 - b.left) / b.width,
 (p.top + p.height / 2 - b.top) / b.height]; })"""


@pytest.mark.parametrize("width", SIZES)
def test_panels_are_coupled(browser: Any, server: Any, tmp_path: Path, width: int) -> None:
    visit = Visit(browser, server.url, width, "coupled", tmp_path)
    page = visit.page
    visit.next_run("viewer", "")
    visit.all_spaces(5)
    page.evaluate(
        "document.querySelector('#viewer .ul-host').unilabel.show(['toy_fine', 'toy_idd'])"
    )
    frames, spots = page.locator("#viewer .ul-frame"), page.locator("#viewer .ul-spot")

    # one pointer: a mark at the same place, and what both datasets call it
    frames.first.scroll_into_view_if_needed()
    box = frames.first.bounding_box()
    frames.first.click(position={"x": 0.25 * box["width"], "y": 0.2 * box["height"]})
    for hidden, x, y in page.evaluate(PLACES):
        assert not hidden
        assert (x, y) == pytest.approx((0.25, 0.2), abs=0.02)
    assert all("sure" in text for text in spots.all_inner_texts())
    frames.first.press("ArrowRight")
    moved = page.evaluate(PLACES)
    assert moved[0][1] - 0.25 == pytest.approx(1 / 128, abs=0.009)  # a pixel of the picture
    assert moved[0] == pytest.approx(moved[1], abs=0.01)

    # one isolated label: both show the same pixels
    button = page.locator("#viewer .ul-panel").first.locator(".ul-legend button").first
    button.click()
    counts, same = page.evaluate(DRAWN)
    assert same
    assert 0 < counts[0] < 128 * 96
    visit.shot("isolated")
    button.click()
    assert page.evaluate(DRAWN)[0] == [128 * 96, 128 * 96]

    # only what differs, and how much that is
    page.locator("#viewer .ul-tick-differ").check()
    counts, same = page.evaluate(DRAWN)
    assert same
    assert counts[0] < 128 * 96
    told = page.locator("#viewer .ul-share").inner_text()
    share = 100 * counts[0] / (128 * 96)
    assert told.startswith(f"{share:.0f}" if share >= 10 else f"{share:.1f}"), (told, share)
    page.locator("#viewer .ul-tick-differ").uncheck()

    # one zoom, by the wheel, around the pointer
    frames.first.scroll_into_view_if_needed()
    box = frames.first.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.wheel(0, -400)
    page.wait_for_selector("#viewer .ul-whole:not([hidden])")
    layer = page.locator("#viewer .ul-layer")
    layers = layer.evaluate_all("all => all.map(l => l.style.transform)")
    assert layers[0] == layers[1] != ""
    scale = float(layers[0].split("(")[1].split(")")[0])
    assert scale == pytest.approx(np.exp(0.8), rel=0.01)
    visit.shot("zoomed")
    page.locator("#viewer .ul-whole").click()
    assert layer.first.evaluate("l => l.style.transform") == ""

    # a line that wipes from one to the other, in one frame
    page.locator("#viewer .ul-tick-wipe").check()
    assert frames.nth(1).is_hidden()
    page.locator("#viewer .ul-wipe").fill("250")
    clips = (
        page.locator("#viewer .ul-frame")
        .first.locator("canvas")
        .evaluate_all("all => all.map(c => c.style.clipPath)")
    )
    assert clips == ["inset(0px 75% 0px 0px)", "inset(0px 0px 0px 25%)"]
    visit.shot("wiped")
    page.locator("#viewer .ul-tick-wipe").uncheck()
    assert frames.nth(1).is_visible()
    visit.check()


def test_two_fingers_magnify(browser: Any, server: Any, tmp_path: Path) -> None:
    visit = Visit(browser, server.url, 390, "pinch", tmp_path)
    page = visit.page
    visit.next_run("viewer", "")
    frame = page.locator("#viewer .ul-frame").first
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    wire = page.context.new_cdp_session(page)

    def touch(kind: str, apart: float | None) -> None:
        places = [] if apart is None else [{"x": x - apart, "y": y}, {"x": x + apart, "y": y}]
        wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", 20)
    for apart in (30, 40, 50, 60):
        touch("touchMove", apart)
    touch("touchEnd", None)
    page.wait_for_selector("#viewer .ul-whole:not([hidden])")
    scale = page.evaluate("document.querySelector('#viewer .ul-host').unilabel.zoom.state.k")
    assert 2 < scale < 4
    visit.check()
