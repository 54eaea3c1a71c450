"""A picture of samples of a dataset: photo, labels over it, names of the classes in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from unilabel.core.label_space import IGNORE, LabelSpace
from unilabel.visual.fonts import (
    ID_NOTE,
    drawable,
    drawable_names,
    legend_font,
    line_layout,
    with_number,
)
from unilabel.visual.overlay import UNLABELLED, Image8, overlay

PHOTO_WIDTH = 280
TEXT_WIDTH = 220
LINE = 15
MAX_LINES = 12
MARGIN = 8
_FONT = 11  # pixels


def contact_sheet(samples: Sequence[tuple[str, Image8, Image8]], space: LabelSpace) -> Image8:
    """Two samples in a row; ignored pixels are dark.

    Args:
        samples: (title, (H, W, 3) image, (H, W) label) of each, at least one.
        space: the classes.

    Returns:
        (H', W', 3) uint8.
    """
    cells = [_cell(title, image, label, space) for title, image, label in samples]
    rows = [cells[i : i + 2] for i in range(0, len(cells), 2)]
    heights = [max(c.height for c in row) + MARGIN for row in rows]
    width = 2 * (2 * PHOTO_WIDTH + TEXT_WIDTH + MARGIN) + MARGIN
    noted = not all(map(drawable, space.class_names))
    sheet = Image.new("RGB", (width, sum(heights) + MARGIN + LINE * noted), "white")
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (MARGIN + column * (cell.width + MARGIN), top))
        top += height
    if noted:
        ImageDraw.Draw(sheet).text((MARGIN, top), ID_NOTE, "black", legend_font(_FONT))
    return np.asarray(sheet)


def _cell(title: str, image: Image8, label: Image8, space: LabelSpace) -> Image.Image:
    height = max(1, round(image.shape[0] * PHOTO_WIDTH / image.shape[1]))
    size = (PHOTO_WIDTH, height)
    counts = np.bincount(label.reshape(-1), minlength=IGNORE + 1)
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i] and i < space.num_classes]
    if counts[IGNORE]:
        order.insert(min(len(order), MAX_LINES - 1), IGNORE)
    cell = Image.new(
        "RGB", (2 * PHOTO_WIDTH + TEXT_WIDTH, max(height, (MAX_LINES + 2) * LINE)), "white"
    )
    cell.paste(Image.fromarray(image).resize(size), (0, 0))
    # colours are mixed at full size: a reduced label map would show classes that are not there
    colors = [*space.colors, *[UNLABELLED] * (IGNORE + 1 - space.num_classes)]
    cell.paste(Image.fromarray(overlay(image, label, colors)).resize(size), (PHOTO_WIDTH, 0))
    draw, font = ImageDraw.Draw(cell), legend_font(_FONT)
    left, room = 2 * PHOTO_WIDTH + 6, TEXT_WIDTH - 10
    names = drawable_names(space.class_names)

    def write(x: int, line: int, text: str) -> None:
        draw.text((x, line * LINE), text, "black", font, **line_layout())

    write(left, 0, _fit(title if drawable(title) else "", "", room, True))
    for line, i in enumerate(order[:MAX_LINES], start=1):
        name, color = ("ignored", UNLABELLED) if i == IGNORE else (names[i], space.colors[i])
        top = line * LINE
        draw.rectangle((left, top + 2, left + 10, top + 12), fill=color, outline="black")
        write(left + 15, line, _fit(name, f"  {100 * counts[i] / label.size:.1f} %", room - 15))
    if len(order) > MAX_LINES:
        write(left + 15, MAX_LINES + 1, f"and {len(order) - MAX_LINES} more")
    return cell


def _fit(name: str, end: str, room: int, keep_end: bool = False) -> str:
    """The name, shortened with an ellipsis where it is wider than the room for it and ``end``."""
    font, text = legend_font(_FONT), name
    while text and font.getlength(with_number(text, end), **line_layout()) > room:
        name = name[1:] if keep_end else name[:-1]
        text = f"…{name}" if keep_end else f"{name}…"
    return with_number(text, end)
