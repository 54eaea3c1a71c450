from __future__ import annotations

import re
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.visual import label_graph
from unilabel.visual.graph_layout import count_crossings, layout_graph, place
from unilabel.visual.label_graph import draw_label_graph


def crossings(space: UnifiedLabelSpace) -> int:
    layout = layout_graph(space.mapping)
    found = 0
    for name, matrix in space.mapping.matrices.items():
        rows, columns = np.nonzero(matrix.numpy())
        found += count_crossings(layout.unified_rows[rows], layout.class_rows[name][columns])
    return found


def tiny(rows: list[list[int]], names: tuple[str, ...] = ()) -> UnifiedLabelSpace:
    """One dataset "a" of as many classes as columns, links by hand."""
    matrix = torch.tensor(rows)
    names = names or tuple(f"c{i}" for i in range(matrix.shape[1]))
    space = LabelSpace("a", names, ((10, 20, 30),) * len(names))
    return UnifiedLabelSpace.from_mapping(LabelMapping(LabelSpaceSet([space]), {"a": matrix}))


def test_place_keeps_wanted_positions_that_are_far_enough_apart() -> None:
    assert place([0.0, 2.5, 4.0], 1.0, 9.0).tolist() == [0.0, 2.5, 4.0]


def test_place_spreads_equal_targets_around_their_mean() -> None:
    # three nodes want row 5: 4, 5, 6 is nearest; at the border they are pushed inside
    assert place([5.0, 5.0, 5.0], 1.0, 9.0).tolist() == [4.0, 5.0, 6.0]
    assert place([0.0, 0.0, 0.0], 1.0, 9.0).tolist() == [0.0, 1.0, 2.0]
    assert place([9.0, 9.0], 1.0, 9.0).tolist() == [8.0, 9.0]


def test_place_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(0)
    targets = np.sort(rng.uniform(0, 6, 4))
    best = place(targets, 1.0, 6.0)
    grid = np.arange(0, 6.001, 0.25)
    for y in np.stack(np.meshgrid(*[grid] * 4), -1).reshape(-1, 4):
        if (np.diff(y) >= 1).all():
            assert ((best - targets) ** 2).sum() <= ((y - targets) ** 2).sum() + 1e-9


def test_count_crossings_by_hand() -> None:
    assert count_crossings(np.array([0, 1]), np.array([1, 0])) == 1
    assert count_crossings(np.array([0, 0, 1]), np.array([0, 1, 1])) == 0


def test_layout_of_a_shuffled_ladder_has_no_crossing() -> None:
    # classes 0..3 with two unified labels each, neighbours share none: a drawing without crossing
    for order in list(permutations(range(8)))[::997]:
        rows = np.zeros((8, 4), int)
        rows[list(order), [0, 0, 1, 1, 2, 2, 3, 3]] = 1
        assert crossings(tiny(rows.tolist())) == 0


def test_layout_of_the_toy_world_has_no_crossing(toy_space: UnifiedLabelSpace) -> None:
    layout = layout_graph(toy_space.mapping)
    assert sorted(layout.unified_order) == list(range(19))
    assert {*layout.left, *layout.right} == set(toy_space.label_spaces.names)
    for name, rows in layout.class_rows.items():
        ordered = rows[list(layout.class_orders[name])]
        assert (np.diff(ordered) >= 1 - 1e-9).all()
    assert crossings(toy_space) <= 4


def test_unlinked_labels_come_last() -> None:
    layout = layout_graph(tiny([[0, 0], [0, 1], [1, 0]]).mapping)
    assert layout.unified_order == (2, 1, 0)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_formats(toy_space: UnifiedLabelSpace, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"graph.{suffix}"
    draw_label_graph(toy_space, path, "A title with $ in it")
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert path.read_bytes().startswith(starts[suffix])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unknown_format_is_refused(toy_space: UnifiedLabelSpace, tmp_path: Path) -> None:
    with pytest.raises(UniLabelError, match=r"graph\.bmp.*png"):
        draw_label_graph(toy_space, tmp_path / "graph.bmp")


def test_drawing_is_deterministic(toy_space: UnifiedLabelSpace, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_label_graph(toy_space, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_every_unified_label_has_its_own_line(
    large_space: UnifiedLabelSpace, tmp_path: Path
) -> None:
    assert large_space.label_spaces.total == 448
    draw_label_graph(large_space, tmp_path / "graph.png")
    with Image.open(tmp_path / "graph.png") as picture:
        # a line of text needs about 14 pixels to be legible
        assert picture.height >= 217 * 20
        assert 1000 < picture.width < 8000


@pytest.mark.filterwarnings("ignore:Glyph")  # matplotlib's font has no Chinese characters
def test_names_that_look_like_formulas_and_foreign_letters(tmp_path: Path) -> None:
    space = tiny([[1, 0], [0, 1]], ("a$b_c$", "väg <b> 道路 " + "x" * 200))
    draw_label_graph(space, tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").stat().st_size > 1000


def test_pyplot_is_not_touched(toy_space: UnifiedLabelSpace, tmp_path: Path) -> None:
    before = "matplotlib.pyplot" in sys.modules
    draw_label_graph(toy_space, tmp_path / "graph.png")
    assert ("matplotlib.pyplot" in sys.modules) == before


@pytest.mark.parametrize("seed", range(20))
def test_count_crossings_is_that_of_all_pairs_of_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.integers(0, 9, (2, rng.integers(0, 40))) / 2
    pairs = (one[:, None] < one[None]) & (two[:, None] > two[None])
    assert count_crossings(one, two) == pairs.sum()


def test_a_picture_of_too_many_labels_says_that_it_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    space = tiny(np.eye(40, dtype=int).tolist())
    monkeypatch.setattr(label_graph, "_MAX_PIXELS", 400)
    with caplog.at_level("WARNING"):
        draw_label_graph(space, tmp_path / "graph.svg")
        assert not caplog.messages
        draw_label_graph(space, tmp_path / "graph.png")
    assert re.search(r"graph\.png: 40 unified labels .* --graph graph\.svg", caplog.text)


def test_links_that_only_texts_tell_are_dotted_beside_learned_ones(tmp_path: Path) -> None:
    colors = ((10, 20, 30), (40, 50, 60))
    spaces = LabelSpaceSet(
        [
            LabelSpace("city", ("road", "person"), colors),
            LabelSpace("shop", ("shirt", "bag"), colors),
        ]
    )
    matrix = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).bool()
    text = torch.zeros_like(matrix)
    text[2, 1] = True
    mapping = LabelMapping.from_stacked(spaces, matrix)

    def dotted(space: UnifiedLabelSpace) -> int:
        draw_label_graph(space, tmp_path / "graph.svg")
        return (tmp_path / "graph.svg").read_text().count("stroke-dasharray")

    mixed = UnifiedLabelSpace.from_mapping(mapping, text_links=text)
    assert mixed.names == ("road", "person", "shirt", "bag")
    assert dotted(mixed) == 1
    assert dotted(UnifiedLabelSpace.from_mapping(mapping)) == 0
    assert dotted(UnifiedLabelSpace.from_mapping(mapping, source="text")) == 0
