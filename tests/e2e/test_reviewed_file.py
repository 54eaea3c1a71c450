"""A label space that a person has reviewed goes through a training and comes out as theirs."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

import program

from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file

pytestmark = pytest.mark.d2

COLOR = (7, 200, 3)  # of the labels that the person painted: (7, 200, row)


def review(run: Path, path: Path) -> UnifiedLabelSpace:
    """All labels renamed and painted, every other one checked."""
    data = json.loads((run / "label_space.json").read_text(encoding="utf-8"))
    for label in data["labels"]:
        label["name"] = f"my {label['name']}"
        label["color"] = [*COLOR[:2], label["id"]]
        label["checked"] = label["id"] % 2 == 0
    path.write_text(json.dumps(data), encoding="utf-8")
    return UnifiedLabelSpace.load(path)


def links_of(space: UnifiedLabelSpace) -> dict[str, list[bool]]:
    return dict(zip(space.names, space.mapping.stacked().tolist(), strict=True))


def gone(notes: list[str]) -> set[str]:
    lines = [n for n in notes if n.startswith("labels of before")]
    return {name for line in lines for name in line.split(": ", 1)[1].split(", ")}


def test_names_colours_and_checks_survive_every_stage(quick_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "reviewed.json"
    reviewed = review(quick_run, file)
    values: dict[str, Any] = {
        "OUTPUT_DIR": tmp_path / "out",
        "UNIFY.NODES": "file",
        "MODEL.LABEL_SPACE": file,
        "SCHEDULE": [["MULTI_HEAD", 4], ["GNN", 6], ["SEG", 3], ["GNN", 4], ["FINAL", 4]],
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "UNIFY.PRUNE_SHARE": 0.4,  # cuts links of checked labels
    }
    arguments = ["--config-file", program.QUICK]
    pairs = [str(part) for pair in values.items() for part in pair]
    killed = program.train_net_until(12, signal.SIGKILL, *arguments, *pairs)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    file.rename(tmp_path / "moved.json")
    done = program.train_net(*arguments, "--resume", *pairs)
    assert done.returncode == 2  # the file is named, so it has to be there
    assert re.search(r"reviewed\.json", done.stderr + done.stdout)
    (tmp_path / "moved.json").rename(file)
    done = program.train_net(*arguments, "--resume", *pairs)
    assert done.returncode == 0, done.stderr

    space = UnifiedLabelSpace.load(tmp_path / "out/label_space.json")
    saved = load_file(tmp_path / "out/model_final.pth")["label_space"]
    assert UnifiedLabelSpace.from_dict(saved) == space
    before, after = links_of(reviewed), links_of(space)
    assert set(after) <= set(before)  # every class was in the file: nothing new is needed
    notes = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["notes"]
    assert set(before) - set(after) == gone(notes)
    rows = {name: row for row, name in enumerate(reviewed.names)}
    stayed = changed = 0
    for row, name in enumerate(space.names):
        old = rows[name]
        assert space.colors[row] == reviewed.colors[old] == (*COLOR[:2], old)
        same = after[name] == before[name]
        assert (row in space.checked) == (same and old in reviewed.checked)
        stayed += row in space.checked
        changed += old in reviewed.checked and not same
    assert stayed > 0
    assert changed > 0
