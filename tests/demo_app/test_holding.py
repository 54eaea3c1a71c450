from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest

from unilabel.core.errors import UniLabelError
from unilabel.demo_app.holding import holding_page


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


def test_it_says_that_the_model_is_loaded_and_is_not_taken_for_the_demo(port: int) -> None:
    with holding_page("127.0.0.1", port):
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/any/page", timeout=10)
        with answer.value as page:
            assert page.code == 503
            text = page.read().decode()
        assert "Loading the model..." in text
        assert 'http-equiv="refresh"' in text  # comes back by itself
    with socket.socket() as next_server:  # the port is free again at once
        next_server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        next_server.bind(("127.0.0.1", port))


def test_a_port_that_is_taken(port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(UniLabelError, match=r"is not free.*choose another --port"):
            with holding_page("127.0.0.1", port):
                pytest.fail("it started")
