"""Bad folders, full disks and wrong options: what a person is told, and what stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2")

from harmonize_runs import check, folders

from unilabel.core import io
from unilabel.core.io import read_json, write_json
from unilabel.core.transfer import TransferMapping
from unilabel.data.folders import folder_source
from unilabel.predictor import build_predictor

pytestmark = pytest.mark.d2


@pytest.fixture
def broken(world: Path, tmp_path: Path) -> Path:
    """A copy of one dataset, to be spoilt."""
    shutil.copytree(world / "toy_idd", tmp_path / "toy_idd")
    return tmp_path / "toy_idd"


def spoil_size(folder: Path) -> str:
    file = sorted((folder / "labels/train").iterdir())[1]
    Image.fromarray(np.zeros((96, 127), np.uint8)).save(file)
    return f"{file} 127x96; both must be equal"


def spoil_label(folder: Path) -> str:
    file = sorted((folder / "labels/train").iterdir())[1]
    file.unlink()
    return "toy_idd_train_0001.png; add the labels or move the images away"


def spoil_id(folder: Path) -> str:
    file = sorted((folder / "labels/val").iterdir())[0]
    Image.fromarray(np.full((96, 128), 77, np.uint8)).save(file)
    return f"{file}: label id 77"


def spoil_image(folder: Path) -> str:
    file = sorted((folder / "images/val").iterdir())[0]
    file.write_bytes(file.read_bytes()[:500])
    return f"{file} cannot be decoded"


def spoil_classes(folder: Path) -> str:
    content = read_json(folder / "classes.json")
    content["classes"][1]["name"] = "houses"
    write_json(folder / "classes.json", content)
    return "among them 'houses', but the model was trained with"


def spoil_name(folder: Path) -> str:
    content = read_json(folder / "classes.json")
    write_json(folder / "classes.json", {**content, "name": "stranger"})
    return "the model was not trained on 'stranger'"


@pytest.mark.parametrize(
    "spoil", [spoil_size, spoil_label, spoil_id, spoil_image, spoil_classes, spoil_name]
)
def test_bad_datasets(
    spoil, broken: Path, call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = spoil(broken)
    assert call(tmp_path / "m", "--folders", broken) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.startswith("error: ")
    if spoil is spoil_name:
        assert "tools/map_unseen.py" in said
    assert not (tmp_path / "m/harmonize.json").exists()


def test_after_mending_the_rest_is_made(
    broken: Path, call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = sorted((broken / "labels/train").iterdir())[1].read_bytes()
    spoil_size(broken)
    assert call(tmp_path / "m", "--folders", broken) == 2
    assert "1 of 5 photos could not be made; 4 are kept" in capsys.readouterr().err
    sorted((broken / "labels/train").iterdir())[1].write_bytes(whole)
    assert call(tmp_path / "m", "--folders", broken) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert call(tmp_path / "m", "--folders", broken, "--resume") == 0
    assert "1 photos made" in capsys.readouterr().out


def test_labels_that_changed_meanwhile_are_done_again(
    broken: Path, call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "m", "--folders", broken, "--shard", "1/1") == 0
    shutil.rmtree(tmp_path / "m")
    assert call(tmp_path / "m", "--folders", broken, "--shard", "1/2") == 0
    file = sorted((broken / "labels/train").iterdir())[0]
    Image.fromarray(np.zeros((96, 128), np.uint8)).save(file)
    capsys.readouterr()
    assert call(tmp_path / "m", "--folders", broken, "--resume") == 0
    assert "3 photos made" in capsys.readouterr().out
    written = np.array(Image.open(tmp_path / "m/labels/train" / f"toy_idd__{file.name}"))
    assert len(np.unique(written)) == 1


def test_other_settings_do_not_mix(
    call, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "m", *folders(world, "toy_idd"), "--shard", "1/2") == 0
    assert call(tmp_path / "m", *folders(world, "toy_idd"), "--shard", "2/2", "--tta") == 2
    assert "other settings (options)" in capsys.readouterr().err
    assert call(tmp_path / "m", *folders(world, "toy_city"), "--resume") == 2
    assert "other settings (datasets)" in capsys.readouterr().err


def test_a_full_disk(
    call, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    replace, left = os.replace, [8]

    def fill_up(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(io.os, "replace", fill_up)
    assert call(tmp_path / "m", *folders(world, "toy_idd", "toy_city", "toy_fine")) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "10 of 15 photos could not be made" in said
    assert not list((tmp_path / "m").rglob("*.tmp"))


def test_places_that_are_taken(
    call, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/thesis.tex").write_text("mine")
    assert call(tmp_path / "m", *folders(world, "toy_idd")) == 2
    assert "was not begun by this program" in capsys.readouterr().err
    assert call(world / "toy_idd/merged", *folders(world, "toy_idd")) == 2
    assert "lies in the dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "0/4"], "expected I/N"),
        (["--shard", "5/4"], "expected I/N"),
        (["--fill-ignored", "1.5"], "--fill-ignored is 1.5"),
        (["--space", "cityscapes"], "--space 'cityscapes'"),
    ],
)
def test_wrong_options(
    arguments: list[str], message: str, call, world: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert call(tmp_path / "m", *folders(world, "toy_idd"), *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_model_without_unified_labels(
    tool: ModuleType, multi_head_weights: Path, world: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    base = ["--weights", str(multi_head_weights), "--output", str(tmp_path / "m")]
    assert tool.main([*base, *folders(world)]) == 2
    assert "no unified labels" in capsys.readouterr().err


def test_an_edited_label_space(
    tool: ModuleType, merged: Path, call, world: Path, tmp_path: Path
) -> None:
    """Trucks and buses of toy_idd become one label, by hand."""
    space = read_json(merged / "label_space.json")
    names = [entry["name"] for entry in space["labels"]]
    space["labels"][names.index("bus")]["links"]["toy_idd"] = None
    write_json(tmp_path / "edited.json", space)
    output = tmp_path / "m"
    assert call(output, *folders(world, "toy_idd"), "--space", tmp_path / "edited.json") == 0
    result = read_json(output / "harmonize.json")
    rows = {c["name"]: c for c in result["datasets"][0]["classes"]}
    assert rows["heavy vehicle"]["candidates"] == 1
    assert check(tool, output) == 0


def test_a_dataset_that_the_model_was_not_trained_on(
    tool: ModuleType, toy_weights: Path, broken: Path, call, tmp_path: Path
) -> None:
    """Through a mapping of tools/map_unseen.py; here that of toy_idd, with one class left out."""
    spoil_name(broken)
    source = folder_source(str(broken))
    space = build_predictor(toy_weights).label_space
    links = space.mapping["toy_idd"].clone()
    pole = source.label_space.index("pole")
    links[:, pole] = False
    mapping = TransferMapping.from_links(
        source.label_space, "unified", space.names, links, links.float()
    )
    mapping.save(tmp_path / "mapping.json")
    output = tmp_path / "m"
    assert call(output, "--folders", broken, "--mapping", tmp_path / "mapping.json") == 0
    rows = {c["name"]: c for c in read_json(output / "harmonize.json")["datasets"][0]["classes"]}
    assert rows["pole"]["candidates"] == 0
    assert rows["pole"]["pixels"]["ignored"] > 0
    assert rows["road"]["pixels"]["ignored"] == 0
    assert check(tool, output) == 0


def test_a_dataset_that_moved(
    tool: ModuleType, broken: Path, call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "m", "--folders", broken, "--link", "copy") == 0
    broken.rename(tmp_path / "elsewhere")
    assert check(tool, tmp_path / "m") == 2
    assert "say where it lies with --folders" in capsys.readouterr().err
    assert check(tool, tmp_path / "m", "--folders", str(tmp_path / "elsewhere")) == 0
