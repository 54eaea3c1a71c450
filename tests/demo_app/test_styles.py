"""Stylesheets of the page: what one of them says about a class, another does not say again."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2] / "unilabel"


def classes_of(sheet: Path) -> set[str]:
    """Classes that a rule outside of media queries is about, and nothing else."""
    text = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", text)
    selectors = re.findall(r"([^{}]+)\{", text)
    return {s.strip() for s in selectors if re.fullmatch(r"\s*\.ul-[\w-]+\s*", s)}


def test_no_class_means_two_things() -> None:
    """The sheets of the graph lie in the page after those of the demo, and would win."""
    sheets = [*ROOT.glob("demo_app/static/*.css"), *ROOT.glob("visual/static/*.css")]
    assert len(sheets) >= 4
    times = Counter(name for sheet in sheets for name in classes_of(sheet))
    assert len(times) > 30
    assert {name for name, count in times.items() if count > 1} == set()
