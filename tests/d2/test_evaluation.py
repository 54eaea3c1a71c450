"""Counting predictions of any space; scores of a label space on atoms."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

import cv2
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator, inference_on_dataset

from unilabel.core.metrics import iou_from_confusion, mean_iou
from unilabel.evaluation.atoms import read_atoms, score_atoms
from unilabel.evaluation.sem_seg import SpaceConfusionEvaluator, through_mapping

pytestmark = pytest.mark.d2


def test_counts_of_several_spaces() -> None:
    evaluator = SpaceConfusionEvaluator(2, {"own": 2, "unified": 3})
    inputs = [{"sem_seg": torch.tensor([[0, 1], [255, 1]], dtype=torch.uint8)}]
    outputs = [
        {
            "own": torch.tensor([[0, 0], [1, 1]], dtype=torch.int16),
            "unified": torch.tensor([[2, 0], [0, 1]], dtype=torch.int16),
        }
    ]
    evaluator.process(inputs, outputs)
    assert evaluator.evaluate()["own"].tolist() == [[1, 0], [1, 1]]
    assert evaluator.evaluate()["unified"].tolist() == [[0, 0, 1], [1, 1, 0]]
    evaluator.process(inputs, outputs)
    assert evaluator.evaluate()["own"].tolist() == [[2, 0], [2, 2]]
    evaluator.reset()
    assert not evaluator.evaluate()["own"].any()


def test_ground_truth_of_another_kind() -> None:
    evaluator = SpaceConfusionEvaluator(3, {"own": 2}, lambda item: item["atoms"])
    evaluator.process(
        [{"sem_seg": torch.tensor([9]), "atoms": torch.tensor([2])}], [{"own": torch.tensor([1])}]
    )
    assert evaluator.evaluate()["own"].tolist() == [[0, 0], [0, 0], [0, 1]]


def test_counts_of_all_processes_are_added(monkeypatch) -> None:
    evaluator = SpaceConfusionEvaluator(1, {"own": 1})
    evaluator.process([{"sem_seg": torch.tensor([0])}], [{"own": torch.tensor([0])}])
    monkeypatch.setattr(
        "unilabel.evaluation.sem_seg.comm.all_gather",
        lambda counts: [counts, {"own": np.array([[5]])}],
    )
    assert evaluator.evaluate()["own"].tolist() == [[6]]


def test_process_without_images_counts_nothing() -> None:
    class Nothing(torch.nn.Module):
        def forward(self, inputs: list) -> list:
            raise AssertionError("there are no images")

    loader = torch.utils.data.DataLoader([], batch_size=2)
    counts = inference_on_dataset(Nothing(), loader, SpaceConfusionEvaluator(2, {"own": 2}))
    assert not counts["own"].any()


def test_unified_labels_read_as_classes() -> None:
    # unified labels 0 and 2 stand for class 0, label 1 for class 1, label 3 for none
    confusion = torch.tensor([[5, 1, 2, 1], [0, 7, 0, 2]])
    read = through_mapping(confusion, torch.tensor([0, 1, 0, -1]), 2)
    assert read.tolist() == [[7, 1, 1], [0, 7, 2]]
    assert iou_from_confusion(read).tolist() == [7 / 9, 7 / 10]


@pytest.fixture
def label_files(tmp_path: Path):
    """Three label maps as files, and predictions, registered with Detectron2."""
    rng = np.random.default_rng(0)
    classes, records, inputs, predictions = 5, [], [], []
    for i in range(3):
        truth = rng.integers(0, classes, (20, 30)).astype(np.uint8)
        answer = np.where(
            rng.random(truth.shape) < 0.6, truth, rng.integers(0, classes, truth.shape)
        )
        truth[rng.random(truth.shape) < 0.2] = 255
        path = str(tmp_path / f"{i}.png")
        cv2.imwrite(path, truth)
        records.append({"file_name": f"{i}.jpg", "sem_seg_file_name": path})
        inputs.append({"file_name": f"{i}.jpg", "sem_seg": torch.from_numpy(truth)})
        predictions.append(torch.from_numpy(answer))
    DatasetCatalog.register("evaluation_test", lambda: records)
    names = [f"c{i}" for i in range(classes)]
    MetadataCatalog.get("evaluation_test").set(stuff_classes=names, ignore_label=255)
    yield classes, inputs, predictions
    DatasetCatalog.remove("evaluation_test")
    MetadataCatalog.remove("evaluation_test")


def test_same_scores_as_the_evaluator_of_detectron2(label_files) -> None:
    classes, inputs, predictions = label_files
    ours = SpaceConfusionEvaluator(classes, {"own": classes})
    theirs = SemSegEvaluator("evaluation_test", distributed=False)
    for evaluator in (ours, theirs):
        evaluator.reset()
    for item, answer in zip(inputs, predictions, strict=True):
        ours.process([item], [{"own": answer}])
        one_hot = torch.nn.functional.one_hot(answer.long(), classes).permute(2, 0, 1)
        theirs.process([item], [{"sem_seg": one_hot.float()}])
    confusion, expected = ours.evaluate()["own"], theirs.evaluate()["sem_seg"]
    iou = 100 * iou_from_confusion(confusion)
    assert iou.tolist() == pytest.approx([expected[f"IoU-c{i}"] for i in range(classes)])
    assert mean_iou(confusion) == pytest.approx(expected["mIoU"])


# --- atoms ---

# Atoms 0, 1, 2; "fine" labels all alone, "coarse" joins 1 and 2.
ATOMS = {
    "atoms": ["a", "b", "c"],
    "datasets": {
        "fine": {"A": ["a"], "B": ["b"], "C": ["c"]},
        "coarse": {"A": ["a"], "BC": ["b", "c"]},
    },
}


def test_perfect_labels_score_one() -> None:
    counts = {name: torch.diag(torch.tensor([5, 4, 3])) for name in ("fine", "coarse")}
    assert score_atoms(counts, counts, ATOMS) == {
        "atom_accuracy": 1,
        "atom_miou": 1,
        "hidden_iou": 1,
    }


def test_atom_scores_worked_by_hand() -> None:
    # Three labels. In training label 0 lies on a, label 1 on b and c (more on b), label 2 on c.
    train = {
        "fine": torch.tensor([[8, 0, 0], [0, 6, 0], [0, 1, 4]]),
        "coarse": torch.tensor([[9, 0, 0], [0, 5, 0], [0, 3, 1]]),
    }
    val = {
        "fine": torch.tensor([[4, 0, 0], [0, 4, 0], [0, 0, 4]]),
        "coarse": torch.tensor([[4, 0, 0], [0, 3, 1], [0, 2, 2]]),
    }
    scores = score_atoms(train, val, ATOMS)
    assert scores["atom_accuracy"] == pytest.approx((4 + 4 + 4 + 4 + 3 + 2) / 24)
    total = torch.tensor([[8, 0, 0], [0, 7, 1], [0, 2, 6]])
    assert scores["atom_miou"] == pytest.approx(float(iou_from_confusion(total).mean()))
    # only coarse hides b and c: 3 of 3 + 1 + 2, and 2 of 2 + 2 + 1
    assert scores["hidden_iou"] == pytest.approx((3 / 6 + 2 / 5) / 2)


def test_a_rare_atom_names_the_label_that_holds_it() -> None:
    # Label 1 lies on 15 pixels of a and on all 10 of b: more on a, but of b it holds more.
    counts = {"city": torch.tensor([[85, 15], [0, 10]])}
    atoms = {"atoms": ["a", "b"], "datasets": {"city": {"A": ["a"], "B": ["b"]}}}
    scores = score_atoms(counts, counts, atoms)
    # called "a": 100 / 110 and 0; called "b": 85 / 100 and 10 / 25, which is better
    assert scores["atom_miou"] == pytest.approx((85 / 100 + 10 / 25) / 2)
    assert scores["atom_accuracy"] == pytest.approx(100 / 110)


def test_label_that_never_occurs_in_training_counts_as_some_atom() -> None:
    train = {"fine": torch.tensor([[5, 0], [0, 0], [0, 0]])}
    val = {"fine": torch.tensor([[5, 0], [0, 1], [0, 0]])}
    scores = score_atoms(train, val, ATOMS)
    assert scores["atom_accuracy"] == pytest.approx(5 / 6)
    assert not math.isnan(scores["atom_miou"])
    assert scores["hidden_iou"] == 0  # fine hides nothing


def test_atoms_are_read_only_where_all_datasets_have_them(tmp_path: Path) -> None:
    roots = [tmp_path / "fine", tmp_path / "coarse"]
    for root in roots:
        (root / "atoms").mkdir(parents=True)
    named = [str(r) for r in roots]
    assert read_atoms(named) is None
    (tmp_path / "atoms.json").write_text(json.dumps(ATOMS))
    assert read_atoms(named) == ATOMS
    other = tmp_path / "elsewhere" / "x"
    (other / "atoms").mkdir(parents=True)
    assert read_atoms([*named, str(other)]) is None
    (tmp_path / "plain").mkdir()
    assert read_atoms([*named, str(tmp_path / "plain")]) is None
