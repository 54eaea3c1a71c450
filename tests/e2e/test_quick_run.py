"""A whole run by the command line: what it leaves behind, and that it can be repeated."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

import program

from unilabel.config import load_config
from unilabel.core.synthetic import TOY_DATASETS
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.engine.checkpoint import CheckpointKeeper, load_file
from unilabel.engine.loading import load_model

pytestmark = pytest.mark.d2

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(quick_run: Path) -> dict:
    return json.loads((quick_run / "results.json").read_text(encoding="utf-8"))


def scores(results: dict) -> dict:
    """What must be equal in a repetition: everything but times and the state of the checkout."""
    kept = {k: v for k, v in results.items() if k not in ("git", "processes", "stages")}
    kept["stages"] = [(s["name"], s["iterations"]) for s in results["stages"]]
    return kept


def test_all_artefacts_are_there(quick_run: Path) -> None:
    names = {p.name for p in quick_run.iterdir() if p.is_file()}
    assert {
        "config.yaml",
        "examples.json",
        "label_graph.png",
        "label_space.json",
        "last_checkpoint.json",
        "log.txt",
        "metrics.json",
        "model_final.pth",
        "results.json",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert len([n for n in names if n.startswith("model_0")]) == 3  # SOLVER.KEEP_CHECKPOINTS
    assert not [p for p in quick_run.rglob("*") if p.name.endswith(".tmp")]
    assert (quick_run / "stderr.txt").read_text() == ""


def test_results_say_what_a_reader_needs(results: dict) -> None:
    assert results["config"] == program.QUICK
    assert results["seed"] == 0
    assert {"unilabel", "python", "torch", "detectron2", "torch_geometric"} <= set(
        results["versions"]
    )
    assert results["git"] is None or re.fullmatch(r"[\w.-]+", results["git"])
    assert (results["device"], results["processes"]) == ("cpu", 1)
    for name, classes in TOY_DATASETS.items():
        entry = results["datasets"][name]
        assert entry["images"] == 4
        assert set(entry["iou"]) == set(classes)
        known = [v for v in entry["iou"].values() if v is not None]
        assert all(0 <= v <= 100 for v in known)
        assert entry["miou"] == pytest.approx(sum(known) / len(known), abs=1e-3)
        assert 0 < entry["unified_miou"] <= 100
    mean = sum(e["miou"] for e in results["datasets"].values()) / 4
    assert results["mean_miou"] == pytest.approx(mean, abs=1e-3)
    assert 17 <= results["num_active"] <= results["num_unified"] <= 53
    assert re.fullmatch(r"[0-9a-f]{16}", results["mapping_checksum"])
    relations = results["relations"]
    assert relations["num_related"] == 97
    assert all(0 <= relations[k] <= 1 for k in ("precision", "recall", "f1"))
    assert all(
        0 <= results["unified"][k] <= 1 for k in ("atom_accuracy", "atom_miou", "hidden_iou")
    )
    assert results["unified"]["space"] == "unified"


def test_stages_are_recorded_in_order(results: dict) -> None:
    found = [[s["name"], s["iterations"]] for s in results["stages"]]
    cfg = load_config(ROOT / program.QUICK)
    assert found == [*cfg.SCHEDULE, ["REFIT", 0]]
    assert results["stages"][-1]["steps"] == cfg.UNIFY.FIT_ITERATIONS
    assert [n for n, _ in found] == ["MULTI_HEAD", "GNN", "SEG", "GNN", "FINAL", "REFIT"]
    assert all(0 < s["seconds"] < program.TIMEOUT for s in results["stages"])
    notes = "\n".join(results["notes"])
    for event in ("node selection", "mapping solve", "pruning"):
        assert event in notes


def test_links_are_scored_after_every_event(results: dict) -> None:
    events = [entry["after"] for entry in results["link_scores"]]
    assert events == ["node selection", "GNN", "GNN", "pruning", "typed relations"]
    last, final = results["link_scores"][-1], results["relations"]
    assert all(last[key] == round(final[key], 4) for key in ("precision", "recall", "f1"))


def test_label_space_file_fits_the_model_and_the_results(quick_run: Path, results: dict) -> None:
    space = UnifiedLabelSpace.load(quick_run / "label_space.json")
    assert space.mapping.checksum() == results["mapping_checksum"]
    assert space.mapping.num_unified == results["num_unified"]
    assert space.mapping.active().all()
    model, inside = load_model(quick_run / "model_final.pth")
    assert inside == space
    assert model.uni_head.num_unified == results["num_unified"]
    assert not model.training
    assert model.multi_head is None


def test_losses_are_written_and_fall(quick_run: Path) -> None:
    lines = [json.loads(line) for line in (quick_run / "metrics.json").read_text().splitlines()]
    losses = {x["iteration"]: x["total_loss"] for x in lines if "total_loss" in x}
    assert set(losses) >= {3, 7, 23, 27, 31, 35, 55}
    assert all(math.isfinite(v) for v in losses.values())
    assert losses[23] < losses[3]


def test_report_is_printed(quick_run: Path, results: dict) -> None:
    text = (quick_run / "stdout.txt").read_text()
    for name, entry in results["datasets"].items():
        assert re.search(rf"^{name} +{entry['miou']:.2f} +{entry['unified_miou']:.2f}$", text, re.M)
    assert f"unified labels: {results['num_unified']}" in text


def test_config_that_was_used_is_kept(quick_run: Path) -> None:
    cfg = load_config(quick_run / "config.yaml")
    assert str(quick_run) == cfg.OUTPUT_DIR
    assert cfg.MODEL.DEVICE == "cpu"
    assert cfg.SCHEDULE == load_config(ROOT / program.QUICK).SCHEDULE


def test_checkpoints_are_whole_and_hold_no_code(quick_run: Path) -> None:
    content = load_file(quick_run / "model_final.pth")
    assert set(content) >= {"model", "num_unified", "label_spaces", "label_space", "config"}
    state = CheckpointKeeper(quick_run, 3).load_newest()
    assert state["iteration"] == 56
    assert not state["running"]


def test_evaluation_alone_gives_the_same_scores(
    quick_run: Path, results: dict, tmp_path: Path
) -> None:
    # by the model's file alone, in another folder
    done = program.train_net(
        "--config-file", program.QUICK, "--eval-only",
        "MODEL.WEIGHTS", str(quick_run / "model_final.pth"), "OUTPUT_DIR", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "results_eval.json").read_text(encoding="utf-8"))
    of_training = ("notes", "link_scores", "bad_samples", "skipped_steps", "data")
    assert scores({**again, "stages": []}) == {
        **{k: v for k, v in scores(results).items() if k not in of_training},
        "stages": [],
    }
    assert (tmp_path / "config_eval.yaml").is_file()


def test_other_seed_gives_another_world_and_model(quick_run: Path, results: dict, tmp_path: Path):
    done = program.train_net(
        "--config-file", program.QUICK, "OUTPUT_DIR", str(tmp_path), "SEED", "1",
        "SCHEDULE", '[["MULTI_HEAD", 2], ["SEG", 2]]',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    other = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert other["seed"] == 1
    assert other["mapping_checksum"] != results["mapping_checksum"]
    image = "toy_world/toy_fine/images/train/toy_fine_train_0000.png"
    assert (tmp_path / image).read_bytes() != (quick_run / image).read_bytes()
