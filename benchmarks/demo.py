"""How long a visitor of the demo waits, measured in Chromium.

    python benchmarks/demo.py [--markdown demo/README.md] [--rounds 3]

Every time is the one that a person sees: from the click to the first frame in which the answer is
drawn. Beside it stand the processor seconds of the server (of the graph: of its page), which do not
grow while others use the machine. The model of 250 labels is drawn by chance: its answers are worth
nothing, its times all.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "browser")]  # models, and the visitor

import conftest as models  # noqa: E402
import numpy as np  # noqa: E402
from common import hardware  # noqa: E402
from PIL import Image  # noqa: E402
from toy_models import save_toy_model  # noqa: E402
from visit import Visit, chromium, wide_photo  # noqa: E402

from unilabel.core.io import atomic_path  # noqa: E402
from unilabel.core.synthetic import render_scene  # noqa: E402
from unilabel.visual.graph_page import write_graph_page  # noqa: E402

START, END = "<!-- table:times -->", "<!-- end:times -->"


@dataclass
class Server:
    """A demo that runs.

    Attributes:
        url: its address.
        process: it.
        seconds: from the command to the first page.
    """

    url: str
    process: subprocess.Popen[bytes]
    seconds: float

    def busy(self) -> float:
        """Seconds of a processor that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def demo(*arguments: str) -> Iterator[Server]:
    """Run the demo on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "demo/app.py"), "--port", str(port), *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit(f"the demo ended with {process.returncode}")
            with suppress(OSError), urllib.request.urlopen(url, timeout=30):
                break
            time.sleep(0.1)
        yield Server(url, process, time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait()


def waited(
    server: Server, rounds: int, act: Callable[[int], Any], done: Callable[[Any], Any]
) -> tuple[float, float]:
    """Median seconds from an act to its answer, and of the server's processor."""
    seconds, busy = [], []
    for turn in range(rounds):
        before = server.busy()
        start = time.perf_counter()
        done(act(turn))
        seconds.append(time.perf_counter() - start)
        busy.append(server.busy() - before)
    return statistics.median(seconds), statistics.median(busy)


def measure(browser: Any, folder: Path, rounds: int) -> list[tuple[str, float, float]]:
    """All times: what, seconds, processor seconds of the server."""
    rows: list[tuple[str, float, float]] = []
    scene = render_scene(np.random.default_rng(3), "toy_city")[0]
    photos = []
    for turn in range(rounds):  # no two alike, or the second would be known already
        photos.append(folder / f"photo{turn}.png")
        wide = np.ascontiguousarray(np.roll(scene, 7 * turn, axis=1))
        Image.fromarray(wide).resize((1920, 1080), Image.Resampling.BICUBIC).save(photos[-1])
    with demo() as server:
        rows.append(("from the command to the page", server.seconds, server.busy()))
        start, before = time.perf_counter(), server.busy()
        visit = Visit(browser, server.url, 1440, "times", folder)
        visit.next_run("viewer", "")
        rows.append(
            ("page with a predicted picture", time.perf_counter() - start, server.busy() - before)
        )
        field = visit.page.locator("#picture input[type=file]")

        def upload(turn: int) -> str:
            old = visit.run("viewer")
            field.set_input_files(photos[turn])
            return old

        done = waited(server, rounds, upload, lambda old: visit.next_run("viewer", old))
        rows.append(("photo of 1920 x 1080", *done))
        rows.append(("another label space of it", *switch(visit, server, rounds)))
    space = models._invented_space(250)
    save_toy_model(folder / "large.pth", space)
    pictures = folder / "pictures"
    pictures.mkdir()
    wide_photo(pictures / "street.png", (128, 96))
    with demo("--weights", str(folder / "large.pth"), "--examples", str(pictures)) as server:
        rows.append(("an edit among 250 labels", *edit(browser, server, folder, rounds)))
    write_graph_page(models._invented_space(217), folder / "graph.html")

    rows.append(graph(browser, folder, rounds))
    return rows


