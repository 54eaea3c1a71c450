"""What the README prints works as it is printed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import program
import pytest
from PIL import Image

pytest.importorskip("detectron2")

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# A network without published weights, two iterations for each stage: all that a test adds.
TINY = [
    "MODEL.TIMM.NAME", "resnet10t", "MODEL.TIMM.PRETRAINED", "", "MODEL.TIMM.OUT_INDICES", "[]",
    "TEXT.ENCODER", "hashed", "INPUT.CROP_SIZE", "[64, 64]", "INPUT.TEST_SHORT_SIDE", "64",
    "INPUT.IMAGES_PER_DATASET", "2", "SOLVER.DECAY_ITERS", "0", "DATALOADER.NUM_WORKERS", "0",
    "SCHEDULE", '[["MULTI_HEAD", 2], ["GNN", 2], ["FINAL", 2]]', "UNIFY.FIT_ITERATIONS", "2",
]  # fmt: skip


def own_dataset(language: str) -> str:
    section = README.split("## Your own datasets")[1].split("\n## ")[0]
    return re.search(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)[1]


def make_dataset(root: Path, classes: str) -> None:
    """The printed tree with the printed ``classes.json``."""
    rng = np.random.default_rng(len(root.name))
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for stem in ("0001", "0002", "0003"):
            labels = np.kron(rng.integers(0, 2, (3, 4)), np.ones((32, 32))).astype(np.uint8)
            labels[:2] = 255
            photo = labels[..., None] * 90 + rng.integers(0, 60, (96, 128, 3))
            Image.fromarray(photo.astype(np.uint8)).save(root / f"images/{split}/{stem}.jpg")
            Image.fromarray(labels).save(root / f"labels/{split}/{stem}.png")
    (root / "classes.json").write_text(classes, encoding="utf-8")


def test_own_datasets_as_printed(tmp_path: Path) -> None:
    classes = own_dataset("json")
    make_dataset(tmp_path / "my_streets", classes)
    make_dataset(tmp_path / "their_streets", classes.replace("my_streets", "their_streets"))
    config = own_dataset("yaml")
    assert "/data/my_streets, /data/their_streets" in config
    config = config.replace("/data/", f"{tmp_path}/")
    config = config.replace("_BASE_: mini.yaml", f"_BASE_: {ROOT}/configs/mini.yaml")
    (tmp_path / "mine.yaml").write_text(config, encoding="utf-8")
    more = ["OUTPUT_DIR", str(tmp_path / "out"), *TINY]
    done = program.train_net("--config-file", str(tmp_path / "mine.yaml"), *more)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))
    assert set(results["datasets"]) == {"my_streets", "their_streets"}
    assert results["num_unified"] >= 2
    assert (tmp_path / "out/label_graph.png").is_file()


def test_every_printed_command_is_understood() -> None:
    text = README.replace("\\\n", " ")
    found = re.findall(r"python ((?:[\w/]+)\.py)([^\n`#]*)", text)
    found += re.findall(r"`(tools/\w+\.py)([^`]*)`", text)
    commands = [
        (script, shlex.split(arguments.replace("...", "")))
        for script, arguments in found
        if (ROOT / script).is_file()
    ]
    missing = {script for script, _ in found if not (ROOT / script).is_file()}
    assert not missing
    assert len(commands) > 10
    with_arguments = [c for c in commands if c[1]]  # a name alone is no command
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/d2/parse_commands.py")],
        input=json.dumps(with_arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    answers = json.loads(done.stdout)
    pairs = zip(with_arguments, answers, strict=True)
    wrong = [(command, answer["error"]) for command, answer in pairs if answer["error"]]
    assert not wrong
