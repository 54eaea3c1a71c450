"""benchmarks/typed_relations.py on a label space whose relations are worked by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from scripts import load_script

from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.typed_relations import TypedRelation
from unilabel.core.unified_space import UnifiedLabelSpace

WORDS = ("People with their clothes.", "")
SPACES = LabelSpaceSet(
    [
        LabelSpace("a", ("person", "sky"), ((0, 0, 1), (0, 0, 2)), descriptions=WORDS),
        LabelSpace("b", ("shirt", "air", "spoon"), ((0, 0, 3), (0, 0, 4), (0, 0, 5))),
    ]
)


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load_script("benchmarks/typed_relations.py")


def pair(a: str, b: str, kind: str) -> dict:
    ends = {"a": {"dataset": "a", "label": a}, "b": {"dataset": "b", "label": b}}
    return {**ends, "type": kind, "source": "human"}


@pytest.fixture
def space() -> UnifiedLabelSpace:
    links = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]])
    return UnifiedLabelSpace.from_mapping(LabelMapping.from_stacked(SPACES, links.bool()))


def run(
    bench: ModuleType, space: UnifiedLabelSpace, folder: Path, capsys: pytest.CaptureFixture
) -> dict[str, list[str]]:
    known = [pair("person", "shirt", "superset"), pair("sky", "air", "equal")]
    (folder / "known.json").write_text(json.dumps({"relations": known}))
    space.save(folder / "space.json")
    call = ["--models", f"mine={folder / 'space.json'}", "--relations", str(folder / "known.json")]
    assert bench.main([*call, "--encoder", "hashed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if "mine" in line
    ]
    return {row[2]: row[3:] for row in rows}


def test_relations_of_the_file_are_scored(
    bench: ModuleType, space: UnifiedLabelSpace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    told = (
        TypedRelation(("a", "person"), ("b", "shirt"), "superset", "part"),
        TypedRelation(("a", "person"), ("b", "spoon"), "superset", "part"),  # wrong
        TypedRelation(("a", "sky"), ("b", "spoon"), "none", source="human"),
    )
    rows = run(bench, replace(space, relations=told), tmp_path, capsys)
    assert rows["links"] == ["1", "1.000", "0.500", "0.667", "0.667", "-", "-"]
    assert rows["typed"] == ["2", "0.500", "0.500", "0.500", "0.500", "-", "1 of 1"]
    assert rows["links and typed"] == ["3", "0.667", "1.000", "0.800", "0.800", "-", "-"]
    # the first became a link: its row says so, and what was learned is told apart
    links = space.mapping.stacked()
    links[2, 0] = True
    mapping = LabelMapping.from_stacked(SPACES, links)
    text = torch.zeros_like(links)
    text[2, 0] = True
    linked = replace(UnifiedLabelSpace.from_mapping(mapping, text_links=text), relations=told)
    again = run(bench, linked, tmp_path, capsys)
    assert again["learned links"] == rows["links"] == rows["learned links"]
    assert again["links"][:4] == ["2", "1.000", "1.000", "1.000"]
    assert again["typed"] == rows["typed"]
    assert again["links and typed"] == rows["links and typed"]


def test_a_file_without_relations_gets_them_by_its_texts(
    bench: ModuleType, space: UnifiedLabelSpace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = run(bench, space, tmp_path, capsys)
    assert rows["typed"] == ["1", "1.000", "0.500", "0.667", "0.667", "-", "1 of 1"]
    assert rows["links and typed"][:4] == ["2", "1.000", "1.000", "1.000"]


def test_a_model_needs_a_name(bench: ModuleType, capsys: pytest.CaptureFixture) -> None:
    assert bench.main(["--models", "space.json", "--relations", "x", "--encoder", "hashed"]) == 2
    assert "expected NAME=label_space.json" in capsys.readouterr().err
