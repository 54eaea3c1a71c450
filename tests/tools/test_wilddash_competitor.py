"""As a competitor: from a trained model to an upload by the recipe, checked and scored.

The photos are those of the toy world, or of camvid11 (negatives: msrc21) below $DETECTRON2_DATASETS
where these folders are.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from unilabel.core.synthetic import write_toy_world
from unilabel.data.folders import folder_source
from unilabel.submission.class_names import meanings_by_name
from unilabel.submission.known_images import wilddash_ids
from unilabel.submission.wilddash import scored_classes
from unilabel.submission.wilddash_scores import wilddash_labels

pytestmark = [pytest.mark.d2, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS = REPOSITORY / "demo/assets/toy_model.pth"
RECIPE = REPOSITORY / "tools/zero_shot_wilddash.py"
SIZE = (1920, 1080)
STEMS = [f"{country}{i:04d}_100000" for i, country in enumerate(["at", "be", "zw"] * 4)]


def program(name: str) -> Callable[[list[str]], int]:
    main: Callable[[list[str]], int] = runpy.run_path(str(REPOSITORY / f"tools/{name}.py"))["main"]
    return main


@dataclass(frozen=True)
class World:
    """Folders: a labelled street set, photos without a street, frames, and their truth."""

    streets: Path
    negative: Path
    images: Path
    truth: Path

    def options(self, output: Path) -> list[str]:
        return [
            *("--weights", str(WEIGHTS), "--folders", str(self.streets)),
            *("--negative", str(self.negative), "--limit", "8"),
            *("--images", str(self.images), "--output", str(output), "--short-side", "96"),
        ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("competitor")
    real = Path(os.environ.get("DETECTRON2_DATASETS", "nowhere"))
    if (real / "camvid11/classes.json").is_file() and (real / "msrc21").is_dir():
        streets, negative = real / "camvid11", real / "msrc21/images/val"
    else:
        write_toy_world(folder / "toy", 0, 2, 12)
        streets, negative = folder / "toy/toy_city", folder / "noise"
        negative.mkdir()
        for i in range(8):
            noise = np.random.default_rng(i).integers(0, 256, (6, 8, 3), np.uint8)
            Image.fromarray(noise).resize((96, 72)).save(negative / f"{i}.png")
    images, truth = folder / "images", folder / "truth"
    images.mkdir()
    truth.mkdir()
    source = folder_source(streets)
    table = wilddash_ids(source, (), lambda line: None)
    table[table == 255] = 0
    things = [c.id for c in scored_classes() if c.has_instances]
    for stem, sample in zip(STEMS, source.samples("val")[:12], strict=True):
        photo = Image.open(sample.image).convert("RGB")
        photo.resize(SIZE, Image.Resampling.BILINEAR).save(images / f"{stem}.jpg", quality=92)
        ids = cv2.resize(
            table[source.decode_label(sample.label)], SIZE, interpolation=cv2.INTER_NEAREST
        )
        instances = ids.astype(np.int32)
        for thing in things:
            count, parts = cv2.connectedComponents((ids == thing).astype(np.uint8))
            for number in range(1, min(count, 999)):
                instances[parts == number] = thing * 1000 + number
        Image.fromarray(ids).save(truth / f"{stem}_labelIds.png")
        cv2.imwrite(str(truth / f"{stem}_instanceIds.png"), instances.astype(np.uint16))
    return World(streets, negative, images, truth)


@pytest.fixture(scope="module")
def archive(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("upload") / "submission.zip"
    assert program("zero_shot_wilddash")(world.options(output)) == 0
    return output


def test_the_recipe_chooses_void_on_the_known_images(archive: Path, world: World) -> None:
    recipe = json.loads(archive.with_suffix(".recipe.json").read_text())
    scores = {row["rule"]: row["score"] for row in recipe["choices"]}
    assert {"none", "unmapped"} <= set(scores)
    assert scores[recipe["void"]] == max(scores.values())
    side = json.loads(archive.with_suffix(".json").read_text())
    assert side["void"] == recipe["void"]
    assert side["results"] == 12
    mapping = json.loads(archive.with_suffix(".mapping.json").read_text())
    assert mapping["way"] == "zero-shot"
    assert side["mapping"] == mapping
    with zipfile.ZipFile(archive) as file:
        assert file.namelist() == sorted(f"{stem}.png" for stem in STEMS)
        data = np.frombuffer(file.read(file.namelist()[0]), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_UNCHANGED).shape == SIZE[::-1]
    # the score of a rule is that of the tool which calibrates alone
    output = archive.with_name("calibrated.json")
    options = world.options(archive)
    known = options[: options.index("--images")]
    more = ["--void", "unmapped", "--short-side", "96", "--output", str(output)]
    assert program("calibrate_void")([*known, *more]) == 0
    points = json.loads(output.read_text())["points"]
    assert points[0]["score"] == pytest.approx(scores["unmapped"])


def test_the_check_finds_nothing(
    archive: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ["--check-only", str(archive), "--images", str(world.images)]
    assert program("wilddash_submit")(check) == 0
    assert f"{archive}: 12 results, no faults" in capsys.readouterr().out


def test_the_same_command_says_it_is_complete(
    archive: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = archive.read_bytes()
    recipe = program("zero_shot_wilddash")
    assert recipe([*world.options(archive), "--resume"]) == 0
    printed = capsys.readouterr().out
    assert "as chosen before" in printed
    assert "is complete already" in printed
    assert archive.read_bytes() == before
    assert recipe(world.options(archive)) == 2
    assert "exists already; give --resume" in capsys.readouterr().err
    assert recipe(world.options(archive.with_suffix(".tar"))) == 2
    assert "ending in .zip" in capsys.readouterr().err


def test_scores_equal_those_of_cityscapes_scripts(
    archive: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mcordts/cityscapesScripts evalPixelLevelSemanticLabeling.py with the labels of WildDash 2."""
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    scores = tmp_path / "scores.json"
    options = ["--pred", str(archive), "--gt", str(world.truth), "--output", str(scores)]
    assert program("wilddash_eval")(options) == 0
    ours = json.loads(scores.read_text())
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "said")
    theirs = official_scores(official, world, tmp_path, ours["average_sizes"], monkeypatch)
    for mine, other in (
        ("miou_class", "averageScoreClasses"),
        ("iiou_class", "averageScoreInstClasses"),
        ("miou_category", "averageScoreCategories"),
        ("iiou_category", "averageScoreInstCategories"),
    ):
        value = ours["classes_26"][mine]
        assert value is not None
        assert value > 1
        assert value == pytest.approx(100 * theirs[other], abs=1e-3), mine
    for mine, other in (("iou", "classScores"), ("iiou", "classInstScores")):
        for name, value in ours["classes_26"][mine].items():
            expected = 100 * theirs[other][name]
            assert (value is None) == np.isnan(expected)
            if value is not None:
                assert value == pytest.approx(expected, abs=1e-3), (mine, name)


