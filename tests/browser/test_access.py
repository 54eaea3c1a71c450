"""What everybody needs: names, contrast in both modes, photos of a link in the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from visit import SIZES, Visit

pytest.importorskip("playwright")
pytest.importorskip("detectron2")

pytestmark = [pytest.mark.browser, pytest.mark.d2, pytest.mark.slow]

LEAST = 4.5  # contrast of texts, WCAG 2 AA
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
NAMELESS = """selector => [...document.querySelectorAll(
  `${selector} :is(button, input, select, [role=button])`)]
  .filter(n => n.getClientRects().length && !n.getAttribute("aria-label") && !n.textContent.trim()
    && !(n.labels && [...n.labels].some(l => l.textContent.trim())) && !n.title)
  .map(n => n.outerHTML.slice(0, 120))"""


def check_texts(visit: Visit, selector: str, fewest: int) -> None:
    seen, bad = visit.page.evaluate(CONTRAST, [selector, LEAST])
    assert seen >= fewest
    assert bad == []
    assert visit.page.evaluate(NAMELESS, selector) == []


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_contrast_and_names(
    browser: Any, server: Any, tmp_path: Path, width: int, mode: str
) -> None:
    visit = Visit(browser, server.url, width, f"access_{mode}", tmp_path, mode)
    page = visit.page
    visit.tab("Label graph")
    page.wait_for_selector("#graph .ul-node")
    dark = "document.body.classList.contains('dark')"
    page.wait_for_function(dark if mode == "dark" else f"!{dark}")
    page.add_style_tag(content="* { transition: none !important; }")  # colours as they end
    if width < 700:
        assert page.locator("#graph .ul-count").inner_text().startswith("1 of 4 datasets shown")
    page.locator("#graph .ul-chip").nth(1).click()
    check_texts(visit, "#graph", 40 if width > 700 else 20)
    page.locator("#graph .ul-chip").nth(1).click()
    page.locator("#graph .ul-node.unified").first.click()
    check_texts(visit, "#graph", 40 if width > 700 else 20)
    # a link tells why it is there
    page.locator("#graph .ul-side .ul-weigh").first.click()
    page.wait_for_selector("#graph .ul-side .ul-proof")
    assert page.locator("#graph .ul-side h3").inner_text().startswith("Link")
    visit.shot("graph", full=False)
    page.keyboard.press("Escape")
    page.locator("#graph .ul-mode").select_option("table")
    check_texts(visit, "#graph", 60 if width > 700 else 30)
    page.locator("#graph .ul-mode").select_option("matrix")
    check_texts(visit, "#graph", 30)
    visit.tab("Review")
    page.wait_for_selector("#review .ul-card")
    visit.next_run("review-viewer", "")
    check_texts(visit, "#review", 100)
    page.locator("#review").get_by_label("Colour of sky").wait_for()
    if width < 700:  # a small prediction stays in sight while the cards are scrolled
        page.locator("#review .ul-card").nth(5).scroll_into_view_if_needed()
        frame = page.locator("#review-viewer .ul-frame").first.bounding_box()
        assert 0 <= frame["y"] < 200
        assert frame["height"] < 0.3 * visit.height
    visit.shot("review", full=False)


@pytest.mark.parametrize("width", SIZES)
def test_outlines_tell_labels_apart_without_colours(
    browser: Any, server: Any, tmp_path: Path, width: int
) -> None:
    visit = Visit(browser, server.url, width, "outlines", tmp_path)
    page = visit.page
    visit.next_run("viewer", "")
    assert page.locator("#viewer .ul-outlines").count() == 0
    page.locator("#viewer .ul-tick-outlines").check()
    lines = page.locator("#viewer .ul-outlines")
    lines.wait_for()
    names, black, white, share = lines.evaluate(
        """c => { const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let black = 0, white = 0, any = 0;
        for (let i = 0; i < p.length; i += 4) if (p[i + 3] === 255) { any += 1;
          if (p[i] + p[i + 1] + p[i + 2] === 0) black += 1;
          if (p[i] + p[i + 1] + p[i + 2] === 765) white += 1; }
        return [c.names, black, white, any / (c.width * c.height)]; }"""
    )
    legend = page.locator("#viewer .ul-legend button span:first-of-type").all_inner_texts()
    assert len(names) >= 4
    assert set(names) <= set(legend)
    assert black > 1000
    assert white > 1000
    assert share < 0.5  # lines and names, not the picture
    frame = page.locator("#viewer .ul-frame").first.bounding_box()
    assert lines.bounding_box() == pytest.approx(frame, abs=1)
    visit.shot("shown", full=False)
    page.locator("#viewer .ul-tick-outlines").uncheck()
    assert lines.count() == 0
    visit.check()


# What a person would have to scroll sideways for, or cannot reach at all.
OUTSIDE = """() => [document.documentElement.scrollWidth - innerWidth,
  [...document.querySelectorAll('button, input, select, h3, p, [role=tab]')].filter(n => {
    const b = n.getBoundingClientRect();
    const hidden = !b.width || getComputedStyle(n).visibility === 'hidden';
    const within = n.closest('.ul-stage, .ul-table, .ul-matrix, .ul-scroll, .ul-pick');
    return !hidden && !within && (b.right > innerWidth + 1 || b.left < -1);
  }).map(n => n.outerHTML.slice(0, 120))]"""


@pytest.mark.parametrize(("width", "zoom"), [(1440, 2), (390, 1)])
def test_nothing_lies_beside_the_page(
    browser: Any, server: Any, tmp_path: Path, width: int, zoom: int
) -> None:
    """Magnified to 200 %, and on a phone."""
    visit = Visit(browser, server.url, width, f"zoom{zoom}", tmp_path, zoom=zoom)
    visit.next_run("viewer", "")
    ready = {
        "Predict": "#viewer canvas",
        "Label graph": "#graph .ul-node",
        "Review": "#review .ul-card",
        "Harmonise": "#harmonise-file",
        "Add": "#add-file",
    }
    for tab, selector in ready.items():
        visit.tab(tab)
        visit.page.locator(selector).first.wait_for()
        wider, outside = visit.page.evaluate(OUTSIDE)
        assert (tab, outside) == (tab, [])
        assert wider <= 0, tab
        visit.shot(tab.replace(" ", "_").lower())
    visit.check()
