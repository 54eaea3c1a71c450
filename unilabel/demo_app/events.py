"""What the events of all tabs share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from unilabel.demo_app.engine import Engine
from unilabel.demo_app.session import Session

MODEL = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "minimal"}
PRIVATE = {**MODEL, "api_visibility": "private"}
QUIET = {**PRIVATE, "show_progress": "hidden"}  # where the viewer itself says that it waits
# What the page does by itself, see ``static/viewer.js``.
_VIEWER = "document.querySelector('#viewer .ul-host')?.unilabel"
BUSY = f"(...values) => {{ {_VIEWER}?.busy(); return values; }}"
IDLE = f"() => {{ {_VIEWER}?.idle('The server did not answer; try again.'); return []; }}"
ADDRESS = "(...values) => [...values.slice(0, -1), location.search]"
SWITCH = f"(...spaces) => {{ {_VIEWER}?.show(spaces); return spaces; }}"


def started(engine: Engine, session: Session | None) -> Session:
    """The visitor's session; a new one on the first visit, or when it was forgotten meanwhile."""
    engine.asked = time.monotonic()
    return Session.start(engine) if session is None else session


def evidence_server(engine: Engine) -> Callable[[Any], dict[str, Any]]:
    """The function through which a page asks for the photos of a link."""

    def link_evidence(link: Any) -> dict[str, Any]:
        """Photos of the link [dataset, class id, unified label]; none for anything else."""
        space = engine.predictor.label_space
        good = isinstance(link, list) and len(link) == 3 and space is not None
        if good and link[0] in space.label_spaces.names and all(type(v) is int for v in link[1:]):
            dataset, column, row = link
            classes = space.label_spaces.get(dataset).num_classes
            if 0 <= column < classes and 0 <= row < len(space.names):
                return engine.evidence.of_link(dataset, column, row)
        return {"agree": [], "differ": [], "facts": [], "status": "there is no such link"}

    return link_evidence
