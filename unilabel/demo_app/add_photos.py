"""A visitor's labelled photos become one more label space of the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import unilabel
from unilabel.core.errors import UniLabelError
from unilabel.data.folders import folder_source
from unilabel.demo_app import children
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.harmonise import MAX_PHOTOS, zip_of
from unilabel.demo_app.jobs import JobFile, job_status
from unilabel.demo_app.payloads import file_stem, picture_url
from unilabel.demo_app.unpack import unpack
from unilabel.demo_app.uploads import Inbox
from unilabel.predictor import build_predictor
from unilabel.visual.overlay import overlay

ADD_HINT = (
    "A zip of about ten photos with labels in classes of your own: a folder with `images/`, "
    "`labels/` and `classes.json`. The model learns how your classes are related to its labels, "
    "and answers in them from then on; what it knew stays as it was. You get the model as a file."
)
_POLL = 0.5  # seconds; between two looks a job can be cancelled
_PHASES = 3  # messages of a job until it is done
_SHOWN = 3  # pictures of the result
_SIDE = 320  # pixels of their longer side
_MOST_BYTES = 60 * 2**20  # of a model that the page hands over


def add_photos(engine: Engine, inbox: Inbox, path: str | None) -> Iterator[str]:
    """Add the dataset of a zip and yield the progress, at the end the model.

    Nothing stays on the disk, and nothing goes on, when the visitor cancels.
    """
    with tempfile.TemporaryDirectory(dir=inbox.work) as temporary:
        folder = Path(temporary)
        try:
            name, data = inbox.take(path, engine.limits.max_bytes)
            yield job_status([f"Unpacking {name}."], 0.0)
            root = unpack(data, name, folder / "given")
            _check(engine, root)
            output = folder / "model" / "model_added.pth"
            output.parent.mkdir()
            result: dict[str, Any] = {}
            for result in _work(engine, root, output):
                if "text" in result:
                    yield job_status(
                        [f"{result['text']} {result['seconds']:.0f} s"], result["share"]
                    )
            if "lines" not in result:
                raise UniLabelError(result.get("error", "the job ended without an answer."))
            yield job_status(["Trying it on your photos."], 0.95)
            lines, file = list(result["lines"]), None
            if sum(p.stat().st_size for p in output.parent.iterdir()) <= _MOST_BYTES:
                file = JobFile(f"{file_stem(name)}_model.zip", zip_of(output.parent))
            else:
                lines.append("The model is too large to be handed over by this page.")
            lines.append("Below: photos of yours as the model reads them now.")
            pictures = _seen(output, root, result["dataset"])
            yield job_status(lines, None, "info", file, pictures)
        except UniLabelError as error:
            text = str(error).replace(str(folder / "given"), "the zip")
            yield job_status([text.replace(str(folder), "the zip")], None, "error")


def _check(engine: Engine, root: Path) -> None:
    if engine.weights is None:
        raise UniLabelError("this demo was started without a model file.")
    count = len(folder_source(str(root)).samples("train"))
    if count > MAX_PHOTOS:
        raise UniLabelError(
            f"the zip holds {count} photos, at most {MAX_PHOTOS} are accepted here; use "
            "tools/add_dataset.py on your own machine."
        )


def _work(engine: Engine, root: Path, output: Path) -> Iterator[dict[str, Any]]:
    """What the job says, again and again; its last words at the end."""
    folder = output.parent.parent
    words = folder / "words"
    command = [sys.executable, "-W", "ignore", "-m", "unilabel.demo_app.add_job"]
    package = str(Path(unilabel.__file__).parents[1])
    own = {"PYTHONPATH": package, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    environment = {**os.environ, **own}
    start = time.monotonic()
    with open(words, "w", encoding="utf-8") as said:
        process = children.start(
            [*command, str(engine.weights), str(root), str(output)],
            stdout=said, stderr=subprocess.DEVNULL, env=environment, cwd=output.parent,
        )  # fmt: skip
    try:
        while True:
            ended = process.poll() is not None
            lines = words.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [json.loads(line) for line in lines if line.endswith("\n")]
            now = whole[-1] if whole else {"text": "Starting."}
            share = min(len(whole), _PHASES) / (_PHASES + 1)
            yield {**now, "seconds": time.monotonic() - start, "share": share}
            if ended:
                return
            time.sleep(_POLL)
    finally:
        children.end(process)


def _seen(model: Path, root: Path, dataset: str) -> list[str]:
    """A few of the photos as the new model reads them."""
    predictor = build_predictor(model, optimize=False)
    pictures = []
    source = folder_source(str(root))
    for sample in source.samples("train")[:_SHOWN]:
        pixels = source.read_image(sample.image)
        answer = predictor.predict(pixels, dataset, confidence=False)
        shown = Image.fromarray(overlay(pixels, answer.labels, answer.colors))
        shown.thumbnail((_SIDE, _SIDE))
        pictures.append(picture_url(np.asarray(shown)))
    return pictures
