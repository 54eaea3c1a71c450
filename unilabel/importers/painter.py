"""Label maps from outlines and small masks.

Two conventions are common. Tools that trace masks give outlines of whole coordinates that go
through the centres of the border pixels; people and drawing tools give coordinates of a plane in
which pixel (x, y) covers [x, x + 1] times [y, y + 1]. Outlines of whole coordinates between 0 and
w - 1, h - 1 are taken as the first, all others as the second: there a pixel belongs to the object
if half of it or more is covered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE

WHOLE = 2e-3  # pixels; six digits of a share of the width are as exact up to widths of 4000
LIMIT = 2.0**20  # of coordinates, pixels
FINE = 4  # samples along the side of a pixel
MAX_SAMPLES = 2**26  # of one object; above, fewer samples are taken

FEW_POINTS = "outlines of fewer than 3 points"
OUTSIDE = "objects outside of the photo or smaller than a pixel"


@dataclass
class Shape:
    """One object: outlines, or a mask.

    Attributes:
        class_id: 0..254, or 255 for an area that is to be ignored.
        where: names the object in messages.
        parts: outlines, each (n, 2) of x, y; together they are the object.
        holes: outlines that are cut out of it.
        even_odd: what lies in two outlines lies in none (holes among ``parts``).
        bitmap: (h, w) bool, in place of outlines.
        origin: x, y of the bitmap's upper left pixel.
    """

    class_id: int
    where: str
    parts: Sequence[np.ndarray] = ()
    holes: Sequence[np.ndarray] = ()
    even_odd: bool = False
    bitmap: np.ndarray | None = None
    origin: tuple[int, int] = (0, 0)


@dataclass
class Sketch:
    """What an annotation file says about one photo.

    Attributes:
        size: width and height of the photo it was drawn on; None if not said.
        shapes: in drawing order, later ones lie on top.
        left_out: reason -> objects that are no area.
    """

    size: tuple[int, int] | None
    shapes: list[Shape]
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass
class Painted:
    """A label map with what was noticed.

    Attributes:
        ids: (H, W) uint8, 255 where nothing was painted.
        left_out: reason -> objects.
        buried: pixels of smaller objects that lie under larger ones of another class.
        notes: kind -> photos (0 or 1 each).
    """

    ids: np.ndarray
    left_out: Counter[str] = field(default_factory=Counter)
    buried: int = 0
    notes: Counter[str] = field(default_factory=Counter)


def outline(points: object, where: str) -> np.ndarray:
    """(n, 2) float64 of pairs or of a flat list x, y, x, y.

    Raises:
        UniLabelError: no numbers, an odd count, not finite, or far outside.
    """
    try:
        array = np.array(points, np.float64)
        array = array.reshape(-1, 2) if array.ndim <= 1 else array
    except (TypeError, ValueError) as error:
        raise UniLabelError(
            f"{where}: the outline is no list of x, y pairs of numbers ({error}); export it again "
            "or remove this object."
        ) from None
    if array.ndim != 2 or array.shape[1] != 2:
        raise UniLabelError(f"{where}: the outline has the shape {array.shape}, expected x, y.")
    if not np.isfinite(array).all():
        raise UniLabelError(
            f"{where}: the outline has a coordinate that is no finite number (NaN or infinite); "
            "correct or remove this object."
        )
    if len(array) and np.abs(array).max() > LIMIT:
        raise UniLabelError(
            f"{where}: the outline has the coordinate {np.abs(array).max():g}, far outside of any "
            "photo; correct or remove this object."
        )
    return array


def box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    """Corners of a box."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def turned(points: Sequence[tuple[float, float]], degrees: float) -> list[tuple[float, float]]:
    """Points turned clockwise around their mean."""
    if not degrees:
        return list(points)
    array = np.array(points)
    middle, angle = array.mean(0), np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return [(float(x), float(y)) for x, y in (array - middle) @ matrix.T + middle]


