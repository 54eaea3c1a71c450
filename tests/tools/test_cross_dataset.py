"""The table of label spaces on datasets, by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from scripts import load_script

ROOT = Path(__file__).parents[2]


def test_what_the_other_spaces_of_a_model_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    table = load_script("benchmarks/cross_dataset.py")
    rows = {
        "ours: a": {"x": 10.0, "y": 40.0},
        "ours: b": {"x": 30.0, "y": 20.0},
        "ours: unified": {"x": 31.0, "y": 39.0},
        "multi_head: a": {"x": 99.0, "y": 99.0},  # has no unified labels
    }
    found = table.with_summaries(rows)
    assert {name: found[name] for name in rows} == rows
    assert found["ours: best of the others"] == {"x": 30.0, "y": 40.0}
    assert found["ours: mean of the others"] == {"x": 20.0, "y": 30.0}
    assert len(found) == len(rows) + 2
    lines = table.markdown(found, ["x", "y"]).splitlines()
    assert lines[0] == "| label space | x | y | mean |"
    assert "| ours: best of the others | 30.0 | 40.0 | 35.0 |" in lines
    assert len(table.with_summaries({"ours: unified": {"x": 1.0}})) == 1
