"""datasets/prepare_*.py: id PNGs that read like the official labels, resumable, checkable."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests/d2"), str(REPOSITORY / "datasets")]

from miniature_arrangements import sun_archives  # noqa: E402
from miniature_datasets import write_miniature  # noqa: E402

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.data.builtin import builtin_dataset, builtin_source  # noqa: E402

sunrgbd = importlib.import_module("prepare_sunrgbd37")
run = importlib.import_module("prepare_common").run
PREPARED = {
    "coco_panoptic133": ("coco/panoptic_semseg_train2017/*.png", 4),
    "wilddash2": ("wilddash/panoptic_semseg/*.png", 8),
    "idd26": ("IDD/gtFine/train/*/*_gtFine_labellevel3Ids.png", 4),
}


@pytest.mark.parametrize("name", PREPARED)
def test_prepared_labels_replace_the_official_ones(name, tmp_path, capsys):
    planted = write_miniature(name, tmp_path)
    options = ["--root", str(tmp_path), "--workers", "1"]
    assert run(name, "labels", options) == 0
    pattern, count = PREPARED[name]
    written = sorted(tmp_path.glob(pattern))
    assert len(written) == count
    source = builtin_source(name, tmp_path)
    for split in ("train", "val"):
        samples = source.samples(split)
        expected = {str(p.image): p for p in planted[split]}
        assert {s.image for s in samples} == set(expected)
        for sample in samples:
            assert sample.label.endswith(".png")
            assert sample.label != str(expected[sample.image].label)
            np.testing.assert_array_equal(
                source.decode_label(sample.label), expected[sample.image].ids
            )
            np.testing.assert_array_equal(
                source.decode_label(str(expected[sample.image].label)), expected[sample.image].ids
            )
    assert run(name, "labels", [*options, "--check"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("name", PREPARED)
def test_a_stopped_run_is_refused_by_the_loader_and_completed_by_the_next(name, tmp_path, capsys):
    write_miniature(name, tmp_path)
    options = ["--root", str(tmp_path), "--workers", "1"]
    run(name, "labels", options)
    written = sorted(tmp_path.glob(PREPARED[name][0]))
    stamp = written[2].stat().st_mtime_ns
    written[1].unlink()  # the first one of WildDash 2 is in no split
    with pytest.raises(UniLabelError, match=f"run `python datasets/prepare_{name}.py`"):
        [builtin_source(name, tmp_path).samples(split) for split in ("train", "val")]
    assert run(name, "labels", [*options, "--check"]) == 1
    assert f"{written[1]} is missing; run this script" in capsys.readouterr().err
    assert run(name, "labels", options) == 0
    assert "1 labels written" in capsys.readouterr().out
    assert written[2].stat().st_mtime_ns == stamp  # what was there is kept


def test_check_finds_a_changed_label(tmp_path, capsys):
    write_miniature("idd26", tmp_path)
    options = ["--root", str(tmp_path), "--workers", "1"]
    run("idd26", "labels", options)
    first, second = sorted(tmp_path.glob(PREPARED["idd26"][0]))[:2]
    first.write_bytes(second.read_bytes())
    second.write_bytes(second.read_bytes()[:50])
    capsys.readouterr()
    assert run("idd26", "labels", [*options, "--check"]) == 1
    errors = capsys.readouterr().err
    assert f"{first} differs from" in errors
    assert f"{second} cannot be decoded" in errors


def test_a_broken_official_label_is_reported_and_the_others_are_written(tmp_path, capsys):
    planted = write_miniature("idd26", tmp_path)
    planted["train"][2].label.write_text("{}")
    assert run("idd26", "labels", ["--root", str(tmp_path), "--workers", "2"]) == 1
    printed = capsys.readouterr()
    assert "5 labels written" in printed.out
    assert f"{planted['train'][2].label} is no polygon file" in printed.err


def test_absent_dataset_is_named(tmp_path, capsys):
    assert run("wilddash2", "labels", ["--root", str(tmp_path)]) == 2
    assert "no official labels of wilddash2" in capsys.readouterr().err


def test_prepared_labels_follow_a_variant(tmp_path):
    planted = write_miniature("wilddash2", tmp_path)
    run("wilddash2", "labels", ["--root", str(tmp_path), "--workers", "1"])
    full = builtin_source("wilddash2", tmp_path)
    source = builtin_source("wilddash2", tmp_path, "authors_25")
    dropped = full.label_space.index("onrails")
    plan = next(p for p in planted["train"] if dropped in p.ids)
    sample = next(s for s in source.samples("train") if s.image == str(plan.image))
    label = source.decode_label(sample.label)
    assert (label[plan.ids == dropped] == 255).all()
    later = (plan.ids > dropped) & (plan.ids < 255)
    np.testing.assert_array_equal(label[later], plan.ids[later] - 1)


# --- SUN RGB-D: one large file for all labels -----------------------------------------------------


def prepare_sun(root, *options):
    options = ["--root", str(root), "--workers", "1", *options]
    functions = {"find_jobs": sunrgbd.find_jobs, "finish": sunrgbd.write_lists}
    return run("sunrgbd37", "labels", options, **functions)


def test_official_archives_of_sun_rgbd(tmp_path, capsys):
    planted = write_miniature("sunrgbd37", tmp_path)
    expected = {p.image.read_bytes(): (s, p.ids) for s in planted for p in planted[s]}
    sun_archives(tmp_path, planted)
    with pytest.raises(UniLabelError, match=r"run `python datasets/prepare_sunrgbd37\.py`, which"):
        builtin_source("sunrgbd37", tmp_path).samples("train")
    assert prepare_sun(tmp_path) == 0
    source = builtin_source("sunrgbd37", tmp_path)
    found = 0
    for split in ("train", "val"):
        for sample in source.samples(split):
            where, ids = expected[Path(sample.image).read_bytes()]
            assert where == split
            np.testing.assert_array_equal(source.decode_label(sample.label), ids)
            found += 1
    assert found == len(expected) == 6
    assert builtin_dataset("sunrgbd37", tmp_path).counts == {"train": 5285, "val": 5050}
    assert prepare_sun(tmp_path, "--check") == 0
    assert "6 labels checked" in capsys.readouterr().out


def test_stopped_conversion_of_sun_rgbd_is_completed(tmp_path, capsys):
    sun_archives(tmp_path, write_miniature("sunrgbd37", tmp_path))
    assert prepare_sun(tmp_path) == 0
    first, second, *_ = sorted((tmp_path / "SUNRGBD").rglob("label37.png"))
    first.unlink()
    second.write_bytes(b"")
    assert prepare_sun(tmp_path, "--check") == 1
    errors = capsys.readouterr().err
    assert f"{first} is missing" in errors
    assert str(second) in errors
    second.unlink()
    with pytest.raises(UniLabelError, match=r"run `python datasets/prepare_sunrgbd37\.py`"):
        [builtin_source("sunrgbd37", tmp_path).samples(split) for split in ("train", "val")]
    assert prepare_sun(tmp_path) == 0
    assert "2 labels written, 4 already there" in capsys.readouterr().out


def damage_map(root):
    with h5py.File(root / sunrgbd.SEGMENTS, "r+") as file:
        file["#refs#/0"][0, 0] = 38


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        (lambda r: (r / sunrgbd.SEGMENTS).unlink(), 2, "unpack SUNRGBDtoolbox.zip beside SUNRGBD/"),
        (lambda r: (r / sunrgbd.SEGMENTS).write_bytes(b"x"), 1, "frame 0 cannot be read"),
        (lambda r: (r / sunrgbd.FRAMES).write_bytes(b"x"), 2, "SUNRGBDMeta.mat cannot be read"),
        (damage_map, 1, "frame 0 has the value 38, expected 0..37"),
    ],
)
def test_damaged_archives_of_sun_rgbd_are_named(damage, code, message, tmp_path, capsys):
    sun_archives(tmp_path, write_miniature("sunrgbd37", tmp_path))
    damage(tmp_path / "SUNRGBDtoolbox")
    assert prepare_sun(tmp_path) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "SUNRGBD/train37.txt").exists()


def test_images_of_sun_rgbd_that_are_missing_are_named(tmp_path, capsys):
    sun_archives(tmp_path, write_miniature("sunrgbd37", tmp_path))
    (tmp_path / "SUNRGBD/xtion").rename(tmp_path / "xtion")
    assert prepare_sun(tmp_path) == 2
    assert "1 of 6 frames" in capsys.readouterr().err
