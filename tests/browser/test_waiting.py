"""What a visitor sees while the demo works, and what comes out of it."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features
from visit import PATIENCE, SIZES, Visit, wide_photo, zip_of_drawings

pytest.importorskip("playwright")
pytest.importorskip("detectron2")

from unilabel.demo_app.weights import SHIPPED
from unilabel.predictor import build_predictor

pytestmark = [pytest.mark.browser, pytest.mark.d2, pytest.mark.slow]

DIMMED = "() => getComputedStyle(document.querySelector('#viewer .ul-panels')).opacity"
TOP = "() => document.querySelector('#viewer .ul-frame').getBoundingClientRect().top"


@pytest.mark.parametrize("width", SIZES)
def test_waiting_is_shown_and_the_answer_is_in_sight(
    browser: Any, server: Any, tmp_path: Path, width: int
) -> None:
    visit = Visit(browser, server.url, width, "waiting", tmp_path)
    page = visit.page
    visit.next_run("viewer", "")
    assert "drawn streets only" in page.locator("#intro").inner_text()
    assert page.evaluate("scrollY") == 0  # the first answer does not move the page
    assert page.evaluate(TOP) < 0.7 * visit.height  # and is seen without scrolling
    tabs = page.get_by_role("tab").all_inner_texts()
    assert tabs == ["Predict", "Label graph", "Review", "Harmonise", "Add"]  # none behind a menu
    before = visit.run("viewer")
    page.locator("#picture input[type=file]").set_input_files(wide_photo(tmp_path / "wide.png"))
    page.wait_for_selector("#viewer .ul-busy")
    page.wait_for_function(
        "() => document.querySelector('.ul-time').textContent.includes('Predict')"
    )
    page.wait_for_function(f"() => ({DIMMED})() < 0.5")
    visit.shot("dimmed")
    visit.next_run("viewer", before)
    page.wait_for_function(f"() => ({DIMMED})() === '1'")
    line = page.locator("#viewer .ul-time").inner_text()
    assert line.startswith("wide.png, 1920 \u00d7 1080: predicted in ")
    assert 0 <= page.evaluate(TOP) < visit.height - 100
    visit.shot("after")
    visit.check()


@pytest.mark.parametrize("width", SIZES)
def test_a_photo_is_told_to_be_foreign_and_a_drawing_not(
    browser: Any, server: Any, tmp_path: Path, width: int
) -> None:
    visit = Visit(browser, server.url, width, "foreign", tmp_path)
    page = visit.page
    visit.next_run("viewer", "")
    # smooth clouds of colour: nothing that the toy world draws
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    cloud = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
    cloud.save(tmp_path / "cloud.png")
    before = visit.run("viewer")
    page.locator("#picture input[type=file]").set_input_files(tmp_path / "cloud.png")
    visit.next_run("viewer", before)
    assert (
        "unlike those that the model has seen" in page.locator("#viewer .ul-warning").inner_text()
    )
    page.locator("#viewer .ul-frame").click()
    assert "unlike those of the training" in page.locator("#viewer .ul-spot").inner_text()
    visit.shot("cloud")
    before = visit.run("viewer")
    page.locator("#examples button").first.click()
    visit.next_run("viewer", before)
    assert page.locator("#viewer .ul-warning").count() == 0
    visit.check()


def test_files_for_other_programs(browser: Any, server: Any, tmp_path: Path) -> None:
    visit = Visit(browser, server.url, 1440, "forms", tmp_path)
    page = visit.page
    visit.next_run("viewer", "")
    found: dict[str, bytes] = {}
    for form in ("coco", "geojson", "labelme", "uncertainty", "uncertainty"):  # the same again
        with page.expect_download() as download:
            page.locator("#viewer .ul-forms").select_option(form)
        found[download.value.suggested_filename] = Path(download.value.path()).read_bytes()
    with page.expect_download() as download:
        page.locator("#viewer .ul-get-labels").click()
    with Image.open(download.value.path()) as image:
        assert image.mode == "P"
        labels, palette = np.array(image), image.getpalette()
    stem = "toy_street_1_Unified_labels"
    assert set(found) == {
        f"{stem}_coco.zip", f"{stem}.geojson", f"{stem}_labelme.json", f"{stem}_uncertainty.png",
    }  # fmt: skip
    names, colors = build_predictor(SHIPPED).labels_of("unified")
    assert palette[: 3 * len(colors)] == [value for color in colors for value in color]
    with zipfile.ZipFile(io.BytesIO(found[f"{stem}_coco.zip"])) as archive:
        segments = json.loads(archive.read("panoptic.json"))["annotations"][0]["segments_info"]
    assert {s["category_id"] - 1 for s in segments} == set(np.unique(labels).tolist())
    shapes = json.loads(found[f"{stem}_labelme.json"])["shapes"]
    assert {shape["label"] for shape in shapes} == {names[i] for i in np.unique(labels)}
    visit.check()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_and_a_video_in_the_wrong_box(browser: Any, server: Any, tmp_path: Path) -> None:
    visit = Visit(browser, server.url, 390, "avif", tmp_path)
    page = visit.page
    visit.next_run("viewer", "")
    Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(tmp_path / "grey.avif")
    before = visit.run("viewer")
    page.locator("#picture input[type=file]").set_input_files(tmp_path / "grey.avif")
    visit.next_run("viewer", before)
    assert page.locator("#viewer .ul-time").inner_text().startswith("grey.avif, 120 \u00d7 90")
    (tmp_path / "street.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(100))
    page.locator("#picture input[type=file]").set_input_files(tmp_path / "street.mp4")
    page.wait_for_selector("#viewer .ul-error")
    assert "open “Short video” below" in page.locator("#viewer .ul-error").inner_text()
    visit.check()


def test_an_answer_that_gets_lost_is_asked_for(browser: Any, server: Any, tmp_path: Path) -> None:
    """The stream of answers ends with a question open, as it may on a busy machine."""
    closed = []

    def end_with_questions_open(route: Any) -> None:
        if closed:
            route.fallback()
            return
        closed.append(route.request.url)
        time.sleep(4)  # all questions of the start are asked while it is open
        body = 'data: {"msg": "close_stream", "event_id": null}\n\n'
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    context = browser.new_context()
    context.route("**/queue/data?*", end_with_questions_open)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    page.wait_for_selector("#viewer .ul-panels[data-run]")
    assert closed
    page.wait_for_selector('#viewer .ul-host[data-spaces="5"]')
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6000)
    assert asked == []  # nothing is open, so nothing is asked for


def _predicting(page: Any, folder: Path) -> None:
    page.locator("#picture input[type=file]").set_input_files(wide_photo(folder / "wide.png"))
    page.wait_for_selector("#viewer .ul-busy")


def _working(tab: str, count: int) -> Callable[[Any, Path], None]:
    """A job of a tab that has begun."""

    def begin(page: Any, folder: Path) -> None:
        page.get_by_role("tab", name=tab.capitalize()).click()
        file = zip_of_drawings(folder / "some.zip", count, f"toy_coarse{'2' * (tab == 'add')}")
        page.locator(f"#{tab}-file input[type=file]").set_input_files(file)
        said = "Photo 2 of" if tab == "harmonise" else "10 photos."  # it learns from them
        page.wait_for_function(
            "([id, said]) => document.getElementById(id).innerText.includes(said)", arg=[tab, said]
        )

    return begin


def _goes_on(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _children(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


@pytest.mark.parametrize(
    ("act", "children"),
    [(_predicting, 0), (_working("harmonise", 150), 0), (_working("add", 10), 1)],
    ids=["prediction", "harmonise", "add"],
)
def test_sigterm_ends_the_server_at_once(
    browser: Any,
    tmp_path: Path,
    start_demo: Callable[..., Iterator[Any]],
    act: Callable[[Any, Path], None],
    children: int,
) -> None:
    """While a page is open, for which the server would wait, and while it works."""
    with closing(start_demo(tmp_path, None)) as demo:
        server = next(demo)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(server.url)
        page.wait_for_selector("#viewer .ul-panels[data-run]")
        act(page, tmp_path)
        found = _children(server.process.pid)
        assert len(found) == children
        start = time.monotonic()
        server.process.terminate()
        server.process.wait(timeout=30)
        seconds = time.monotonic() - start
        print(f"\nended after {seconds:.2f} s")
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # others take their share
        assert seconds < 3 * busy
        assert not server.temp_dir.exists()
        assert list(tmp_path.glob("tmp*")) == []  # nothing beside it either
        deadline = time.monotonic() + 10
        while any(map(_goes_on, found)):
            assert time.monotonic() < deadline, "a program that it started goes on"
            time.sleep(0.05)
