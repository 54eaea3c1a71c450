"""Changes of links are confirmed by cached pixels; scores of links against known relations."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("detectron2")

from unilabel.config import load_config
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.engine.links import confirmed, label_usage, score_links
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


def trainer(present: torch.Tensor = AXES, human: torch.Tensor | None = None, **unify: float):
    cfg = load_config(QUICK, [p for k, v in unify.items() for p in (f"UNIFY.{k}", str(v))])
    model = SimpleNamespace(uni_head=SimpleNamespace(label_embedding=present))
    return SimpleNamespace(
        cfg=cfg, label_spaces=SPACES, cache=CACHE, model=model, human_links=human, link_scores=[]
    )


def outcome(here: SimpleNamespace, learned: torch.Tensor = AXES) -> torch.Tensor:
    before, solved = (LabelMapping.from_stacked(SPACES, m) for m in (BEFORE, SOLVED))
    return confirmed(here, before, solved, learned).stacked()


def test_usage_counts_the_winner_on_every_pixel() -> None:
    usage = label_usage(SPACES, CACHE, AXES)
    assert usage["city"].tolist() == [[90, 0], [0, 50], [10, 0]]
    assert usage["idd"].tolist() == [[60], [0], [40]]


def test_a_new_link_needs_its_share_before_and_after() -> None:
    assert torch.equal(outcome(trainer()), SOLVED)
    assert torch.equal(outcome(trainer(CONFIRM_SHARE=0.11)), BEFORE)
    blind = AXES.clone()
    blind[2] = 0  # unified label 2 wins nowhere
    assert torch.equal(outcome(trainer(), learned=blind), BEFORE)
    assert torch.equal(outcome(trainer(present=blind)), BEFORE)
    # without the check the solved mapping stands whatever the pixels say
    assert torch.equal(outcome(trainer(present=blind, CONFIRM_SHARE=0.0), blind), SOLVED)


def test_what_a_person_fixed_stays() -> None:
    human = torch.zeros(3, 3, dtype=torch.bool)
    human[2, 0] = True
    assert torch.equal(outcome(trainer(human=human, CONFIRM_SHARE=0.5)), SOLVED)


def test_links_are_scored_where_relations_are_known(tmp_path: Path) -> None:
    relation = {
        "a": {"dataset": "city", "label": "road"},
        "b": {"dataset": "idd", "label": "street"},
        "type": "equal",
    }
    file = tmp_path / "relations.json"
    file.write_text(json.dumps({"relations": [relation]}))
    here = trainer()
    here.cfg.defrost()
    here.cfg.DATASETS.TOY, here.cfg.DATASETS.RELATIONS = False, str(file)
    score_links(here, "GNN", LabelMapping.from_stacked(SPACES, BEFORE))
    assert here.link_scores == [{"after": "GNN", "precision": 1.0, "recall": 1.0, "f1": 1.0}]
    here.cfg.DATASETS.RELATIONS = ""
    score_links(here, "pruning", LabelMapping.from_stacked(SPACES, BEFORE))
    assert len(here.link_scores) == 1
