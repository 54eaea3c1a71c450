"""The table of runs and the plan of the comparison."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from detectron2.config import CfgNode
from scripts import load_script

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.core.io import put_table, write_json
from unilabel.core.stages import StageSchedule
from unilabel.engine.resume import NO_MATTER, check_resumable, is_key

ROOT = Path(__file__).resolve().parents[2]


def _load(path: str) -> ModuleType:
    return load_script(path)


@pytest.fixture(scope="module")
def table() -> ModuleType:
    return _load("tools/results_table.py")


@pytest.fixture(scope="module")
def compare() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "benchmarks"))  # as for the script itself
    yield _load("benchmarks/compare.py")
    sys.path.remove(str(ROOT / "benchmarks"))


def _write_run(folder: Path, seed: int, miou: float, f1: float | None) -> str:
    results = {
        "config": "configs/toy.yaml" if f1 is not None else "configs/baselines/heads.yaml",
        "seed": seed,
        "git": "abc",
        "device": "cpu",
        "versions": {"unilabel": "0", "torch": "0"},
        "mean_miou": miou,
    }
    if f1 is not None:
        results["relations"] = {"f1": f1}
    write_json(folder / "results.json", results)
    return str(folder)


def test_runs_of_one_configuration_become_one_row(table: ModuleType, tmp_path: Path) -> None:
    runs = [
        _write_run(tmp_path / "a", 0, 70.0, 0.9),
        _write_run(tmp_path / "b", 1, 72.0, 1.0),
        _write_run(tmp_path / "c", 0, 69.0, None),
    ]
    text = table.table(table.read_runs(runs))
    assert "| toy | 0, 1 | 71.0 (70.0 to 72.0) | 0.950 (0.900 to 1.000) |" in text
    assert "| heads | 0 | 69.0 | - |" in text


def test_columns_for_datasets(table: ModuleType, tmp_path: Path) -> None:
    for name, scores in (("a", {"x": 50.0, "y": 60.0}), ("b", {"x": 52.0})):
        run = _write_run(tmp_path / name, 0, 70.0, None)
        results = json.loads((tmp_path / name / "results.json").read_text())
        results["datasets"] = {k: {"miou": v} for k, v in scores.items()}
        write_json(Path(run) / "results.json", results)
    runs = [str(tmp_path / n) for n in "ab"]
    lines = table.table(table.read_runs(runs, by_folder=True), datasets=True).splitlines()
    assert lines[0].startswith("| configuration | seeds | x | y | mean mIoU |")
    assert lines[2].startswith("| a | 0 | 50.0 | 60.0 | 70.0 |")
    assert lines[3].startswith("| b | 0 | 52.0 | - | 70.0 |")


def test_rows_by_folder(table: ModuleType, tmp_path: Path) -> None:
    runs = [_write_run(tmp_path / n, i, 70.0 + i, None) for i, n in enumerate(("x_0", "x_1", "y"))]
    text = table.table(table.read_runs(runs, by_folder=True))
    assert "| x | 0, 1 | 70.5 (70.0 to 71.0) |" in text
    assert "| y | 2 | 72.0 |" in text
    assert text.count("abc") == 1


def test_table_replaces_only_what_is_between_the_markers(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- table:x -->\nold\n<!-- end:x -->\nafter\n")
    put_table(document, "x", "new")
    assert document.read_text() == "before\n<!-- table:x -->\nnew\n<!-- end:x -->\nafter\n"
    with pytest.raises(UniLabelError, match="lacks the markers"):
        put_table(document, "y", "new")


def test_every_method_trains_the_network_equally_long(compare: ModuleType) -> None:
    config = load_config(ROOT / "configs/mini.yaml")
    want = StageSchedule(config.SCHEDULE).network_iterations()
    for kind, _ in compare.METHODS.values():
        for budget in (1, 10):
            entries = json.loads(compare.schedule_of(config, kind, budget))
            assert StageSchedule(entries).network_iterations() == want * budget


def test_every_override_is_a_known_key(compare: ModuleType) -> None:
    for kind, overrides in compare.METHODS.values():
        schedule = compare.schedule_of(load_config(ROOT / "configs/mini.yaml"), kind, 1)
        pairs = [part for pair in overrides.items() for part in pair]
        cfg = load_config(ROOT / "configs/mini.yaml", ["SCHEDULE", schedule, *pairs])
        for key in overrides:
            node = cfg
            for part in key.split("."):
                node = node[part]
            assert str(node) == overrides[key]


def test_what_differs_from_the_end_of_a_cell_may_differ_when_it_is_resumed(
    compare: ModuleType,
) -> None:
    for method, base in compare.CONTINUES.items():
        ours, other = (compare.METHODS[name][1] for name in (method, base))
        differing = [key for key in ours | other if ours.get(key) != other.get(key)]
        assert differing
        assert all(is_key(key, NO_MATTER) for key in differing), method


def test_every_method_may_go_on_from_the_stem_that_it_shares(compare: ModuleType) -> None:
    """compare.py and ``--resume`` agree on what has no effect before there are unified labels."""
    for method, (kind, overrides) in compare.METHODS.items():
        schedule = compare.schedule_of(load_config(ROOT / "configs/mini.yaml"), kind, 1)
        entries = json.loads(schedule)
        early = compare.early_overrides(overrides)

        def config(values: dict[str, str], entries: list) -> CfgNode:
            values = {"SCHEDULE": json.dumps(entries), "SOLVER.DECAY_ITERS": "560", **values}
            pairs = [part for pair in values.items() for part in pair]
            return load_config(ROOT / "configs/mini.yaml", pairs)

        stem = {
            "config": config(early, entries[:1]).dump(),
            "iteration": entries[0][1],
            "running": False,
            "num_unified": None,
        }
        assert check_resumable(config(overrides, entries), stem) == [], method


def test_keys_of_all_cells_come_in_pairs(compare: ModuleType, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare.py", "--out", str(tmp_path), "--set", "SEED"])
    with pytest.raises(SystemExit) as end:
        compare.main()
    assert end.value.code == 2
    assert "--set takes KEY VALUE pairs, found 1 words" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_keys_of_all_cells_reach_the_runs(compare: ModuleType, tmp_path: Path, monkeypatch) -> None:
    """What a method sets itself wins."""
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(compare.subprocess, "run", run)
    given = ["LOG_PERIOD", "7", "SOLVER.REFIT", "True"]
    monkeypatch.setattr(
        sys,
        "argv",
        ["compare.py", "--config", str(ROOT / "configs/mini.yaml"), "--out", str(tmp_path),
         "--methods", "multi_head", "--set", *given],
    )  # fmt: skip
    assert compare.main() == 2  # no finished cell
    (command,) = commands
    assert command[command.index("LOG_PERIOD") + 1] == "7"
    assert command.count("SOLVER.REFIT") == 1
    assert command[command.index("SOLVER.REFIT") + 1] == "False"


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"config": "configs/toy.yaml"}, "of config toy.yaml, not mini.yaml"),
        ({"cell": {"config": "mini.yaml", "budget": "full", "set": []}}, "budget full, not quick"),
        (
            {"cell": {"config": "mini.yaml", "budget": "quick", "set": ["LOG_PERIOD", "9"]}},
            "of set ['LOG_PERIOD', '9'], not []",
        ),
    ],
)
def test_kept_cells_of_another_comparison_are_refused(
    compare: ModuleType, tmp_path: Path, monkeypatch, capsys, kept: dict, message: str
) -> None:
    write_json(tmp_path / "cells/ours_0.json", {"config": "configs/mini.yaml", "seed": 0, **kept})
    monkeypatch.setattr(
        sys,
        "argv",
        ["compare.py", "--config", str(ROOT / "configs/mini.yaml"), "--methods", "ours",
         "--out", str(tmp_path / "out"), "--cells", str(tmp_path / "cells")],
    )  # fmt: skip
    assert compare.main() == 2
    assert message in capsys.readouterr().err


def test_kept_cells_name_no_place_of_this_machine(compare: ModuleType) -> None:
    words = ["INPUT.TOKEN_CACHE", "/home/me/tokens", "OUTPUT_DIR", "/tmp/x", "LOSS.STRIDE", "4"]
    words += ["DATASETS.CUSTOM", '["camvid7", "/home/me/sets/camvid11"]', "DATASETS.RELATIONS", ""]
    words += ["TEXT.ENCODER", "/models/minilm", "MODEL.LABEL_SPACE", "out/label_space.json"]
    args = argparse.Namespace(config="/home/me/configs/mini.yaml", budget="quick", set=words)
    found = compare.options(args)
    assert (found["config"], found["budget"]) == ("mini.yaml", "quick")
    assert dict(zip(found["set"][::2], found["set"][1::2], strict=True)) == {
        "LOSS.STRIDE": "4",
        "DATASETS.CUSTOM": '["camvid7", "camvid11"]',
        "DATASETS.RELATIONS": "",
        "TEXT.ENCODER": "minilm",
        "MODEL.LABEL_SPACE": "out/label_space.json",
    }


def test_results_in_the_repository_name_no_place_of_a_machine() -> None:
    found = []
    for file in sorted((ROOT / "benchmarks/results").rglob("*.json")):
        text = file.read_text(encoding="utf-8")
        found += [(file.name, m) for m in re.findall(r'(?<=")/[^"\s]+/[^"\s]*', text)]
    assert found == []


def test_links_after_every_event_seed_by_seed(compare: ModuleType, tmp_path: Path) -> None:
    for seed, scores in enumerate(((0.8, 0.9, 0.85), (0.7, 0.75, 0.75))):
        events = ("node selection", "GNN", "pruning")
        entries = [{"after": e, "f1": f} for e, f in zip(events, scores, strict=True)]
        write_json(tmp_path / f"ours_{seed}.json", {"seed": seed, "link_scores": entries})
    write_json(tmp_path / "names_0.json", {"seed": 0, "link_scores": entries[::2]})
    write_json(tmp_path / "single_0.json", {"seed": 0})
    write_json(tmp_path / "ours_no_text_0.json", {"seed": 0, "link_scores": []})
    cells = compare.read_cells(tmp_path / "no runs", tmp_path, compare.METHODS)
    assert {name: len(runs) for name, runs in cells.items()} == {
        "single": 1,
        "names": 1,
        "ours": 2,
        "ours_no_text": 1,
    }
    lines = compare.links_markdown(cells).splitlines()
    assert lines[0] == "| method | after node selection | after GNN | after pruning |"
    assert lines[2:] == [
        "| names | 0.700 | - | 0.750 |",
        "| ours | 0.800, 0.700 | 0.900, 0.750 | 0.850, 0.750 |",
    ]
    assert compare.links_markdown({"single": cells["single"]}) == ""


def test_what_parts_are_worth_is_compared_seed_by_seed(compare: ModuleType) -> None:
    def run(seed: int, miou: float, f1: float | None = None) -> dict:
        relations = {} if f1 is None else {"relations": {"f1": f1}}
        return {"seed": seed, "mean_miou": miou, **relations}

    cells = {
        "multi_head": [run(0, 60.0), run(2, 62.5), run(3, 0.0)],
        "ours": [run(0, 61.0, 0.9), run(1, 99.0, 0.9), run(2, 62.0, 0.8)],
        "ours_no_gnn": [run(2, 60.0, 0.85)],
        "ours_no_fit": [run(7, 60.0, 0.85)],  # no seed in common
    }
    lines = compare.parts_markdown(cells).splitlines()
    assert lines[2:] == [
        "| multi_head | 0, 2 | +0.25 (+1.00, -0.50) | - | - |",
        "| ours_no_gnn | 2 | +2.00 (+2.00) | - | -0.050 (-0.050) |",
    ]
    assert compare.parts_markdown({"ours": cells["ours"]}) == ""
    before = {"ours": [run(0, 60.5, 0.95), run(2, 62.0, 0.8)], "multi_head": [run(9, 1.0)]}
    lines = compare.before_markdown(cells, before).splitlines()
    assert lines[2:] == ["| ours | 0, 2 | +0.25 (+0.50, +0.00) | - | -0.025 (-0.050, +0.000) |"]
    assert compare.before_markdown(cells, {}) == ""


def test_a_mean_over_fewer_seeds_says_so(compare: ModuleType) -> None:
    spread = sys.modules["cells"].spread
    assert spread([1.0, 2.0], 1) == "1.5 ± 0.7"
    assert spread([1.0, None, 2.0], 1) == "1.5 ± 0.7 (2 of 3)"
    assert spread([None, 2.0], 1) == "2.0 (1 of 2)"
    assert spread([None], 1) == "-"
