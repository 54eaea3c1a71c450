"""All photos: resumable, in several processes or on several machines, with the same bytes.

While it works, ``.harmonize/`` in the output holds the settings and one record for each finished
photo. ``harmonize.json`` is written last: a folder that has it is complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from unilabel import __version__
from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json, remove_unfinished, write_json
from unilabel.core.settings import require_same_settings
from unilabel.data.parallel import run_parallel
from unilabel.data.shards import Shard
from unilabel.harmonize.labelling import Labeller
from unilabel.harmonize.photos import Photo

SCHEMA = "unilabel/harmonize"
VERSION = 1
RESULT = "harmonize.json"
_WORK = ".harmonize"
_SETTINGS = "job.json"
_MOST_ERRORS = 10  # then a run stops: a full disk would fail on every photo
_SHOWN = 3


class HarmonizeJob:
    """Makes one folder; several processes may work on different shards of it at once.

    Attributes:
        output: the folder.
        labeller: labels the photos.
        photos: all of them, of all shards.
        settings: everything that the result depends on, in JSON form.
    """

    def __init__(
        self,
        output: Path,
        labeller: Labeller,
        photos: Sequence[Photo],
        weights: Sequence[dict[str, str]],
        side_files: dict[str, Callable[[Path], None]],
    ) -> None:
        """What is to be made; nothing is written yet.

        Args:
            output: the folder.
            labeller: labels the photos.
            photos: of all shards.
            weights: name and digest of the model's file, and of further ones.
            side_files: name -> function that writes it, such as ``label_space.json``.
        """
        self.output = output
        self.labeller = labeller
        self.photos = photos
        self.side_files = side_files
        space = labeller.predictor.label_space
        assert space is not None
        self.settings = {
            "schema": SCHEMA,
            "version": VERSION,
            "unilabel": __version__,
            "weights": weights[0],
            **({"averaged_with": list(weights[1:])} if len(weights) > 1 else {}),
            "label_space": space.mapping.checksum(),
            "space": labeller.target.name,
            "labels": _digest(labeller.target.names),
            "options": labeller.options.to_dict(),
            "datasets": {
                part.source.name: {
                    "classes": list(part.source.label_space.class_names),
                    "photos": _digest(
                        [f"{p.split}/{p.name}" for p in photos if p.dataset == index]
                    ),
                }
                for index, part in enumerate(labeller.parts)
            },
        }

    @property
    def finished(self) -> bool:
        """Whether the output is complete."""
        return (self.output / RESULT).is_file()

    def start(self, resume: bool) -> None:
        """Prepare the folder.

        Args:
            resume: go on with what another process left, or work beside it.

        Raises:
            UniLabelError: something is in the way, or it was begun with other settings.
        """
        work, file = self.output / _WORK, self.output / _WORK / _SETTINGS
        if self.finished:
            _require_same(read_json(self.output / RESULT).get("settings"), self.settings, RESULT)
            shutil.rmtree(work, ignore_errors=True)  # of a process that was killed at the very end
            return
        if file.is_file():
            if not resume:
                raise UniLabelError(
                    f"{self.output} holds an interrupted run; go on with --resume, or remove the "
                    "folder."
                )
            _require_same(read_json(file), self.settings, str(file))
        elif self.output.exists() and not work.is_dir():
            if not self.output.is_dir() or any(self.output.iterdir()):
                raise UniLabelError(
                    f"--output {self.output} exists and was not begun by this program; name "
                    "another folder or remove it."
                )
        try:
            work.mkdir(parents=True, exist_ok=True)  # first: from here on the folder is ours
        except OSError as error:
            raise UniLabelError(
                f"cannot make the folder {work}: {error.strerror or error}; name another --output."
            ) from error
        for name, save in self.side_files.items():
            save(self.output / name)
        write_json(file, self.settings)

    def run(self, workers: int, shard: Shard = Shard()) -> int:  # noqa: B008  (frozen)
        """Make the photos of a shard that are not there yet.

        Args:
            workers: processes; each computes with one thread, so that all give the same bytes.
            shard: which of the photos.

        Returns:
            number of photos that were made.

        Raises:
            UniLabelError: photos could not be made; the others of the shard are kept.
        """
        todo = [i for i in shard.of(range(len(self.photos))) if not self._done(i)]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        errors: list[str] = []
        made = 0
        try:
            for error in run_parallel(self._make, todo, workers, "harmonise"):
                made += not error
                if error:
                    errors.append(error)
                    if len(errors) >= _MOST_ERRORS:
                        break
        except BrokenProcessPool as error:
            raise UniLabelError(
                "a worker process was ended from outside (out of memory?); go on with --resume and "
                "fewer --workers."
            ) from error
        finally:
            torch.set_num_threads(threads)
        if errors:
            raise UniLabelError(
                f"{len(errors)} of {len(todo)} photos could not be made; {made} are kept, go on "
                f"with --resume after mending: {' '.join(errors[:_SHOWN])}"
            )
        return made

    def missing(self) -> list[Photo]:
        """Photos that no shard has made yet."""
        return [photo for i, photo in enumerate(self.photos) if not self._done(i)]

    def require_all(self) -> None:
        """Raise if shards are missing.

        Raises:
            UniLabelError: photos have no result.
        """
        missing = self.missing()
        if missing:
            shown = ", ".join(f"{p.split}/{p.name}" for p in missing[:_SHOWN])
            raise UniLabelError(
                f"{len(missing)} of {len(self.photos)} photos have no result yet ({shown}, ...); "
                "run the shards that are missing (the same command with --shard I/N), or all that "
                "is left with --resume."
            )

    def records(self) -> Iterator[tuple[Photo, dict[str, Any]]]:
        """Every photo with its record, one at a time."""
        for photo in self.photos:
            yield photo, read_json(self._record(photo))

    def finish(self, result: dict[str, Any]) -> None:
        """Write ``classes.json`` and ``harmonize.json``; the records go."""
        remove_unfinished(self.output, "**/*")
        name = self.output.resolve().name.lstrip(".") or "harmonized"
        write_json(self.output / "classes.json", self.labeller.target.to_dict(name))
        write_json(self.output / RESULT, {"settings": self.settings, **result})
        shutil.rmtree(self.output / _WORK, ignore_errors=True)

    def _record(self, photo: Photo) -> Path:
        return self.output / _WORK / "records" / photo.split / f"{photo.name}.json"

    def _done(self, index: int) -> bool:
        photo = self.photos[index]
        record = self._record(photo)
        files = [photo.label_file, photo.image_file]
        if self.labeller.options.confidence:
            files.append(photo.confidence_file)
        if not record.is_file() or not all((self.output / f).exists() for f in files):
            return False
        return bool(read_json(record).get("state") == photo.state())

    def _make(self, index: int) -> str:
        """Make a photo; returns what is wrong with it, or ""."""
        photo = self.photos[index]
        try:
            write_json(self._record(photo), self.labeller.write(photo, self.output), indent=None)
        except UniLabelError as error:
            return str(error)
        return ""


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()[:16]


def _require_same(old: Any, settings: dict[str, Any], where: str) -> None:
    if not isinstance(old, dict) or old.get("schema") != SCHEMA:
        raise UniLabelError(f"{where} is no file of this program; name another --output.")
    require_same_settings(old, settings, "the output", "name another --output")
