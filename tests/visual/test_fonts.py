"""Names in letters that the font lacks, and names from right to left."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.visual import fonts
from unilabel.visual.contact_sheet import contact_sheet
from unilabel.visual.curves import draw_curves
from unilabel.visual.fonts import (
    drawable,
    drawable_names,
    legend_font,
    line_layout,
    title_of,
    with_number,
)
from unilabel.visual.label_graph import draw_label_graph
from unilabel.visual.overlay import with_legend

# those of the shared table of inputs
SCRIPTS = ("天空", "建筑", "سماء", "道路", "नभ", "ถนน", "человек", "車", "дерево", "行人", "自行车")
COLORS = tuple((20 * i, 200, 90) for i in range(len(SCRIPTS)))
needs_layout = pytest.mark.skipif(not fonts._has_layout(), reason="needs libraqm")


def boxes(text: str) -> int:
    """Letters of a text that come out like a letter that no font has."""
    font = legend_font(40)
    missing = np.asarray(font.getmask("\uffff"))
    return sum(np.array_equal(np.asarray(font.getmask(c)), missing) for c in text)


@needs_layout
def test_what_is_drawable_has_no_boxes() -> None:
    assert [n for n in SCRIPTS if drawable(n)] == ["سماء", "человек", "дерево"]
    for name in (*SCRIPTS, "road side", "שמיים", "Fußgänger", "δρόμος", "a 道"):
        assert drawable(name) == (boxes(name.replace(" ", "")) == 0)


def test_ids_stand_for_names_that_cannot_be_drawn() -> None:
    assert drawable_names(["road", "天空"]) == ["road", "#1"]
    assert drawable_names(["天空", "road"], [7, 3]) == ["#7", "road"]
    assert title_of("天空", "", "sky") == "sky"
    assert title_of("天空") == ""


def test_without_layout_names_from_right_to_left_are_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_has_layout", lambda: False)
    assert drawable_names(["שמיים", "سماء", "road"]) == ["#0", "#1", "road"]


def ink(picture: Image.Image) -> tuple[int, int]:
    columns = np.flatnonzero((np.asarray(picture.convert("L")) < 128).any(0))
    return int(columns[0]), int(columns[-1])


@needs_layout
def test_a_name_from_right_to_left_is_whole_and_before_its_number() -> None:
    """The first letter is the rightmost of the name, and the number stands behind the name."""
    font, layout = legend_font(40), line_layout()

    def draw(text: str) -> Image.Image:
        picture = Image.new("L", (900, 80), "white")
        ImageDraw.Draw(picture).text((0, 40), text, "black", font, "lm", **layout)
        return picture

    name = "שמיים"
    alone, line = draw(name), draw(with_number(name, "  12.5 %"))
    width = ink(alone)[1] + 1
    assert np.array_equal(np.asarray(alone)[:, :width], np.asarray(line)[:, :width])
    right = ink(draw(name[0]))
    end = np.asarray(alone)[:, width - (right[1] - right[0] + 1) : width]
    first = np.asarray(draw(name[0]))[:, right[0] : right[1] + 1]
    assert (np.abs(end.astype(int) - first) > 60).mean() < 0.05


@pytest.fixture
def space() -> UnifiedLabelSpace:
    spaces = LabelSpaceSet(
        [
            LabelSpace("天", SCRIPTS, COLORS, display_name="天空数据"),
            LabelSpace("city", ("road",), ((1, 2, 3),)),
        ]
    )
    count = len(SCRIPTS)
    road = torch.zeros(count, 1, dtype=torch.bool)
    road[0] = True
    return UnifiedLabelSpace.from_mapping(
        LabelMapping(spaces, {"天": torch.eye(count, dtype=torch.bool), "city": road})
    )


def test_pictures_of_all_scripts_give_no_warning(space: UnifiedLabelSpace, tmp_path: Path) -> None:
    image = np.zeros((44, 60, 3), np.uint8)
    label = np.repeat(np.arange(11, dtype=np.uint8), 4)[:, None].repeat(60, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entries = [(n, c, 1 / 11) for n, c in zip(SCRIPTS, COLORS, strict=True)]
        legend = with_legend(image, entries)
        sheet = contact_sheet([("一.jpg", image, label)], space.label_spaces[0])
        for suffix in ("png", "svg"):
            draw_label_graph(space, tmp_path / f"graph.{suffix}", "标题")
        draw_curves({"天": [(1, 2.0), (2, 3.0)]}, [], tmp_path / "miou.png")
    # a line more than without a note
    latin = [(f"#{i}", c, s) for i, (_, c, s) in enumerate(entries)]
    assert legend.shape[0] > with_legend(image, latin).shape[0]
    other = LabelSpace("x", tuple(f"n{i}" for i in range(11)), COLORS)
    assert sheet.shape[0] > contact_sheet([("1", image, label)], other).shape[0]


def test_figures_of_the_tools_give_no_warning(
    space: UnifiedLabelSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    import make_figure
    import relation_figure

    space.save(tmp_path / "label_space.json")
    (tmp_path / "relations.json").write_text('{"relations": [], "overlaps": []}')
    axis = Figure().subplots()
    shown = Counter({(n, c): 1 / 11 for n, c in zip(SCRIPTS, COLORS, strict=True)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = [str(tmp_path / f"{name}.json") for name in ("label_space", "relations")]
        relation_figure.draw(*files, tmp_path / "relations.png")
        lines = make_figure.add_legend(axis, SCRIPTS, shown, 4)
        axis.figure.savefig(tmp_path / "legend.png")
    assert lines == 3
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert {"#0", "человек", fonts.ID_NOTE} <= set(texts)


def test_the_drawing_of_a_label_space_shows_ids_and_says_so(
    space: UnifiedLabelSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    texts: list[str] = []
    text = Axes.text

    def spy(self, x, y, s, *args, **kwargs):
        texts.append(s)
        return text(self, x, y, s, *args, **kwargs)

    monkeypatch.setattr(Axes, "text", spy)
    draw_label_graph(space, tmp_path / "graph.png")
    assert {"#0", "#10", "человек", "dataset 1", "city", fonts.ID_NOTE} <= set(texts)
    assert not any("天" in t for t in texts)
