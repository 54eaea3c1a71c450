from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from scripts import load_script

from unilabel.core.label_space import LabelSpace
from unilabel.core.typed_relations import TypedRelation
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.visual.related import related_beside
from unilabel.visual.report_page import DatasetReport, Example, numbers_of, report_html

NASTY = '</script><img src="http://example.org/x" onerror=alert(1)>'


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    pytest.importorskip("detectron2")
    return load_script("tools/report.py")


def is_self_contained(page: str) -> bool:
    rest = page.replace("http://www.w3.org/2000/svg", "")
    return not any(word in rest for word in ('src="http', "src='http", "@import", "url(http"))


@pytest.mark.d2
def test_report_of_the_toy_world(tool: ModuleType, toy_weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    arguments = ["--weights", toy_weights, "--images", 2, "--examples", 1, "--output", output]
    assert tool.main([str(a) for a in arguments]) == 0
    page = output.read_text(encoding="utf-8")
    assert is_self_contained(page)
    for text in (
        "Label graph",
        "Relations",
        "Confusion, 2 images",
        "heavy vehicle",
        "ground truth",
    ):
        assert text in page
    assert page.count("<section>") == 4
    assert page.count("unified labels</figcaption>") == 4


def test_relations_beside_the_links(toy_space: UnifiedLabelSpace) -> None:
    beside = [
        TypedRelation(
            ("toy_city", "person"), ("toy_coarse", "flat"), "subset", "part", "text", 0.9
        ),
        TypedRelation(("toy_city", "sky"), ("toy_idd", "drivable"), "none", source="human"),
    ]
    space = replace(toy_space, relations=tuple(beside))
    page = report_html("x", [DatasetReport(s) for s in space.label_spaces], space)
    assert "1 pairs of classes are related without sharing a unified label" in page
    titles = {s.name: s.display_name for s in space.label_spaces}
    row = (
        f"<td>person <span class='quiet'>{titles['toy_city']}</span></td>"
        "<td>is part of (part)</td>"
        f"<td>flat <span class='quiet'>{titles['toy_coarse']}</span></td>"
    )
    assert row in page.replace("\n", "")
    assert "without sharing" not in report_html("x", [], toy_space)
    assert related_beside(space, {"toy_city": "City", "toy_idd": "IDD"}) == ""


@pytest.mark.d2
def test_scores_of_the_run_and_own_images(
    tool: ModuleType, toy_weights: Path, tmp_path: Path
) -> None:
    results = {
        "mean_miou": 71.234,
        "num_unified": 19,
        "relations": {"precision": 0.9, "recall": 0.8, "f1": 0.847},
        "datasets": {"toy_idd": {"miou": 66.6, "unified_miou": 65.5, "iou": {"sky": 98.7}}},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "mine.png")
    output = tmp_path / "report.html"
    arguments = ["--weights", toy_weights, "--results", tmp_path / "results.json", "--images", 0]
    arguments += ["--input", tmp_path / "mine.png", "--output", output]
    assert tool.main([str(a) for a in arguments]) == 0
    page = output.read_text(encoding="utf-8")
    for text in ("71.23", "66.6", "65.5", "98.7", "f1 0.847", "mine.png", "Further images"):
        assert text in page
    assert "Confusion" not in page


@pytest.mark.d2
def test_model_without_unified_labels(
    tool: ModuleType, multi_head_weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "report.html"
    arguments = ["--weights", multi_head_weights, "--images", 1, "--output", output]
    assert tool.main([str(a) for a in arguments]) == 0
    assert "Label graph</h2>" not in output.read_text(encoding="utf-8")


@pytest.mark.d2
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "none.pth"], "none.pth"),
        (["--images", "-1"], "negative"),
        (["--results", "none.json"], "none.json"),
        (["--images", "0", "--input", "none.png"], "none.png"),
    ],
)
def test_mistakes(
    tool: ModuleType,
    toy_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    arguments: list[str],
    message: str,
) -> None:
    if "--weights" not in arguments:
        arguments = [*arguments, "--weights", str(toy_weights)]
    assert tool.main([*arguments, "--output", str(tmp_path / "r.html")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_texts_are_never_markup(toy_space: UnifiedLabelSpace) -> None:
    space = LabelSpace("d", (NASTY, "b"), ((1, 2, 3), (4, 5, 6)), display_name=NASTY)
    report = DatasetReport(space, {NASTY: 50.0, "b": None}, 50.0, None)
    report.confusion, report.images = np.array([[3, 1], [0, 0]]), 1
    report.examples.append(Example(NASTY, [(NASTY, np.zeros((4, 4, 3), np.uint8))]))
    page = report_html(NASTY, [report], toy_space, [(NASTY, NASTY)])
    assert NASTY not in page
    assert "&lt;/script&gt;" in page
    assert "25.0 %" in page  # one of four pixels of the first class


def test_numbers_of_incomplete_results() -> None:
    assert numbers_of({}) == []
    assert numbers_of({"mean_miou": None, "seed": 3}) == [("seed", "3")]
