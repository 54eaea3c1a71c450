"""Typed relations at the end of a run: with texts, with pixels beside, and with a person's word."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.config import CfgNode
from tiny_model import TinyBackbone, TinyDecoder

from unilabel.config import add_unilabel_config, get_cfg
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.related_links import related_links
from unilabel.core.typed_relations import TypedRelation
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.label_rows import LabelRows
from unilabel.engine.node_selection import NodeProposal
from unilabel.engine.typed_relations import links_relations, with_typed_relations
from unilabel.engine.unifier import Unifier
from unilabel.modeling.heads import UniSegHead
from unilabel.modeling.meta_arch import UniLabelSegmentor

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


def rows_of(links: torch.Tensor) -> LabelRows:
    rows = LabelRows(SPACES)
    rows.begin(links, None, fix_human_links=False)
    return rows


def test_a_relation_that_became_a_link_keeps_its_type(space: UnifiedLabelSpace) -> None:
    links = torch.eye(4, dtype=torch.bool)
    (found,) = with_typed_relations(config(), space).relations
    rows = rows_of(links)
    weights = related_links(space.mapping, [found])
    rows.relate(weights)
    linked = links | (weights > 0)
    result = rows.label_space(LabelMapping.from_stacked(SPACES, linked), "learned", {})
    link = result.links[2, "city", 0]
    assert (link.source, link.weight) == ("text", pytest.approx(found.weight))
    assert result.links[2, "shop", 0].source == "learned"
    told = with_typed_relations(config(), result)
    assert told.relations == (found,)
    assert told.beside() == ()  # the link says it


def unifier(cfg: CfgNode, notes: list[str]) -> Unifier:
    links = torch.eye(4, dtype=torch.bool)
    head = UniSegHead(SPACES.num_classes, 4, 8, "probability_sum", True)
    head.set_label_space(torch.randn(4, 8), links, None)
    model = UniLabelSegmentor(
        backbone=TinyBackbone(),
        pixel_decoder=TinyDecoder(),
        multi_head=None,
        uni_head=head,
        label_spaces=SPACES,
        pixel_mean=[0, 0, 0],
        pixel_std=[1, 1, 1],
    )
    found = Unifier(cfg, SPACES, [], model, notes.append)
    found.proposal = NodeProposal(links, None)
    found.rows.begin(links, None, fix_human_links=False)
    return found


def read(head: UniSegHead, pixels: torch.Tensor, dataset: int) -> torch.Tensor:
    """(1, h, w) classes of a dataset, by its own answers."""
    bias, links = head.reading(dataset)
    shares = head.unified_logits(pixels, dataset, bias).softmax(1)
    return torch.einsum("bnhw,nc->bchw", shares, links.float()).argmax(1)


def test_a_run_ends_with_the_links_that_texts_tell() -> None:
    notes: list[str] = []
    run = unifier(config(), notes)
    head, pixels = run.model.uni_head, torch.randn(1, 8, 50, 30)
    before = [read(head, pixels, i) for i in range(2)]
    names = run.label_space().names
    run.relate()
    assert run.label_space().names == names
    # people read by the label of shirts in the unified label space alone
    assert all(torch.equal(read(head, pixels, i), before[i]) for i in range(2))
    expected = [[0, 0], [1, 1], [2, 0], [2, 2], [3, 3]]
    assert run.model.uni_head.mapping.nonzero().tolist() == expected
    checksum = run.mapping().checksum()
    assert notes == [f"1 more links that texts speak for, mapping {checksum}"]
    space = run.finish()
    assert space.mapping.stacked().nonzero().tolist() == expected
    assert {key for key, link in space.links.items() if link.source == "text"} == {(2, "city", 0)}
    assert [(r.a, r.b) for r in space.relations] == [(("city", "person"), ("shop", "shirt"))]
    assert space.beside() == ()


def test_labels_of_a_person_and_runs_without_the_option_get_none(space: UnifiedLabelSpace) -> None:
    notes: list[str] = []
    cfg = config()
    cfg.UNIFY.LINK_RELATIONS = False
    unifier(cfg, notes).relate()
    reviewed = unifier(config(), notes)
    reviewed.rows.begin(space.mapping.stacked(), space, fix_human_links=False)
    reviewed.relate()
    assert [r.b for r in reviewed.finish().relations] == [("shop", "shirt")]  # told all the same
    assert notes == ["no links that texts tell: what labels of a person or older model mean stays"]
    notes.clear()
    heads = unifier(config(), notes)
    heads.model.uni_head = None
    heads.relate()
    assert notes == []


def test_such_links_follow_their_label(space: UnifiedLabelSpace) -> None:
    rows = rows_of(torch.eye(4, dtype=torch.bool))
    weights = related_links(space.mapping, with_typed_relations(config(), space).relations)
    rows.relate(weights)
    rows.regroup(torch.tensor([1, 0, 2, -1]))
    assert rows.related.nonzero().tolist() == [[2, 0]]
    assert float(rows.edge_weights[2, 0]) == pytest.approx(float(weights[2, 0]))


@pytest.mark.parametrize(
    ("key", "value"),
    [("UNIFY.LINK_RELATIONS", False), ("UNIFY.NODES", "concat"), ("UNIFY.NODES", "file")],
)
def test_links_of_others_stay_as_they_are(key: str, value: bool | str) -> None:
    cfg = config()
    assert links_relations(cfg)
    cfg.merge_from_list([key, value])
    assert not links_relations(cfg)


def test_pixels_outlive_an_interruption() -> None:
    proposal = NodeProposal(torch.eye(4).bool(), torch.rand(4, 4), cross=torch.rand(4, 4))
    again = NodeProposal(**proposal.state_dict())
    assert torch.equal(again.cross, proposal.cross)
    state = proposal.state_dict()
    del state["cross"]  # a checkpoint of before
    assert NodeProposal(**state).cross is None
