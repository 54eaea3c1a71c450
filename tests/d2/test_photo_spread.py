"""benchmarks/photo_spread.py: paired draws of photos, by hand and on a small model."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from small_runs import QUICK, small_config, two_folders
from torch import Tensor

pytest.importorskip("detectron2")

from unilabel.core.errors import UniLabelError
from unilabel.core.metrics import mean_iou
from unilabel.engine.run import train

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script, which imports its neighbours by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("photo_spread")


def photos(*right: int) -> Tensor:
    """(P, 2, 2): of 10 pixels of either class so many are right on each photo."""
    return torch.stack([torch.tensor([[r, 10 - r], [10 - r, r]]) for r in right])


def test_a_difference_that_every_photo_shows_has_no_spread(bench: ModuleType) -> None:
    pair = ({"a": photos(8, 8, 8)}, {"a": photos(5, 5, 5)})
    row, mean = bench.spread([pair, pair], draws=50)
    # 8 of 10: 8 / 12 in both classes; 5 of 10: 5 / 15
    expected = 100 * (8 / 12 - 5 / 15)
    for found in (row["difference"], row["low"], row["high"], *row["seeds"]):
        assert found == pytest.approx(expected, abs=1e-3)
    assert mean == {**row, "dataset": "mean"}


def test_a_difference_of_one_photo_may_be_none(bench: ModuleType) -> None:
    # one photo of ten is far better, the others are a little worse: on draws without it ours loses
    pair = ({"a": photos(10, *[4] * 9)}, {"a": photos(1, *[5] * 9)})
    row, _ = bench.spread([pair], draws=500)
    assert row["low"] < 0 < row["high"]
    assert row["low"] <= row["difference"] <= row["high"]
    assert row["photos"] == 10


def test_photos_are_drawn_for_both_methods_alike(bench: ModuleType) -> None:
    torch.manual_seed(0)
    counts = {n: torch.randint(1, 9, (7, 3, 3)) for n in "ab"}
    for row in bench.spread([(counts, counts)], draws=40):
        assert (row["low"], row["high"], row["difference"]) == (0, 0, 0)


def test_what_was_measured_on_other_photos_is_refused(bench: ModuleType) -> None:
    one = {"a": photos(8, 2)}
    bench.check_alike(Path("x"), Path("y"), one, {"a": photos(3, 3)})  # other answers, same truth
    for other in ({"a": photos(8)}, {"a": 2 * photos(8, 2)}, {}, {**one, "b": photos(1)}):
        with pytest.raises(UniLabelError, match="x and y were not measured on the same photos"):
            bench.check_alike(Path("x"), Path("y"), one, other)


def test_a_run_for_every_seed(bench: ModuleType) -> None:
    lists = ["--models", "x_0", "x_1", "--against", "y_0", "--cache", "c"]
    with pytest.raises(UniLabelError, match=r"2 runs of --models and 1 of --against"):
        bench.parse_arguments(lists)


def test_counts_of_photos_add_up_to_the_scores_of_the_run(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    cfg = small_config(two_folders(tmp_path), UNIFY__NODES="names")
    train(cfg, str(QUICK), resume=False)
    out = Path(cfg.OUTPUT_DIR)
    counts, _ = bench.counts_of_photos(out, tmp_path / "kept")
    results = json.loads((out / "results.json").read_text())["datasets"]
    for name, photo in counts.items():
        assert len(photo) == results[name]["images"]
        assert mean_iou(photo.sum(0)) == pytest.approx(results[name]["miou"], abs=1e-3)
    file = tmp_path / "rows.json"
    folders = ["--models", str(out), "--against", str(out), "--cache", str(tmp_path / "kept")]
    monkeypatch.setattr("sys.argv", ["x", *folders, "--draws", "5", "--json", str(file)])
    monkeypatch.setattr(bench, "load_model", None)  # counts that are kept are not made again
    assert bench.main() == 0
    assert [row["dataset"] for row in json.loads(file.read_text())["rows"]] == [*counts, "mean"]
    assert "| mean |" in capsys.readouterr().out


def test_mistakes_are_one_line(bench: ModuleType, tmp_path: Path, monkeypatch, capsys) -> None:
    missing = ["--models", str(tmp_path), "--against", str(tmp_path), "--cache", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["x", *missing])
    assert bench.main() == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} holds no model_final.pth")
