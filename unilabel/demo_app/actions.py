"""What the page does, without the page: every function takes a session and returns payloads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import UNIFIED
from unilabel.core.transfer import TransferMapping
from unilabel.demo_app.engine import Engine, Picture
from unilabel.demo_app.images import decode_image
from unilabel.demo_app.payloads import Note, Panel, viewer_payload
from unilabel.demo_app.session import (
    MAX_JSON,
    Session,
    read_content,
    read_label_space,
    read_mapping,
)
from unilabel.demo_app.uploads import Inbox
from unilabel.predictor import is_transfer_mapping

logger = logging.getLogger(__name__)

BASE = "base:"  # marks a label space as the model learned it, without the visitor's edits
NONE = "none"
# Choices of the short side for the network, pixels.
SIDES = {
    "as the model was tested": -1,
    "as it is": 0,
    "256": 256,
    "384": 384,
    "512": 512,
    "720": 720,
}


def space_title(engine: Engine, name: str) -> str:
    """A label space as people call it."""
    if name == UNIFIED:
        return "Unified labels"
    return engine.predictor.model.label_spaces.get(name).display_name or name


def space_choices(engine: Engine, session: Session | None = None) -> list[tuple[str, str]]:
    """Title and value of the label spaces, "unified" first, a visitor's unseen dataset last."""
    names = sorted(engine.predictor.spaces, key=lambda name: name != UNIFIED)
    choices = [(space_title(engine, name), name) for name in names]
    if session is not None and session.unseen is not None:
        choices.append((unseen_title(session.unseen), session.unseen.label_space.name))
    return choices


def unseen_title(mapping: TransferMapping) -> str:
    """What the classes of an unseen dataset are called."""
    space = mapping.label_space
    return f"Unseen: {space.display_name or space.name}"


def second_choices(engine: Engine) -> list[tuple[str, str]]:
    """The same for the panel beside it: also none, and each without edits."""
    choices = space_choices(engine)
    if engine.predictor.label_space is None:
        return [("nothing", NONE), *choices]
    before = [(f"{title}, before edits", BASE + name) for title, name in choices]
    return [("nothing", NONE), *choices, *before]


def answer(
    engine: Engine, session: Session, spaces: Sequence[str], notes: Sequence[Note] = ()
) -> str:
    """Predict the session's picture in one or two label spaces, for ``viewer.js``."""
    if session.picture is None:
        return viewer_payload(None, (), [*notes, ("info", "Choose a picture.")])
    size = (session.picture.pixels.shape[0], session.picture.pixels.shape[1])
    if note := engine.predictor.size_note(size, session.short_side):
        notes = [*notes, ("info", note[0].upper() + note[1:] + ".")]
    encoded = engine.encode(session.picture, session.short_side, session.tta)
    panels = []
    for choice in spaces:
        if choice == NONE:
            continue
        base = choice.startswith(BASE)
        name = choice.removeprefix(BASE)
        predictor = session.predictor(engine, edited=not base)
        if name not in predictor.spaces:  # an unseen dataset of a session that was forgotten
            notes = [*notes, ("error", f"{name!r} is not known any more; upload its file again.")]
            continue
        prediction = predictor.predict(encoded, name)
        unseen = session.unseen if name not in engine.predictor.spaces else None
        title = space_title(engine, name) if unseen is None else unseen_title(unseen)
        if session.edited:
            title += ", before edits" if base else ", with your edits"
        panels.append(Panel(title, prediction, predictor.label_space, unseen))
    return viewer_payload(session.picture, panels, notes)


def choose_example(engine: Engine, session: Session, index: Any, spaces: Sequence[str]) -> str:
    """Show one of the examples."""
    if type(index) is not int or not 0 <= index < len(engine.examples):
        return answer(engine, session, spaces, [("error", "there is no such example.")])
    session.picture = engine.examples[index]
    return answer(engine, session, spaces)


def choose_upload(
    engine: Engine, session: Session, inbox: Inbox, path: str | None, spaces: Sequence[str]
) -> str:
    """Read an uploaded picture and predict it; a bad one leaves the picture before."""
    try:
        name, data = inbox.take(path, engine.limits.max_bytes)
        image = decode_image(data, name, engine.limits)
        session.picture = Picture(name, image.pixels, image.notes)
    except UniLabelError as error:
        return answer(engine, session, spaces, [("error", str(error))])
    return answer(engine, session, spaces)


def upload_label_space(
    engine: Engine, session: Session, inbox: Inbox, path: str | None, spaces: Sequence[str]
) -> str:
    """Use an uploaded ``label_space.json``, or mapping to an unseen dataset, from now on."""
    note: Note
    try:
        name, data = inbox.take(path, MAX_JSON)
        content = read_content(data)
        if is_transfer_mapping(content):
            session.unseen = read_mapping(data, engine.predictor)
            unseen = session.unseen.label_space.name
            note = ("info", f"The prediction is shown in the classes of {unseen!r}.")
            return answer(engine, session, [unseen, *spaces[1:]], [note])
        if session.review is None:
            raise UniLabelError("this model has no unified labels; a label space cannot be used.")
        session.review.replace(read_label_space(content, session.review.base), f"{name} loaded")
        changed = len(session.review.diff()["links"])
        note = ("info", f"The label space is in use; {changed} links differ from the model's own.")
    except UniLabelError as error:
        note = ("error", str(error))
    return answer(engine, session, spaces, [note])


def title_of(path: Path) -> str:
    """What a model is called: its folder and file, no more of the path."""
    return f"{path.resolve().parent.name}/{path.name}"
