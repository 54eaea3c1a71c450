"""benchmarks/relations.py on two lists whose relations are worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from scripts import load_script

from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.relations import RelationTruth
from unilabel.text.label_tables import load_label_spaces

FILE = Path(__file__).parents[2] / "benchmarks" / "relations.py"
CLASSES = {"a": ["sofa", "swivel chair", "sky"], "b": ["sofas", "chair", "cloud"]}


@pytest.fixture(scope="module")
def bench():
    return load_script("benchmarks/relations.py")


def relation(a, b, kind):
    sides = {"a": {"dataset": "a", "label": a}, "b": {"dataset": "b", "label": b}}
    return {**sides, "type": kind, "source": "human"}


@pytest.fixture
def files(tmp_path):
    for name, classes in CLASSES.items():
        (tmp_path / name).mkdir()
        entries = [
            {"id": i, "name": c, "description": f"It shows {c}."} for i, c in enumerate(classes)
        ]
        content = {"name": name, "classes": entries}
        (tmp_path / name / "classes.json").write_text(json.dumps(content))
    known = [
        relation("sofa", "sofas", "equal"),
        relation("swivel chair", "chair", "superset"),  # wrong on purpose: the type is missed
        relation("sky", "cloud", "superset"),
    ]
    (tmp_path / "known.json").write_text(json.dumps({"relations": known}))
    folders = [str(tmp_path / name) for name in CLASSES]
    return folders, str(tmp_path / "known.json"), tmp_path


def cells(printed, method):
    line = next(x for x in printed.splitlines() if x.startswith(f"| {method} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_table_of_methods_and_an_added_one(bench, files, capsys):
    folders, known, folder = files
    mine = folder / "mine.json"
    mine.write_text(json.dumps({"relations": [{"a": ["a", "sky"], "b": ["b", "cloud"]}]}))
    arguments = ["--folders", *folders, "--relations", known, "--encoder", "hashed:64"]
    assert bench.main([*arguments, "--add", f"mine={mine}", "--pairs"]) == 0
    printed = capsys.readouterr().out
    # One right of three known, none wrong: precision 1, recall 1/3, F1 1/2.
    assert cells(printed, "mine")[1:4] == ["1.000", "0.333", "0.500"]
    # So for the names: the sofas are the same.
    assert cells(printed, "names")[1:4] == ["1.000", "0.333", "0.500"]
    # The swivel chair is a chair, or the same, but not wider, as the file says on purpose.
    right, _, found = cells(printed, "text_ilp")[-1].split()
    assert int(right) < int(found)
    assert cells(printed, "a, b")[1] == "3"
    assert "6 classes of 2 sets, 3 known relations" in printed


def test_a_label_space_can_be_added(bench, files, capsys):
    from unilabel.core.label_mapping import LabelMapping
    from unilabel.core.unified_space import UnifiedLabelSpace

    folders, known, folder = files
    spaces = load_label_spaces(folders)
    links = torch.eye(3, dtype=torch.bool).repeat(1, 2)
    path = folder / "label_space.json"
    UnifiedLabelSpace.from_mapping(LabelMapping.from_stacked(spaces, links)).save(path)
    entry = bench.read_entry(f"mine={path}", spaces)
    assert RelationTruth.from_json(known, spaces).score(entry.found)["f1"] == 1.0


@pytest.mark.parametrize("spec", ["mine", "=file.json", "mine="])
def test_wrong_additions_are_refused(bench, files, capsys, spec):
    folders, known, _ = files
    arguments = ["--folders", *folders, "--relations", known, "--encoder", "hashed:64"]
    assert bench.main([*arguments, "--add", spec]) == 2
    assert "expected NAME=FILE" in capsys.readouterr().err


def test_left_out_chooses_on_the_other_pairs(bench):
    # Three datasets of one class each; all are related. Share .5 finds the pairs ab and ac, share
    # .6 finds bc. For each of ab and ac the others favour .5 or tie with it, for bc they favour .5.
    spaces = LabelSpaceSet(LabelSpace(name, ("x",), ((0, 0, 0),)) for name in "abc")
    related = ~torch.eye(3, dtype=torch.bool)
    truth = RelationTruth(related, related, torch.zeros_like(related))
    two, one = torch.zeros(3, 3, dtype=torch.bool), torch.zeros(3, 3, dtype=torch.bool)
    two[0, 1] = two[1, 0] = two[0, 2] = two[2, 0] = True
    one[1, 2] = one[2, 1] = True
    entry = bench.Entry("m", two, {0.5: two, 0.6: one})
    value, shares = bench.left_out(entry, truth, spaces)
    assert shares == [0.5]
    assert value == pytest.approx(2 * 2 / (2 + 3))
