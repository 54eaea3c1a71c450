"""The tools that make label spaces and text features out of names and descriptions."""

from __future__ import annotations

import json

import pytest
from scripts import load_script

from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.text.label_tables import load_label_spaces


def load_tool(name):
    return load_script(f"tools/{name}.py")


@pytest.fixture
def folders(tmp_path):
    classes = {"a": ["bridge or tunnel", "sky"], "b": ["Bridge", "Tunnel"]}
    for name, names in classes.items():
        (tmp_path / name).mkdir()
        entries = [
            {"id": i, "name": n, "description": f"This is {n}."} for i, n in enumerate(names)
        ]
        content = json.dumps({"name": name, "classes": entries})
        (tmp_path / name / "classes.json").write_text(content)
    return [str(tmp_path / "a"), str(tmp_path / "b")]


PAIR_FORM = [{"a": ["a", "bridge or tunnel"], "b": ["b", "Bridge"]}]
RELATION_FORM = [
    {
        "a": {"dataset": "a", "label": "bridge or tunnel"},
        "b": {"dataset": "b", "label": "Bridge"},
        "type": "superset",
        "source": "human",
    }
]


@pytest.mark.parametrize("relations", [PAIR_FORM, RELATION_FORM])
def test_build_label_space_tool_scores_and_writes(folders, tmp_path, capsys, relations):
    truth, output = tmp_path / "truth.json", tmp_path / "label_space.json"
    truth.write_text(json.dumps({"relations": relations}))
    tool = load_tool("build_label_space")
    arguments = ["--folders", *folders, "--method", "names", "--relations", str(truth)]
    assert tool.main([*arguments, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    # Two links (Bridge and Tunnel), one of them known: precision 1/2, recall 1, F1 2/3.
    assert "4 classes of 2 datasets: N = 3" in printed
    assert "precision 0.500 recall 1.000 F1 0.667 against 1 known pairs" in printed
    written = UnifiedLabelSpace.load(output)
    assert written.provenance["method"] == "names"
    assert {link.source for link in written.links.values()} == {"text"}


@pytest.mark.parametrize("method", ["concat", "names", "text_cluster", "text_ilp"])
def test_build_label_space_tool_runs_every_method(folders, capsys, method):
    tool = load_tool("build_label_space")
    arguments = ["--folders", *folders, "--method", method, "--encoder", "hashed:64"]
    assert tool.main(arguments) == 0
    assert f"method={method}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"relations": [{"a": ["a", "bridge"], "b": ["b", "Bridge"]}]}, "no class 'bridge'"),
        ({"relations": [{"a": ["a"], "b": ["b", "Bridge"]}]}, r"or \[dataset, class\]"),
        ({"pairs": []}, 'a list "relations"'),
    ],
)
def test_build_label_space_tool_refuses_wrong_relations(
    folders, tmp_path, capsys, content, message
):
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(content))
    tool = load_tool("build_label_space")
    assert tool.main(["--folders", *folders, "--method", "names", "--relations", str(truth)]) == 2
    assert message.replace("\\", "") in capsys.readouterr().err


def test_encode_labels_tool_writes_a_file_that_a_run_can_read(folders, tmp_path, capsys):
    from unilabel.text.cache import load_or_encode

    tool = load_tool("encode_labels")
    output = tmp_path / "features.safetensors"
    arguments = ["--folders", *folders, "--encoder", "hashed:64", "--output", str(output)]
    assert tool.main(arguments) == 0
    assert "4 labels x 64" in capsys.readouterr().out
    spaces = load_label_spaces(folders)
    assert load_or_encode(output, spaces, "hashed:64").shape == (4, 64)
    assert tool.main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert tool.main([*arguments, "--force"]) == 0


def test_encode_labels_tool_asks_for_a_dataset(tmp_path, capsys):
    assert load_tool("encode_labels").main(["--output", str(tmp_path / "x.safetensors")]) == 2
    assert "--datasets" in capsys.readouterr().err
