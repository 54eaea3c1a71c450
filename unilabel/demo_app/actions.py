"""What the page does, without the page: every function takes a session and returns payloads."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import UNIFIED
from unilabel.core.transfer import TransferMapping, is_transfer_mapping
from unilabel.demo_app.engine import Engine, next_run
from unilabel.demo_app.forms import FORMS, write_form
from unilabel.demo_app.images import decode_image
from unilabel.demo_app.payloads import (
    Note,
    Panel,
    download_payload,
    file_stem,
    more_payload,
    viewer_payload,
)
from unilabel.demo_app.pictures import Picture
from unilabel.demo_app.session import (
    MAX_JSON,
    Session,
    read_content,
    read_label_space,
    read_mapping,
)
from unilabel.demo_app.uploads import Inbox

logger = logging.getLogger(__name__)

BASE = "base:"  # marks a label space as the model learned it, without the visitor's edits
NONE = "none"
NO_EXAMPLES = (
    "There are no example pictures that fit this model; choose one of your own. (--examples DIR "
    "shows those of a folder.)"
)
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
    engine: Engine,
    session: Session,
    spaces: Sequence[str],
    notes: Sequence[Note] = (),
    aside: bool = False,
) -> str:
    """Predict the session's picture in one or two label spaces, for ``viewer.js``.

    Args:
        engine: the model.
        session: its picture is predicted.
        spaces: at most two label spaces as the page names them.
        notes: messages above the picture.
        aside: for another viewer than that of the Predict tab.
    """
    run = next_run()
    if not aside:
        session.run, session.sent, session.shown = run, (), session.asked()
    if session.picture is None:
        text = f"{engine.gallery.note} {NO_EXAMPLES}".strip()
        text = "Choose a picture." if engine.examples else text
        return viewer_payload(None, (), [*notes, ("info", text)], run=run)
    start = time.perf_counter()
    size = (session.picture.pixels.shape[0], session.picture.pixels.shape[1])
    if note := engine.predictor.size_note(size, session.short_side):
        notes = [*notes, ("info", note[0].upper() + note[1:] + ".")]
    foreign = engine.energy_note(session.picture)
    if foreign:
        notes = [*notes, ("warning", foreign)]
    known = all_choices(engine, session)
    found = []
    for choice in spaces:
        if choice in known:
            found.append(choice)
        elif choice != NONE:  # an unseen dataset of a session that was forgotten
            notes = [*notes, ("error", f"{choice!r} is not known any more; upload its file again.")]
    panels = [_panel(engine, session, session.picture, choice) for choice in found]
    if not aside:
        session.sent = (*found,)
    return viewer_payload(
        session.picture,
        panels,
        notes,
        run=run,
        seconds=round(time.perf_counter() - start, 2),
        edited=session.edited,
        foreign=bool(foreign),
        example=_example_number(engine, session.picture),
        aside=aside,
        forms=() if aside else list(FORMS.items()),
    )


def other_spaces(engine: Engine, session: Session) -> str:
    """The label spaces that the last answer did not hold, for the browser to change between.

    Stops when the visitor has asked for something else meanwhile.

    Returns:
        what ``more.js`` hands over; "" when the page has all of them, or a newer answer is due.
    """
    run, picture = session.run, session.picture
    panels: list[Panel] = []
    if picture is None:
        return ""
    for choice in all_choices(engine, session):
        if session.run != run:
            break
        if choice not in session.sent and (session.edited or not choice.startswith(BASE)):
            panels.append(_panel(engine, session, picture, choice))
    if session.run != run or not panels:
        return ""
    session.sent += tuple(panel.choice for panel in panels)
    return more_payload(run, picture.name, panels)


def _panel(engine: Engine, session: Session, picture: Picture, choice: str) -> Panel:
    """The label map of one label space, as the page names it."""
    encoded = engine.encode(picture, session.short_side, session.tta)
    base, name = choice.startswith(BASE), choice.removeprefix(BASE)
    predictor = session.predictor(engine, edited=not base)
    unseen = session.unseen if name not in engine.predictor.spaces else None
    title = space_title(engine, name) if unseen is None else unseen_title(unseen)
    if session.edited:
        title += ", before edits" if base else ", with your edits"
    return Panel(choice, title, predictor.predict(encoded, name), predictor.label_space, unseen)


def _example_number(engine: Engine, picture: Picture) -> int | None:
    """Where a picture stands among the examples, for the address of the page."""
    numbers = [index for index, example in enumerate(engine.examples) if example is picture]
    return numbers[0] if numbers else None


def all_choices(engine: Engine, session: Session) -> list[str]:
    """Every label space as the page names it: with the visitor's edits, then without."""
    names = [name for _, name in space_choices(engine, session)]
    before = [] if engine.predictor.label_space is None else engine.predictor.spaces
    return [*names, *(BASE + name for name in before)]


def read_address(engine: Engine, session: Session, search: Any) -> tuple[int, str | None]:
    """Example and label space that the address of the page names: the first and None, if none."""
    query = parse_qs(search.removeprefix("?")[:1000]) if isinstance(search, str) else {}
    picture, space = (query.get(key, [""])[0] for key in ("picture", "space"))
    index = int(picture) if picture.isdecimal() and len(picture) < 4 else 0
    known = [name for _, name in space_choices(engine, session)]
    return index if index < len(engine.examples) else 0, space if space in known else None


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


def form_file(engine: Engine, session: Session, asked: Any) -> str:
    """The label map that the page asks for in one of :data:`FORMS`, for ``download.js``."""
    asked = asked if isinstance(asked, dict) else {}
    choice = asked.get("space")
    if session.picture is None or choice not in all_choices(engine, session):
        raise UniLabelError("there is no such label map any more; choose the picture again.")
    panel = _panel(engine, session, session.picture, choice)
    file = write_form(str(asked.get("form")), panel.prediction, session.picture.name)
    name = f"{file_stem(session.picture.name)}_{file_stem(panel.title)}{file.suffix}"
    return download_payload(name, file.data, file.kind)
