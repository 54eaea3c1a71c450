"""Changes of links are confirmed by cached pixels; scores of links against known relations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from unilabel.config import load_config
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.review import with_fixed_links
from unilabel.engine.links import (
    confirmed_links,
    held_links,
    label_usage,
    relation_scores,
)
from unilabel.engine.pixel_cache import PixelCache

pytestmark = pytest.mark.d2

QUICK = Path(__file__).parents[2] / "configs/quick/toy.yaml"
SPACES = LabelSpaceSet(
    [
        LabelSpace("city", ("road", "car"), ((0, 0, 0), (1, 1, 1))),
        LabelSpace("idd", ("street",), ((0, 0, 0),)),
    ]
)
AXES = torch.eye(3)  # X_u of three unified labels: each wins on the pixels along its axis
#                                  road   car    street
BEFORE = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 1]]).bool()
SOLVED = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]]).bool()


def pixels(*counts: int) -> torch.Tensor:
    """(P, 3): so many pixels along each axis."""
    return AXES.repeat_interleave(torch.tensor(counts), dim=0)


# 10 % of the road look like unified label 2
CACHE = PixelCache(
    [torch.cat([pixels(90, 0, 10), pixels(0, 50, 0)]), pixels(60, 0, 40)],
    [torch.tensor([0] * 100 + [1] * 50), torch.zeros(100, dtype=torch.long)],
)


def outcome(
    share: float = 0.01, present: torch.Tensor = AXES, learned: torch.Tensor = AXES
) -> torch.Tensor:
    before, solved = (LabelMapping.from_stacked(SPACES, m) for m in (BEFORE, SOLVED))
    return confirmed_links(before, solved, CACHE, present, learned, share)


def test_usage_counts_the_winner_on_every_pixel() -> None:
    usage = label_usage(SPACES, CACHE, AXES)
    assert usage["city"].tolist() == [[90, 0], [0, 50], [10, 0]]
    assert usage["idd"].tolist() == [[60], [0], [40]]


def test_a_new_link_needs_its_share_before_and_after() -> None:
    assert torch.equal(outcome(), SOLVED)
    assert torch.equal(outcome(0.11), BEFORE)
    blind = AXES.clone()
    blind[2] = 0  # unified label 2 wins nowhere
    assert torch.equal(outcome(learned=blind), BEFORE)
    assert torch.equal(outcome(present=blind), BEFORE)
    # without the check the solved mapping stands whatever the pixels say
    assert torch.equal(outcome(0.0, blind, blind), SOLVED)


def test_what_a_person_fixed_replaces_what_contradicts() -> None:
    human = torch.zeros(3, 3, dtype=torch.bool)
    human[2, 0] = True  # unified label 2 is a road
    links = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 1, 1]]).bool()
    fixed = with_fixed_links(links, human, SPACES)
    assert fixed.tolist() == torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]]).bool().tolist()
    soft = with_fixed_links(0.4 * torch.ones(3, 3), human, SPACES)
    assert soft[2].tolist() == pytest.approx([1, 0, 0.4])
    assert soft[:2].tolist() == (0.4 * torch.ones(2, 3)).tolist()
    assert with_fixed_links(links, None, SPACES) is links


def test_links_are_scored_where_relations_are_known(tmp_path: Path) -> None:
    relation = {
        "a": {"dataset": "city", "label": "road"},
        "b": {"dataset": "idd", "label": "street"},
        "type": "equal",
    }
    file = tmp_path / "relations.json"
    file.write_text(json.dumps({"relations": [relation]}))
    cfg = load_config(QUICK)
    cfg.defrost()
    cfg.DATASETS.TOY, cfg.DATASETS.RELATIONS = False, str(file)
    mapping = LabelMapping.from_stacked(SPACES, BEFORE)
    assert relation_scores(cfg, mapping) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    cfg.DATASETS.RELATIONS = ""
    assert relation_scores(cfg, mapping) is None


def test_links_are_held_where_all_classes_of_the_label_are_alike() -> None:
    cfg = load_config(QUICK, ["UNIFY.NODES", "fused", "UNIFY.SCORE_THRESHOLD", "0.35"])
    mapping = LabelMapping.from_stacked(SPACES, SOLVED)  # road + street, car, road + street
    alike, unlike = torch.full((3, 3), 0.4), torch.full((3, 3), 0.3)
    held = held_links(cfg, mapping, alike)
    assert held is not None
    assert held.tolist() == [[True, False, True], [False, False, False], [True, False, True]]
    none = held_links(cfg, mapping, unlike)
    assert none is not None
    assert not none.any()
    assert held_links(cfg, mapping, None) is None
    cfg.UNIFY.NODES = "ilp"
    assert held_links(cfg, mapping, alike) is None
