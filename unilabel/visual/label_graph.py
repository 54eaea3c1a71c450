"""A static drawing of the learned label space, for people and papers."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.visual.fonts import ID_NOTE, drawable, drawable_names, title_of
from unilabel.visual.graph_layout import DATASET_COLORS, GraphLayout, layout_graph

FORMATS = ("png", "svg", "pdf")
_ROW = 0.185  # inches; a row holds one line of text
_SQUARE = 0.11
_PAD = 0.06  # between a square and its name
_GAP = 1.25  # width of the edges between two columns
_MARGIN = 0.15
_HEADER = 0.55
_DOTTED = (0, (1, 2.5))
_FONT = 7.5  # points
_TITLE_FONT = 8.0  # of column titles
_MAX_NAME = 42  # characters; longer names are cut
_MAX_PIXELS = 30_000  # height of a picture; taller graphs get a lower resolution
_READABLE = 60  # dpi: a line of text has 11 pixels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Column:
    """Extent of a column of nodes in inches; edges end at its squares."""

    left: float
    right: float


def draw_label_graph(
    space: UnifiedLabelSpace, path: str | os.PathLike[str], title: str = ""
) -> None:
    """Draw the datasets' classes, the unified labels between them, and the links.

    Edges have the colour of their dataset, their width grows with the weight of the link; beside
    learned links those that only texts tell are dotted. The figure grows with the number of unified
    labels; a PNG of more than 2,700 of them cannot be read, which is said.

    Args:
        space: the label space.
        path: file to write; the suffix .png, .svg or .pdf decides the format.
        title: a line above the drawing.

    Raises:
        UniLabelError: the format is unknown or the file cannot be written.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UniLabelError(f"{path}: cannot draw this format, expected one of {FORMATS}.")
    figure = Figure()
    FigureCanvasAgg(figure)
    layout = layout_graph(space.mapping)
    columns, unified, width = _columns(figure, space, layout)
    header = _HEADER + (0.3 if title else 0.0)
    noted = not all(map(drawable, _all_names(space)))
    height = header + len(space.names) * _ROW + _MARGIN + _ROW * noted
    figure.set_size_inches(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    if title:
        axes.text(
            width / 2, 0.2, _short(title_of(title), 120), fontsize=11, ha="center", va="center"
        )
    if noted:
        axes.text(width / 2, height - _ROW, ID_NOTE, fontsize=_FONT, ha="center", va="center")
    top = header + _ROW / 2
    _draw_edges(axes, space, layout, columns, unified, top)
    _draw_classes(axes, space, layout, columns, top)
    _draw_unified(axes, space, layout, unified, top)
    resolution = min(160.0, _MAX_PIXELS / height)
    if kind == "png" and resolution < _READABLE:
        logger.warning(
            "%s: %d unified labels in one picture are too small to read (%d dpi); draw them with "
            "python tools/inspect_label_space.py LABEL_SPACE --graph graph.svg, whose size has no "
            "limit",
            path, len(space.names), resolution,
        )  # fmt: skip
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=resolution, facecolor="white", metadata=metadata)


def _all_names(space: UnifiedLabelSpace) -> list[str]:
    return [*space.names, *(name for classes in space.label_spaces for name in classes.class_names)]


def _title(space: UnifiedLabelSpace, name: str) -> str:
    spaces = space.label_spaces
    number = spaces.dataset_index(name) + 1
    return title_of(spaces.get(name).display_name, name, f"dataset {number}")


def _short(name: str, limit: int = _MAX_NAME) -> str:
    # "$" would start a formula
    name = name if len(name) <= limit else name[: limit - 1] + "…"
    return name.replace("$", r"\$")


def _text_width(figure: Figure, names: Sequence[str], bold: bool = False) -> float:
    """Width of the longest name in inches."""
    font = FontProperties(size=_TITLE_FONT if bold else _FONT, weight="bold" if bold else "normal")
    renderer = figure.canvas.get_renderer()
    longest = 0.0
    for name in names:
        size = renderer.get_text_width_height_descent(_short(name), font, ismath=False)
        longest = max(longest, size[0])
    return 1.06 * longest / figure.dpi  # hinting makes text wider at other resolutions


def _columns(
    figure: Figure, space: UnifiedLabelSpace, layout: GraphLayout
) -> tuple[dict[str, _Column], _Column, float]:
    """Extent of every dataset's column and of the unified one, and the width of the figure."""

    def class_width(name: str) -> float:
        classes = space.label_spaces.get(name)
        names = _text_width(figure, drawable_names(classes.class_names)) + _PAD + _SQUARE
        return max(names, _text_width(figure, [_title(space, name)], bold=True))

    columns = {}
    x = _MARGIN
    for name in layout.left:
        columns[name] = _Column(x, x + class_width(name))
        x = columns[name].right + _GAP
    names = [*drawable_names(space.names), "unified labels"]
    unified = _Column(x, x + _text_width(figure, names, bold=True) + 2 * _PAD + _SQUARE)
    x = unified.right
    for name in layout.right:
        columns[name] = _Column(x + _GAP, x + _GAP + class_width(name))
        x = columns[name].right
    return columns, unified, x + _MARGIN


