"""The command line of tools/edit_model.py: files, messages, and what is never touched."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scripts import load_script

pytest.importorskip("detectron2")

from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import load_file
from unilabel.engine.loading import load_model

pytestmark = pytest.mark.d2
tool = load_script("tools/edit_model.py")


@pytest.fixture
def model(toy_weights: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run/model_final.pth"
    path.parent.mkdir()
    path.write_bytes(toy_weights.read_bytes())
    load_model(path)[1].save(path.parent / "label_space.json")
    return path


def test_edits_are_written_beside_each_other(model: Path, tmp_path: Path, capsys) -> None:
    before = {p: p.read_bytes() for p in model.parent.iterdir()}
    first = tmp_path / "new/model.pth"
    assert tool.main(["remove-dataset", str(model), "toy_city", "--output", str(first)]) == 0
    assert (first.parent / "label_space.json").is_file()
    second = first.with_name("second.pth")
    command = ["rename-dataset", str(first), "toy_idd", "idd", "--output", str(second)]
    assert tool.main(command) == 0
    own = first.with_name("second.label_space.json")  # that of the first model stays
    assert UnifiedLabelSpace.load(own) == load_model(second)[1]
    assert "idd" in load_model(second)[0].label_spaces.names
    assert {p: p.read_bytes() for p in model.parent.iterdir()} == before
    text = capsys.readouterr().out
    assert f"wrote {second} and {own}" in text


def test_the_model_itself_is_never_written(model: Path, tmp_path: Path, capsys) -> None:
    content = model.read_bytes()
    link = tmp_path / "link.pth"
    link.symlink_to(model)
    for output in (model, link):
        code = tool.main(["remove-dataset", str(model), "toy_city", "--output", str(output)])
        assert code == 2
        assert "is the model itself, which stays as it is" in capsys.readouterr().err
    assert model.read_bytes() == content


def test_a_failed_edit_leaves_nothing(model: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out/new.pth"
    assert tool.main(["remove-dataset", str(model), "nothing", "--output", str(out)]) == 2
    assert "error: unknown dataset 'nothing'" in capsys.readouterr().err
    assert tool.main(["merge-labels", str(model), "0", "1", "--output", str(out)]) == 2
    assert not out.parent.exists()


def test_somebody_edited_the_label_space(model: Path, tmp_path: Path, capsys) -> None:
    file = model.parent / "label_space.json"
    data = json.loads(file.read_text())
    data["labels"][3]["name"] = "what I call it"
    data["labels"][3]["checked"] = True
    file.write_text(json.dumps(data))
    command = ["remove-dataset", str(model), "toy_city", "--keep-labels"]
    assert tool.main([*command, "--output", str(tmp_path / "a.pth")]) == 2
    assert "somebody edited it since" in capsys.readouterr().err
    for choice, name in ((str(file), "what I call it"), ("inside", None)):
        out = tmp_path / f"{len(choice)}.pth"
        assert tool.main([*command, "--output", str(out), "--label-space", choice]) == 0
        space = load_model(out)[1]
        assert ("what I call it" in space.names) == (name is not None)
        assert bool(space.checked) == (name is not None)


def test_photos_on_the_command_line(model: Path, tmp_path: Path, capsys) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(2):
        image = np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8)
        cv2.imwrite(str(photos / f"{i}.png"), image)
    space = load_model(model)[1]
    name = next(n for n in space.label_spaces.names if space.mapping[n][0].any())
    split, out = tmp_path / "split.pth", tmp_path / "merged.pth"
    command = ["split-label", str(model), "0", "--away", name, "--name", "part"]
    assert tool.main([*command, "--output", str(split)]) == 0
    command = ["merge-labels", str(split), "0", "part", "--output", str(out)]
    assert tool.main([*command, "--photos", str(photos), "--name", "whole"]) == 0
    assert "pixels of 2 photos: toy_" in capsys.readouterr().out
    assert load_model(out)[1].names == ("whole", *space.names[1:])
    assert load_file(out)["num_unified"] == len(space.names)


@pytest.mark.parametrize(
    "command", ["remove-dataset", "rename-dataset", "merge-labels", "split-label"]
)
def test_help_teaches(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as done:
        tool.main([command, "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert "--output NEW.pth" in text
    assert "xact" in text


def test_relations_are_found_and_follow_other_edits(model: Path, tmp_path: Path) -> None:
    """Denied once, a relation stays denied; the answers are the same weights."""
    before = load_model(model)[1]
    first = tmp_path / "new/model.pth"
    assert tool.main(["find-relations", str(model), "--output", str(first)]) == 0
    found = load_model(first)[1]
    assert found.mapping == before.mapping
    assert found.beside() == found.relations  # never of classes that share a label
    data = json.loads((first.parent / "label_space.json").read_text())
    linked = before.mapping.links()
    place = before.label_spaces.places()
    a, b = next(
        (x, y) for x in place for y in place if x[0] < y[0] and not linked[place[x], place[y]]
    )
    denied = {
        "a": dict(zip(("dataset", "label"), a, strict=True)),
        "b": dict(zip(("dataset", "label"), b, strict=True)),
        "type": "none",
        "source": "human",
    }
    data["relations"] = [denied]
    (first.parent / "label_space.json").write_text(json.dumps(data))
    second, third = (first.with_name(name) for name in ("second.pth", "third.pth"))
    mine = ["--label-space", str(first.parent / "label_space.json")]
    assert tool.main(["find-relations", str(first), "--output", str(second), *mine]) == 0
    (kept,) = (r for r in load_model(second)[1].relations if r.source == "human")
    assert (kept.a, kept.b, kept.type) == (a, b, "none")
    rename = ["rename-dataset", str(second), a[0], "renamed", "--output", str(third)]
    assert tool.main([*rename, "--label-space", "inside"]) == 0
    (kept,) = (r for r in load_model(third)[1].relations if r.source == "human")
    assert kept.a == ("renamed", a[1])
    gone = ["remove-dataset", str(third), "renamed", "--output", str(tmp_path / "less.pth")]
    assert tool.main([*gone, "--label-space", "inside"]) == 0
    assert all(
        "renamed" not in (r.a[0], r.b[0]) for r in load_model(tmp_path / "less.pth")[1].relations
    )
