"""Scenes of rectangles, and the files in which datasets store such label maps (for tests)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unilabel.core.tables import read_table

VOID = 255
# Values of the label files that mean "no class", where the tables tell them only in words.
VOID_VALUES = {
    "bdd100k": [255],
    "scannet20": [0, 13, 15, 40],
    "voc20": [0, 255],
    "context59": [0, 1, 3, 255, 300, 459],
}


@dataclass(frozen=True)
class Planted:
    """One image with what its label file says: ``ids`` are (H, W) class ids, 255 void."""

    image: Path
    label: Path
    ids: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A label map of rectangles: ``values[i]`` is the raw value of rectangle ``boxes[i]``."""

    boxes: list[tuple[int, int, int, int]]  # x0, y0, x1, y1; the last two exclusive
    values: list[Any]
    classes: list[int]
    size: tuple[int, int]  # height, width

    def paint(self, values: Sequence[Any], channels: int = 0, dtype: type = np.uint8) -> np.ndarray:
        shape = (*self.size, channels) if channels else self.size
        canvas = np.zeros(shape, dtype)
        for (x0, y0, x1, y1), value in zip(self.boxes, values, strict=True):
            canvas[y0:y1, x0:x1] = value
        return canvas

    @property
    def ids(self) -> np.ndarray:
        return self.paint(self.classes)


class Miniature:
    """Draws scenes of one dataset so that every raw value comes up in turn."""

    def __init__(self, name: str, size: tuple[int, int], block: int, seed: int) -> None:
        self.table = read_table(name)
        self.colors = [tuple(c["color"]) for c in self.table["classes"]]
        self.size, self.block = size, block
        self.rng = np.random.default_rng([seed, sum(name.encode())])
        self.pairs = cycle(self._values())

    def _values(self) -> list[tuple[Any, int]]:
        """(raw value, class id): one of each class first, then the other ones, void among them."""
        key = {"camvid11": "raw_colors", "idd26": "members"}.get(self.table["name"], "raw_ids")
        classes = [(v, c["id"], i) for c in self.table["classes"] for i, v in enumerate(c[key])]
        void_raw = self.table.get("void_raw", [])
        if key == "raw_colors":
            void = [v["color"] for v in void_raw]
        elif key == "members":
            void = [v["name"] for v in void_raw]
        else:
            void = [v["id"] for v in void_raw if v["id"] >= 0] + self.table.get("void_raw_ids", [])
            void = VOID_VALUES.get(self.table["name"], void)
        first = [(v, c) for v, c, i in classes if i == 0]
        rest = [(v, c) for v, c, i in classes if i] + [(v, VOID) for v in void]
        return first + rest

    def scene(self) -> Scene:
        """The next scene; a corner is always void."""
        height, width = self.size
        step = self.block
        boxes = [
            (x, y, min(x + step, width), min(y + step, height))
            for y in range(0, height, step)
            for x in range(0, width, step)
        ]
        void = self._values()[-1]
        pairs = [void, *islice(self.pairs, len(boxes) - 1)]
        return Scene(boxes, [p[0] for p in pairs], [p[1] for p in pairs], self.size)

    def photo(self, scene: Scene) -> Image.Image:
        """A noisy picture of the class colours."""
        palette = np.array([*self.colors, (0, 0, 0)])
        clean = palette[np.where(scene.ids == VOID, len(self.colors), scene.ids)]
        noisy = clean + self.rng.normal(0, 12, clean.shape)
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def save(path: Path, image: Image.Image | np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def save_ids(path: Path, scene: Scene) -> None:
    save(path, scene.paint(scene.values))


def save_palette(path: Path, scene: Scene, colors: Sequence[tuple[int, int, int]]) -> None:
    height, width = scene.size
    picture = Image.frombytes("P", (width, height), scene.paint(scene.values).tobytes())
    picture.putpalette([v for color in colors for v in color] + [0] * (768 - 3 * len(colors)))
    save(path, picture)


def save_polygons(path: Path, scene: Scene) -> None:
    height, width = scene.size
    everything = [[0, 0], [width, 0], [width, height], [0, height]]
    deleted = {"label": "rider", "deleted": 1, "polygon": everything}
    point = {"label": "truck", "deleted": 0, "polygon": [[3, 3]]}
    hidden = {"label": "sky", "deleted": 0, "polygon": everything}  # by the rectangles
    objects = [hidden, deleted]
    for number, ((x0, y0, x1, y1), label) in enumerate(zip(scene.boxes, scene.values, strict=True)):
        corners = [[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]
        name = "cargroup" if label == "car" and number % 2 else label
        objects.append({"label": name, "deleted": 0, "polygon": corners})
    document = {"imgHeight": height, "imgWidth": width, "objects": [*objects, deleted, point]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def panoptic(path: Path, scene: Scene, rng: np.random.Generator) -> dict[str, Any]:
    """Write the RGB PNG; return the annotation of the image. Void 0 has no segment."""
    segments = rng.choice(2**24 - 1, len(scene.values), replace=False) + 1
    segments = [0 if v == 0 else int(s) for v, s in zip(scene.values, segments, strict=True)]
    rgb = [(s % 256, s // 256 % 256, s // 65536) for s in segments]
    save(path, scene.paint(rgb, channels=3))
    pairs = zip(segments, scene.values, strict=True)
    info = [{"id": s, "category_id": v, "iscrowd": 0} for s, v in pairs if s]
    return {"file_name": path.name, "image_id": path.stem, "segments_info": info}


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
