"""datasets/prepare_*.py: id PNGs that read like the official labels, resumable, checkable."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests/d2"), str(REPOSITORY / "datasets")]

from miniature_datasets import write_miniature  # noqa: E402

from unilabel.core.errors import UniLabelError  # noqa: E402
from unilabel.data.builtin import builtin_source  # noqa: E402

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
