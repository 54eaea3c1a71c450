"""True relations: reading, which pairs count, and the score worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from label_cases import label_spaces

from unilabel.core.errors import UniLabelError
from unilabel.core.relations import RelationTruth

SPACES = label_spaces(city="road car", idd="road marking", ade="street")
CITY_ROAD, CITY_CAR, IDD_ROAD, IDD_MARKING, ADE_STREET = range(5)


def relation(a: str, b: str, **more) -> dict:
    sides = {k: dict(zip(("dataset", "label"), v.split(":"), strict=True)) for k, v in
             (("a", a), ("b", b))}  # fmt: skip
    return {**sides, "type": "equal", "source": "human", **more}


def truth_of(tmp_path: Path, relations, overlaps=(), background_relations=()) -> RelationTruth:
    path = tmp_path / "relations.json"
    lists = {
        "relations": list(relations),
        "overlaps": list(overlaps),
        "background_relations": list(background_relations),
    }
    path.write_text(json.dumps(lists))
    return RelationTruth.from_json(path, SPACES)


def pairs(*indices: tuple[int, int]) -> torch.Tensor:
    matrix = torch.zeros(5, 5, dtype=torch.bool)
    for a, b in indices:
        matrix[a, b] = matrix[b, a] = True
    return matrix


def test_pairs_are_read_both_ways(tmp_path: Path) -> None:
    truth = truth_of(
        tmp_path,
        [
            relation("city:road", "idd:road"),
            relation("idd:marking", "city:road", type="subset"),
            relation("city:road", "elsewhere:road"),  # takes no part
            relation("city:road", "city:car"),  # of one dataset: never counts
        ],
    )
    assert torch.equal(truth.related, pairs((CITY_ROAD, IDD_ROAD), (CITY_ROAD, IDD_MARKING)))
    assert int(truth.scored.triu().sum()) == 2 * 2 + 2 * 1 + 2 * 1
    assert not truth.scored[0:2, 0:2].any()
    assert not truth.scored[2:4, 2:4].any()


def test_score_worked_by_hand(tmp_path: Path) -> None:
    truth = truth_of(
        tmp_path,
        [relation("city:road", "idd:road"), relation("city:road", "ade:street")],
        overlaps=[relation("city:car", "idd:marking")],
    )
    # one hit, one wrong, one missed; the overlap is neither
    found = pairs((CITY_ROAD, IDD_ROAD), (CITY_CAR, IDD_ROAD), (CITY_CAR, IDD_MARKING))
    score = truth.score(found)
    # of the pairs of datasets: city x idd has one hit and one wrong, city x ade one missed
    parts = {"num_related": 2, "pair_mean": pytest.approx((2 / 3 + 0) / 2)}
    assert score == {"precision": 0.5, "recall": 0.5, "f1": 0.5, **parts}
    assert truth.score(truth.related)["f1"] == 1
    nothing = truth.score(pairs())
    assert (nothing["precision"], nothing["recall"], nothing["f1"]) == (0, 0, 0)


def test_defined_and_human_pairs_are_scored_apart(tmp_path: Path) -> None:
    truth = truth_of(
        tmp_path,
        [
            relation("city:road", "idd:road", source="definition"),
            relation("city:road", "ade:street"),
            relation("idd:road", "ade:street"),
        ],
    )
    assert int(truth.by_definition.triu().sum()) == 4  # the whole block city x idd
    score = truth.score(pairs((CITY_ROAD, IDD_ROAD), (CITY_ROAD, ADE_STREET)))
    assert score["definition"] == {"precision": 1, "recall": 1, "f1": 1}
    assert score["human"]["recall"] == 0.5
    assert score["recall"] == pytest.approx(2 / 3)


def test_one_kind_of_source_gives_no_parts(tmp_path: Path) -> None:
    everything = [
        relation("city:road", "idd:road", source="definition"),
        relation("city:road", "ade:street", source="definition"),
        relation("idd:road", "ade:street", source="definition"),
    ]
    assert set(truth_of(tmp_path, everything).score(pairs())) == {
        "precision", "recall", "f1", "num_related", "pair_mean",
    }  # fmt: skip


def test_a_block_with_a_human_pair_is_human(tmp_path: Path) -> None:
    truth = truth_of(
        tmp_path,
        [
            relation("city:road", "idd:road", source="definition"),
            relation("city:road", "idd:marking"),
        ],
    )
    assert not truth.by_definition.any()


GOOD = relation("city:road", "idd:road")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], 'expected an object with a list "relations"'),
        ({"overlaps": []}, 'expected an object with a list "relations"'),
        ({"relations": {}}, 'expected an object with a list "relations"'),
        ({"relations": [], "overlaps": None}, '"overlaps" is None, expected a list'),
        ({"relations": [], "overlaps": 5}, '"overlaps" is 5, expected a list'),
        ({"relations": ["x"]}, r'relations\[0\]\["a"\] is None, expected {"dataset", "label"}'),
        ({"relations": [GOOD, {"a": GOOD["a"]}]}, r'relations\[1\]\["b"\] is None'),
        ({"relations": [{**GOOD, "a": {"dataset": "city"}}]}, r'relations\[0\]\["a"\] is {'),
        ({"relations": [{**GOOD, "a": "city:road"}]}, r"\[\"a\"\] is 'city:road'"),
        ({"relations": [relation("city:lane", "idd:road")]}, "'city' has no class 'lane'; it has"),
        ({"relations": [], "overlaps": [relation("city:lane", "idd:road")]}, r"overlaps\[0\]: "),
        ({"relations": [{**GOOD, "b": {"dataset": "idd", "label": 5}}]}, "has no class 5"),
        ({"relations": [{**GOOD, "type": "same"}]}, "\"type\" is 'same', expected one of"),
    ],
)  # fmt: skip
def test_malformed_relations_are_refused(tmp_path: Path, data, message: str) -> None:
    path = tmp_path / "relations.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UniLabelError, match=message) as caught:
        RelationTruth.from_json(path, SPACES)
    assert str(caught.value).startswith(str(path))


def test_relations_of_backgrounds_count_in_a_score_of_their_own(tmp_path: Path) -> None:
    truth = truth_of(
        tmp_path,
        [relation("city:road", "idd:road")],
        background_relations=[relation("city:car", "idd:marking")],
    )
    found = truth.score(pairs((CITY_ROAD, IDD_ROAD), (CITY_CAR, IDD_MARKING)))
    assert (found["precision"], found["recall"]) == (1, 1)
    assert found["with_background"]["recall"] == 1
    missed = truth.score(pairs((CITY_ROAD, IDD_ROAD)))
    assert missed["f1"] == 1
    assert missed["with_background"] == {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3)}