def graph(browser: Any, folder: Path, rounds: int) -> tuple[str, float, float]:
    """From the file to the drawn graph, and what the page computes for it."""
    seconds, busy = [], []

    def open_graph(visit: Visit) -> None:
        start = time.perf_counter()
        visit.page.goto(f"file://{folder / 'graph.html'}")
        visit.page.wait_for_selector(".ul-node.unified")
        seconds.append(time.perf_counter() - start)

    for turn in range(rounds):
        visit = Visit(browser, "about:blank", 1440, f"graph{turn}", folder)
        busy.append(visit.busy(partial(open_graph, visit)))
    what = "graph of 448 classes and 217 labels (its own page)"
    return what, statistics.median(seconds), statistics.median(busy)


def switch(visit: Visit, server: Server, rounds: int) -> tuple[float, float]:
    """From the choice of a label space to its picture; measured in the page."""
    page = visit.page
    visit.all_spaces(5)  # they follow the first answer
    names = ["Toy streets, coarse classes", "Toy streets, mixed classes", "Unified labels"]
    seconds, before = [], server.busy()
    for turn in range(rounds):
        page.locator("#space input").click()
        option = page.get_by_role("option", name=names[turn % len(names)], exact=True)
        option.wait_for()
        page.evaluate(
            "() => { const host = document.querySelector('#viewer'); window.took = null;"
            " const start = performance.now();"
            " const old = host.querySelector('.ul-panel').dataset.space;"
            " let chosen = start; const look = () => { const now = host.querySelector('.ul-panel');"
            " if (now && now.dataset.space !== old) window.took = performance.now() - chosen;"
            " else requestAnimationFrame(look); };"
            " addEventListener('mousedown', () => { chosen = performance.now(); },"
            " { capture: true, once: true }); look(); }"
        )
        option.click()
        page.wait_for_function("window.took !== null")
        seconds.append(page.evaluate("window.took") / 1000)
    return statistics.median(seconds), (server.busy() - before) / rounds


def edit(browser: Any, server: Server, folder: Path, rounds: int) -> tuple[float, float]:
    """From a choice in a card to the card that shows it and the new prediction."""
    visit = Visit(browser, server.url, 1440, "edit", folder)
    page = visit.page
    visit.tab("Review")
    page.wait_for_selector("#review .ul-card")
    visit.next_run("review-viewer", "")
    host = "document.querySelector('#review .ul-host').dataset.run"

    def change(turn: int) -> str:
        select = page.locator("#review .ul-card").nth(5).locator("select").first
        select.focus()
        old: str = page.evaluate(host)
        values = select.locator("option").evaluate_all("all => all.map(o => o.value)")
        now = select.input_value()
        select.select_option(next(v for v in values[turn + 1 :] if v not in (now, "-1")))
        return old

    return waited(
        server, rounds, change, lambda old: page.wait_for_function(f"o => {host} !== o", arg=old)
    )


def as_table(rows: Sequence[tuple[str, float, float]]) -> str:
    """Markdown, with the machine below."""
    lines = [
        "| what a visitor waits for | seconds | processor seconds |",
        "| --- | --- | --- |",
    ]
    for what, seconds, busy in rows:
        lines.append(f"| {what} | {seconds:.2f} | {busy:.2f} |")
    facts = hardware()
    load = os.getloadavg()[0]
    lines.append("")
    lines.append(
        f"{facts['cpu']}, {facts['cores']} cores, {platform.system()}; {load:.1f} programs wanted "
        "a core while this was measured. Made by `benchmarks/demo.py`."
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and put it into a page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of everything but the start")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="page with the table's marks")
    args = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = chromium(playwright)
        if browser is None:
            raise SystemExit("no Chromium: install it (apt-get install chromium) or set CHROMIUM")
        table = as_table(measure(browser, Path(folder), args.rounds))
        browser.close()
    print(table)
    if args.markdown is not None:
        text = args.markdown.read_text(encoding="utf-8")
        block = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
        if not block.search(text):
            raise SystemExit(f"{args.markdown} has no {START} ... {END}")
        new = block.sub(lambda _: f"{START}\n{table}\n{END}", text)
        with atomic_path(args.markdown) as temporary:
            temporary.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
