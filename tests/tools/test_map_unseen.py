from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from scripts import load_script

pytest.importorskip("detectron2")

from unilabel.core.synthetic import render_scene
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.predictor import build_predictor

pytestmark = pytest.mark.d2
FAST = ["--encoder", "hashed", "DATALOADER.NUM_WORKERS", "0"]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_script("tools/map_unseen.py")


@pytest.fixture(scope="module")
def unseen(toy_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A dataset whose classes are groups of the model's own unified labels.

    Returns:
        its folder, and the class of each unified label, -1 for those that never occur.
    """
    folder = tmp_path_factory.mktemp("unseen")
    predictor = build_predictor(toy_weights)
    rng = np.random.default_rng(3)
    images = [render_scene(rng, "toy_fine")[0] for _ in range(5)]
    answers = [predictor.predict(image, "unified").labels for image in images]
    used = np.unique(np.stack(answers[:3]))
    assert len(used) >= 4
    group = np.full(19, -1)
    group[used] = np.arange(len(used)) % 3
    group[used[-1]] = -1  # a label that lies on nothing but unlabelled pixels
    for number, (image, answer) in enumerate(zip(images, answers, strict=True)):
        split = "train" if number < 3 else "val"
        for kind, array in (("images", image), ("labels", group[answer] % 256)):
            path = folder / kind / split / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(path)
    classes = [{"id": i, "name": n} for i, n in enumerate(["alpha", "beta", "gamma"])]
    (folder / "classes.json").write_text(json.dumps({"name": "groups", "classes": classes}))
    return folder, group


def classes_of(path: Path) -> list[int]:
    data = json.loads(path.read_text())
    names = [c["name"] for c in data["dataset"]["classes"]]
    return [-1 if e["class"] is None else names.index(e["class"]) for e in data["labels"]]


def table(printed: str) -> dict[str, tuple[str, float]]:
    """Row name -> (train mIoU, val mIoU)."""
    lines = printed.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("mapping "))
    rows = {}
    for line in lines[start + 1 :]:
        parts = line.rsplit(None, 3)
        if len(parts) == 4 and parts[1].isdigit():
            rows[parts[0]] = (parts[2], float(parts[3]))
    return rows


def test_mapping_is_found_from_images(
    tool: ModuleType,
    unseen: tuple[Path, np.ndarray],
    toy_weights: Path,
    toy_space: UnifiedLabelSpace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, group = unseen
    before = hashlib.sha256(toy_weights.read_bytes()).hexdigest()
    output = tmp_path / "mapping.json"
    arguments = ["--weights", str(toy_weights), "--dataset", str(folder), "--heads"]
    assert tool.main([*arguments, "--output", str(output), *FAST]) == 0
    rows = table(capsys.readouterr().out)
    heads = {f"{space.name}, images" for space in toy_space.label_spaces}
    assert set(list(rows)[:4]) == heads
    assert list(rows)[4:] == ["unified, text", "unified, images"]
    assert rows["unified, images"][0] == "100.00"
    assert rows["unified, images"][1] > max(rows["unified, text"][1], 60)
    found = np.array(classes_of(output))
    assert (found[group >= 0] == group[group >= 0]).all()
    notes = json.loads(output.read_text())["provenance"]
    assert notes["method"] == "images"
    assert notes["val_miou"]["unified, images"] == pytest.approx(
        rows["unified, images"][1], abs=0.01
    )
    assert hashlib.sha256(toy_weights.read_bytes()).hexdigest() == before


def test_text_then_edited_by_hand(
    tool: ModuleType,
    unseen: tuple[Path, np.ndarray],
    toy_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, group = unseen
    output = tmp_path / "mapping.json"
    arguments = ["--weights", str(toy_weights), "--dataset", str(folder)]
    assert tool.main([*arguments, "--method", "text", "--output", str(output), *FAST]) == 0
    assert table(capsys.readouterr().out)["unified, text"][0] == "-"
    data = json.loads(output.read_text())
    for entry, class_id in zip(data["labels"], group.tolist(), strict=True):
        entry["class"] = None if class_id < 0 else ("alpha", "beta", "gamma")[class_id]
    output.write_text(json.dumps(data))
    given = [*arguments, "--method", "file", "--mapping", str(output)]
    assert tool.main([*given, *FAST]) == 0
    rows = table(capsys.readouterr().out)
    assert rows["unified, mapping.json"][1] > max(rows["unified, text"][1], 60)
    data["labels"][0]["name"] = "other"
    output.write_text(json.dumps(data))
    assert tool.main([*given, *FAST]) == 2
    assert "made for another model" in capsys.readouterr().err


def test_model_with_a_head_per_dataset(
    tool: ModuleType,
    unseen: tuple[Path, np.ndarray],
    multi_head_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "mapping.json"
    arguments = ["--weights", str(multi_head_weights), "--dataset", str(unseen[0]), "--images", "2"]
    assert tool.main([*arguments, "--output", str(output), *FAST]) == 0
    printed = capsys.readouterr().out
    assert "2 training and 2 validation images" in printed
    rows = table(printed)
    assert len(rows) == 4
    assert list(rows)[-1] == f"{json.loads(output.read_text())['space']}, images"
    assert tool.main([*arguments, "--method", "text", *FAST]) == 2
    assert "use --method images" in capsys.readouterr().err
    assert float(list(rows.values())[-1][0]) == max(float(train) for train, _ in rows.values())


def test_dataset_that_the_model_knows(
    tool: ModuleType,
    unseen: tuple[Path, np.ndarray],
    toy_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "toy_city"
    shutil.copytree(unseen[0], folder)
    classes = json.loads((folder / "classes.json").read_text())
    (folder / "classes.json").write_text(json.dumps({**classes, "name": "toy_city"}))
    arguments = ["--weights", str(toy_weights), "--dataset", str(folder)]
    assert tool.main([*arguments, *FAST]) == 2
    assert "was trained on 'toy_city'" in capsys.readouterr().err
    assert tool.main([*arguments, "--heads", *FAST]) == 0
    assert "toy_city, images" in table(capsys.readouterr().out)


def test_relations_are_scored(
    tool: ModuleType,
    unseen: tuple[Path, np.ndarray],
    toy_weights: Path,
    toy_space: UnifiedLabelSpace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, group = unseen
    label = int(np.flatnonzero(group == 1)[0])
    fine = toy_space.label_spaces[0]
    name = fine.class_names[int(toy_space.mapping.class_of(fine.name)[label])]
    pair = {
        "a": {"dataset": fine.name, "label": name},
        "b": {"dataset": "groups", "label": "beta"},
        "type": "subset",
    }
    file = tmp_path / "relations.json"
    file.write_text(json.dumps({"relations": [pair]}))
    arguments = ["--weights", str(toy_weights), "--dataset", str(folder)]
    assert tool.main([*arguments, "--relations", str(file), *FAST]) == 0
    assert f"relations to {fine.name}: 1 of 1 true pairs found" in capsys.readouterr().out


def test_mistakes_are_named(
    tool: ModuleType,
    unseen: tuple[Path, np.ndarray],
    toy_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for dataset, more, message in (
        (tmp_path / "none", [], "no classes.json"),
        (unseen[0], ["--method", "file"], "--method file needs --mapping"),
        (unseen[0], ["--images", "-1"], "--images -1"),
        (unseen[0], ["TEST.BATCH", "1"], "TEST.BATCH"),
    ):
        arguments = ["--weights", str(toy_weights), "--dataset", str(dataset), *more]
        assert tool.main(arguments) == 2
        assert message in capsys.readouterr().err
