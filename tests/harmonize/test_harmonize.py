"""Whole folders: the guarantee, the same bytes whatever happens, and what a person is told.

The model has random weights and the true label space of the toy world: its answers are wild, which
is the hardest case for the guarantee.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2")

from harmonize_runs import check, contents, folders

from unilabel.core.io import read_json, write_json
from unilabel.core.synthetic import TOY_DATASETS
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.folders import folder_source
from unilabel.modeling.heads import SILENT
from unilabel.predictor import UniLabelPredictor

pytestmark = pytest.mark.d2


def test_every_pixel_gives_back_the_class_that_was_drawn(
    merged: Path, world: Path, tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the code under test: labels, links and files are read and compared here."""
    space = UnifiedLabelSpace.load(merged / "label_space.json")
    pixels = finer = 0
    for name in TOY_DATASETS:
        class_of = space.mapping.class_of(name).numpy()
        for file in sorted((world / name / "labels").glob("*/*.png")):
            drawn = np.array(Image.open(file))
            split = file.parent.name
            with Image.open(merged / "labels" / split / f"{name}__{file.name}") as image:
                assert image.mode == "P"
                written = np.array(image)
            known = drawn != 255
            assert (written[~known] == 255).all()
            assert (class_of[written[known]] == drawn[known]).all()
            pixels += known.sum()
            finer += len(np.unique(written[known])) > len(np.unique(drawn[known]))
    assert finer > 10
    assert check(tool, merged) == 0
    assert f"{pixels} labelled pixels, {pixels} of them with a label here; 0 faults" in (
        capsys.readouterr().out
    )


def test_the_result_is_a_dataset(merged: Path, world: Path) -> None:
    source = folder_source(str(merged))
    space = UnifiedLabelSpace.load(merged / "label_space.json")
    assert source.label_space.class_names == space.names
    assert source.label_space.colors == space.colors
    assert len(source.label_space.descriptions) == len(space.names)
    samples = source.samples("train")
    assert len(samples) == 3 * len(TOY_DATASETS)
    assert source.decode_label(samples[0].label).shape == (96, 128)
    image = next(s.image for s in samples if "toy_idd__" in s.image)
    assert Path(image).resolve().parent == (world / "toy_idd/images/train").resolve()


def test_what_became_of_the_pixels(merged: Path) -> None:
    result = read_json(merged / "harmonize.json")
    assert [d["name"] for d in result["datasets"]] == list(TOY_DATASETS)
    for entry in result["datasets"]:
        assert sum(entry["shares"].values()) == pytest.approx(1, abs=1e-5)
        assert entry["pixels"] == 5 * 96 * 128
        for row in entry["classes"]:
            assert (
                sum(row["labels"].values()) == row["pixels"]["certain"] + row["pixels"]["decided"]
            )
            assert (row["candidates"] == 1) == (row["pixels"]["decided"] == 0) or not row["labels"]
    certain = [c for d in result["datasets"] for c in d["classes"] if c["pixels"]["certain"]]
    assert {c["mean_confidence"] for c in certain} == {1.0}
    assert "workers" not in json.dumps(result)


