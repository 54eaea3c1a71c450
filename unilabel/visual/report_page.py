"""A report of a model as one web page that needs no other file."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unilabel.core.label_space import LabelSpace
from unilabel.core.relations import WORDS
from unilabel.core.unified_space import UnifiedLabelSpace, class_relations
from unilabel.visual.fonts import ID_NOTE, drawable, drawable_names
from unilabel.visual.graph_page import graph_data, graph_script, script_json, static_text
from unilabel.visual.page_parts import (
    PAGE,
    STYLE,
    bar,
    class_mark,
    picture_url,
    table,
)
from unilabel.visual.related import related_beside

_MISTAKES = 12  # confusions that are listed of a dataset


@dataclass(frozen=True)
class Example:
    """An image and pictures of its label maps.

    Attributes:
        name: file name.
        pictures: caption and (H, W, 3) uint8 picture, in the order to show them.
    """

    name: str
    pictures: Sequence[tuple[str, NDArray[np.uint8]]]


@dataclass
class DatasetReport:
    """What is known about one dataset.

    Attributes:
        space: its classes.
        iou: class -> IoU in percent, None where the ground truth does not hold it.
        miou: mean IoU in percent.
        unified_miou: that of the arg max over unified labels.
        confusion: (C, C) pixel counts, rows ground truth; None: not counted.
        images: number of images that ``confusion`` was counted on.
        examples: images with their label maps.
    """

    space: LabelSpace
    iou: Mapping[str, float | None] = field(default_factory=dict)
    miou: float | None = None
    unified_miou: float | None = None
    confusion: NDArray[np.int64] | None = None
    images: int = 0
    examples: list[Example] = field(default_factory=list)


def report_html(
    title: str,
    datasets: Sequence[DatasetReport],
    space: UnifiedLabelSpace | None,
    facts: Sequence[tuple[str, str]] = (),
    examples: Sequence[Example] = (),
) -> str:
    """The page.

    Args:
        title: heading.
        datasets: in the order of the model.
        space: the unified labels, None for a model with one head per dataset.
        facts: name and value of further numbers, for the table at the top.
        examples: images of no dataset.
    """
    parts = [_facts(facts), _results(datasets)]
    script = ""
    if space is not None:
        parts += ['<h2>Label graph</h2><div id="graph"></div>', _relations(space)]
        data = script_json(graph_data(space))
        script = static_text("dom.js") + graph_script()
        script += f'\nunilabelGraph(document.getElementById("graph")).update({data});'
    parts += [_dataset(dataset) for dataset in datasets]
    if examples:
        parts += ["<h2>Further images</h2>", *map(_example, examples)]
    return PAGE.format(
        title=html.escape(title),
        style=STYLE + static_text("graph.css"),
        body="\n".join(part for part in parts if part),
        script=script,
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    rows = [(f"<b>{html.escape(name)}</b>", html.escape(value)) for name, value in facts]
    return table(("", ""), rows)


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"  # noqa: RUF001  (a dash for people)


def _results(datasets: Sequence[DatasetReport]) -> str:
    if all(d.miou is None for d in datasets):
        return ""
    rows = [
        (
            html.escape(d.space.display_name or d.space.name),
            str(d.space.num_classes),
            _score(d.miou),
            _score(d.unified_miou),
        )
        for d in datasets
    ]
    head = ("dataset", "classes", "mIoU, %", "mIoU of the unified labels, %")
    return "<h2>Results</h2>" + table(head, rows, (1, 2, 3))


def _relations(space: UnifiedLabelSpace) -> str:
    relations = class_relations(space.mapping)
    counts = Counter(relation["type"] for relation in relations)
    titles = {s.name: s.display_name or s.name for s in space.label_spaces}
    rows = []
    for relation in relations:
        ends = [
            f"{html.escape(relation[end]['label'])} <span class='quiet'>"
            f"{html.escape(titles[relation[end]['dataset']])}</span>"
            for end in "ab"
        ]
        rows.append((ends[0], WORDS[relation["type"]], ends[1]))
    numbers = ", ".join(f"{counts[kind]} {kind}" for kind in WORDS if counts[kind])
    listing = table(("class", "", "class"), rows)
    return (
        f"<h2>Relations of the datasets' classes</h2><p>{len(relations)} pairs of classes share a "
        f"unified label: {numbers or 'none'}.</p><details><summary>All pairs</summary>{listing}"
        "</details>" + related_beside(space, titles)
    )


def _dataset(dataset: DatasetReport) -> str:
    parts = []
    if dataset.iou:
        parts += ["<h3>IoU of the classes, %</h3>", _class_scores(dataset)]
    if dataset.confusion is not None:
        parts += [f"<h3>Confusion, {dataset.images} images</h3>", _confusion(dataset)]
    if dataset.examples:
        parts += ["<h3>Examples</h3>", *map(_example, dataset.examples)]
    if not parts:
        return ""
    title = html.escape(dataset.space.display_name or dataset.space.name)
    return f"<section><h2>{title}</h2>{''.join(parts)}</section>"


def _class_scores(dataset: DatasetReport) -> str:
    colors = dict(zip(dataset.space.class_names, dataset.space.colors, strict=True))
    rows = []
    for name, value in sorted(dataset.iou.items(), key=lambda item: -(item[1] or -1.0)):
        mark = class_mark(name, colors.get(name, (128, 128, 128)))
        rows.append((mark, _score(value), bar(value or 0)))
    size = -(-len(rows) // 3)
    blocks = [
        table(("class", "IoU", ""), rows[i : i + size], (1,)) for i in range(0, len(rows), size)
    ]
    return f'<div class="columns">{"".join(blocks)}</div>'


def _confusion(dataset: DatasetReport) -> str:
    counts = dataset.confusion
    if counts is None:
        return ""
    truth = np.maximum(counts.sum(1, keepdims=True), 1)
    shares = counts / truth
    names = dataset.space.class_names
    wrong = shares.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MISTAKES]
    rows = []
    for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[row, column] > 0:
            ends = html.escape(names[row]), html.escape(names[column])
            rows.append((*ends, f"{100 * wrong[row, column]:.1f} %"))
    picture = _matrix_png(shares, names)
    listing = table(("ground truth", "predicted as", "of its pixels"), rows, (2,))
    return (
        f'<div class="columns"><img class="matrix" alt="confusion" src="{picture}">{listing}</div>'
    )


def _matrix_png(shares: NDArray[np.float64], names: Sequence[str]) -> str:
    """Rows ground truth, columns prediction, each row adding up to 1."""
    size = float(np.clip(len(names) * 0.2 + 1.6, 3.5, 16))
    figure = Figure((size, size), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    texts = [name.replace("$", r"\$") for name in drawable_names(names)]
    font = 7 if len(names) <= 70 else 4
    axes.set_xticks(range(len(names)), texts, rotation=90, fontsize=font)
    axes.set_yticks(range(len(names)), texts, fontsize=font)
    note = "" if all(map(drawable, names)) else f"\n{ID_NOTE}"
    axes.set_xlabel(f"prediction{note}", fontsize=8)
    axes.set_ylabel("ground truth", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _example(example: Example) -> str:
    figures = []
    small = any(min(picture.shape[:2]) < 300 for _, picture in example.pictures)
    for caption, picture in example.pictures:
        figures.append(
            f'<figure><img alt="{html.escape(caption)}" src="{picture_url(picture)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    kind = "example pixels" if small else "example"
    name = html.escape(example.name)
    return f'<p class="quiet">{name}</p><div class="{kind}">{"".join(figures)}</div>'


def numbers_of(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows for the table at the top, from the content of a ``results.json``."""
    facts = []
    for key, name in (
        ("mean_miou", "mean mIoU, %"),
        ("mean_unified_miou", "mean mIoU of the unified labels, %"),
        ("num_unified", "unified labels"),
        ("num_active", "of them in use"),
    ):
        if results.get(key) is not None:
            value = results[key]
            facts.append((name, f"{value:.2f}" if isinstance(value, float) else str(value)))
    relations = results.get("relations")
    if isinstance(relations, Mapping):
        text = ", ".join(f"{k} {relations[k]:.3f}" for k in ("precision", "recall", "f1"))
        facts.append(("links against known relations", text))
    for key in ("config", "seed", "git", "device"):
        if results.get(key) is not None:
            facts.append((key, str(results[key])))
    return facts