def official_scores(
    official: Any,
    world: World,
    folder: Path,
    sizes: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """Its program, told which labels there are."""
    from cityscapesscripts.helpers.labels import Label

    if not hasattr(np, "in1d"):  # removed from NumPy 2.4
        monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    labels = [
        Label(b.name, b.id, 255, b.category, 0, b.has_instances, not b.scored, (0, 0, 0))
        for b in wilddash_labels()
    ]
    categories = {b.category: [x for x in labels if x.category == b.category] for b in labels}
    monkeypatch.setattr(official, "labels", labels)
    monkeypatch.setattr(official, "id2label", {b.id: b for b in labels})
    monkeypatch.setattr(official, "category2labels", categories)
    for key, value in (("avgClassSize", sizes), ("quiet", True), ("JSONOutput", False)):
        monkeypatch.setattr(official.args, key, value)
    said = [str(folder / f"said/{stem}.png") for stem in STEMS]
    truth = [str(world.truth / f"{stem}_labelIds.png") for stem in STEMS]
    result: dict[str, Any] = official.evaluateImgLists(said, truth, official.args)
    return result


@pytest.mark.faults
def test_ctrl_c_in_the_recipe_and_a_second_process(
    archive: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "submission.zip"
    arguments = [*world.options(output), "--resume"]
    results = tmp_path / "submission.zip.work/frames"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(RECIPE), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    while len(list(results.glob("*.png"))) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    assert program("zero_shot_wilddash")(arguments) == 2
    assert f"process {process.pid} on" in capsys.readouterr().err
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert 3 <= len(list(results.glob("*.png"))) < 12
    assert not output.exists()
    assert program("zero_shot_wilddash")(arguments) == 0
    assert output.read_bytes() == archive.read_bytes()


def test_void_of_the_command_line_is_taken(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = program("zero_shot_wilddash")
    only = tmp_path / "frames.txt"
    only.write_text(STEMS[0])
    options = [*world.options(tmp_path / "x.zip"), "--frames", str(only)]
    assert recipe([*options, "--void", "threshold=0.5"]) == 0
    printed = capsys.readouterr().out
    assert "as --void says; nothing is chosen" in printed
    assert not (tmp_path / "x.recipe.json").exists()
    for more, words in (
        (["--void", "never"], "--void 'never' is not understood"),
        (["--check-only", "x.zip"], "is an option of tools/wilddash_submit.py"),
        (["--negative-weight=-1"], "expected 0 or more"),
        (["--void-classes", "other:x"], "expected unknown, or DATASET:CLASS of"),
        (["--panoptic", str(only)], "ending in .zip"),
    ):
        again = [*world.options(tmp_path / "y.zip"), *more]
        assert recipe(again) == 2, more
        assert words in capsys.readouterr().err
    nothing = ["--weights", str(WEIGHTS), "--images", str(world.images)]
    assert recipe([*nothing, "--output", str(tmp_path / "y.zip")]) == 2
    assert "no image of which it is known what is void" in capsys.readouterr().err
    assert not list(tmp_path.glob("y*"))


def test_toy_classes_have_names_of_wilddash(world: World) -> None:
    """Else all of the above would be about void alone."""
    from unilabel.core.label_space import LabelSpaceSet

    meanings = meanings_by_name(LabelSpaceSet([folder_source(world.streets).label_space]))
    assert len({m.scored for m in meanings if m and m.scored}) >= 6