def test_shards_and_workers_give_the_same_bytes(
    merged: Path, call, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "merged"
    for shard in ("2/3", "1/3"):
        assert call(output, *folders(world), "--shard", shard) == 0
    assert call(output, *folders(world), "--finish") == 2
    assert "6 of 20 photos have no result yet" in capsys.readouterr().err
    assert call(output, *folders(world), "--shard", "3/3", "--workers", "2") == 0
    assert call(output, *folders(world), "--finish") == 0
    assert contents(output) == contents(merged)
    assert call(output, *folders(world), "--resume") == 0
    assert "nothing to do" in capsys.readouterr().out


def test_several_processes(merged: Path, call, world: Path, tmp_path: Path) -> None:
    assert call(tmp_path / "merged", *folders(world), "--workers", "2") == 0
    assert contents(tmp_path / "merged") == contents(merged)


@pytest.mark.faults
def test_killed_at_random_moments(merged: Path, call, world: Path, tmp_path: Path) -> None:
    """Twenty times, wherever it is; each run goes on where the one before was."""
    output, random = tmp_path / "merged", np.random.default_rng(0)
    context, killed = multiprocessing.get_context("fork"), 0
    arguments = (output, *folders(world), "--resume")
    for kill in range(20):
        process = context.Process(target=call, args=arguments)
        process.start()
        before = len(list(output.rglob("*")))
        enough = before + int(random.integers(0, 4)) * (kill > 3)  # at first in the preparations
        delay = float(random.uniform(0, 0.02))
        while process.is_alive() and len(list(output.rglob("*"))) < max(enough, 1):
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        process.join()
        killed += process.exitcode != 0
    assert killed > 10  # a fast machine may be done before the last ones
    assert list(output.glob("labels/*/*.png"))  # they were killed at work
    assert call(*arguments) == 0
    assert contents(output) == contents(merged)


def test_what_is_certain_costs_no_network_time(
    call, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each class of toy_coarse is written in its own classes: one candidate everywhere."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(UniLabelPredictor, "encode", refuse)
    output = tmp_path / "m"
    arguments = (output, *folders(world, "toy_coarse"), "--space", "toy_coarse")
    assert call(*arguments, "--shard", "1/2") == 0
    assert call(*arguments, "--shard", "2/2") == 0
    monkeypatch.undo()  # the report looks at some photos without minding their labels
    assert call(*arguments, "--finish") == 0
    for file in sorted((world / "toy_coarse/labels/train").iterdir()):
        with Image.open(output / f"labels/train/toy_coarse__{file.name}") as image:
            assert (np.array(image) == np.array(Image.open(file))).all()
    assert read_json(output / "harmonize.json")["datasets"][0]["photos_without_network"] == 5


def test_in_the_classes_of_another_dataset(
    tool: ModuleType, call, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Barriers of toy_fine have no class in toy_city."""
    output = tmp_path / "m"
    assert call(output, *folders(world, "toy_fine"), "--space", "toy_city") == 0
    assert "the target has no class for it: barrier of toy_fine" in capsys.readouterr().out
    city = list(TOY_DATASETS["toy_city"].items())
    fine = list(TOY_DATASETS["toy_fine"].items())
    for file in sorted((world / "toy_fine/labels/val").iterdir()):
        drawn = np.array(Image.open(file))
        written = np.array(Image.open(output / f"labels/val/toy_fine__{file.name}"))
        for a, b in np.unique(np.stack([drawn.ravel(), written.ravel()]), axis=1).T:
            if b != 255:
                assert set(fine[a][1]) & set(city[b][1])
            elif a != 255:
                assert fine[a][0] == "barrier"
    assert check(tool, output) == 0


def test_filling_and_leaving_out_what_is_uncertain(
    tool: ModuleType, call, world: Path, tmp_path: Path
) -> None:
    options = ["--fill-ignored", "0.2", "--void-below", "0.8", "--confidence"]
    output = tmp_path / "m"
    assert call(output, *folders(world, "toy_city", "toy_coarse"), *options) == 0
    filled = voided = 0
    for name in ("toy_city", "toy_coarse"):
        for file in sorted((world / name / "labels").glob("*/*.png")):
            part = f"{file.parent.name}/{name}__{file.name}"
            drawn, written, sure = (
                np.array(Image.open(p))
                for p in (file, output / "labels" / part, output / "confidence" / part)
            )
            assert (sure[written == 255] == 0).all()
            assert (sure[(drawn == 255) & (written != 255)] >= 51).all()
            assert (sure[(drawn != 255) & (written != 255)] >= 203).all()
            filled += ((drawn == 255) & (written != 255)).sum()
            voided += ((drawn != 255) & (written == 255)).sum()
    assert filled > 100
    assert voided > 100
    assert check(tool, output) == 0
    result = read_json(output / "harmonize.json")["datasets"]
    counted = sum(c["pixels"]["too_uncertain"] for d in result for c in d["classes"])
    assert counted == voided
    assert sum(d["shares"]["unlabelled_filled"] for d in result) > 0


@pytest.mark.parametrize("silent", [False, True])
def test_a_bias_of_the_dataset_has_no_say_inside_a_class(
    silent: bool, tool: ModuleType, toy_weights: Path, world: Path, tmp_path: Path
) -> None:
    """It is fitted to classes; labels that joined the model later are silent by it."""
    saved = torch.load(toy_weights, weights_only=True)
    space = UnifiedLabelSpace.from_dict(saved["label_space"])
    city = space.label_spaces.dataset_index("toy_city")
    class_of = space.mapping.class_of("toy_city")
    several = [c for c in class_of.unique().tolist() if c >= 0 and (class_of == c).sum() > 1]
    added = [int((class_of == c).nonzero()[-1]) for c in several]
    maps = {}
    for name in ("plain", "biased"):
        if name == "biased" and silent:
            saved["model"]["uni_head.dataset_bias"][city, added] = SILENT
        elif name == "biased":
            saved["model"]["uni_head.dataset_bias"][city] += 50 * torch.randn(len(class_of))
        torch.save(saved, tmp_path / f"{name}.pth")
        base = ["--weights", str(tmp_path / f"{name}.pth"), "--output", str(tmp_path / name)]
        assert tool.main([*base, *folders(world, "toy_city"), "--workers", "1"]) == 0
        assert check(tool, tmp_path / name) == 0
        files = sorted((tmp_path / name / "labels").rglob("*.png"))
        maps[name] = np.stack([np.array(Image.open(file)) for file in files])
    assert np.isin(maps["plain"], added).any()
    np.testing.assert_array_equal(maps["plain"], maps["biased"])


def test_a_changed_file_is_found(
    merged: Path, tool: ModuleType, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "merged"
    shutil.copytree(merged, folder, symlinks=True)
    first, second, third = sorted((folder / "labels/val").iterdir())[:3]
    with Image.open(first) as image:
        values, palette = np.array(image), image.getpalette()
    values[40, 60] = (values[40, 60] + 1) % 19
    changed = Image.fromarray(values, "P")
    changed.putpalette(palette)
    changed.save(first)
    second.unlink()
    third.write_bytes(third.read_bytes()[:200])
    (folder / "labels/val/stranger.png").write_bytes(first.read_bytes())
    assert check(tool, folder) == 1
    said = capsys.readouterr().out
    assert f"{first}: 1 labelled pixels do not give back" in said
    assert "4 faults" in said
    space = read_json(folder / "label_space.json")
    for entry in space["labels"]:
        entry["links"]["toy_idd"] = None
    space["labels"][0]["links"]["toy_idd"] = {"class": "sky"}
    write_json(folder / "label_space.json", space)
    assert check(tool, folder) == 2
