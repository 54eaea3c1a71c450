"""A visitor's photos and labels, harmonised by the model."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.data.folders import folder_source
from unilabel.data.images import read_image
from unilabel.data.shards import Shard
from unilabel.demo_app.engine import Engine
from unilabel.demo_app.jobs import JobFile, job_status
from unilabel.demo_app.payloads import file_stem, picture_url
from unilabel.demo_app.session import Session
from unilabel.demo_app.unpack import unpack
from unilabel.demo_app.uploads import Inbox
from unilabel.harmonize.finish import finish
from unilabel.harmonize.job import HarmonizeJob
from unilabel.harmonize.label_png import decode
from unilabel.harmonize.options import Options
from unilabel.harmonize.photos import Photo
from unilabel.harmonize.setup import prepare
from unilabel.visual.overlay import overlay

MAX_PHOTOS = 200
_BELOW = "Below: photos of yours with their new labels."
_SHOWN = 3  # pictures of the result
_SIDE = 320  # pixels of their longer side
HARMONISE_HINT = (
    "A zip of a folder with `images/`, `labels/` and `classes.json`, whose name and classes are "
    "those of a dataset of this model (or of the mapping that you gave under “More” on the Predict "
    "tab). Every photo gets the labels of the label space below; where you drew a class only the "
    "labels that are linked to it may win, so nothing contradicts you."
)


def harmonise(
    engine: Engine, session: Session, inbox: Inbox, path: str | None, space: str
) -> Iterator[str]:
    """Harmonise a zip and yield the progress, at the end the labels.

    Nothing stays on the disk, also when the visitor cancels.
    """
    with tempfile.TemporaryDirectory(dir=inbox.work) as temporary:
        folder = Path(temporary)
        try:
            name, data = inbox.take(path, engine.limits.max_bytes)
            yield job_status([f"Unpacking {name}."], 0.0)
            root = unpack(data, name, folder / "given")
            job = _prepared(engine, session, root, folder / "harmonised", space)
            for index in range(len(job.photos)):
                yield job_status(
                    [f"Photo {index + 1} of {len(job.photos)}"], index / len(job.photos)
                )
                # this photo alone, so that the visitor can cancel after it
                job.run(1, Shard(index + 1, len(job.photos)))
            yield job_status(["Writing the report."], 0.99)
            lines = [f"{len(job.photos)} photos are harmonised.", *finish(job, 1), _BELOW]
            own = {photo.label_file: _own_label_file(root, photo) for photo in job.photos}
            # the visitor has the photos
            packed = zip_of(job.output, leave_out="images", rename=own)
            file = JobFile(f"{file_stem(name)}_harmonised.zip", packed)
            yield job_status(lines, None, "info", file, _seen(job))
        except UniLabelError as error:
            text = str(error).replace(str(folder / "given"), "the zip")
            yield job_status([text.replace(str(folder), "the zip")], None, "error")


def _prepared(
    engine: Engine, session: Session, root: Path, output: Path, space: str
) -> HarmonizeJob:
    if engine.weights is None:
        raise UniLabelError("this demo was started without a model file.")
    source = folder_source(str(root))
    unseen = [session.unseen] if session.unseen is not None else []
    predictor = session.predictor(engine)
    options = Options(link="copy")
    job = prepare(predictor, engine.weights, [source], output, space, options, unseen)
    if len(job.photos) > MAX_PHOTOS:
        raise UniLabelError(
            f"the zip holds {len(job.photos)} photos, at most {MAX_PHOTOS} are accepted here; use "
            "tools/harmonize.py on your own machine."
        )
    job.start(False)
    return job


def _own_label_file(root: Path, photo: Photo) -> str:
    """Where a label map belongs beside the visitor's own photo, relative to the dataset."""
    image, images = Path(photo.sample.image), root / "images"
    if not image.is_relative_to(images):
        return photo.label_file
    return Path("labels", image.relative_to(images)).with_suffix(".png").as_posix()


def zip_of(folder: Path, leave_out: str = "", rename: Mapping[str, str] | None = None) -> bytes:
    """The files below a folder as a zip.

    Args:
        folder: is packed.
        leave_out: one of its own folders, without those files.
        rename: name below the folder -> name in the zip, where they differ.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            below = path.relative_to(folder)
            if path.is_file() and below.parts[0] != leave_out:
                name = below.as_posix()
                archive.write(path, (rename or {}).get(name, name))
    return buffer.getvalue()


def _seen(job: HarmonizeJob) -> list[str]:
    """A few photos with their new labels."""
    target, pictures = job.labeller.target, []
    for photo in job.photos[:: max(1, len(job.photos) // _SHOWN)][:_SHOWN]:
        pixels = read_image(str(job.output / photo.image_file))
        labels = decode(job.output / photo.label_file, target.ignore)
        if labels.shape != pixels.shape[:2]:
            continue  # turned by its EXIF tag: the label map is upright, the file is not
        shown = Image.fromarray(overlay(pixels, labels, target.colors))
        shown.thumbnail((_SIDE, _SIDE))
        pictures.append(picture_url(np.asarray(shown)))
    return pictures