def ellipse(
    cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0
) -> list[tuple[float, float]]:
    """64 points of an ellipse, turned clockwise around its centre."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x, y, turn = rx * np.cos(angle), ry * np.sin(angle), np.deg2rad(degrees)
    turned = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)])
    return [(float(a), float(b)) for a, b in turned.T + np.array([cx, cy])]


def paint(
    sketch: Sketch, width: int, height: int, fill: int = IGNORE, smaller_on_top: bool = False
) -> Painted:
    """Paint all shapes.

    Args:
        sketch: the shapes.
        width: of the label map.
        height: of the label map.
        fill: value where no shape lies.
        smaller_on_top: order by area, the largest first, in place of the sketch's order.
    """
    left_out = Counter(sketch.left_out)
    owner = np.zeros((height, width), np.int32)  # 1 + position of the shape on top, 0 is none
    shapes = list(sketch.shapes)
    if smaller_on_top:
        shapes.sort(key=lambda s: -_area(s))
    classes = np.full(len(shapes) + 1, fill, np.uint8)
    areas = np.zeros(len(shapes) + 1, np.int64)
    buried = 0
    for number, shape in enumerate(shapes, 1):
        parts = [p for p in shape.parts if len(p) >= 3]
        if len(parts) < len(shape.parts):
            left_out[FEW_POINTS] += len(shape.parts) - len(parts)
        if shape.bitmap is None and not parts:
            continue
        window = _mask(shape, parts, width, height)
        if window is None or not window[0].any():
            left_out[OUTSIDE] += 1
            continue
        mask, x, y = window
        part = owner[y : y + mask.shape[0], x : x + mask.shape[1]]
        below = np.bincount(part[mask], minlength=number)
        classes[number], areas[number] = shape.class_id, below.sum()
        smaller = (areas[:number] < areas[number]) & (classes[:number] != shape.class_id)
        buried += int(below[1:][smaller[1:]].sum())
        part[mask] = number
    return Painted(classes[owner], left_out, buried)


def _area(shape: Shape) -> float:
    if shape.bitmap is not None:
        return float(np.count_nonzero(shape.bitmap))
    inside = sum(_polygon_area(p) for p in shape.parts)
    return inside - sum(_polygon_area(p) for p in shape.holes)


def _polygon_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


def _mask(
    shape: Shape, parts: list[np.ndarray], width: int, height: int
) -> tuple[np.ndarray, int, int] | None:
    """(h, w) bool and its x, y; None if nothing of it lies in the photo."""
    if shape.bitmap is not None:
        return _cut(shape.bitmap, *shape.origin, width, height)
    holes = [h for h in shape.holes if len(h) >= 3]
    whole = all(_through_centres(p, width, height) for p in [*parts, *holes])
    if whole:
        parts, holes = [np.rint(p) for p in parts], [np.rint(p) for p in holes]
    points = np.concatenate(parts)
    x0, y0 = (int(v) for v in np.maximum(np.floor(points.min(0)), 0))
    x1, y1 = (int(v) for v in np.minimum(np.floor(points.max(0)) + 1, (width, height)))
    if x0 >= x1 or y0 >= y1:
        return None
    fill = _fill_whole if whole else _fill_shares
    return fill(parts, holes, shape.even_odd, (x0, y0, x1, y1)), x0, y0


def _cut(
    bitmap: np.ndarray, x: int, y: int, width: int, height: int
) -> tuple[np.ndarray, int, int] | None:
    left, top = max(-x, 0), max(-y, 0)
    inside = bitmap[top : max(height - y, 0), left : max(width - x, 0)]
    return (inside, x + left, y + top) if inside.size else None


def _through_centres(points: np.ndarray, width: int, height: int) -> bool:
    rounded = np.rint(points)
    if np.abs(points - rounded).max() > WHOLE:
        return False
    return bool(
        (rounded >= 0).all()
        and rounded[:, 0].max() <= width - 1
        and rounded[:, 1].max() <= height - 1
    )


def _fill_whole(
    parts: list[np.ndarray], holes: list[np.ndarray], even_odd: bool, box: tuple[int, int, int, int]
) -> np.ndarray:
    x0, y0, x1, y1 = box
    canvas = np.zeros((y1 - y0, x1 - x0), np.uint8)
    moved = [(p - (x0, y0)).astype(np.int32) for p in parts]
    cut = [(p - (x0, y0)).astype(np.int32) for p in holes]
    if even_odd or (len(parts) == 1 and holes):
        cv2.fillPoly(canvas, [*moved, *cut], 1)  # even-odd; the borders of holes are filled
        return canvas.astype(bool)
    for part in moved:
        cv2.fillPoly(canvas, [part], 1)
    if cut:
        hole = np.zeros_like(canvas)
        cv2.fillPoly(hole, cut, 1)
        cv2.polylines(hole, cut, True, 0)  # type: ignore[call-overload]
        canvas[hole > 0] = 0
    return canvas.astype(bool)


def _fill_shares(
    parts: list[np.ndarray], holes: list[np.ndarray], even_odd: bool, box: tuple[int, int, int, int]
) -> np.ndarray:
    x0, y0, x1, y1 = box
    height, width = y1 - y0, x1 - x0
    fine = FINE
    while fine > 1 and height * width * fine * fine > MAX_SAMPLES:
        fine //= 2
    canvas = np.zeros((height * fine, width * fine), np.uint8)
    for part in parts:
        filled = _samples(part, x0, y0, fine, canvas.shape)
        canvas = canvas ^ filled if even_odd else canvas | filled
    for hole in holes:
        canvas &= 1 - _samples(hole, x0, y0, fine, canvas.shape)
    if fine == 1:
        return canvas.astype(bool)
    share = cv2.resize(canvas * 240, (width, height), interpolation=cv2.INTER_AREA)
    covered: np.ndarray = share >= 120
    return covered


def _samples(points: np.ndarray, x0: int, y0: int, fine: int, shape: tuple[int, ...]) -> np.ndarray:
    """Which of the samples, at the centres of the fine grid's cells, lie inside."""
    moved = ((points - (x0, y0)) * fine).reshape(-1).tolist()
    (runs,) = coco_mask.frPyObjects([moved], shape[0], shape[1])
    filled: np.ndarray = coco_mask.decode(runs)
    return filled
