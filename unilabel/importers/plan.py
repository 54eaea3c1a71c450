"""What an import is going to do: photos with their labels, and the classes."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE
from unilabel.importers.classes import ClassTable, Names
from unilabel.importers.frame import Frame, read_frame
from unilabel.importers.painter import Painted, Sketch, paint
from unilabel.importers.tree import Tree

MAX_JSON_BYTES = 2 * 2**30  # instances of COCO train2017 have 0.45 GB
UNUSED = "photos beside the others that no annotation names"
SHAPE_ERRORS = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


@dataclass(frozen=True)
class Options:
    """What the user asks for.

    Attributes:
        names: content of ``--names``, or None.
        background: "class", "ignore", or "" as the form has it.
        smaller_on_top: paint by size in place of the form's order.
        workers: processes that read masks.
    """

    names: Names | None = None
    background: str = ""
    smaller_on_top: bool = False
    workers: int = 1


class Label(Protocol):
    """Gives the label map of a photo; plain data that can be sent to other processes."""

    def __call__(self, frame: Frame, options: Options) -> Painted:
        """Label map of the upright photo."""
        ...


class Photo(Protocol):
    """A photo of the export."""

    @property
    def name(self) -> str:
        """Relative path, of which the name in the dataset is made."""
        ...

    def frame(self) -> Frame:
        """Its size."""
        ...

    def place(self, target: Path, link: str) -> None:
        """Put it to ``target``."""
        ...


@dataclass(frozen=True)
class FilePhoto:
    """A photo that is a file."""

    root: str
    name: str

    def frame(self) -> Frame:
        """Its size."""
        path = os.path.join(self.root, self.name)
        return read_frame(path, path)

    def place(self, target: Path, link: str) -> None:
        """Link or copy it to ``target``; ``link`` is symlink, hardlink or copy."""
        from unilabel.importers.links import place_file

        place_file(Path(self.root) / self.name, target, link)


@dataclass(frozen=True)
class Outlines:
    """The label of a photo that is painted.

    Attributes:
        where: the annotation file and, where it has several photos, the photo; for messages.
        form: title of the form, for messages.
        sketch: reads the shapes.
        fill: class id of pixels in no shape.
    """

    where: str
    form: str
    sketch: Callable[[], Sketch]
    fill: int = IGNORE

    def __call__(self, frame: Frame, options: Options) -> Painted:
        """Read and paint.

        Raises:
            UniLabelError: names the file and what is wrong in it.
        """
        try:
            sketch = self.sketch()
        except SHAPE_ERRORS as error:
            if isinstance(error, UniLabelError):
                raise
            raise UniLabelError(
                f"{self.where} is not as {self.form} writes it ({type(error).__name__}: {error}); "
                "export it again."
            ) from error
        notes: Counter[str] = Counter()
        width, height = frame.drawn_on(sketch.size, self.where, notes)
        painted = paint(sketch, width, height, self.fill, options.smaller_on_top)
        painted.ids = frame.turn(painted.ids)
        painted.notes.update(notes)
        return painted


@dataclass(frozen=True)
class Item:
    """A photo, its label, and the split that the export puts it into ("" if it says none)."""

    photo: Photo
    label: Label
    split: str = ""


@dataclass
class Plan:
    """All that is going to be written.

    Attributes:
        table: the classes.
        items: photos with labels.
        left_out: reason -> number of things that are not used.
        notes: things that were guessed, with the way to decide otherwise.
    """

    table: ClassTable
    items: list[Item] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def note_unused(self, tree: Tree, used: Collection[str]) -> None:
        """Count photos in the folders of used ones that nothing names."""
        folders = {posixpath.dirname(p) for p in used}
        idle = sum(p not in used and posixpath.dirname(p) in folders for p in tree.photos)
        if idle:
            self.left_out[UNUSED] += idle
