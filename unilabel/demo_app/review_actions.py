"""What the review does, without the page: functions take a session and return payloads."""

from __future__ import annotations

import json
import logging
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import write_json
from unilabel.demo_app.changes import is_changes
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.payloads import Note, download_payload
from unilabel.demo_app.review_payload import review_payload
from unilabel.demo_app.session import MAX_JSON, Session, read_content, read_label_space
from unilabel.demo_app.uploads import Inbox

logger = logging.getLogger(__name__)


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
        elif operation == "give_back":
            dataset = str(change.get("dataset"))
            review.give_back(dataset, str(change.get("value")))
        elif operation == "load":
            review.load(change.get("value"), "the draft of this browser")
        elif operation in ("undo", "redo", "reset"):
            {"undo": review.undo, "redo": review.redo, "reset": review.reset}[operation]()
        else:
            raise UniLabelError("unknown edit.")
    except UniLabelError as error:
        notes, refused, dataset = [("error", str(error))], row, None
    notes += autosave(engine, session)
    return review_payload(engine, session, notes, refused), dataset


def load_edits(engine: Engine, session: Session, inbox: Inbox, path: str | None) -> str:
    """Continue with an uploaded ``label_space.json``, or a file of changes only."""
    note: Note
    try:
        name, data = inbox.take(path, MAX_JSON)
        note = ("info", use_edits(session, read_content(data), name))
    except UniLabelError as error:
        note = ("error", str(error))
    return review_payload(engine, session, [note, *autosave(engine, session)])


def use_edits(session: Session, content: Any, name: str) -> str:
    """Use the content of a ``label_space.json`` or a file of changes; a sentence about it.

    Raises:
        UniLabelError: it is malformed, or of another model.
    """
    review = session.review
    if review is None:
        raise UniLabelError("this model has no unified labels; a label space cannot be used.")
    if is_changes(content):
        review.load(content, name)
    else:
        review.replace(read_label_space(content, review.base), f"{name} loaded")
    changed = len(review.diff()["links"])
    return f"The label space is in use; {changed} links differ from the model's own."


def autosave(engine: Engine, session: Session) -> list[Note]:
    """Write the edits below the folder that the demo was started with, if there is one.

    Returns:
        what went wrong.
    """
    review = session.review
    if engine.reviews is None or review is None or not (review.changed or session.stored):
        return []
    folder = engine.reviews / session.key
    try:
        write_json(folder / "changes.json", review.diff())
        if not review.problems():
            write_json(folder / "label_space.json", review.export().to_dict())
    except UniLabelError as error:
        logger.error("%s", error)
        return [("error", "The server could not store the edits; save them as a file.")]
    session.stored = f"{engine.reviews.name}/{session.key}"
    return []


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
    return download_payload(name, text.encode(), "application/json")


def save_label_space(session: Session) -> str:
    """The edited label space as a file.

    Raises:
        UniLabelError: the edits leave a class without a unified label.
    """
    if session.review is None:
        raise UniLabelError("this model has no unified labels to save.")
    content = session.review.export().to_dict()
    session.saved = session.review.draft
    return saved_file("label_space.json", json.dumps(content, indent=1, ensure_ascii=False))


def save_diff(session: Session) -> str:
    """What the edits changed, as a file."""
    if session.review is None:
        raise UniLabelError("this model has no unified labels to save.")
    content = session.review.diff()
    session.saved = session.review.draft
    return saved_file("label_space_diff.json", json.dumps(content, indent=1, ensure_ascii=False))
