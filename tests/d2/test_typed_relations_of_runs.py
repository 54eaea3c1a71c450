"""Typed relations at the end of a run: with texts, with pixels beside, and with a person's word."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.config import CfgNode

from unilabel.config import add_unilabel_config, get_cfg
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.typed_relations import TypedRelation
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.node_selection import NodeProposal
from unilabel.engine.typed_relations import with_typed_relations

pytestmark = pytest.mark.d2
WORDS = ("Human beings with their clothes: children and adults.", "")
SPACES = LabelSpaceSet(
    [
        LabelSpace("city", ("person", "sky"), ((0, 0, 1), (0, 0, 2)), descriptions=WORDS),
        LabelSpace("shop", ("shirt", "spoon"), ((0, 0, 3), (0, 0, 4))),
    ]
)
DENIED = TypedRelation(("city", "person"), ("shop", "shirt"), "none", source="human")


def config() -> CfgNode:
    cfg = get_cfg()
    add_unilabel_config(cfg)
    return cfg


@pytest.fixture
def space() -> UnifiedLabelSpace:
    links = torch.eye(4, dtype=torch.bool)
    return UnifiedLabelSpace.from_mapping(LabelMapping.from_stacked(SPACES, links))


def test_texts_decide_and_pixels_stand_beside(space: UnifiedLabelSpace) -> None:
    cross = torch.zeros(4, 4)
    cross[0, 2], cross[2, 0] = 0.125, 0.5
    (found,) = with_typed_relations(config(), space, cross).relations
    assert (found.a, found.b, found.type) == (("city", "person"), ("shop", "shirt"), "superset")
    assert (found.why, found.source, found.pixels) == ("part", "text", (0.125, 0.5))
    (found,) = with_typed_relations(config(), space).relations
    assert found.pixels is None


def test_linked_classes_have_no_second_relation(space: UnifiedLabelSpace) -> None:
    links = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]).bool()
    mapping = LabelMapping.from_stacked(SPACES, links)
    linked = UnifiedLabelSpace.from_mapping(mapping)
    assert with_typed_relations(config(), linked).relations == ()


def test_a_denied_relation_is_not_found_again(space: UnifiedLabelSpace) -> None:
    reviewed = replace(space, relations=(DENIED,))
    result = with_typed_relations(config(), reviewed)
    assert result.relations == (DENIED,)
    assert result.beside() == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [("UNIFY.TEXT_WEIGHT", 0.0), ("TEXT.FEATURES", "some.pt"), ("TEXT.MODE", "name")],
)
def test_a_run_without_these_texts_finds_none(
    space: UnifiedLabelSpace, key: str, value: float | str
) -> None:
    cfg = config()
    cfg.merge_from_list([key, value])
    assert with_typed_relations(cfg, space).relations == ()
    said = replace(DENIED, type="overlap")
    assert with_typed_relations(cfg, replace(space, relations=(said,))).relations == (said,)


def test_pixels_outlive_an_interruption() -> None:
    proposal = NodeProposal(torch.eye(4).bool(), torch.rand(4, 4), cross=torch.rand(4, 4))
    again = NodeProposal(**proposal.state_dict())
    assert torch.equal(again.cross, proposal.cross)
    state = proposal.state_dict()
    del state["cross"]  # a checkpoint of before
    assert NodeProposal(**state).cross is None
