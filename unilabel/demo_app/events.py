"""What the events of all tabs share."""

from __future__ import annotations

from unilabel.demo_app.engine import Engine
from unilabel.demo_app.session import Session

MODEL = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "minimal"}
PRIVATE = {**MODEL, "api_visibility": "private"}


def started(engine: Engine, session: Session | None) -> Session:
    """The visitor's session; a new one on the first visit, or when it was forgotten meanwhile."""
    return Session.start(engine) if session is None else session
