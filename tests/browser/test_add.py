"""The tab that adds a dataset from a zip of labelled photos."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from visit import SIZES, Visit, zip_of_drawings

pytest.importorskip("playwright")
pytest.importorskip("detectron2")

from unilabel.demo_app.weights import SHIPPED
from unilabel.predictor import build_predictor

pytestmark = [pytest.mark.browser, pytest.mark.d2, pytest.mark.slow]


def test_ten_photos_become_a_label_space(browser: Any, server: Any, tmp_path: Path) -> None:
    visit = Visit(browser, server.url, SIZES[0], "add", tmp_path)
    page = visit.page
    visit.next_run("viewer", "")
    visit.tab("Add")
    field = page.locator("#add-file input[type=file]")
    field.set_input_files(zip_of_drawings(tmp_path / "mine.zip", 10, "mine"))
    page.wait_for_selector("#add progress")
    page.wait_for_selector("#add .ul-host[data-state=done]")
    assert "mine" in page.locator("#add .ul-note").inner_text()
    assert page.locator("#add .ul-results img").count() == 3
    visit.shot("done")
    with page.expect_download() as download:
        page.locator("#add .ul-save").click()
    with zipfile.ZipFile(download.value.path()) as result:
        (tmp_path / "added.pth").write_bytes(result.read("model_added.pth"))
    before = build_predictor(SHIPPED, optimize=False).spaces
    added = build_predictor(tmp_path / "added.pth", optimize=False).spaces
    assert set(added) == {*before, "mine"}
    visit.check()


def test_it_can_be_cancelled_and_says_what_is_wrong(
    browser: Any, server: Any, tmp_path: Path
) -> None:
    visit = Visit(browser, server.url, SIZES[1], "add", tmp_path)
    page = visit.page
    visit.next_run("viewer", "")
    visit.tab("Add")
    field = page.locator("#add-file input[type=file]")
    field.set_input_files(zip_of_drawings(tmp_path / "mine.zip", 10, "mine"))
    page.wait_for_selector("#add progress")
    page.locator("#add .ul-cancel").click()
    page.wait_for_function("document.querySelector('#add').innerText.includes('Cancelled')")
    # a dataset that the model knows already
    field.set_input_files(zip_of_drawings(tmp_path / "known.zip", 2, "toy_coarse"))
    page.wait_for_selector("#add .ul-error")
    assert "toy_coarse" in page.locator("#add .ul-error").inner_text()
    visit.shot("refused")
    visit.check()
