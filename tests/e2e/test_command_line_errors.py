"""Mistakes on the command line: exit code 2, one line that says what to do, no traceback."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("detectron2")

import cv2
import program

sys.path.append(str(Path(__file__).parents[1] / "d2"))  # the writers of miniature datasets

from miniature_datasets import PAPER_DATASETS, write_miniature

from unilabel.data.dataset_specs import SPECS

pytestmark = pytest.mark.d2


def make_folder(root: Path, train: int = 1, val: int = 1) -> Path:
    classes = [{"id": 0, "name": "road"}, {"id": 1, "name": "car"}]
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(root / f"images/{split}/{i}.png"), np.zeros((32, 32, 3), np.uint8))
            cv2.imwrite(str(root / f"labels/{split}/{i}.png"), np.eye(32, dtype=np.uint8))
    content = {"name": root.name, "classes": classes}
    (root / "classes.json").write_text(json.dumps(content))
    return root


def custom(folder: Path, *paths: Path, only: str = "") -> list[str]:
    named = ", ".join(f'"{p}"' for p in paths)
    return [
        "--config-file", program.QUICK, "OUTPUT_DIR", str(folder / "out"), "DATASETS.TOY", "False",
        "DATASETS.CUSTOM", f"[{named}]", "SCHEDULE", '[["MULTI_HEAD", 2]]',
    ]  # fmt: skip


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """All runs in one process: importing takes longer than failing."""
    folder = tmp_path_factory.mktemp("errors")
    good = make_folder(folder / "good")
    twin = make_folder(folder / "elsewhere" / "good")
    empty = make_folder(folder / "empty", train=0)
    wrong = make_folder(folder / "wrong_id")
    cv2.imwrite(str(wrong / "labels/val/0.png"), np.full((32, 32), 7, np.uint8))
    late = make_folder(folder / "late", train=3)
    cv2.imwrite(str(late / "labels/train/2.png"), np.full((32, 32), 9, np.uint8))
    cut = make_folder(folder / "cut", train=3)
    (cut / "images/train/2.png").write_bytes((cut / "images/train/2.png").read_bytes()[:-20])
    (folder / "no.pth").write_bytes(b"not a model")
    (folder / "file").write_text("")
    toy = ["--config-file", program.QUICK, "OUTPUT_DIR", str(folder / "toy")]
    other = {"name": "other", "classes": [{"id": 0, "name": "x"}]}
    (folder / "space.json").write_text(json.dumps({"schema": "x", "datasets": [other]}))
    one_stage = ["SCHEDULE", '[["SEG", 1]]', "UNIFY.NODES", "file"]
    return program.train_net_cases(
        {
            "unknown key": [*toy, "SOLVER.BASE_LRR", "1"],
            "missing value": [*toy, "SEED"],
            "option at the end": [*toy, "--resume"],
            "help": ["--help"],
            "nothing": [],
            "wrong type": [*toy, "SEED", "many"],
            "negative seed": [*toy, "SEED", "-1"],
            "no GPU": [*toy, "MODEL.DEVICE", "cuda"],
            "no effect": [*toy, "SOLVER.IMS_PER_BATCH", "8"],
            "reserved name": custom(folder, make_folder(folder / "unified")),
            "folder without quotes": [*custom(folder, good), "DATASETS.CUSTOM", str(empty)],
            "missing config": ["--config-file", "configs/none.yaml"],
            "twice": custom(folder, good, twin),
            "same folder twice": custom(folder, good, good),
            "empty": custom(folder, empty),
            "no folder": custom(folder, folder / "nothing"),
            "wrong id": custom(folder, wrong),
            "wrong id in a later image": custom(folder, late),
            "damaged image in a worker": [*custom(folder, cut), "DATALOADER.NUM_WORKERS", "1"],
            "unknown built-in": [*toy, "DATASETS.NAMES", '["cityscape"]'],
            "only unknown": [*toy, "DATASETS.ONLY", '["toy"]'],
            "variant of no dataset": [*toy, "DATASETS.VARIANTS", '[["toy_fine", "paper"]]'],
            "eval without weights": ["--eval-only", *toy],
            "eval of no model": ["--eval-only", *toy, "MODEL.WEIGHTS", str(folder / "no.pth")],
            "eval of nothing": ["--eval-only", *toy, "MODEL.WEIGHTS", str(folder / "none.pth")],
            "bad label space": [*toy, *one_stage, "MODEL.LABEL_SPACE", str(folder / "space.json")],
            "unknown timm model": [*toy, "MODEL.TIMM.NAME", "resnet17"],
            "output is a file": [
                "--config-file",
                program.QUICK,
                "OUTPUT_DIR",
                str(folder / "file"),
            ],
        }
    )


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("unknown key", r"'SOLVER\.BASE_LRR'; did you mean 'SOLVER\.BASE_LR'\?"),
        ("missing value", "overrides are KEY VALUE pairs, but 'SEED' has no value"),
        ("option at the end", "--resume stands behind KEY VALUE pairs; options come first"),
        ("wrong type", "SEED many: Type mismatch"),
        ("negative seed", "SEED is -1, expected 0 or more"),
        ("no GPU", "the device 'cuda' was asked for .* but there are 0 CUDA devices here"),
        ("no effect", r"SOLVER\.IMS_PER_BATCH is 8, a key of Detectron2 that has no effect in"),
        ("reserved name", r"classes\.json: a dataset is called 'unified', which is the name of"),
        ("folder without quotes", "dataset 'empty' has no images to train on: none in"),
        ("missing config", r"no such file: configs/none\.yaml\. Known: .*configs/toy\.yaml"),
        ("twice", "the dataset 'good' is named twice; name each dataset once"),
        ("same folder twice", "the dataset 'good' is named twice"),
        ("empty", "dataset 'empty' has no images to train on: none in .*empty/images/train"),
        ("no folder", r"DATASETS\.CUSTOM: no classes\.json in .*nothing"),
        ("wrong id", r"labels/val/0\.png: label id 7 on 1024 pixels, expected 0\.\.1 or 255"),
        ("wrong id in a later image", r"labels/train/2\.png: label id 9 on 1024 pixels"),
        ("damaged image in a worker", r"^error: \S+train/2\.png cannot be decoded as an image"),
        ("unknown built-in", "no built-in dataset 'cityscape'. Did you mean 'cityscapes'"),
        ("only unknown", r"DATASETS\.ONLY names 'toy', expected one of toy_fine, toy_city"),
        ("variant of no dataset", r"DATASETS\.VARIANTS names 'toy_fine', expected one of none"),
        ("eval without weights", r"--eval-only needs MODEL\.WEIGHTS path/to/model_final\.pth"),
        ("eval of no model", r"no\.pth is damaged or holds objects other than tensors"),
        ("eval of nothing", r"no such checkpoint: .*none\.pth"),
        ("bad label space", r"space\.json: \"schema\" is 'x', expected 'unilabel/label_space'"),
        ("unknown timm model", "resnet17"),
        ("output is a file", r"cannot write .*config\.yaml"),
    ],
)
def test_mistakes_are_named(cases: dict[str, dict], case: str, message: str) -> None:
    done = cases[case]
    assert done["code"] == 2, done["err"]
    lines = done["err"].splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines, done["err"]
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]
    assert "Traceback" not in done["out"]
    assert lines[0].removeprefix("error: ") not in done["out"]  # said once


def test_every_case_is_checked(cases: dict[str, dict]) -> None:
    checked = test_mistakes_are_named.pytestmark[0].args[1]
    assert {case for case, _ in checked} | {"help", "nothing"} == set(cases)


def test_the_program_itself_ends_that_way() -> None:
    done = program.train_net("--config-file", program.QUICK, "SEEED", "1")
    assert done.returncode == 2
    assert done.stderr == (
        "error: command line: unknown configuration key 'SEEED'; did you mean 'SEED'?\n"
    )
    assert done.stdout == ""


def test_all_absent_datasets_are_told_at_once_and_once(tmp_path, monkeypatch) -> None:
    write_miniature("cityscapes", tmp_path / "data", train=1, val=1)
    write_miniature("ade20k150", tmp_path / "data/elsewhere/my", train=1, val=1)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    out = tmp_path / "out"
    done = program.train_net("--config-file", "configs/7ds.yaml", "OUTPUT_DIR", str(out))
    assert done.returncode == 2
    first, *told, last = done.stderr.splitlines()
    assert first == "error: 6 of 7 datasets cannot be read:"
    absent = [name for name in PAPER_DATASETS if name != "cityscapes"]
    assert [re.match(r"- dataset '(\w+)' has no labels", line)[1] for line in told] == absent
    for name, line in zip(absent, told, strict=True):
        assert f"Looked below {tmp_path / 'data'} for {SPECS[name].folders[0]}/" in line
    assert str(tmp_path / "data/elsewhere/my/ADEChallengeData2016") in told[4]
    assert last.startswith("See datasets/README.md for the folders of each dataset; the root is")
    assert "cannot be read" not in done.stdout
    assert (out / "log.txt").read_text().count("datasets cannot be read") == 1


def test_gpus_that_are_not_there_are_named() -> None:
    done = program.train_net("--num-gpus", "3", "--config-file", program.QUICK)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --num-gpus is 3, but there are 0 GPUs here. For several")


def test_errors_after_the_start_are_kept_in_the_log(tmp_path: Path) -> None:
    wrong = make_folder(tmp_path / "wrong")
    (wrong / "labels/val/0.png").unlink()
    done = program.train_net(*custom(tmp_path, wrong))
    assert done.returncode == 2
    message = done.stderr.splitlines()[-1].removeprefix("error: ")
    assert "images/val has no la" in message
    assert (tmp_path / "out" / "log.txt").read_text(encoding="utf-8").count(message) == 1
    assert message not in done.stdout


def test_usage_is_explained(cases: dict[str, dict]) -> None:
    assert cases["help"]["code"] == 0
    for option in ("--config-file", "--resume", "--eval-only", "--num-gpus", "KEY VALUE"):
        assert option in cases["help"]["out"]
    assert cases["nothing"]["code"] == 2
    assert "--config-file" in cases["nothing"]["err"]
