"""Node selection hears what descriptions say outright, where likeness of sentences is silent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("detectron2")

from unilabel.config import load_config
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.engine import node_selection
from unilabel.engine.node_selection import propose_nodes
from unilabel.engine.pixel_cache import PixelCache
from unilabel.text.cache import load_or_encode

pytestmark = pytest.mark.d2

QUICK = Path(__file__).parents[2] / "configs/quick/toy.yaml"
BLACK = ((0, 0, 0),) * 2
FARM = LabelSpace("farm", ("cow", "rock"), BLACK)
PARK = LabelSpace(
    "park",
    ("living things", "machines"),
    BLACK,
    descriptions=("Living beings: people, and animals such as cows and dogs.", "Motor lorries."),
)
COW = frozenset({"farm:cow", "park:living things"})


def shared(*spaces: LabelSpace, **values: str) -> set[frozenset[str]]:
    """Unified labels of several datasets that are found in pixels that all look alike."""
    pairs = {"TEXT.MODE": "description", "TEXT.ENCODER": "hashed", "UNIFY.NODES": "fused"}
    pairs = {**pairs, "UNIFY.TEXT_WEIGHT": "0.5", **values}
    cfg = load_config(QUICK, [part for pair in pairs.items() for part in pair])
    both = LabelSpaceSet(spaces)
    labels = [torch.arange(100) % 2 for _ in spaces]
    pixels = [torch.zeros(100, 3) for _ in spaces]
    heads = [torch.zeros(2, 3) for _ in spaces]
    text = load_or_encode(None, both, "hashed", mode=cfg.TEXT.MODE)
    proposal = propose_nodes(cfg, both, PixelCache(pixels, labels), heads, text)
    names = both.label_names()
    rows = [frozenset(names[c] for c in row.nonzero().flatten()) for row in proposal.links]
    return {row for row in rows if len(row) > 1}


def test_an_animal_that_a_description_lists_is_held_by_the_class() -> None:
    assert COW in shared(FARM, PARK)


def test_names_alone_do_not_say_it() -> None:
    assert COW not in shared(FARM, PARK, **{"TEXT.MODE": "name"})


def test_pixels_alone_do_not_say_it() -> None:
    assert not shared(FARM, PARK, **{"UNIFY.TEXT_WEIGHT": "0.0"})


def test_vectors_without_their_encoder_are_compared_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert COW not in shared(FARM, PARK, **{"TEXT.FEATURES": "vectors.pt"})
    assert "TEXT.FEATURES" in caplog.text


def test_many_classes_are_said_to_take_memory(caplog, monkeypatch):
    spaces = LabelSpaceSet([FARM, PARK])
    cfg = load_config(QUICK, ["UNIFY.NODES", "names"])
    with caplog.at_level("WARNING"):
        propose_nodes(cfg, spaces, None, None, torch.zeros(4, 4))
        assert not caplog.messages
        monkeypatch.setattr(node_selection, "MANY_BYTES", 100)
        propose_nodes(cfg, spaces, None, None, torch.zeros(4, 4))
    assert "all pairs of 4 classes" in caplog.text
