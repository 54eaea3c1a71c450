"""Hugging Face parquet files with a column of photos and one of masks; needs pyarrow."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.importers.classes import ClassTable
from unilabel.importers.forms.voc import drop_class
from unilabel.importers.frame import Frame
from unilabel.importers.masks import Scanned, collect, finish, read_mask, scan_stored
from unilabel.importers.naming import name_values
from unilabel.importers.own_names import own_names
from unilabel.importers.packed import PackedPhoto, suffix_of_picture
from unilabel.importers.painter import Painted
from unilabel.importers.plan import Item, Options, Plan
from unilabel.importers.splits import split_of_file
from unilabel.importers.tree import Tree

PHOTO_COLUMNS = ("image", "img", "photo", "pixel_values")
MASK_COLUMNS = ("annotation", "label", "mask", "segmentation", "semantic_mask", "labels", "gt")


def detect(tree: Tree) -> list[str]:
    """The root, if parquet files are below it."""
    return [""] if tree.with_suffix(".parquet") else []


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise UniLabelError(
            "parquet files are read with pyarrow, which is not installed: pip install pyarrow."
        ) from None
    return parquet


@dataclass(frozen=True)
class Cell:
    """A picture in a parquet file.

    Attributes:
        path: of the file.
        group: number of the row group.
        row: position in the group.
        column: its name.
    """

    path: str
    group: int
    row: int
    column: str

    def data(self) -> bytes:
        """The picture's file content.

        Raises:
            UniLabelError: the cell is empty or the file is damaged.
        """
        value = _group(self.path, self.group, self.column)[self.row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise UniLabelError(f"{self} has no picture; load the data set with its images.")
        return content

    def array(self) -> np.ndarray:
        """The same as (n,) uint8."""
        return np.frombuffer(self.data(), np.uint8)

    def __str__(self) -> str:
        return f"{self.path}: row group {self.group}, row {self.row}, {self.column!r}"


@lru_cache(maxsize=4)
def _group(path: str, group: int, column: str) -> Any:
    return _open(path).read_row_group(group, columns=[column]).column(0).combine_chunks()


@lru_cache(maxsize=4)
def _open(path: str) -> Any:
    parquet = _pyarrow()
    try:
        return parquet.ParquetFile(path, memory_map=True)
    except (OSError, ValueError) as error:
        raise UniLabelError(f"{path} is no parquet file ({error}); fetch it again.") from None


@dataclass(frozen=True)
class CellLabel:
    """A mask in a parquet file; see :class:`unilabel.importers.masks.MaskLabel`."""

    cell: Cell
    table: tuple[tuple[int, int], ...]
    colored: bool
    hint: str

    def __call__(self, frame: Frame, options: Options) -> Painted:
        """Read and look up."""
        where = str(self.cell)
        stored = read_mask(self.cell.array(), where, self.colored)
        return finish(stored.codes, dict(self.table), stored.colored, where, frame, self.hint)


def scan_cell(cell: Cell, colored: bool = False) -> Scanned:
    """Values of a mask."""
    try:
        return scan_stored(read_mask(cell.array(), str(cell), colored))
    except UniLabelError as error:
        return Scanned(error=str(error))


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: pyarrow is missing, a file is damaged, no columns of pictures.
    """
    plan = Plan(ClassTable())
    rows: list[tuple[Cell, Cell, str, str]] = []
    for file in tree.with_suffix(".parquet"):
        path = str(tree.path(file))
        opened = _open(path)
        names = opened.schema_arrow.names
        photo = next((c for c in PHOTO_COLUMNS if c in names), None)
        mask = next((c for c in MASK_COLUMNS if c in names), None)
        if photo is None or mask is None:
            raise UniLabelError(
                f"{path} has the columns {', '.join(names)}, expected a column of photos "
                f"({', '.join(PHOTO_COLUMNS)}) and one of masks ({', '.join(MASK_COLUMNS)})."
            )
        count = 0
        for group in range(opened.num_row_groups):
            for row in range(opened.metadata.row_group(group).num_rows):
                name = f"{posixpath.splitext(file)[0]}_{count:06d}"
                cells = (Cell(path, group, row, photo), Cell(path, group, row, mask))
                rows.append((*cells, name, split_of_file(file)))
                count += 1
    masks = [mask for _, mask, _, _ in rows]
    seen = collect(masks, options.workers, scan_cell)
    names_found = options.names or own_names(tree)
    ids = name_values(seen, names_found, plan.table, False, plan.notes)
    if options.background == "ignore" and "background" in plan.table.ids:
        ids = drop_class(plan.table, ids, plan.table.ids["background"])
    for cell, mask, name, split in rows:
        label = CellLabel(mask, tuple(ids.items()), seen.colored, "name it in --names")
        photo = PackedPhoto(cell, name + suffix_of_picture(cell.data()))
        plan.items.append(Item(photo, label, split))
    return plan
