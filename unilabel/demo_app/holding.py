"""What a visitor sees while the model is loaded: a page that says so and tries again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from unilabel.core.errors import UniLabelError

_PAGE = b"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="1">
<title>unilabel</title><style>:root { color-scheme: light dark; }
body { font: 18px/1.5 system-ui, sans-serif; display: grid; place-content: center; height: 90vh; }
</style></head><body><h1>unilabel</h1><p role="status">Loading the model...</p></body></html>"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503)  # so that nobody takes it for the demo
        self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(_PAGE)))
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, *_: object) -> None:  # nothing that a person needs to read
        pass


@contextlib.contextmanager
def holding_page(host: str, port: int) -> Iterator[None]:
    """Answer every request with "Loading the model..." until the block ends.

    Raises:
        UniLabelError: the port is taken.
    """
    try:
        server = ThreadingHTTPServer((host, port), _Handler)
    except OSError as error:
        raise port_is_taken(host, port, error) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def port_is_taken(host: str, port: int, error: OSError) -> UniLabelError:
    """What to say about an address that cannot be used."""
    return UniLabelError(
        f"the port {port} of {host} is not free ({error.strerror or error}); choose another --port."
    )
