"""What the review does, without the page: functions take a session and return payloads."""

from __future__ import annotations

import json
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.payloads import Note, data_url
from unilabel.demo_app.review_payload import review_payload
from unilabel.demo_app.session import Session


def edit(engine: Engine, session: Session, change: Any) -> tuple[str, str | None]:
    """Apply an edit of the page.

    Returns:
        what ``review.js`` shows, and the dataset whose links changed (None: none did).
    """
    review = session.review
    if review is None:
        raise UniLabelError("this model has no unified labels to review.")
    change = change if isinstance(change, dict) else {}
    row = change.get("id") if type(change.get("id")) is int else -1
    dataset: str | None = None
    notes: list[Note] = []
    refused = None
    try:
        operation = change.get("op")
        if operation == "link":
            dataset = str(change.get("dataset"))
            names = review.base.label_spaces.get(dataset).class_names
            value = change.get("value")
            if type(value) is not int or not -1 <= value < len(names):
                raise UniLabelError(f"{dataset} has no class {value!r}.")
            review.set_link(row, dataset, None if value < 0 else names[value])
        elif operation == "name":
            review.rename(row, change.get("value"))
        elif operation == "colour":
            review.recolour(row, _color(change.get("value")))
        elif operation == "check":
            review.check(row, change.get("value") is True)
        elif operation in ("undo", "redo", "reset"):
            {"undo": review.undo, "redo": review.redo, "reset": review.reset}[operation]()
        else:
            raise UniLabelError("unknown edit.")
    except UniLabelError as error:
        notes, refused, dataset = [("error", str(error))], row, None
    return review_payload(session, engine.similarity, notes, refused), dataset


def _color(value: Any) -> tuple[int, int, int]:
    text = value if isinstance(value, str) else ""
    try:
        if len(text) != 7 or text[0] != "#":
            raise ValueError
        number = int(text[1:], 16)
    except ValueError:
        raise UniLabelError(f"{text[:20]!r} is no colour, expected #rrggbb.") from None
    return number >> 16, number >> 8 & 255, number & 255


def saved_file(name: str, text: str) -> str:
    """A JSON file for ``download.js``."""
    return json.dumps({"name": name, "url": data_url(text.encode(), "application/json")})


def save_label_space(session: Session) -> str:
    """The edited label space as a file.

    Raises:
        UniLabelError: the edits leave a class without a unified label.
    """
    if session.review is None:
        raise UniLabelError("this model has no unified labels to save.")
    content = session.review.export().to_dict()
    return saved_file("label_space.json", json.dumps(content, indent=1, ensure_ascii=False))


def save_diff(session: Session) -> str:
    """What the edits changed, as a file."""
    if session.review is None:
        raise UniLabelError("this model has no unified labels to save.")
    content = session.review.diff()
    return saved_file("label_space_diff.json", json.dumps(content, indent=1, ensure_ascii=False))