def _draw_edges(
    axes: Axes,
    space: UnifiedLabelSpace,
    layout: GraphLayout,
    columns: dict[str, _Column],
    unified: _Column,
    top: float,
) -> None:
    mixed = any(link.source != "text" for link in space.links.values())
    for index, dataset in enumerate(space.label_spaces.names):
        on_left = dataset in layout.left
        start = columns[dataset].right if on_left else columns[dataset].left
        end = unified.left if on_left else unified.right
        reach = _GAP * (0.5 if on_left else -0.5)
        # the datasets of a side arrive below each other, else their edges would hide one another
        ports = layout.left if on_left else layout.right[::-1]
        port = ((ports.index(dataset) + 0.5) / len(ports) - 0.5) * 0.7 * _ROW
        curves, widths, styles = [], [], []
        for (row, name, column), link in space.links.items():
            if name != dataset:
                continue
            y0 = top + layout.class_rows[dataset][column] * _ROW + port
            y1 = top + layout.unified_rows[row] * _ROW + port
            curves.append(_curve((start, y0), (end, y1), reach))
            dotted = mixed and link.source == "text"
            widths.append(0.9 if dotted else 0.5 + 1.7 * link.weight)
            styles.append(_DOTTED if dotted else "solid")
        color = DATASET_COLORS[index % len(DATASET_COLORS)]
        axes.add_collection(
            LineCollection(
                curves, linewidths=widths, linestyles=styles, colors=color, alpha=0.6, zorder=1
            )
        )


def _curve(
    start: tuple[float, float], end: tuple[float, float], reach: float
) -> list[tuple[float, float]]:
    """An edge that leaves its class level, bends beside it and arrives level at the unified label.

    All bending is done next to the unified labels' column, so that edges of an outer column pass
    the inner ones at the height of their class.
    """
    bend = end[0] - 2 * reach
    points = [start]
    for step in range(17):
        t = step / 16
        ease = t * t * (3 - 2 * t)
        points.append((bend + (end[0] - bend) * t, start[1] + (end[1] - start[1]) * ease))
    return points


def _draw_classes(
    axes: Axes,
    space: UnifiedLabelSpace,
    layout: GraphLayout,
    columns: dict[str, _Column],
    top: float,
) -> None:
    # edges to the columns behind do not run through the names
    paper = {"facecolor": "white", "alpha": 0.88, "edgecolor": "none", "pad": 0.8}
    for index, classes in enumerate(space.label_spaces):
        column = columns[classes.name]
        on_left = classes.name in layout.left
        color = DATASET_COLORS[index % len(DATASET_COLORS)]
        side, edge = ("right", column.right) if on_left else ("left", column.left)
        axes.text(
            edge,
            top - 0.3,
            _short(_title(space, classes.name)),
            color=color,
            ha=side,
            va="center",
            fontsize=_TITLE_FONT,
            fontweight="bold",
        )
        inward = -1 if on_left else 1
        squares = []
        for class_id, name in enumerate(drawable_names(classes.class_names)):
            y = top + layout.class_rows[classes.name][class_id] * _ROW
            corner = edge - _SQUARE if on_left else edge
            squares.append(Rectangle((corner, y - _SQUARE / 2), _SQUARE, _SQUARE))
            axes.text(
                edge + inward * (_SQUARE + _PAD),
                y,
                _short(name),
                ha=side,
                va="center_baseline",
                fontsize=_FONT,
                bbox=paper,
                zorder=3,
            )
        axes.add_collection(
            PatchCollection(
                squares,
                facecolors=[_rgb(c) for c in classes.colors],
                edgecolors=color,
                linewidths=0.8,
                zorder=4,
            )
        )


def _draw_unified(
    axes: Axes, space: UnifiedLabelSpace, layout: GraphLayout, column: _Column, top: float
) -> None:
    middle = (column.left + column.right) / 2
    axes.text(
        middle,
        top - 0.3,
        "unified labels",
        ha="center",
        va="center",
        fontsize=_TITLE_FONT,
        fontweight="bold",
    )
    boxes, squares = [], []
    active = space.mapping.active().tolist()
    for row, name in enumerate(drawable_names(space.names)):
        y = top + layout.unified_rows[row] * _ROW
        tall = _ROW * 0.84
        boxes.append(Rectangle((column.left, y - tall / 2), column.right - column.left, tall))
        squares.append(Rectangle((column.left + 0.03, y - _SQUARE / 2), _SQUARE, _SQUARE))
        axes.text(
            column.left + 0.03 + _SQUARE + _PAD,
            y,
            _short(name),
            va="center_baseline",
            fontsize=_FONT,
            fontweight="bold",
            color="black" if active[row] else "#888888",
            zorder=4,
        )
    axes.add_collection(
        PatchCollection(boxes, facecolors="#f4f4f4", edgecolors="#999999", linewidths=0.5, zorder=2)
    )
    axes.add_collection(
        PatchCollection(
            squares,
            facecolors=[_rgb(c) for c in space.colors],
            edgecolors="#444444",
            linewidths=0.5,
            zorder=3,
        )
    )


def _rgb(color: tuple[int, int, int]) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255
