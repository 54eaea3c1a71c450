from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace, default_color
from unilabel.core.metrics import mean_iou
from unilabel.core.transfer import TransferMapping, assign, fit_mapping, label_iou


def space(*names: str) -> LabelSpace:
    return LabelSpace("unseen", names, tuple(default_color(i) for i in range(len(names))))


def miou(counts: Tensor, links: Tensor) -> float:
    """From the definition: relabel the columns, then the mean IoU."""
    classes, labels = counts.shape
    table = torch.zeros(classes, classes + 1, dtype=counts.dtype)
    for label in range(labels):
        row = links[label]
        table[:, int(row.int().argmax()) if bool(row.any()) else classes] += counts[:, label]
    return mean_iou(table)


def all_mappings(labels: int, classes: int) -> list[Tensor]:
    """Every mapping in which each class has a label and each label at most one class."""
    found = []
    for choice in itertools.product(range(classes + 1), repeat=labels):
        if set(range(classes)) <= set(choice):
            found.append(torch.tensor(choice)[:, None] == torch.arange(classes))
    return found


def test_fine_labels_join_wide_classes() -> None:
    # classes: road, plant; labels: road, lane marking, tree, grass, and one that is never used
    counts = torch.tensor([[900, 50, 3, 0, 0], [7, 0, 400, 90, 0]])
    links = fit_mapping(counts)
    assert links.int().tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]]


def test_unused_label_goes_where_the_prior_says() -> None:
    counts = torch.tensor([[90, 0, 0], [0, 80, 0]])
    prior = torch.tensor([[0.0, 0.9], [0.9, 0.0], [0.2, 0.4]])
    assert fit_mapping(counts, prior).int().tolist() == [[1, 0], [0, 1], [0, 1]]


def test_class_without_pixels_takes_the_label_of_largest_prior_that_is_free() -> None:
    counts = torch.tensor([[90, 1, 0, 0], [1, 80, 0, 0], [0, 0, 0, 0]])
    prior = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.9], [0.0, 0.0, 0.3], [0.0, 0.0, 0.5]])
    links = fit_mapping(counts, prior)
    assert links[0].int().tolist() == [1, 0, 0]
    assert links[1].int().tolist() == [0, 1, 0]
    assert bool(links[3, 2])


def test_rare_label_does_not_spoil_a_rare_class() -> None:
    # Label 2 lies on the road 60 times and on poles 10 times; alone it has more IoU with pole.
    counts = torch.tensor([[100_000, 100, 60], [50, 500, 10]])
    by_cost = fit_mapping(counts, objective="cost")
    by_miou = fit_mapping(counts, objective="miou", least_gain=0)
    assert label_iou(counts)[2, 1] > label_iou(counts)[2, 0]
    assert bool(by_cost[2, 1])
    assert not bool(by_miou[2, 1])
    assert miou(counts, by_miou) > miou(counts, by_cost)


@pytest.mark.parametrize("seed", range(10))
def test_cost_is_the_optimum_of_the_paper(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 50, (3, 5), generator=random)
    iou = label_iou(counts)
    found = fit_mapping(counts, objective="cost")
    # A label without class costs 1, as a link of IoU 0 does.
    best = min(float((1 - (iou * m).sum(1)).sum()) for m in all_mappings(5, 3))
    assert float((1 - (iou * found).sum(1)).sum()) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(10))
def test_miou_is_near_the_optimum(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 20, (3, 5), generator=random)
    counts[torch.arange(3), torch.arange(3)] += 60
    best = max(miou(counts, m) for m in all_mappings(5, 3))
    assert miou(counts, fit_mapping(counts, least_gain=0)) == pytest.approx(best, abs=1e-9)


def test_small_gains_do_not_move_a_label() -> None:
    counts = torch.tensor([[100_000, 100, 60], [50, 500, 10]])
    by_cost = fit_mapping(counts, objective="cost")
    assert torch.equal(fit_mapping(counts, least_gain=0.2), by_cost)
    assert not torch.equal(fit_mapping(counts, least_gain=0), by_cost)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_constraints(classes: int, labels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 30, (classes, labels)) * random.integers(0, 2, (classes, labels))
    counts = torch.from_numpy(values)
    counts[0, 0] += 1
    for objective in ("cost", "miou"):
        links = fit_mapping(counts, objective=objective)
        assert links.shape == (labels, classes)
        assert int(links.sum(1).max()) <= 1
        if labels >= classes:
            assert bool(links.any(0).all())
        else:
            assert bool(links.any(1).all())
            assert int(links.sum(0).max()) == 1
    better = miou(counts, fit_mapping(counts)) - miou(counts, fit_mapping(counts, None, "cost"))
    assert better >= -1e-9


