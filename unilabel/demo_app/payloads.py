"""What the page's components show, as JSON. The scripts in ``static`` say how it is drawn."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unilabel.core.label_space import UNIFIED
from unilabel.core.transfer import TransferMapping
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.demo_app.engine import next_run
from unilabel.demo_app.outputs import label_png, prediction_record
from unilabel.demo_app.pictures import Picture
from unilabel.predictor import Prediction

Note = tuple[str, str]  # "error", "warning" or "info", and a sentence
_CONFIDENCE_SIDE = 480  # pixels of the confidence that the page gets
_THUMBNAIL = 200  # pixels
_PNG_PIXELS = 250_000  # smaller pictures are sent without loss


@dataclass(frozen=True)
class Panel:
    """One label map beside the others.

    Attributes:
        choice: the label space as the page names it, see ``actions.BASE``.
        title: heading.
        prediction: the labels.
        space: the unified labels and links that it was made with, if there are any.
        unseen: the mapping that it was made with, if there is one.
    """

    choice: str
    title: str
    prediction: Prediction
    space: UnifiedLabelSpace | None
    unseen: TransferMapping | None = None


def data_url(data: bytes, kind: str) -> str:
    """The bytes as an address that needs no server."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def download_payload(name: str, data: bytes, kind: str) -> str:
    """A file for ``download.js``; numbered, for the page overlooks a value that it has already."""
    return json.dumps({"run": next_run(), "name": name, "url": data_url(data, kind)})


def picture_url(pixels: NDArray[np.uint8]) -> str:
    """A picture as a data URL: PNG if it is small, else JPEG."""
    small = pixels.shape[0] * pixels.shape[1] <= _PNG_PIXELS
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if small:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=90)
    return data_url(buffer.getvalue(), "image/png" if small else "image/jpeg")


def viewer_payload(
    picture: Picture | None,
    panels: Sequence[Panel],
    notes: Sequence[Note] = (),
    *,
    run: int | None = None,
    **more: Any,
) -> str:
    """What ``viewer.js`` shows; without a picture only the notes.

    Args:
        picture: the photo.
        panels: label maps that are shown at once, beside each other.
        notes: messages above it.
        run: number of the answer.
        more: ``seconds`` that it took, ``edited`` whether the visitor changed the label space,
            ``forms`` [value, text] in which the page may ask for a label map, ``foreign`` whether
            the picture is unlike those of the training, ``example`` its number among the examples.
    """
    run = next_run() if run is None else run
    payload: dict[str, Any] = {"run": run, "notes": list(notes), "image": "", "panels": []}
    if picture is not None:
        payload["notes"] += [("info", note) for note in picture.notes]
        payload |= {
            "name": picture.name,
            "key": picture.key,
            "stem": file_stem(picture.name),
            "image": picture_url(picture.pixels),
            "panels": [_panel(panel, picture.name) for panel in panels],
            **more,
        }
    return json.dumps(payload, ensure_ascii=False)


def more_payload(run: int, name: str, panels: Sequence[Panel]) -> str:
    """Further label maps of the answer ``run`` to the picture ``name``, without the photo."""
    content = {"run": run, "panels": [_panel(panel, name) for panel in panels]}
    return json.dumps(content, ensure_ascii=False)


def file_stem(name: str) -> str:
    """A harmless file name from any text."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name.rsplit(".", 1)[0]).strip("_")[:60] or "picture"


def _panel(panel: Panel, name: str) -> dict[str, Any]:
    prediction = panel.prediction
    entries = []
    called = _Names(panel)
    for index in np.argsort(-prediction.shares, kind="stable").tolist():
        if prediction.shares[index] == 0:
            break
        entries.append(
            {
                "id": index,
                "name": prediction.names[index],
                "color": prediction.colors[index],
                "share": float(prediction.shares[index]),
                "called": called.of(index),
                "rows": called.rows(index),
            }
        )
    return {
        "id": panel.choice,
        "title": panel.title,
        "space": prediction.space,
        "stem": file_stem(panel.title),
        "labels": data_url(label_png(prediction, palette=True), "image/png"),
        "confidence": _confidence_url(prediction),
        "entries": entries,
        "record": prediction_record(prediction, name),
    }


def _confidence_url(prediction: Prediction) -> str:
    if prediction.confidence is None:
        return ""
    height, width = prediction.confidence.shape
    step = max(1, -(-max(height, width) // _CONFIDENCE_SIDE))
    first = min(step // 2, height - 1), min(step // 2, width - 1)
    coarse = prediction.confidence[first[0] :: step, first[1] :: step].astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(coarse * 255).astype(np.uint8)).save(buffer, "PNG")
    return data_url(buffer.getvalue(), "image/png")


class _Names:
    """What a label is called elsewhere, through the unified labels."""

    def __init__(self, panel: Panel) -> None:
        self.space = panel.space
        self.name = panel.prediction.space
        self.unseen = panel.unseen

    def rows(self, index: int) -> list[int]:
        """Unified labels that a label stands for, so that labels of two spaces can be compared."""
        if self.unseen is not None:
            own = (self.unseen.class_of == index).nonzero().flatten().tolist()
            return sorted({row for label in own for row in self._rows(self.unseen.space, label)})
        return self._rows(self.name, index)

    def _rows(self, space: str, index: int) -> list[int]:
        if self.space is None or space == UNIFIED:
            return [index] if self.space is not None else []
        return self.space.mapping[space][:, index].nonzero().flatten().tolist()

    def of(self, index: int) -> list[tuple[str, str]]:
        """Label space and name, for every label space but the label's own."""
        if self.unseen is not None:
            labels = zip(self.unseen.names, self.unseen.class_of.tolist(), strict=True)
            own = index if index < self.unseen.label_space.num_classes else -1
            names = [name for name, column in labels if column == own]
            return [(f"labels of {self.unseen.space}", ", ".join(names))]
        if self.space is None:
            return []
        found: list[tuple[str, str]] = []
        rows = self.rows(index)
        if self.name != UNIFIED:
            found.append(("unified labels", ", ".join(self.space.names[row] for row in rows)))
        for classes in self.space.label_spaces:
            if classes.name != self.name:
                columns = self.space.mapping.class_of(classes.name)[rows].tolist()
                names = [classes.class_names[c] for c in dict.fromkeys(columns) if c >= 0]
                found.append((classes.display_name or classes.name, ", ".join(names)))
        return found


def thumbnails(pictures: Sequence[Picture]) -> str:
    """Pictures to choose from, for ``pick.js``."""
    return json.dumps([{"name": p.name, "image": picture_url(_small(p.pixels))} for p in pictures])


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return np.asarray(image)
