"""Label maps as pictures: colours, overlays, legends.

Letters: H x W image size, N labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from unilabel.core.errors import UniLabelError
from unilabel.visual.fonts import (
    ID_NOTE,
    drawable,
    drawable_names,
    legend_font,
    line_layout,
    with_number,
)

Image8 = NDArray[np.uint8]
Color = tuple[int, int, int]
UNLABELLED: Color = (0, 0, 0)
_ROWS = 256  # rows blended at once: the memory needed does not grow with the image


def color_map(labels: NDArray[np.integer], colors: Sequence[Color]) -> Image8:
    """The label map in colours.

    Args:
        labels: (H, W) label ids; ids outside 0..N-1 (void) become black.
        colors: N colours, RGB 0..255.

    Returns:
        (H, W, 3) uint8.
    """
    table = np.array([*colors, UNLABELLED], np.uint8)
    known = (labels >= 0) & (labels < len(colors))
    return table[np.where(known, labels, len(colors))]


def overlay(
    image: Image8, labels: NDArray[np.integer], colors: Sequence[Color], opacity: float = 0.6
) -> Image8:
    """The image with the coloured label map over it; void pixels show the image alone.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) label ids.
        colors: N colours, RGB 0..255.
        opacity: 0 (image only) to 1 (colours only).

    Returns:
        (H, W, 3) uint8.

    Raises:
        UniLabelError: the sizes differ or the opacity is out of range.
    """
    if image.shape[:2] != labels.shape:
        raise UniLabelError(
            f"overlay: the image is {image.shape[:2]}, the label map {labels.shape}."
        )
    if not 0 <= opacity <= 1:
        raise UniLabelError(f"overlay: opacity is {opacity}, expected 0 to 1.")
    result = np.empty_like(image)
    for top in range(0, len(labels), _ROWS):
        part = slice(top, top + _ROWS)
        known = ((labels[part] >= 0) & (labels[part] < len(colors)))[..., None]
        share = np.where(known, np.float32(opacity), np.float32(0))
        paint = color_map(labels[part], colors)
        result[part] = np.rint(image[part] * (1 - share) + paint * share).astype(np.uint8)
    return result


def with_legend(
    image: Image8, entries: Sequence[tuple[str, Color, float]], ids: Sequence[int] = ()
) -> Image8:
    """The image with a legend below it: a square, the name and the share of pixels of each label.

    Args:
        image: (H, W, 3) uint8 RGB; narrow images are widened with white.
        entries: name, colour and share 0..1, in the order to show them.
        ids: of the entries, shown for names that the font cannot draw; without, positions.

    Returns:
        (H', W', 3) uint8 with H' >= H and W' >= W.
    """
    if not entries:
        return image
    height, width = image.shape[:2]
    size = int(np.clip(width / 60, 12, 28))
    font = legend_font(size)
    names = [name for name, _, _ in entries]
    texts = [
        with_number(name, f"  {100 * share:.1f} %")
        for name, (_, _, share) in zip(drawable_names(names, ids), entries, strict=True)
    ]
    note = "" if all(map(drawable, names)) else ID_NOTE
    layout = line_layout()
    line = round(size * 1.6)
    cell = round(max(font.getlength(text, **layout) for text in texts)) + 2 * line
    columns = max(1, min(len(texts), width // cell))
    canvas_width = max(width, columns * cell, round(font.getlength(note)) + line)
    rows = -(-len(texts) // columns)
    pad = line // 2
    lines = rows + bool(note)
    # Only the legend is a picture of Pillow, which takes 4 bytes for every pixel of its copies.
    legend = Image.new("RGB", (canvas_width, lines * line + 2 * pad), "white")
    draw = ImageDraw.Draw(legend)
    for index, (text, (_, color, _)) in enumerate(zip(texts, entries, strict=True)):
        # column by column, so that the order reads downwards
        x = index // rows * cell + line // 2
        y = pad + index % rows * line
        square = (x, y + (line - size) // 2, x + size, y + (line + size) // 2)
        draw.rectangle(square, fill=tuple(color), outline=(90, 90, 90))
        place = (x + round(size * 1.4), y + line // 2)
        draw.text(place, text, "black", font, anchor="lm", **layout)
    if note:
        draw.text((line // 2, pad + rows * line + line // 2), note, "black", font, "lm")
    canvas = np.full((height + legend.height, canvas_width, 3), 255, np.uint8)
    left = (canvas_width - width) // 2
    canvas[:height, left : left + width] = image
    canvas[height:] = np.asarray(legend)
    return canvas
