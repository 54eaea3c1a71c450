"""The tab that harmonises a zip of photos with labels."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from visit import SIZES, Visit, zip_of_drawings

pytest.importorskip("playwright")
pytest.importorskip("detectron2")


pytestmark = [pytest.mark.browser, pytest.mark.d2, pytest.mark.slow]


@pytest.mark.parametrize("width", SIZES)
def test_a_zip_is_harmonised_with_progress_and_cancel(
    browser: Any, server: Any, tmp_path: Path, width: int
) -> None:
    visit = Visit(browser, server.url, width, "harmonise", tmp_path)
    page = visit.page
    visit.next_run("viewer", "")
    visit.tab("Harmonise")
    field = page.locator("#harmonise-file input[type=file]")
    field.set_input_files(zip_of_drawings(tmp_path / "few.zip", 2))
    page.wait_for_selector("#harmonise .ul-host[data-state=done]")
    text = page.locator("#harmonise .ul-note").inner_text()
    assert "2 photos are harmonised." in text
    assert "toy_coarse: " in text
    assert page.locator("#harmonise .ul-results img").count() == 2
    visit.shot("done")
    with page.expect_download() as download:
        page.locator("#harmonise .ul-save").click()
    with zipfile.ZipFile(download.value.path()) as result:
        names = set(result.namelist())
        assert {"classes.json", "label_space.json", "harmonize.json", "report.html"} <= names
        with Image.open(io.BytesIO(result.read("labels/train/0.png"))) as image:
            assert image.size == (128, 96)
    assert not any(name.startswith("images/") for name in names)
    # cancelled in the middle, nothing is kept
    field.set_input_files(zip_of_drawings(tmp_path / "many.zip", 150))
    page.wait_for_selector("#harmonise progress")
    page.wait_for_function("document.querySelector('#harmonise').innerText.includes('of 150')")
    page.locator("#harmonise .ul-cancel").click()
    page.wait_for_function("document.querySelector('#harmonise').innerText.includes('Cancelled')")
    # what is no zip is refused
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no zip")
    field.set_input_files(tmp_path / "bad.zip")
    page.wait_for_selector("#harmonise .ul-error")
    assert "bad.zip is no zip that can be read" in page.locator("#harmonise").inner_text()
    visit.check()
