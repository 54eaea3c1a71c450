"""A page in the browser, as all tests of the demo use it."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unilabel.core.synthetic import atom_table, render_scene, toy_label_spaces

PATIENCE = 1000 * int(os.environ.get("UNILABEL_PATIENCE", "60"))  # milliseconds
SIZES = (1440, 390)  # widths of a desk and of a phone
_HEIGHTS = {1440: 900, 390: 844}


ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium(playwright: Any) -> Any:
    """A Chromium of the system, CHROMIUM names another one; None: there is none."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return found and playwright.chromium.launch(executable_path=found, args=ARGUMENTS)


class Visit:
    """A page with everything that it asks for and complains about."""

    def __init__(
        self,
        browser: Any,
        url: str,
        width: int,
        name: str,
        folder: Path,
        mode: str = "light",
        zoom: int = 1,
    ) -> None:
        self.name = f"{name}_{width}"
        self.folder = Path(os.environ.get("UNILABEL_SCREENSHOTS") or folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.height = _HEIGHTS.get(width, 900)
        # as a browser that magnifies: fewer pixels of the page on the same screen
        size = {"width": width // zoom, "height": self.height // zoom}
        context = browser.new_context(
            viewport=size, device_scale_factor=zoom, accept_downloads=True, color_scheme=mode
        )
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.foreign: list[str] = []
        self.failed: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", self._request)
        self.page.on("response", self._response)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.url = url
        self.page.goto(url)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(request.url)

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.failed.append(f"{response.status} {response.url}")

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def shot(self, what: str, full: bool = True) -> None:
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=self.folder / f"{self.name}_{what}.png", full_page=full)

    def run(self, viewer: str) -> str:
        """Number of the answer that a viewer shows."""
        found = self.page.locator(f"#{viewer} .ul-panels").get_attribute("data-run")
        return found or ""

    def next_run(self, viewer: str, before: str) -> None:
        self.page.wait_for_function(
            "([id, old]) => { const p = document.querySelector(`#${id} .ul-panels`);"
            " return p && p.dataset.run && p.dataset.run !== old; }",
            arg=[viewer, before],
        )

    def all_spaces(self, count: int) -> None:
        """Wait until the Predict tab holds so many label spaces of its picture."""
        self.page.wait_for_function(
            "count => document.querySelector('#viewer .ul-host')?.dataset.spaces === String(count)",
            arg=count,
        )

    def wait_for_spaces(self, *names: str) -> None:
        """Wait until the Predict tab shows these label spaces beside each other."""
        self.page.wait_for_selector(f'#viewer .ul-panels[data-shown="{" ".join(names)}"]')

    def pixels(self, viewer: str) -> str:
        """The first label map of a viewer."""
        drawn: str = self.page.locator(f"#{viewer} canvas").first.evaluate("c => c.toDataURL()")
        return drawn

    def choose(self, field: str, option: str) -> None:
        """Choose in a dropdown of Gradio."""
        self.page.locator(f"#{field} input").click()
        # the list of the field before may still be fading
        self.page.get_by_role("option", name=option, exact=True).last.click()

    def busy(self, act: Callable[[], Any]) -> float:
        """Seconds that the page's own processor time grows by, whatever else the machine does."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def used() -> float:
            found = session.send("Performance.getMetrics")["metrics"]
            return sum(m["value"] for m in found if m["name"] == "TaskDuration")

        before = used()
        act()
        self.page.wait_for_timeout(300)  # what it draws afterwards counts too
        seconds = used() - before
        session.detach()
        return seconds

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def check(self) -> None:
        assert self.foreign == []
        assert self.failed == []
        assert self.complaints == []


def wide_photo(path: Path, size: tuple[int, int] = (1920, 1080)) -> Path:
    """A drawn street of some width and height, as a file."""
    scene = render_scene(np.random.default_rng(3), "toy_city")[0]
    Image.fromarray(scene).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def zip_of_drawings(path: Path, count: int, name: str = "toy_coarse") -> Path:
    """A zip of drawn streets with labels, in a folder that is a dataset of this name."""
    space = next(s for s in toy_label_spaces() if s.name == "toy_coarse")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mine/classes.json", json.dumps({**space.to_dict(), "name": name}))
        for number in range(count):
            scene, atoms = render_scene(np.random.default_rng(number), "toy_coarse")
            labels = atom_table("toy_coarse")[atoms]
            for kind, pixels in (("images", scene), ("labels", labels)):
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "PNG")
                archive.writestr(f"mine/{kind}/train/{number}.png", buffer.getvalue())
    return path
