from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from visit import chromium

from unilabel.demo_app.weights import SHIPPED


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium of the system; CHROMIUM names another one."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = chromium(playwright)
        if browser is None:
            pytest.skip("no Chromium: install it (apt-get install chromium) or set CHROMIUM")
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _pages_are_closed(browser: Any) -> Iterator[None]:
    """A page that stays open goes on asking the server."""
    yield
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, start_demo: Callable[..., Iterator[Any]]
) -> Iterator[Any]:
    """The demo with the model of the repository, whatever was trained beside it."""
    yield from start_demo(tmp_path_factory.mktemp("demo"), SHIPPED)
