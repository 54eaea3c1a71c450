"""Several models: their probabilities are averaged, the links of the first one decide."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from toy_models import save_toy_model

pytest.importorskip("detectron2")

from harmonize_runs import check, folders

from unilabel.core.io import file_digest, read_json
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.synthetic import TOY_DATASETS
from unilabel.core.unified_space import UnifiedLabelSpace

pytestmark = pytest.mark.d2
FINE, CITY = "toy_fine", "toy_city"


def reordered(space: UnifiedLabelSpace, changed: bool) -> UnifiedLabelSpace:
    """The labels in another order; ``changed``: two of them swap their links to toy_idd."""
    rows = torch.arange(len(space.names)).flip(0)
    matrices = {name: space.mapping[name][rows] for name in space.label_spaces.names}
    if changed:
        classes = matrices["toy_idd"].int().argmax(1)
        other = int((classes != classes[0]).nonzero()[0])
        matrices["toy_idd"][[0, other]] = matrices["toy_idd"][[other, 0]]
    return UnifiedLabelSpace.from_mapping(LabelMapping(space.label_spaces, matrices))


@pytest.fixture(scope="module")
def models(
    toy_space: UnifiedLabelSpace, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    spaces = {
        "first": toy_space,
        "same": reordered(toy_space, False),
        "other": reordered(toy_space, True),
    }
    for seed, (name, space) in enumerate(spaces.items()):
        save_toy_model(folder / f"{name}.pth", space, seed=seed)
    return {name: folder / f"{name}.pth" for name in spaces}


def run(
    tool: ModuleType, models: dict[str, Path], names: list[str], output: Path, *more: object
) -> int:
    weights = [str(models[name]) for name in names]
    base = ["--weights", *weights, "--output", str(output), "--workers", "1"]
    return tool.main([*base, *map(str, more)])


def maps(folder: Path) -> list[np.ndarray]:
    return [np.array(Image.open(p)) for p in sorted(folder.glob("labels/*/*.png"))]


def agreement(one: Path, two: Path) -> float:
    pairs = zip(maps(one), maps(two), strict=True)
    return float(np.mean([(a == b).mean() for a, b in pairs]))


def test_labels_of_equal_links_are_averaged_in_any_order(
    tool: ModuleType, models: dict[str, Path], world: Path, tmp_path: Path
) -> None:
    given = folders(world, CITY, "toy_coarse")
    for name, names in {
        "a": ["first"], "twice": ["first", "first"], "ab": ["first", "same"],
        "ba": ["same", "first"],
    }.items():  # fmt: skip
        assert run(tool, models, names, tmp_path / name, *given) == 0
        assert check(tool, tmp_path / name) == 0
    assert agreement(tmp_path / "a", tmp_path / "twice") > 0.999
    assert 0.2 < agreement(tmp_path / "a", tmp_path / "ab") < 0.999
    # the ids of the other order, by their names
    ids = [
        {c["name"]: c["id"] for c in read_json(tmp_path / n / "classes.json")["classes"]}
        for n in ("ab", "ba")
    ]
    spaces = [UnifiedLabelSpace.load(tmp_path / n / "label_space.json") for n in ("ab", "ba")]
    classes = [s.mapping.class_of("toy_fine").tolist() for s in spaces]
    assert len(ids[0]) == len(ids[1])
    tables = [np.array([*c, *[255] * (256 - len(c))]) for c in classes]
    for a, b in zip(maps(tmp_path / "ab"), maps(tmp_path / "ba"), strict=True):
        assert (tables[0][a] == tables[1][b]).mean() > 0.999
    settings = read_json(tmp_path / "ab/harmonize.json")["settings"]
    assert settings["weights"]["sha256"] == file_digest(models["first"])
    assert [w["file"] for w in settings["averaged_with"]] == ["same.pth"]


def test_models_of_other_labels_meet_in_the_classes_of_a_dataset(
    tool: ModuleType,
    models: dict[str, Path],
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = folders(world, CITY)
    both = ["first", "other"]
    assert run(tool, models, both, tmp_path / "m", *given) == 2
    message = capsys.readouterr().err
    assert "stand for other classes" in message
    assert "--space DATASET" in message
    assert not (tmp_path / "m/labels").exists()
    assert run(tool, models, both, tmp_path / "m", *given, "--space", FINE) == 0
    assert run(tool, models, ["first"], tmp_path / "a", *given, "--space", FINE) == 0
    assert check(tool, tmp_path / "m") == 0
    assert agreement(tmp_path / "m", tmp_path / "a") < 0.999
    # every pixel has a class of toy_fine that shares an atom with the drawn one
    fine, city = (list(TOY_DATASETS[name].values()) for name in (FINE, CITY))
    for file in sorted((world / CITY / "labels").glob("*/*.png")):
        drawn = np.array(Image.open(file))
        written = np.array(
            Image.open(tmp_path / f"m/labels/{file.parent.name}/{CITY}__{file.name}")
        )
        for a, b in np.unique(np.stack([drawn.ravel(), written.ravel()]), axis=1).T:
            assert b == 255 or set(city[a]) & set(fine[b])


def test_a_further_model_without_unified_labels(
    tool: ModuleType,
    models: dict[str, Path],
    multi_head_weights: Path,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = {**models, "heads": multi_head_weights}
    given = folders(world, CITY)
    assert run(tool, models, ["first", "heads"], tmp_path / "m", *given) == 2
    assert "multi_head.pth has one head per dataset" in capsys.readouterr().err
