"""The Review tab in a real browser, at two widths: the place, drafts, orphaned classes, photos."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from visit import SIZES, Visit, wide_photo

pytest.importorskip("playwright")
pytest.importorskip("detectron2")

pytestmark = [pytest.mark.browser, pytest.mark.d2, pytest.mark.slow]


@pytest.fixture(scope="module")
def large_server(
    tmp_path_factory: pytest.TempPathFactory,
    start_demo: Callable[..., Iterator[Any]],
    weights_of_250: Path,
) -> Iterator[Any]:
    """The demo with a model of 250 unified labels, and pictures that are not its own."""
    folder = tmp_path_factory.mktemp("large")
    wide_photo(folder / "street.png", (128, 96))
    yield from start_demo(folder, weights_of_250, "--examples", str(folder))


def open_review(browser: Any, url: str, width: int, name: str, folder: Path) -> Visit:
    visit = Visit(browser, url, width, name, folder)
    visit.tab("Review")
    visit.page.wait_for_selector("#review .ul-card")
    visit.next_run("review-viewer", "")
    return visit


def answered(visit: Visit, act: Callable[[], Any]) -> None:
    """Do something, and wait for what the server says to it."""
    host = "document.querySelector('#review .ul-host').dataset.run"
    before = visit.page.evaluate(host)
    act()
    visit.page.wait_for_function(f"(old) => {host} !== old", arg=before)
    visit.page.wait_for_timeout(200)


def choose_other(visit: Visit, select: Any) -> None:
    """Choose another class in the list of a card."""
    select.focus()
    old = select.input_value()
    options = select.locator("option").evaluate_all("all => all.map(o => o.value)")
    new = next(value for value in options if value not in (old, "-1"))
    answered(visit, lambda: select.select_option(new))


@pytest.mark.parametrize("width", SIZES)
def test_the_place_is_kept_after_an_edit(
    browser: Any, large_server: Any, tmp_path: Path, width: int
) -> None:
    visit = open_review(browser, large_server.url, width, "place", tmp_path)
    page = visit.page
    assert "250 labels" in page.locator("#review .ul-status").inner_text()
    card = page.locator("#review .ul-card").nth(20)
    label = card.get_attribute("data-id")
    card.evaluate("c => window.scrollTo(0, c.getBoundingClientRect().top + scrollY - 400)")
    page.evaluate(
        "() => { for (const c of document.querySelectorAll('#review .ul-card')) c.marked = true;"
        " window.places = []; addEventListener('scroll', () => places.push(scrollY)); }"
    )
    height = page.evaluate("scrollY")
    assert height > 1000
    top = card.bounding_box()["y"]
    choose_other(visit, card.locator("select").first)
    assert abs(page.evaluate("scrollY") - height) <= 200  # where a card has grown by a line
    assert abs(card.bounding_box()["y"] - top) <= 4
    assert min([height, *page.evaluate("places")]) > height - 200  # nor was it lost on the way
    new = page.locator("#review .ul-card").evaluate_all(
        "all => all.filter(c => !c.marked).map(c => c.dataset.id)"
    )
    assert label in new
    assert len(new) <= 3  # the label's card, and cards whose problem it made
    focus = "document.activeElement.closest('.ul-card').dataset.id"
    assert page.evaluate(focus) == label
    assert page.locator("#draft .ul-stand").inner_text().startswith("1 edit of the label space")
    visit.shot("edited", full=False)
    visit.check()


@pytest.mark.parametrize("width", SIZES)
def test_a_class_without_label_is_shown_and_given_back(
    browser: Any, server: Any, tmp_path: Path, width: int
) -> None:
    visit = open_review(browser, server.url, width, "orphan", tmp_path)
    page = visit.page
    page.locator('#review [aria-label="Order"]').select_option("id")
    card = page.locator('#review .ul-card[data-id="0"]')
    name = card.locator('.ul-cardhead input[type="text"]').input_value()
    select = card.locator("select").first
    linked = select.input_value()
    select.focus()
    answered(visit, lambda: select.select_option("-1"))
    assert "ul-bad" in card.get_attribute("class")
    red = card.evaluate("c => getComputedStyle(c).borderTopColor")
    assert red == "rgb(220, 38, 38)"
    trouble = page.locator("#draft .ul-trouble")
    assert "1 problem" in trouble.inner_text()
    # other edits go on and are used
    other = page.locator('#review .ul-card[data-id="1"]')
    field = other.locator('.ul-cardhead input[type="text"]')
    field.fill("renamed by hand")
    answered(visit, lambda: field.press("Enter"))
    visit.tab("Label graph")
    page.wait_for_selector("#graph .ul-node")
    assert "Draft not in use in full: 1 problem" in trouble.inner_text()
    assert "renamed by hand" in page.locator("#graph").inner_text()
    # the message leads back to the card, whatever the search has hidden
    visit.tab("Review")
    page.wait_for_timeout(300)
    page.locator('#review input[type="search"]').fill("renamed by hand")
    assert card.count() == 0
    visit.tab("Label graph")
    trouble.get_by_role("button", name="Show it").click()
    card.wait_for(state="visible")
    page.wait_for_timeout(600)
    box = card.bounding_box()
    assert 0 <= box["y"] < visit.height
    visit.shot("red", full=False)
    answered(visit, lambda: card.locator(".ul-back").click())
    assert "ul-bad" not in card.get_attribute("class")
    assert card.locator("select").first.input_value() == linked
    assert card.locator('.ul-cardhead input[type="text"]').input_value() == name
    assert trouble.count() == 0
    visit.check()


@pytest.mark.parametrize("width", SIZES)
def test_edits_outlive_a_reload_and_a_file(
    browser: Any, server: Any, tmp_path: Path, width: int
) -> None:
    visit = open_review(browser, server.url, width, "draft", tmp_path)
    page = visit.page
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.locator('#review [aria-label="Order"]').select_option("id")
    first = page.locator('#review .ul-card[data-id="0"] .ul-cardhead')
    first.locator('input[type="text"]').fill("heaven")
    answered(visit, lambda: first.locator('input[type="text"]').press("Enter"))
    answered(visit, lambda: first.locator('input[type="checkbox"]').click())
    assert "tab=review" in page.url
    page.reload()
    assert asked == ["beforeunload"]
    page.wait_for_selector("#draft .ul-offer")
    assert "Continue with 2 edits" in page.locator("#draft .ul-offer").inner_text()
    page.wait_for_selector("#review .ul-card")  # the same tab as before
    visit.shot("offer", full=False)
    answered(visit, lambda: page.locator("#draft .ul-continue").click())
    page.locator('#review [aria-label="Order"]').select_option("id")
    assert first.locator('input[type="text"]').input_value() == "heaven"
    assert first.locator('input[type="checkbox"]').is_checked()
    # the changes as a file
    with page.expect_download() as download:
        page.locator("#save-diff").click()
    file = tmp_path / "changes.json"
    download.value.save_as(file)
    assert json.loads(file.read_text())["names"][0]["after"] == "heaven"
    page.wait_for_function(
        "document.querySelector('#draft .ul-stand').innerText.includes('saved as a file')"
    )
    answered(visit, lambda: page.locator("#review .ul-reset").click())
    assert first.locator('input[type="text"]').input_value() != "heaven"
    page.get_by_role("button", name="Load a label_space.json").click()
    field = page.locator("#load-edits input[type=file]")
    answered(visit, lambda: field.set_input_files(file))
    assert first.locator('input[type="text"]').input_value() == "heaven"
    # Ctrl+Z and Ctrl+Shift+Z
    page.locator("#review .ul-status").click()
    answered(visit, lambda: page.keyboard.press("Control+z"))
    assert first.locator('input[type="text"]').input_value() != "heaven"
    answered(visit, lambda: page.keyboard.press("Control+Shift+Z"))
    assert first.locator('input[type="text"]').input_value() == "heaven"
    page.go_back()
    page.wait_for_function("!document.querySelector('#review .ul-card').offsetParent")
    assert "tab=" not in page.url
    visit.check()


@pytest.mark.parametrize("width", SIZES)
def test_photos_for_and_against_a_link(
    browser: Any, server: Any, tmp_path: Path, width: int
) -> None:
    visit = open_review(browser, server.url, width, "photos", tmp_path)
    page = visit.page
    page.locator('#review [aria-label="Order"]').select_option("id")
    card = page.locator('#review .ul-card[data-id="0"]')
    proof = card.locator(".ul-proof")
    for _ in range(60):  # until the photos have been looked at
        card.locator(".ul-why").first.click()
        proof.wait_for()
        if "were looked at" in proof.inner_text():
            break
        page.wait_for_timeout(1000)
        page.keyboard.press("Escape")
        assert proof.count() == 0
    text = proof.inner_text()
    assert "pixels drawn as" in text
    assert "Both agree" in text
    assert "They do not agree" in text
    pictures = proof.locator(".ul-agree img")
    assert 1 <= pictures.count() <= 3
    drawn = pictures.first.evaluate(
        """image => { const c = document.createElement('canvas');
        c.width = image.naturalWidth; c.height = image.naturalHeight;
        const g = c.getContext('2d'); g.drawImage(image, 0, 0);
        const p = g.getImageData(0, 0, c.width, c.height).data, all = new Set();
        for (let i = 0; i < p.length; i += 4) all.add(p[i] + 256 * p[i + 1]);
        return [c.width, c.height, all.size, image.getBoundingClientRect().width]; }"""
    )
    assert drawn[:2] == [112, 112]
    assert drawn[2] > 20  # colours: a photo with an outline, not an empty square
    assert drawn[3] > 80
    assert card.evaluate("c => c.scrollWidth <= c.clientWidth")
    visit.shot("shown", full=False)
    visit.check()
