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
from unilabel.demo_app.engine import Picture, next_run
from unilabel.demo_app.outputs import label_png, prediction_record
from unilabel.predictor import Prediction

Note = tuple[str, str]  # "error" or "info", and a sentence
_CONFIDENCE_SIDE = 480  # pixels of the confidence that the page gets
_PNG_PIXELS = 250_000  # smaller pictures are sent without loss


@dataclass(frozen=True)
class Panel:
    """One label map beside the others.

    Attributes:
        title: heading.
        prediction: the labels.
        space: the unified labels and links that it was made with, if there are any.
        unseen: the mapping that it was made with, if there is one.
    """

    title: str
    prediction: Prediction
    space: UnifiedLabelSpace | None
    unseen: TransferMapping | None = None


def data_url(data: bytes, kind: str) -> str:
    """The bytes as an address that needs no server."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


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
    picture: Picture | None, panels: Sequence[Panel], notes: Sequence[Note] = ()
) -> str:
    """What ``viewer.js`` shows; without a picture only the notes."""
    payload: dict[str, Any] = {"run": next_run(), "notes": list(notes), "image": "", "panels": []}
    if picture is not None:
        payload["notes"] += [("info", note) for note in picture.notes]
        payload |= {
            "name": picture.name,
            "stem": file_stem(picture.name),
            "image": picture_url(picture.pixels),
            "panels": [_panel(panel, picture) for panel in panels],
        }
    return json.dumps(payload, ensure_ascii=False)


def file_stem(name: str) -> str:
    """A harmless file name from any text."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name.rsplit(".", 1)[0]).strip("_")[:60] or "picture"


def _panel(panel: Panel, picture: Picture) -> dict[str, Any]:
    prediction = panel.prediction
    png = data_url(label_png(prediction), "image/png")
    wide = len(prediction.names) > 255
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
            }
        )
    return {
        "title": panel.title,
        "space": prediction.space,
        "stem": file_stem(panel.title),
        "wide": wide,
        "labels": _two_byte_png(prediction.labels) if wide else png,
        "file": png if wide else "",  # 16 bit: what is saved, but a page cannot read it
        "confidence": _confidence_url(prediction),
        "entries": entries,
        "record": prediction_record(prediction, picture.name),
    }


def _two_byte_png(labels: NDArray[np.int16]) -> str:
    """Low byte in red, high byte in green."""
    split = np.stack([labels & 255, labels >> 8, np.zeros_like(labels)], -1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(split).save(buffer, "PNG")
    return data_url(buffer.getvalue(), "image/png")


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
    """What a label is called in the datasets, through the unified labels."""

    def __init__(self, panel: Panel) -> None:
        self.space = panel.space
        self.name = panel.prediction.space
        self.unseen = panel.unseen

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
        if self.name == UNIFIED:
            rows = [index]
        else:
            rows = self.space.mapping[self.name][:, index].nonzero().flatten().tolist()
            found.append(("unified labels", ", ".join(self.space.names[row] for row in rows)))
        for classes in self.space.label_spaces:
            if classes.name != self.name:
                columns = self.space.mapping.class_of(classes.name)[rows].tolist()
                names = [classes.class_names[c] for c in dict.fromkeys(columns) if c >= 0]
                found.append((classes.display_name or classes.name, ", ".join(names)))
        return found


def thumbnails(pictures: Sequence[Picture]) -> str:
    """Pictures to choose from, for ``pick.js``."""
    return json.dumps([{"name": p.name, "image": picture_url(p.pixels)} for p in pictures])