def test_threshold_of_the_assignment() -> None:
    weights = np.array([[0.9, 0.1], [0.2, 0.3], [0.3, 0.8], [0.0, 0.0]])
    assert assign(weights).any(1).tolist() == [True, True, True, False]
    assert assign(weights, threshold=0.5).any(1).tolist() == [True, False, True, False]


def test_paper_size_is_fast() -> None:
    import time

    random = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 2**40, (150, 448), generator=random)
    start = time.perf_counter()
    links = fit_mapping(counts)
    assert time.perf_counter() - start < 30
    assert bool(links.any(0).all())


def test_malformed_counts_are_refused() -> None:
    with pytest.raises(UniLabelError, match="no labelled pixel"):
        fit_mapping(torch.zeros(2, 3))
    with pytest.raises(UniLabelError, match="shape"):
        fit_mapping(torch.zeros(3))
    with pytest.raises(UniLabelError, match=r"prior has the shape \(2, 3\), expected \(3, 2\)"):
        fit_mapping(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(UniLabelError, match="expected one of cost, miou"):
        fit_mapping(torch.ones(2, 3), objective="accuracy")


# --- the JSON file -------------------------------------------------------------------------------


@pytest.fixture
def mapping() -> TransferMapping:
    links = torch.tensor([[True, False, False], [True, False, False], [False, False, False]])
    weights = torch.tensor([[0.8, 0, 0], [0.25, 0, 0], [0, 0.1, 0]])
    names = ("road", "lane marking", "sky")
    return TransferMapping.from_links(
        space("road", "tree", "sky"), "unified", names, links, weights, {"method": "images"}
    )


def test_file_round_trip(mapping: TransferMapping, tmp_path: Path) -> None:
    mapping.save(tmp_path / "mapping.json")
    again = TransferMapping.load(tmp_path / "mapping.json")
    assert again.class_of.tolist() == [0, 0, -1]
    assert again.scores == (0.8, 0.25, 0.0)
    assert (again.names, again.space) == (mapping.names, "unified")
    assert again.provenance == {"method": "images"}
    assert again.without_label() == ["tree", "sky"]


def test_edit_by_hand(mapping: TransferMapping, tmp_path: Path) -> None:
    path = tmp_path / "mapping.json"
    mapping.save(path)
    data = json.loads(path.read_text())
    data["labels"][2]["class"] = "sky"
    data["labels"][1]["class"] = None
    path.write_text(json.dumps(data))
    assert TransferMapping.load(path).class_of.tolist() == [0, -1, 2]
    data["labels"][2]["class"] = "skye"
    path.write_text(json.dumps(data))
    with pytest.raises(UniLabelError, match=r"labels\[2\]: dataset 'unseen' has no class 'skye'"):
        TransferMapping.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "unilabel/label_space"}, "tools/map_unseen.py"),
        ({"version": 7}, "this program reads 1"),
        ({"labels": []}, 'expected a list "labels"'),
        ({"labels": [{"id": 3, "name": "road", "class": None}]}, '"id" 0'),
        ({"labels": [{"id": 0, "name": "road", "class": 3}]}, "class name or null"),
        ({"labels": [{"id": 0, "name": "a", "class": None, "score": "x"}]}, "expected a number"),
        ({"provenance": 3}, "provenance"),
        ({"dataset": {}}, "classes"),
    ],
)
def test_malformed_file(
    mapping: TransferMapping, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps({**mapping.to_dict(), **change}))
    with pytest.raises(UniLabelError, match=message):
        TransferMapping.load(path)


def test_other_model_is_noticed(mapping: TransferMapping) -> None:
    mapping.check_model(["road", "lane marking", "sky"], "m.json")
    with pytest.raises(UniLabelError, match="has 3 labels, the model 2"):
        mapping.check_model(["road", "sky"], "m.json")
    with pytest.raises(UniLabelError, match="'lane marking', in the model 'curb'"):
        mapping.check_model(["road", "curb", "sky"], "m.json")
