"""A picture of samples of a dataset: photo, labels over it, names of the classes in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unilabel.core.io import atomic_path
from unilabel.core.label_space import IGNORE, LabelSpace

PHOTO_WIDTH = 280
TEXT_WIDTH = 200
LINE = 15
MAX_LINES = 12
MARGIN = 8


def overlay(
    image: np.ndarray, label: np.ndarray, space: LabelSpace, share: float = 0.6
) -> np.ndarray:
    """Class colours over a photo; ignored pixels are black.

    Args:
        image: (H, W, 3) uint8.
        label: (H, W) uint8 class ids, 255 ignored.
        space: the classes and their colours.
        share: weight of the colours.
    """
    palette = np.zeros((256, 3))
    palette[: space.num_classes] = space.colors
    mixed = (1 - share) * image + share * palette[label]
    return np.asarray(mixed.round(), dtype=np.uint8)


def contact_sheet(
    path: Path, samples: Sequence[tuple[str, np.ndarray, np.ndarray]], space: LabelSpace
) -> None:
    """Write a PNG with two samples in a row.

    Args:
        path: where to.
        samples: (title, (H, W, 3) image, (H, W) label) of each.
        space: the classes.
    """
    cells = [_cell(title, image, label, space) for title, image, label in samples]
    rows = [cells[i : i + 2] for i in range(0, len(cells), 2)]
    heights = [max(c.height for c in row) + MARGIN for row in rows]
    width = 2 * (2 * PHOTO_WIDTH + TEXT_WIDTH + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, sum(heights) + MARGIN), "white")
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (MARGIN + column * (cell.width + MARGIN), top))
        top += height
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _cell(title: str, image: np.ndarray, label: np.ndarray, space: LabelSpace) -> Image.Image:
    height = max(1, round(image.shape[0] * PHOTO_WIDTH / image.shape[1]))
    size = (PHOTO_WIDTH, height)
    counts = np.bincount(label.reshape(-1), minlength=256)
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i] and i < space.num_classes]
    if counts[IGNORE]:
        order.insert(min(len(order), MAX_LINES - 1), IGNORE)
    cell = Image.new(
        "RGB", (2 * PHOTO_WIDTH + TEXT_WIDTH, max(height, (MAX_LINES + 2) * LINE)), "white"
    )
    cell.paste(Image.fromarray(image).resize(size), (0, 0))
    # colours are mixed at full size: a reduced label map would show classes that are not there
    cell.paste(Image.fromarray(overlay(image, label, space)).resize(size), (PHOTO_WIDTH, 0))
    draw, font = ImageDraw.Draw(cell), ImageFont.load_default(size=11)
    left = 2 * PHOTO_WIDTH + 6
    draw.text((left, 0), title[-30:], fill="black", font=font)
    for line, i in enumerate(order[:MAX_LINES], start=1):
        name, color = (
            ("ignored", (0, 0, 0)) if i == IGNORE else (space.class_names[i], space.colors[i])
        )
        top = line * LINE
        draw.rectangle((left, top + 2, left + 10, top + 12), fill=color, outline="black")
        share = 100 * counts[i] / label.size
        draw.text((left + 15, top), f"{name[:24]}  {share:.1f} %", fill="black", font=font)
    if len(order) > MAX_LINES:
        more = f"and {len(order) - MAX_LINES} more"
        draw.text((left + 15, (MAX_LINES + 1) * LINE), more, fill="black", font=font)
    return cell
