"""The list of hand-made faults keeps in step with the program: none is about text that is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MUTANTS = json.loads((ROOT / "tests/mutants.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m["name"])
def test_a_fault_can_be_made(mutant: dict) -> None:
    text = (ROOT / mutant["file"]).read_text(encoding="utf-8")
    assert text.count(mutant["old"]) == 1, "follow the change of the program in tests/mutants.json"
    assert mutant["old"] != mutant["new"]
    for place in mutant["tests"]:
        file, _, name = place.partition("::")
        assert f"def {name.split('[')[0]}" in (ROOT / file).read_text(encoding="utf-8")


def test_names_are_distinct() -> None:
    names = [mutant["name"] for mutant in MUTANTS]
    assert len(set(names)) == len(names)
