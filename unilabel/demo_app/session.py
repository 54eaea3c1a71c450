"""What belongs to one visitor."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from unilabel.core.errors import UniLabelError
from unilabel.core.transfer import TransferMapping
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.demo_app.changes import Draft
from unilabel.demo_app.editing import Review
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.jobs import Job
from unilabel.demo_app.pictures import Picture
from unilabel.predictor import UniLabelPredictor, check_label_space

MAX_JSON = 8 * 2**20  # bytes of an uploaded label space


@dataclass
class Session:
    """Picture and edits of a visitor.

    Attributes:
        review: the edits; None for a model without unified labels.
        picture: the picture that is shown.
        short_side: see :meth:`UniLabelPredictor.encode`; None: as the model was tested.
        tta: see :meth:`UniLabelPredictor.encode`.
        unseen: mapping to a dataset that the model was not trained on.
        saved: the edits as they were when they were last saved as a file.
        stored: where the server keeps the edits, if it does.
        key: distinct for every visitor.
        run: number of the answer that the Predict tab shows.
        sent: the label spaces of that answer.
        shown: what it is an answer to, see :meth:`asked`.
        jobs: longer work on a file, by the part of the page that does it.
    """

    review: Review | None
    picture: Picture | None = None
    short_side: int | None = None
    tta: bool = False
    unseen: TransferMapping | None = None
    saved: Draft | None = None
    stored: str = ""
    key: str = field(default_factory=lambda: f"{time.strftime('%Y-%m-%d_%H%M')}_{uuid4().hex[:8]}")
    run: int = 0
    sent: tuple[str, ...] = ()
    shown: tuple[Any, ...] | None = None
    jobs: dict[str, Job] = field(default_factory=dict)

    @classmethod
    def start(cls, engine: Engine) -> Session:
        """A new visitor."""
        own = engine.predictor.label_space
        return cls(None if own is None else Review(own))

    @property
    def edited(self) -> bool:
        """Whether the visitor's label space differs from the model's."""
        return self.review is not None and self.review.valid is not self.review.base

    def asked(self) -> tuple[Any, ...]:
        """All that an answer depends on: equal for two answers that are equal."""
        key = None if self.picture is None else self.picture.key
        space = None if self.review is None else id(self.review.valid)
        return key, space, id(self.unseen), self.short_side, self.tta

    def predictor(self, engine: Engine, edited: bool = True) -> UniLabelPredictor:
        """The model under the visitor's links, or (``edited`` False) under its own."""
        own = engine.predictor
        space = own.label_space if self.review is None or not edited else self.review.valid
        sides = own.test_size, own.crop_side
        return UniLabelPredictor(own.model, space, *sides, self.unseen)


def read_content(data: bytes) -> Any:
    """The content of an uploaded JSON file.

    Raises:
        UniLabelError: it is too large or malformed.
    """
    if len(data) > MAX_JSON:
        raise UniLabelError(f"the file has {len(data)} bytes, at most {MAX_JSON} are accepted.")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise UniLabelError("the file is not valid JSON; save it again.") from None


def read_mapping(data: bytes, own: UniLabelPredictor) -> TransferMapping:
    """An uploaded mapping of a model to a dataset that it was not trained on.

    Raises:
        UniLabelError: it is malformed, or of another model.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mapping.json")
        path.write_bytes(data)
        try:
            mapping = TransferMapping.load(path)
        except UniLabelError as error:  # visitors do not see folders of the server
            raise UniLabelError(str(error).replace(str(path), "the mapping")) from None
    own.with_mapping(mapping)  # checks that it belongs to the model
    return mapping


def read_label_space(content: Any, own: UnifiedLabelSpace) -> UnifiedLabelSpace:
    """The content of an uploaded ``label_space.json`` for a model.

    Raises:
        UniLabelError: it is malformed, or of another model.
    """
    name = "the label space"
    # Sizes first: what is built below grows with datasets x classes x labels.
    sizes = {"labels": len(own.names), "datasets": len(own.label_spaces)}
    for key, expected in sizes.items():
        found = content.get(key) if isinstance(content, dict) else None
        if not isinstance(found, list) or len(found) != expected:
            count = f"{len(found)} entries" if isinstance(found, list) else "no list"
            raise UniLabelError(
                f'{name} has {count} under "{key}", this model has {expected}; it is no '
                "label_space.json of this model."
            )
    try:
        space = UnifiedLabelSpace.from_dict(content, name)
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UniLabelError(f"{name} has an entry of the wrong type; save it again.") from error
    check_label_space(own, space)
    return space
