"""The page of the benchmarks: made from the files, and up to date."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_script("benchmarks/report.py")


def row(**values) -> dict:
    keys = ("case", "metric", "ours", "reference", "ratio", "target", "parity", "ok", "limit")
    return {**dict.fromkeys(keys), "case": "C=3", "metric": "time [s]", **values}


def write_report(folder: Path, name: str, rows: list[dict], **hardware) -> None:
    folder.mkdir(exist_ok=True)
    content = {
        "benchmark": name,
        "command": f"benchmarks/{name}.py --c 3",
        "date": "2026-01-02",
        "hardware": {"cpu": "A CPU", "cores": 4, "omp_num_threads": "1", **hardware},
        "versions": {"python": "3.11", "torch": "2.9"},
        "rows": rows,
    }
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_page(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, page = tmp_path / "results", tmp_path / "README.md"
    good = row(ours=0.5, reference=2.0, ratio=4.0, target=3.0, parity=True, ok=True, limit=0.25)
    bad = row(metric="peak [bytes]", ours=2e6, reference=4e9, ratio=2.0, target=3.0, ok=False)
    write_report(results, "one", [good, bad, row(metric="seen", ours=1.0)])
    write_report(results, "two", [row(ours=1, target="<= 1 s", ok=True)], accelerator="A GPU")
    (results / "other.json").write_text('{"cells": []}')
    arguments = ["--results", str(results), "--output", str(page)]
    assert tool.main([*arguments, "--check"]) == 1
    assert tool.main(arguments) == 0
    assert "2 reports, 1 rows miss their target" in capsys.readouterr().out
    lines = page.read_text().splitlines()
    assert "| one: time [s], C=3 | 0.5 | 2 | 4.00 | >= 3 x | yes | 2 | 2026-01-02 |" in lines
    assert "| one: peak, C=3 | 2 MB | 4 GB | 2.00 | >= 3 x | **no** | 2 | 2026-01-02 |" in lines
    assert "| two: time [s], C=3 | 1 |  |  | <= 1 s | yes | 1 | 2026-01-02 |" in lines
    assert "| C=3 | seen | 1 |  |  |  |  |  |" in lines
    assert "2. A CPU, 4 cores, 1 thread, python 3.11, torch 2.9" in lines
    assert "1. A CPU, 4 cores, 1 thread, A GPU, python 3.11, torch 2.9" in lines
    assert any("`python benchmarks/one.py --c 3`" in line for line in lines)
    assert tool.main([*arguments, "--check"]) == 0


def test_folder_without_reports(tool: ModuleType, tmp_path: Path, capsys) -> None:
    assert tool.main(["--results", str(tmp_path), "--output", str(tmp_path / "page")]) == 2
    assert "make bench" in capsys.readouterr().err


def test_the_page_in_the_repository_is_up_to_date(tool: ModuleType) -> None:
    assert tool.main(["--check"]) == 0
