"""Drawing of the toy street world: one small photo-like image with its exact content.

A scene is a street seen from its middle: sky, houses and trees above the horizon; pavement, grass,
curbs and a road that runs to a vanishing point below it; then markings, a barrier and objects,
painted far to near. Every atom (the finest kind of thing that exists in this world) has its own
colour and texture. The style decides how the camera renders colours and how often some objects
occur, never how an atom is drawn, so one atom is the same thing in every style.

Shapes: H = 96 rows, W = 128 columns; h x w is a window of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ATOMS", "IMAGE_SIZE", "SceneStyle", "draw_scene"]

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Rng = np.random.Generator
Pattern = Callable[[Rng, FloatArray, FloatArray], FloatArray | BoolArray]

IMAGE_SIZE = _H, _W = (96, 128)  # pixels
_Y, _X = np.indices(IMAGE_SIZE, dtype=np.float32)


def _wave(coordinate: FloatArray, period: float, phase: float | FloatArray = 0.0) -> FloatArray:
    """Sine along a pixel coordinate, with a period in pixels."""
    wave: FloatArray = np.sin(coordinate * (2 * np.pi / period) + phase)
    return wave


def _shifted(rng: Rng, coordinate: FloatArray, period: float) -> FloatArray:
    """A wave with a random start."""
    return _wave(coordinate, period, rng.uniform(0, 2 * np.pi))


def _bars(rng: Rng, coordinate: FloatArray, period: float) -> FloatArray:
    """Two alternating values, -1 and 1, from a random start."""
    bars: FloatArray = np.sign(_shifted(rng, coordinate, period))
    return bars


def _windows(rng: Rng, y: FloatArray, x: FloatArray) -> BoolArray:
    period = rng.uniform(5, 8)
    return (_shifted(rng, x, period) > 0.2) & (_wave(y, period) > 0.1)


def _mesh(rng: Rng, y: FloatArray, x: FloatArray) -> BoolArray:
    return _shifted(rng, x, 4) * _wave(y, 4) > 0.3


def _slab_joints(rng: Rng, y: FloatArray, x: FloatArray) -> BoolArray:
    return (_wave(x, 9, 0.3 * y) > 0.85) | (_wave(y, 7) > 0.85)


def _holes(rng: Rng, y: FloatArray, x: FloatArray) -> BoolArray:
    return (x % 5 - 2.5) ** 2 + (y % 4 - 2) ** 2 < 1.5**2


@dataclass(frozen=True)
class _Surface:
    """Colour and texture of one atom; all numbers are in 8-bit grey levels or pixels."""

    color: tuple[int, int, int]
    grain: tuple[float, float] | None = None  # standard deviation, pitch of the smooth noise
    pattern: Pattern | None = None
    contrast: float | tuple[float, float, float] = 0.0  # factor of the pattern, per channel if 3
    tint_std: float = 0.0  # variation of each channel from one object to the next
    shade_std: float = 0.0  # variation of the brightness from one object to the next


_SURFACES: dict[str, _Surface] = {
    "sky": _Surface((150, 185, 225), (8, 24), lambda r, y, x: 20 - y, 0.6),
    "building": _Surface((140, 115, 100), (6, 3), _windows, -38, shade_std=22),
    "road": _Surface((85, 85, 90), (7, 2)),
    "lane": _Surface((205, 205, 200), (6, 3)),
    "crosswalk": _Surface((150, 150, 150), None, lambda r, y, x: _bars(r, x, r.uniform(8, 11)), 55),
    "sidewalk": _Surface((140, 130, 135), (5, 3), _slab_joints, -22),
    "curb": _Surface((165, 165, 160), (4, 3), lambda r, y, x: _shifted(r, x + y, 6), 22),
    "barrier": _Surface((170, 100, 100), (5, 3), lambda r, y, x: _bars(r, x - y, 10), (35, 28, 28)),
    "grass": _Surface((105, 140, 70), (16, 1.5), lambda r, y, x: _wave(y, 3), 8),
    "tree": _Surface((50, 95, 45), (26, 4)),
    "car": _Surface((120, 60, 60), (4, 4), tint_std=45),
    "truck": _Surface((95, 115, 140), (4, 4), tint_std=18),
    "bus": _Surface((190, 160, 60), (4, 4)),
    "person": _Surface((160, 90, 110), (8, 3), tint_std=20),
    "rider": _Surface((90, 80, 150), (8, 3), tint_std=20),
    "bicycle": _Surface((60, 55, 60), None, _mesh, 45),
    "pole": _Surface((100, 105, 105), None, lambda r, y, x: _wave(x, 4), 10),
    "sign": _Surface((180, 60, 70), None, lambda r, y, x: _bars(r, y, 6), 30),
    "manhole": _Surface((50, 48, 48), None, _holes, 25),
}

ATOMS: tuple[str, ...] = tuple(_SURFACES)
_ATOM_ID = {atom: index for index, atom in enumerate(ATOMS)}
_TINT_STD = 10.0  # every object of every atom varies at least this much per channel
_GLASS = (40, 50, 60)


class _Figure(NamedTuple):
    """A body and a head on top of each other, in pixels at scale 1; heights are above the feet."""

    feet: float  # above the ground
    middle: float
    half_width: float
    half_height: float
    head: float
    head_radius: float
    head_color: tuple[int, int, int]  # skin, helmet


_FIGURES = {
    "person": _Figure(0, 10.8, 4, 11.52, 22.08, 3.2, (190, 150, 125)),
    "rider": _Figure(5, 10.08, 4.4, 10.8, 20.4, 3.36, (200, 190, 60)),
}


@dataclass(frozen=True)
class SceneStyle:
    """What sets the images of one toy dataset apart: its camera and its traffic."""

    gain: tuple[float, float, float]
    bias: tuple[float, float, float]  # grey levels
    gamma: float
    blur_sigma: float  # pixels
    noise_std: float  # grey levels
    barrier: float  # chance that an image has one; likewise a truck, a bus
    truck: float
    bus: float


@cache
def _cubic_weights(length: int, knots: int) -> FloatArray:
    """(length, knots) matrix that enlarges a row of samples by cubic convolution (a = -0.75)."""
    position = (np.arange(length) + 0.5) * knots / length - 0.5
    first = np.floor(position).astype(int) - 1
    weights = np.zeros((length, knots), np.float32)
    for tap in range(4):
        distance = np.abs(position - (first + tap))
        near = (1.25 * distance - 2.25) * distance**2 + 1
        far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
        column = np.clip(first + tap, 0, knots - 1)
        np.add.at(weights, (np.arange(length), column), np.where(distance <= 1, near, far))
    return weights


def _smooth_noise(rng: Rng, pitch: float, rows: slice, columns: slice) -> FloatArray:
    """Window of a smooth random field whose blotches are about ``pitch`` pixels wide.

    The field is laid out over the whole image, so its statistics do not depend on the window.
    """
    knots = (int(np.ceil(_H / pitch)) + 1, int(np.ceil(_W / pitch)) + 1)
    down, across = _cubic_weights(_H, knots[0])[rows], _cubic_weights(_W, knots[1])[columns]
    field: FloatArray = down.dot(rng.standard_normal(knots, dtype=np.float32)).dot(across.T)
    return field


def _texture(rng: Rng, atom: str, rows: slice, columns: slice) -> FloatArray:
    """(h, w, 3) appearance of an atom in a window of the image."""
    surface = _SURFACES[atom]
    color = surface.color + rng.normal(0, _TINT_STD, 3)
    color += rng.normal(0, surface.shade_std) + rng.normal(0, surface.tint_std, 3)
    shape = (rows.stop - rows.start, columns.stop - columns.start, 3)
    texture = np.full(shape, color, np.float32)
    if surface.grain is not None:
        std, pitch = surface.grain
        texture += std * _smooth_noise(rng, pitch, rows, columns)[..., None]
    if surface.pattern is not None:
        pattern = surface.pattern(rng, _Y[rows, columns], _X[rows, columns])
        texture += pattern[..., None] * np.asarray(surface.contrast, np.float32)
    return texture


class _Canvas:
    """Image and atom map of a scene while it is painted, and the perspective of its street."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.image = np.zeros((_H, _W, 3), np.float32)
        self.atoms = np.zeros((_H, _W), np.uint8)
        self.horizon = int(rng.integers(34, 46))
        self.vanishing_x = rng.uniform(45, 83)
        self.ground: BoolArray = _Y >= self.horizon
        self.depth = (_Y - self.horizon) / np.float32(_H - self.horizon)
        # Half widths of the road at the lower image edge, by side (-1 left, 1 right).
        self.road_half_width = {side: rng.uniform(38, 58) for side in (-1, 1)}

    def depth_at(self, y: float) -> float:
        """0 at the horizon, 1 at the lower image edge; sizes on the ground grow with it."""
        return (y - self.horizon) / (_H - self.horizon)

    def roadside_x(self, side: int, y: float, offset: float = 0.0) -> float:
        """Column of the road's edge at row ``y``, ``offset`` further out at the lower edge."""
        half_width = self.road_half_width[side] + offset
        return self.vanishing_x + side * half_width * self.depth_at(y)

    def x_on_road(self, y: float, margin: float) -> float:
        """Random column on the road at row ``y``, ``margin`` of its width away from its edges."""
        left, right = self.roadside_x(-1, y), self.roadside_x(1, y)
        return left + self.rng.uniform(margin, 1 - margin) * (right - left)

    def paint(self, atom: str, mask: BoolArray) -> None:
        """Cover ``mask`` (H, W) with an atom, in the image and in the atom map."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if rows.size == 0:
            return
        window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        inside = mask[window]
        self.image[window][inside] = _texture(self.rng, atom, *window)[inside]
        self.atoms[window][inside] = _ATOM_ID[atom]


def _box(x: float, bottom: float, half_width: float, height: float) -> BoolArray:
    """Upright box that stands on row ``bottom``, centred on column ``x``."""
    mask: BoolArray = (np.abs(_X - x) < half_width) & (_Y <= bottom) & (_Y > bottom - height)
    return mask


def _ellipse(x: float, y: float, half_width: float, half_height: float) -> BoolArray:
    mask: BoolArray = ((_X - x) / half_width) ** 2 + ((_Y - y) / half_height) ** 2 < 1
    return mask


def _paint_background(canvas: _Canvas) -> None:
    rng, horizon = canvas.rng, canvas.horizon
    canvas.paint("sky", np.ones((_H, _W), bool))
    left = 0
    while left < _W:
        right = left + int(rng.integers(14, 34))
        if rng.random() < 0.75:
            top = rng.uniform(2, horizon - 6)
            canvas.paint("building", (_X >= left) & (_X < right) & (_Y > top) & (_Y < horizon + 8))
        left = right
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(0, _W), horizon - rng.uniform(0, 12)
        ragged = 2 * _smooth_noise(rng, 5, slice(0, _H), slice(0, _W))
        canvas.paint("tree", np.hypot(_X - x, (_Y - y) * 1.1) + ragged < rng.uniform(7, 15))


def _paint_ground(canvas: _Canvas) -> None:
    rng, ground, depth = canvas.rng, canvas.ground, canvas.depth
    canvas.paint("sidewalk", ground)
    road = ground.copy()
    for side, half_width in canvas.road_half_width.items():
        outward = (_X - canvas.vanishing_x) * side
        sidewalk_width, curb_width = rng.uniform(16, 26), rng.uniform(7, 11)
        if rng.random() < 0.55:
            canvas.paint("grass", ground & (outward > (half_width + sidewalk_width) * depth + 2))
        curb = (outward > 0) & (outward <= (half_width + curb_width) * depth + 1)
        canvas.paint("curb", ground & curb)
        road &= outward < half_width * depth
    canvas.paint("road", road)


def _paint_markings(canvas: _Canvas) -> None:
    rng, horizon, depth = canvas.rng, canvas.horizon, canvas.depth
    road_id = _ATOM_ID["road"]
    if rng.random() < 0.6:
        top = rng.uniform(horizon + 14, _H - 18)
        bottom = top + rng.uniform(9, 16)
        canvas.paint("crosswalk", (canvas.atoms == road_id) & (_Y > top) & (_Y < bottom))
    for _ in range(rng.integers(1, 4)):
        offset, width = rng.uniform(-31.5, 31.5), rng.uniform(5, 9)
        center = canvas.vanishing_x + offset * depth
        line = np.abs(_X - center) < width * depth / 2 + 0.6
        line &= (canvas.atoms == road_id) & (_Y > horizon + 5)
        if rng.random() < 0.6:
            # Distance along the road goes with 1 / rows below the horizon: dashes grow near us.
            distance = 60 * horizon / (np.maximum(_Y - horizon, 0) + 12)
            line &= np.sin(distance + rng.uniform(0, 6)) > -0.3
        canvas.paint("lane", line)
    for _ in range(rng.integers(0, 3)):
        y = rng.uniform(horizon + 16, _H - 5)
        size = 2 + 5 * canvas.depth_at(y)
        canvas.paint("manhole", _ellipse(canvas.x_on_road(y, 0.15), y, 1.3 * size, 0.8 * size))


def _paint_barrier(canvas: _Canvas) -> None:
    """A wall along one roadside, narrowing towards the vanishing point, with a post at its end."""
    rng = canvas.rng
    side, offset = int(rng.choice([-1, 1])), rng.uniform(0, 10)
    far, near = np.sort(rng.uniform(canvas.horizon + 6, _H, 2)).tolist()
    near = max(near, far + 16)
    far_x, near_x = canvas.roadside_x(side, far, offset), canvas.roadside_x(side, near, offset)
    far_height, near_height = (4 + 14 * canvas.depth_at(y) for y in (far, near))
    along = (_X - far_x) / (near_x - far_x)  # 0 at the far end, 1 at the near end
    foot = far + along * (near - far)
    wall = (along >= 0) & (along <= 1) & (_Y <= foot + 0.5)
    wall &= _Y >= foot - 0.5 - (far_height + along * (near_height - far_height))
    if wall.sum() < 40:  # nearly all of it is outside the image
        wall = _box(canvas.roadside_x(side, near), near, 9, near_height)
    canvas.paint("barrier", wall)
    canvas.paint("barrier", _box(near_x, near, rng.uniform(5, 11), near_height * 0.9))


def _paint_vehicle(canvas: _Canvas, kind: str, y: float, scale: float) -> None:
    x = canvas.x_on_road(y, 0.1)
    full_width, full_height = {"car": (22, 14), "truck": (22, 26), "bus": (32, 26)}[kind]
    width, height = full_width * scale, full_height * scale
    body, above = _box(x, y, width / 2, height), (y - _Y) / height
    if kind == "car":
        body &= (above <= 0.55) | (np.abs(_X - x) <= 0.33 * width)
        glass = body & (above > 0.6) & (above < 0.9)
    elif kind == "truck":
        body &= (above <= 0.6) | (_X - x <= 0.2 * width)
        glass = body & (above > 0.35) & (above < 0.55) & (_X > x)
    else:
        glass = body & (above > 0.5) & (above < 0.8) & (_wave(_X, 6) > -0.4)
    canvas.paint(kind, body)
    canvas.image[glass] = _GLASS
    canvas.image[body & (above < 0.14)] *= 0.4


def _paint_person(canvas: _Canvas, kind: str, y: float, scale: float) -> None:
    """A person, a rider on a bicycle, or a bicycle alone."""
    x = canvas.rng.uniform(4, _W - 4)
    if kind in _FIGURES:
        figure = _FIGURES[kind]
        feet = y - figure.feet * scale
        size = (figure.half_width * scale, figure.half_height * scale)
        canvas.paint(kind, _ellipse(x, feet - figure.middle * scale, *size))
        radius = figure.head_radius * scale
        head = _ellipse(x, feet - figure.head * scale, radius, radius)
        canvas.paint(kind, head)
        canvas.image[head] = figure.head_color
    if kind != "person":
        canvas.paint("bicycle", _box(x, y, 10 * scale, 10 * scale))


def _paint_pole(canvas: _Canvas, y: float, scale: float) -> None:
    rng = canvas.rng
    x = rng.uniform(2, 35) if rng.random() < 0.5 else rng.uniform(93, _W - 2)
    height = rng.uniform(34, 50) * scale
    canvas.paint("pole", _box(x, y, 1.6 + scale, height))
    if rng.random() < 0.65:
        half = 6.5 * scale + 2
        canvas.paint("sign", _box(x, y - height + half, half, 2 * half))


def _paint_objects(canvas: _Canvas, style: SceneStyle) -> None:
    rng = canvas.rng
    kinds = ["car"] * int(rng.integers(1, 4))
    kinds += ["truck"] * int(rng.random() < style.truck) + ["bus"] * int(rng.random() < style.bus)
    for kind, most in (("person", 3), ("rider", 2), ("bicycle", 1)):
        kinds += [kind] * int(rng.integers(0, most + 1))
    kinds += ["pole"] * int(rng.integers(1, 4))
    rng.shuffle(kinds)
    far_to_near = np.sort(rng.uniform(canvas.horizon + 4, _H - 2, len(kinds)))
    for kind, y in zip(kinds, far_to_near.tolist(), strict=True):
        scale = 0.45 + 0.75 * canvas.depth_at(y)
        if kind in ("car", "truck", "bus"):
            _paint_vehicle(canvas, kind, y, scale)
        elif kind == "pole":
            _paint_pole(canvas, y, scale)
        else:
            _paint_person(canvas, kind, y, scale)


def _develop(rng: Rng, image: FloatArray, style: SceneStyle) -> NDArray[np.uint8]:
    """Light of the day, then the camera of the dataset: colour, gamma, blur, sensor noise."""
    light, cast = 1 + rng.normal(0, 0.08), rng.normal(0, 6, 3).astype(np.float32)
    lit = np.clip(image * light + cast, 0, 255) / 255
    gamma = style.gamma * float(np.exp(rng.normal(0, 0.08)))
    exposed = 255 * lit**gamma * np.asarray(style.gain, np.float32)
    exposed += np.asarray(style.bias, np.float32)
    if style.blur_sigma > 0:
        sigma = (style.blur_sigma, style.blur_sigma, 0)
        from scipy import ndimage  # slow to import

        exposed = ndimage.gaussian_filter(exposed, sigma, mode="mirror")
    exposed += style.noise_std * rng.standard_normal(exposed.shape, dtype=np.float32)
    picture: NDArray[np.uint8] = np.clip(exposed, 0, 255).astype(np.uint8)
    return picture


def draw_scene(rng: Rng, style: SceneStyle) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one street scene.

    Args:
        rng: source of all chance; the same state gives the same scene.
        style: camera and traffic.

    Returns:
        (H, W, 3) RGB image and (H, W) atom map with indices into ``ATOMS``.
    """
    canvas = _Canvas(rng)
    _paint_background(canvas)
    _paint_ground(canvas)
    _paint_markings(canvas)
    if rng.random() < style.barrier:
        _paint_barrier(canvas)
    _paint_objects(canvas, style)
    return _develop(rng, canvas.image, style), canvas.atoms
