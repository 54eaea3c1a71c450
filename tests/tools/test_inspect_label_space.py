from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script

from unilabel.core.synthetic import toy_relations
from unilabel.core.typed_relations import TypedRelation
from unilabel.core.unified_space import UnifiedLabelSpace


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_script("tools/inspect_label_space.py")


@pytest.fixture
def space_file(toy_space: UnifiedLabelSpace, tmp_path: Path) -> Path:
    path = tmp_path / "label_space.json"
    toy_space.save(path)
    return path


def test_relations_are_the_truth_of_the_toy_world(
    tool: ModuleType, space_file: Path, tmp_path: Path
) -> None:
    assert tool.main([str(space_file), "--json", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert len(report["labels"]) == 19

    def key(relation: dict) -> tuple[str, ...]:
        a, b = relation["a"], relation["b"]
        return a["dataset"], a["label"], b["dataset"], b["label"], relation["type"]

    found = {key(relation) for relation in report["relations"]}
    assert found == {key(relation) for relation in toy_relations()["relations"]}


def test_tables(tool: ModuleType, space_file: Path, capsys: pytest.CaptureFixture) -> None:
    assert tool.main([str(space_file)]) == 0
    text = capsys.readouterr().out
    assert "19 unified labels, 19 in use" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "toy_fine:vegetation is equal to toy_idd:vegetation 2" in lines
    assert any(line.startswith("7 barrier barrier") for line in lines)


def test_one_dataset_is_read_from_its_side(
    tool: ModuleType, space_file: Path, capsys: pytest.CaptureFixture
) -> None:
    assert tool.main([str(space_file), "--dataset", "toy_coarse"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "toy_coarse:vehicle is wider than toy_fine:car 1" in lines
    table = lines[lines.index("class is class unified labels in common") + 1 :]
    assert table
    assert all(line.startswith("toy_coarse:") for line in table)


def test_graph_and_model_file(
    tool: ModuleType, tmp_path: Path, request: pytest.FixtureRequest, space_file: Path
) -> None:
    pytest.importorskip("detectron2")
    weights = request.getfixturevalue("toy_weights")
    graph = tmp_path / "graph.svg"
    page = tmp_path / "graph.html"
    assert tool.main([str(weights), "--graph", str(graph), "--page", str(page)]) == 0
    assert graph.stat().st_size > 10_000
    assert "heavy vehicle" in page.read_text()
    own = tool.describe(tool.read_label_space(str(weights)))
    assert own == tool.describe(UnifiedLabelSpace.load(space_file))


def test_mistakes(
    tool: ModuleType, space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for arguments, message in (
        ([str(tmp_path / "none.json")], "none.json"),
        ([str(broken)], "not valid JSON"),
        ([str(space_file), "--dataset", "cityscapes"], "toy_fine"),
        ([str(space_file), "--graph", str(tmp_path / "graph.gif")], "png"),
    ):
        assert tool.main(arguments) == 2
        assert message in capsys.readouterr().err


def test_model_without_unified_labels(
    tool: ModuleType, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("detectron2")
    assert tool.main([str(request.getfixturevalue("multi_head_weights"))]) == 2
    assert "no unified labels" in capsys.readouterr().err


def test_relations_beside_the_links(
    tool: ModuleType, toy_space: UnifiedLabelSpace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    beside = TypedRelation(
        ("toy_city", "person"), ("toy_coarse", "flat"), "subset", "part", "text", 0.9, (0.25, 0.5)
    )
    path = tmp_path / "label_space.json"
    replace(toy_space, relations=(beside,)).save(path)
    out = tmp_path / "out.json"
    assert tool.main([str(path), "--dataset", "toy_coarse", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "1 relations more of classes without a unified label in common" in text
    (line,) = (x for x in text.splitlines() if x.startswith("toy_coarse:flat") and "0.90" in x)
    assert line.split() == [
        *("toy_coarse:flat", "is", "wider", "than", "toy_city:person", "part", "0.90"),
        *("0.50", "0.25", "text"),  # read from toy_coarse
    ]
    (entry,) = json.loads(out.read_text())["beside"]
    assert entry == beside.seen_from("toy_coarse").to_dict()
    assert tool.main([str(path), "--dataset", "toy_idd"]) == 0
    assert "relations more" not in capsys.readouterr().out
