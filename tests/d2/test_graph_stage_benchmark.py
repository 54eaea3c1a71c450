"""The benchmark of the GNN stage: what its variants and folds see, its scores and its tables."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from scripts import load_script

pytest.importorskip("detectron2")

import made_up_world as world
from tiny_model import TinyBackbone, TinyDecoder
from torch import Tensor

from unilabel.core.io import write_json
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.stages import StageSchedule
from unilabel.engine.node_selection import propose_nodes
from unilabel.engine.pixel_cache import PixelCache
from unilabel.modeling.heads import MultiSegHead
from unilabel.modeling.meta_arch import UniLabelSegmentor

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
SEGMENT = StageSchedule([["MULTI_HEAD", 5], ["GNN", 40], ["FINAL", 1]]).segments[1]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return load_script("benchmarks/graph_stage.py")
    finally:
        sys.path.pop(0)


def part(name: str) -> ModuleType:
    """A module that the benchmark has imported."""
    return sys.modules[name]


def network(**values: Any) -> Any:
    """The network that has learned the made-up world."""
    quick = {"GRAPH__HIDDEN_DIM": 32, "GRAPH__LR": 0.01, "GRAPH__PIXELS": 64,
             "UNIFY__TEXT_WEIGHT": 0.0, "UNIFY__FIT_ITERATIONS": 20,
             "DATASETS__TOY": False}  # fmt: skip
    cfg, spaces = world.config(**{**quick, **values}), world.spaces()
    heads = MultiSegHead(spaces.num_classes, world.DIM)
    for weight, known in zip(heads.weights, world.heads(), strict=True):
        weight.data.copy_(known)
    model = UniLabelSegmentor(
        backbone=TinyBackbone(), pixel_decoder=TinyDecoder(), multi_head=heads, uni_head=None,
        label_spaces=spaces, pixel_mean=[0, 0, 0], pixel_std=[1, 1, 1],
    )  # fmt: skip
    text, train = world.random_text(), world.pixels()
    FrozenNetwork = part("frozen_pixels").FrozenNetwork
    return FrozenNetwork("toy", 0, cfg, SEGMENT, [], spaces, model, text, train, world.pixels(150))


# --- folds, hidden pixels ---

# Two datasets of two classes: 0 and 1, 2 and 3.
LINKS = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).bool()


def test_folds_by_hand(bench: ModuleType) -> None:
    folds = {}
    for fold in part("graph_stage_hidden").deal_folds(LINKS, 3, 0):
        key = tuple(fold.hidden.nonzero().flatten().tolist())
        folds[key] = [x.nonzero().flatten().tolist() for x in (fold.rows, fold.scored)]
    # Label 0: classes 0 and 2 hidden, 2 is also label 1's, of which class 1 is seen.
    assert folds == {(0, 2): [[0], [0]], (1, 2): [[1], [1]], (3,): [[2], [3]]}
    (whole,) = part("graph_stage_hidden").deal_folds(LINKS, 1, 0)
    assert whole.hidden.all()
    assert whole.rows.all()
    assert whole.scored.all()


def test_a_label_whose_classes_are_all_hidden_by_others_is_unknown_too(bench: ModuleType) -> None:
    links = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]]).bool()
    deal = part("graph_stage_hidden").deal_folds
    folds = [fold for seed in range(20) for fold in deal(links, 2, seed)]
    for fold in folds:
        assert torch.equal(fold.rows, ~(links & ~fold.hidden).any(1))
        assert not (links[~fold.rows] & fold.scored).any()
    both = next(f for f in folds if f.hidden.all())  # by the first two labels
    assert both.rows.all()


def fold_of(links: Tensor, *classes: str) -> Any:
    """A fold that hides these classes."""
    names = world.spaces().label_names()
    hidden = torch.tensor([n in classes for n in names])
    rows = ~(links & ~hidden).any(1)
    scored = ~(links & ~rows[:, None]).any(0)
    return part("graph_stage_hidden").Fold(hidden, rows, scored)


SKY = ("idd:sky", "ade:sky")


@pytest.mark.parametrize("variant", ["messages", "alone", "text"])
def test_pixels_of_hidden_classes_are_not_seen(bench: ModuleType, variant: str) -> None:
    hidden, net = part("graph_stage_hidden"), network()
    proposal = propose_nodes(net.cfg, net.spaces, net.train, world.heads(), net.text)
    fold = fold_of(proposal.links, *SKY)
    assert fold.rows.sum() == 1
    spoilt = PixelCache([e.clone() for e in net.train.embeddings], net.train.labels)
    for i, block in enumerate(net.spaces.split(fold.hidden, dim=0)):
        spoilt.embeddings[i][block[net.train.labels[i]]] = 1e6
    rows = []
    for cache in (net.train, spoilt):
        pixels = part("frozen_pixels").without_classes(cache, net.spaces, fold.hidden)
        for labels, block in zip(pixels.labels, net.spaces.split(fold.hidden, dim=0), strict=True):
            assert not block[labels].any()
            assert len(labels) > 100
        rows.append(hidden.text_only_rows(net, proposal, pixels, fold, variant))
    assert torch.equal(*rows)


def test_an_unseen_label_is_no_rival_to_the_seen_ones(bench: ModuleType) -> None:
    """Alone, its features stay as they began: no pixel of another label pushes it away."""
    hidden, net = part("graph_stage_hidden"), network()
    proposal = propose_nodes(net.cfg, net.spaces, net.train, world.heads(), net.text)
    fold = fold_of(proposal.links, *SKY)
    pixels = part("frozen_pixels").without_classes(net.train, net.spaces, fold.hidden)
    kept = []
    build = hidden.build_label_graph

    def keep(*arguments: Any) -> Any:
        graph = build(*arguments)
        kept.append((graph, graph.unified_features.detach().clone()))
        return graph

    hidden.build_label_graph = keep
    try:
        hidden.text_only_rows(net, proposal, pixels, fold, "alone")
    finally:
        hidden.build_label_graph = build
    ((graph, before),) = kept
    same = (graph.unified_features == before).all(1)
    assert torch.equal(same, fold.rows)


def test_nearest_rows_by_hand(bench: ModuleType) -> None:
    text = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.8, 0.2], [0.7, 0.3]])
    rows = torch.arange(5.0)[:, None]
    unknown = torch.tensor([True, False, False, False, False])
    found = part("graph_stage_hidden").nearest_rows(rows, text, unknown)
    assert found.flatten().tolist() == [pytest.approx((1 + 3 + 4) / 3), 1, 2, 3, 4]


# --- variants ---


def test_variants_begin_alike_and_end_apart(bench: ModuleType) -> None:
    begin = part("graph_stage_start").Start(network())
    rows = {}
    for variant in ("messages", "alone", "text"):
        rows[variant] = begin.learned(variant, begin.net.train).learner.result()[0]
    again = begin.learned("messages", begin.net.train).learner.result()[0]
    assert torch.equal(again, rows["messages"])
    assert not torch.equal(rows["messages"], rows["alone"])
    assert not torch.equal(rows["text"], rows["alone"])


def test_text_as_own_feature(bench: ModuleType) -> None:
    begin = part("graph_stage_start").Start(network())
    graph, links = begin.learned("text", begin.net.train).graph, begin.proposal.links
    row = begin.net.text[links[0]].mean(0)
    assert torch.allclose(graph.unified_features[0], row / row.norm(), atol=1e-6)
    assert not graph.messages


def relations(path: Path) -> str:
    pairs = [("city:car", "idd:car"), ("city:car", "ade:car"), ("idd:sky", "ade:sky")]
    sides = [[tuple(end.split(":")) for end in pair] for pair in pairs]
    write_json(path, {"relations": [{"a": list(a), "b": list(b)} for a, b in sides]})
    return str(path)


def test_cells_of_the_made_up_world(bench: ModuleType, tmp_path: Path) -> None:
    net = network(DATASETS__RELATIONS=relations(tmp_path / "relations.json"))
    begin = part("graph_stage_start").Start(net)
    links = bench.links_cell(begin)
    # of the pairs that the links make, three are known
    together = world.atom_links().T.float() @ world.atom_links().float() > 0
    others = sum(
        int(together[a, b]) for a in range(3) for b in range(3, 11)
    ) + int(together[3:8, 8:].sum())  # fmt: skip
    precision = 3 / others
    assert links["node selection"]["f1"] == pytest.approx(2 * precision / (1 + precision), abs=1e-4)
    assert links["messages"]["left"]["recall"] == 1
    for variant in ("messages", "alone"):
        assert links[variant]["proposed"] == links[variant]["changed"] == 0
    rare = bench.rare_cell(begin)
    assert [len(rare[key]) for key in ("all", "1 in 30")] == [11, 11]
    assert sum(c["train_pixels"] for c in rare["all"]) == 900
    assert sum(c["train_pixels"] for c in rare["1 in 30"]) == 30
    assert min(c["iou"]["fitted"] for c in rare["all"]) > 0.9
    assert list(rare["all"][0]["iou"]) == ["messages", "alone", "fitted", "fitted from graph"]
    assert sum(c["val_pixels"] for c in rare["all"]) == 450


def test_changes_are_counted_against_what_there_is_without_the_stage(
    bench: ModuleType, tmp_path: Path
) -> None:
    path = relations(tmp_path / "relations.json")
    net = network(DATASETS__RELATIONS=path, UNIFY__CONFIRM_SHARE=0.0)
    begin = part("graph_stage_start").Start(net)
    solve = part("graph_stage_start").StageUnifier.solve

    def moved(unifier: Any, soft: Tensor, iteration: int) -> Tensor:
        """Links that have all moved to the next unified label."""
        links = solve(unifier, soft, iteration).clone()
        return links[[*range(1, len(links)), 0]]

    part("graph_stage_start").StageUnifier.solve = moved
    try:
        cell = bench.links_cell(begin)
    finally:
        part("graph_stage_start").StageUnifier.solve = solve
    assert cell["messages"]["proposed"] > 0
    assert cell["messages"]["changed"] > 0


# --- scores ---


def test_iou_in_the_own_labels_by_hand(bench: ModuleType) -> None:
    net = network()
    # An X_u that answers with the atom itself, except that it takes every car for sky.
    rows = torch.eye(5, world.DIM) * 10
    rows[[3, 4]] = rows[[4, 3]]
    clean = [torch.eye(world.DIM)[[0, 1, 3, 3]]] * 3
    labels = [torch.tensor([0, 0, 2, 2]), torch.tensor([0, 1, 3, 4]), torch.tensor([0, 0, 1, 2])]
    mapping = LabelMapping.from_stacked(net.spaces, world.atom_links())
    iou = part("frozen_pixels").class_iou(
        replace(net, val=PixelCache(clean, labels)), rows, mapping
    )  # fmt: skip
    # city knows no sky, its cars go to what is likeliest of the rest; in idd one of two is right.
    by_name = dict(zip(net.spaces.label_names(), iou.tolist(), strict=True))
    assert by_name["idd:road"] == 1
    assert by_name["idd:car"] == 0
    assert by_name["idd:sky"] == pytest.approx(1 / 2)
    assert by_name["ade:ground"] == 1
    assert by_name["ade:car"] == 0
    assert by_name["ade:sky"] == pytest.approx(1 / 2)
    assert by_name["idd:sidewalk"] != by_name["idd:sidewalk"]  # not there: not a number


def test_area_by_hand(bench: ModuleType) -> None:
    area = part("frozen_pixels").area
    scores = torch.tensor([0.1, 0.4, 0.4, 0.8])
    assert area(scores, torch.tensor([False, True, False, True])) == (1 + 0.5 + 1 + 1) / 4
    assert area(scores, torch.tensor([True, False, False, False])) == 0
    assert area(scores, torch.ones(4).bool()) != area(scores, torch.ones(4).bool())


# --- tables ---


def test_bins(bench: ModuleType) -> None:
    table = part("graph_stage_table")
    classes = [{"train_pixels": n} for n in (0, 49, 50, 499, 500, 90000)]
    found = [[c["train_pixels"] for c in table.in_bin(classes, *b)] for b in table.BINS]
    assert found == [[0, 49], [50, 499], [500, 90000]]


def test_tables_from_cells(bench: ModuleType, tmp_path: Path, capsys) -> None:
    f1 = {"f1": 0.5}
    graph = {"solved": f1, "left": {"f1": 0.75}, "proposed": 3, "changed": 1}
    ways = ("messages", "alone", "fitted", "fitted from graph")
    few = {"train_pixels": 7, "iou": dict(zip(ways, (0.1, None, 0.4, 0.5), strict=True))}
    much = {"train_pixels": 500, "iou": dict.fromkeys(ways, 0.8)}
    more = ("messages", "alone", "text", "nearest, graph", "nearest, fitted", "all pixels seen")
    hidden = {"iou": dict.fromkeys(more, 0.25), "auc": dict.fromkeys(more, 0.625)}
    parts = {
        "links": {"node selection": f1, "no stage": f1, **dict.fromkeys(ways[:2], graph)},
        "rare": {"all": [few, much]},
        "text_only": {"folds": 2, "classes": [hidden]},
    }
    for seed in (0, 1):
        for name, found in parts.items():
            known = {"network": "toy", "seed": seed, "part": name, "cpu_seconds": 60.0}
            write_json(tmp_path / f"toy_{seed}_{name}.json", {**known, "found": found})
    assert bench.main(["--cells", str(tmp_path), "--table-only"]) == 0
    text = capsys.readouterr().out
    assert "| toy | 2 | without the stage | - | - | 0.500 ± 0.000 | 0.500 ± 0.000 |" in text
    assert "| toy | 2 | graph | 3.0 ± 0.0 | 1.0 ± 0.0 | 0.500 ± 0.000 | 0.750 ± 0.000 |" in text
    row = "| toy | 2 | all | under 50 | 1, 1 | 10.0 ± 0.0 | - | 40.0 ± 0.0 | 50.0 ± 0.0 |"
    assert row in text
    assert "| 500 or more | 1, 1 |" in text
    assert "50 to 500" not in text
    assert "| toy | 2 | 2, 2 | 1, 1 | graph | 25.0 ± 0.0 | 0.625 ± 0.000 |" in text
    assert text.rstrip().endswith("6.0 minutes.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--table-only"], "no finished cell in"), (["--networks", "mini"], "expected NAME=DIR")],
)
def test_mistakes(bench: ModuleType, tmp_path: Path, arguments, message: str, capsys) -> None:
    assert bench.main(["--cells", str(tmp_path / "cells"), *arguments]) == 2
    assert message in capsys.readouterr().err
