"""LabelMe: a JSON file beside every photo, or with the photo inside."""

from __future__ import annotations

import base64
import posixpath
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.label_space import IGNORE
from unilabel.importers.classes import start_table
from unilabel.importers.packed import PackedPhoto, suffix_of_picture
from unilabel.importers.painter import Shape, Sketch, box, ellipse, outline
from unilabel.importers.per_photo import read_per_photo
from unilabel.importers.plan import MAX_JSON_BYTES, Options, Plan
from unilabel.importers.rle import check_size, packed_picture
from unilabel.importers.tree import Tree, local_path, stem_of

TITLE = "LabelMe"
IGNORED = "__ignore__"


def files(tree: Tree) -> list[str]:
    """JSON files of LabelMe."""
    return [f for f in tree.with_suffix(".json") if _fits(tree.sniff(f))]


def _fits(text: str) -> bool:
    return '"shapes"' in text and ('"imagePath"' in text or '"imageHeight"' in text)


def detect(tree: Tree) -> list[str]:
    """The root, if a file of LabelMe is below it."""
    return [""] if files(tree) else []


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: a file is damaged, a photo is missing.
    """
    table = start_table(options)
    return read_per_photo(tree, files(tree), TITLE, table, options, _look, sketch, inside=_inside)


@dataclass(frozen=True)
class ImageData:
    """The photo that an annotation file holds as text.

    Attributes:
        path: of the file.
    """

    path: str

    def __str__(self) -> str:
        return f'in "imageData" of {self.path}'

    def data(self) -> bytes:
        """The picture's file content.

        Raises:
            UniLabelError: it is damaged.
        """
        text = read_json(self.path, max_bytes=MAX_JSON_BYTES)["imageData"]
        try:
            return base64.b64decode(text.partition("base64,")[2] or text, validate=True)
        except (AttributeError, ValueError) as error:
            raise UniLabelError(
                f'{self.path}: its "imageData" is no picture in base64 ({error}); put the photo '
                "beside it, or save it again."
            ) from None


def _inside(tree: Tree, reference: str, file: str) -> PackedPhoto | None:
    """The photo in ``imageData``, under the name that the file gives it."""
    picture = ImageData(str(tree.path(file)))
    if not read_json(picture.path, max_bytes=MAX_JSON_BYTES).get("imageData"):
        return None
    name = stem_of(local_path(reference)) + suffix_of_picture(picture.data())
    return PackedPhoto(picture, posixpath.join(posixpath.dirname(file), name))


def _look(path: Path) -> tuple[str, set[str]]:
    """The photo's name and the labels of a file."""
    data = read_json(path, max_bytes=MAX_JSON_BYTES)
    labels = {shape["label"] for shape in data["shapes"]}
    return data.get("imagePath") or path.with_suffix(".jpg").name, labels - {IGNORED}


def sketch(path: Path, ids: dict[str, int]) -> Sketch:
    """Shapes of a file.

    Raises:
        UniLabelError: wrong numbers or masks.
    """
    data = read_json(path, max_bytes=MAX_JSON_BYTES)
    size = None
    if data.get("imageHeight") is not None and data.get("imageWidth") is not None:
        size = check_size(data["imageWidth"], data["imageHeight"], str(path))
    result = Sketch(size, [])
    for position, entry in enumerate(data["shapes"]):
        where = f"{path}: shapes[{position}] ({entry['label']!r})"
        shape = Shape({**ids, IGNORED: IGNORE}[entry["label"].strip()], where)
        kind = entry.get("shape_type") or "polygon"
        points = outline(entry["points"], where)
        if kind in ("polygon", "rotation"):  # corners of a turned box, in X-AnyLabeling
            shape.parts = [points]
        elif kind == "rectangle" and len(points) == 2:
            shape.parts = [outline(box(*points.min(0), *points.max(0)), where)]
        elif kind == "rectangle":
            shape.parts = [points]
        elif kind == "circle" and len(points) == 2:
            radius = float(np.hypot(*(points[1] - points[0])))
            shape.parts = [outline(ellipse(*points[0], radius, radius), where)]
        elif kind == "mask" and len(points) == 2:
            shape.bitmap = packed_picture(entry.get("mask"), where, compressed=False)
            shape.origin = (int(points[:, 0].min()), int(points[:, 1].min()))
        else:
            result.left_out[f"shapes of the kind {kind}"] += 1
            continue
        result.shapes.append(shape)
    return result
