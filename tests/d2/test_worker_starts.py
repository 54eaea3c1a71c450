"""Sources travel to worker processes however those are started (macOS, Windows, Python 3.14)."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("detectron2")

from folder_datasets import write_folder
from miniature_datasets import write_miniature

from unilabel.core.synthetic import write_toy_world
from unilabel.data.builtin import builtin_names, builtin_source
from unilabel.data.folders import folder_source

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
PROGRAM = """
import multiprocessing, sys
from pathlib import Path

def main(method, folder):
    multiprocessing.set_start_method(method)
    from unilabel.config import load_config
    from unilabel.data.build import build_eval_loader, build_sources, build_train_loader
    options = ["DATASETS.CUSTOM", f"[{folder}]", "DATASETS.TOY", "False",
               "DATALOADER.NUM_WORKERS", "1", "INPUT.CROP_SIZE", "[16, 16]"]
    cfg = load_config("configs/toy.yaml", options)
    sources = build_sources(cfg)
    (batch,) = list(build_train_loader(cfg, sources, 0, 1, 0, 1))
    (whole,) = list(build_eval_loader(cfg, sources[0], 0, sources[0].samples("val")))
    print(method, batch[0]["image"].shape[-1], len(whole))

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize("name", builtin_names())
def test_builtin_sources_can_be_pickled(name: str, tmp_path: Path) -> None:
    source = builtin_source(name, tmp_path)
    assert pickle.loads(pickle.dumps(source)).label_space == source.label_space


def test_folders_and_toy_sources_decode_the_same_after_pickling(tmp_path: Path) -> None:
    write_toy_world(tmp_path / "toy", 0, 1, 1)
    folders = [write_folder(tmp_path / "mine"), *sorted((tmp_path / "toy").glob("toy_*"))]
    assert len(folders) > 3
    for folder in folders:
        source = folder_source(str(folder))
        sample = source.samples("train")[0]
        label = source.decode_label(sample.label)  # fills the look-up tables
        data = pickle.dumps(source)
        assert len(data) < 60_000  # without them
        copy = pickle.loads(data)
        assert copy.samples("train") == source.samples("train")
        assert copy.remarks() == source.remarks()
        assert np.array_equal(copy.decode_label(sample.label), label)
        assert np.array_equal(copy.read_image(sample.image), source.read_image(sample.image))


def test_a_builtin_source_lists_the_same_after_pickling(tmp_path: Path) -> None:
    write_miniature("camvid11", tmp_path)
    source = builtin_source("camvid11", tmp_path)
    copy = pickle.loads(pickle.dumps(source))
    sample = copy.samples("val")[0]
    assert copy.samples("val") == source.samples("val")
    assert np.array_equal(copy.decode_label(sample.label), source.decode_label(sample.label))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_batches_of_workers_that_are_not_forked(method: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), method, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [method, "16", "2"]
