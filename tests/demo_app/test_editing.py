from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unilabel.core.errors import UniLabelError
from unilabel.core.unified_space import Link, UnifiedLabelSpace
from unilabel.demo_app.editing import Review
from unilabel.demo_app.suspicion import class_similarity, suspicious_links


@pytest.fixture
def review(toy_space: UnifiedLabelSpace) -> Review:
    return Review(toy_space)


def row(review: Review, name: str) -> int:
    return review.draft.names.index(name)


def test_moving_a_link(review: Review) -> None:
    label = row(review, "lane marking")
    review.set_link(label, "toy_coarse", "crosswalk")
    assert review.problems() == []
    space = review.valid
    assert int(space.mapping.class_of("toy_coarse")[label]) == 3
    link = space.links[label, "toy_coarse", 3]
    assert (link.source, link.weight) == ("human", 1.0)
    changes = review.diff()["links"]
    assert changes == [
        {
            "id": label,
            "label": "lane marking",
            "dataset": "toy_coarse",
            "before": "flat",
            "after": "crosswalk",
        }
    ]


def test_a_class_may_not_lose_its_last_label_for_good(review: Review) -> None:
    label = row(review, "barrier")
    review.set_link(label, "toy_fine", None)
    (problem,) = review.problems()
    assert "barrier of Toy streets, fine classes has no unified label" in problem.text
    assert (problem.dataset, problem.class_name, problem.row) == ("toy_fine", "barrier", label)
    assert review.valid is review.base  # predictions keep the last usable links
    with pytest.raises(UniLabelError, match="not saved: barrier"):
        review.export()
    review.set_link(row(review, "curb"), "toy_fine", "barrier")
    review.set_link(label, "toy_fine", "curb")  # the classes have changed places
    assert review.problems() == []
    assert review.valid is not review.base
    assert len(review.export().to_dict()["labels"]) == 19


def test_other_edits_are_used_while_a_class_has_no_label(review: Review) -> None:
    label = row(review, "barrier")
    review.set_link(label, "toy_fine", "curb")
    review.set_link(row(review, "lane marking"), "toy_coarse", "crosswalk")
    review.rename(1, "house")
    assert len(review.problems()) == 1
    assert review.held == {(label, "toy_fine")}
    fine = review.base.label_spaces.get("toy_fine")
    assert int(review.valid.mapping.class_of("toy_fine")[label]) == fine.index("barrier")
    assert int(review.valid.mapping.class_of("toy_coarse")[row(review, "lane marking")]) == 3
    assert review.valid.names[1] == "house"
    review.give_back("toy_fine", "barrier")
    assert review.problems() == []
    assert review.held == frozenset()
    assert len(review.diff()["links"]) == 1
    review.undo()
    assert len(review.problems()) == 1


@given(
    st.lists(st.tuples(st.integers(0, 18), st.integers(0, 3), st.integers(-1, 4)), max_size=25),
)
def test_whatever_is_edited_can_be_used_and_loaded_again(
    toy_space: UnifiedLabelSpace, edits: list[tuple[int, int, int]]
) -> None:
    review = Review(toy_space)
    for label, number, column in edits:
        space = toy_space.label_spaces[number]
        name = None if column < 0 else space.class_names[column % space.num_classes]
        review.set_link(label, space.name, name)
    assert all(matrix.any(0).all() for matrix in review.valid.mapping.matrices.values())
    for key in review.draft.links.keys() - review.held:
        link = review.draft.links[key]
        assert review.valid.links[key[0], key[1], link[0]] == link[1]
    again = Review(toy_space)
    again.load(json.loads(json.dumps(review.diff())), "file")
    assert again.draft.links == review.draft.links
    assert again.valid == review.valid


def test_changes_come_back_as_they_were(review: Review, toy_space: UnifiedLabelSpace) -> None:
    review.set_link(3, "toy_coarse", "crosswalk")
    review.set_link(4, "toy_city", None)
    review.rename(1, "house")
    review.recolour(2, (1, 2, 3))
    review.check(5, True)
    again = Review(toy_space)
    again.rename(7, "anything")  # what was there before is replaced, and can be had again
    again.load(json.loads(json.dumps(review.diff())), "my.json")
    assert replace(again.draft, change="") == replace(review.draft, change="")
    assert again.diff() == review.diff()
    assert again.edits == 5
    again.undo()
    assert again.draft.names[7] == "anything"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other"}, "schema"),
        ({"base_checksum": "0" * 64}, "another label space"),
        ({"links": {}}, 'no list under "links"'),
        ({"links": [3]}, "no object"),
        ({"links": [{"id": 99, "dataset": "toy_fine", "after": "sky"}]}, "0 to 18"),
        ({"links": [{"id": True, "dataset": "toy_fine", "after": "sky"}]}, "0 to 18"),
        ({"links": [{"id": 1, "dataset": ["toy_fine"], "after": "sky"}]}, "toy_fine"),
        ({"links": [{"id": 1, "dataset": "toy_fine", "after": "moon"}]}, "moon"),
        ({"links": [{"id": 1, "dataset": "toy_fine", "after": 3}]}, "'3'"),
        ({"names": [{"id": 1, "after": ""}]}, "new name"),
        ({"names": [{"id": 1, "after": "road"}]}, "two unified labels the name 'road'"),
        ({"colors": [{"id": 1, "after": [1, 2, 300]}]}, "colour"),
        ({"checked": ["1"]}, "0 to 18"),
        ({"unchecked": 4}, "unchecked"),
    ],
)
def test_changes_of_strangers_are_refused_whole(
    review: Review, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UniLabelError, match=message):
        review.load({**review.diff(), **change}, "file")
    assert not review.changed
    assert review.past == []


def test_undo_and_redo_are_exact(review: Review, toy_space: UnifiedLabelSpace) -> None:
    review.set_link(3, "toy_coarse", "crosswalk")
    review.rename(1, "house")
    review.recolour(1, (1, 2, 3))
    review.check(1, True)
    done = review.export().to_dict()
    for _ in range(4):
        review.undo()
    assert not review.changed
    assert review.valid is toy_space
    review.undo()  # nothing left
    for _ in range(5):
        review.redo()
    assert review.export().to_dict() == done
    review.undo()
    review.rename(2, "street")
    assert review.future == []


def test_reset_can_be_undone(review: Review) -> None:
    review.rename(1, "house")
    review.reset()
    assert not review.changed
    review.undo()
    assert review.draft.names[1] == "house"


def test_going_back_by_hand_restores_the_models_link(review: Review) -> None:
    before = review.base.links[4, "toy_fine", 4]
    review.set_link(4, "toy_fine", "road")
    review.set_link(4, "toy_fine", "crosswalk")
    assert review.valid.links[4, "toy_fine", 4] == before
    assert not review.changed


def test_checking_confirms_the_links(review: Review) -> None:
    review.check(5, True)
    links = [link for (label, _, _), link in review.valid.links.items() if label == 5]
    assert {link.source for link in links} == {"human"}
    assert bool(review.valid.human_links()[5].any())
    review.check(5, False)
    assert review.valid.links == review.base.links


def test_the_export_says_where_it_comes_from(review: Review) -> None:
    review.set_link(0, "toy_fine", "building")
    review.set_link(0, "toy_fine", "sky")
    review.set_link(3, "toy_coarse", "crosswalk")
    note = review.export().provenance["review"]
    assert note["base_checksum"] == review.base.mapping.checksum()
    assert note["changed_links"] == 1
    again = UnifiedLabelSpace.from_dict(review.export().to_dict())
    assert again.mapping == review.valid.mapping
    assert int(again.human_links().sum()) == 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda r: r.set_link(99, "toy_fine", "sky"), "no unified label 99"),
        (lambda r: r.set_link(0, "other", "sky"), "unknown dataset"),
        (lambda r: r.set_link(0, "toy_fine", "moon"), "no class 'moon'"),
        (lambda r: r.rename(0, "road"), "already named"),
        (lambda r: r.rename(0, "x" * 81), "81 characters"),
        (lambda r: r.rename(0, " "), "new name"),
        (lambda r: r.rename(0, "a\nb"), "control"),
        (lambda r: r.recolour(0, (0, 0, 300)), "colour"),
        (lambda r: r.check(-1, True), "no unified label -1"),
    ],
)
def test_impossible_edits_change_nothing(review: Review, edit: object, message: str) -> None:
    with pytest.raises(UniLabelError, match=message):
        edit(review)  # type: ignore[operator]
    assert not review.changed
    assert review.past == []


def test_undo_is_bounded(review: Review) -> None:
    for number in range(450):
        review.recolour(0, (number % 256, 1, 1))
    assert len(review.past) == 200


def test_similarity_of_equal_names(toy_space: UnifiedLabelSpace) -> None:
    similarity = class_similarity(toy_space.label_spaces)
    names = toy_space.label_spaces.label_names()
    sky = [i for i, name in enumerate(names) if name.endswith(":sky")]
    assert similarity[sky[0], sky[1]] == pytest.approx(1, abs=1e-6)
    assert similarity[sky[0], names.index("toy_fine:bus")] < 0.3


def test_planted_wrong_links_are_the_most_suspicious(toy_space: UnifiedLabelSpace) -> None:
    # toy_city's classes "car" and "building" have changed places, with full weight
    draft = Review(toy_space).draft
    sure = Link("learned", 1.0)
    links = {key: (column, sure) for key, (column, _) in draft.links.items()}
    one, two = (draft.names.index(name) for name in ("building", "car"))
    keys = (one, "toy_city"), (two, "toy_city")
    links[keys[0]], links[keys[1]] = links[keys[1]], links[keys[0]]
    similarity = class_similarity(toy_space.label_spaces)
    wrong = replace(draft, links=links)
    found = suspicious_links(wrong, toy_space.label_spaces, None, similarity)
    assert set(keys) <= set(found)
    assert max(found, key=lambda key: found[key].score) in keys
    assert "“building” fits “building” better" in found[keys[1]].reason
    marked = replace(wrong, checked=frozenset({one}))
    assert keys[0] not in suspicious_links(marked, toy_space.label_spaces, None, similarity)


def test_pixels_speak_against_links(toy_space: UnifiedLabelSpace) -> None:
    draft = Review(toy_space).draft
    sure = Link("learned", 1.0)
    draft = replace(draft, links={key: (c, sure) for key, (c, _) in draft.links.items()})
    space = toy_space.label_spaces.get("toy_fine")
    label = draft.names.index("car")
    own, other = draft.links[label, "toy_fine"][0], space.index("bus")
    counts = np.zeros((space.num_classes, 19), np.int64)
    counts[other, draft.names.index("bus")] = 5000
    counts[own, label], counts[other, label] = 600, 400
    none = suspicious_links(draft, toy_space.label_spaces, {"toy_fine": counts})
    assert none == {}
    counts[own, label], counts[other, label] = 300, 700
    found = suspicious_links(draft, toy_space.label_spaces, {"toy_fine": counts})
    assert set(found) == {(label, "toy_fine")}
    assert found[label, "toy_fine"].score == pytest.approx(0.4)
    assert "70 % are drawn as “bus” and 30 % as “car”" in found[label, "toy_fine"].reason
    counts[:] = 0
    counts[own, label], counts[own, 0] = 1, 999  # hardly any of the class is read as the label
    found = suspicious_links(draft, toy_space.label_spaces, {"toy_fine": counts})
    assert found[label, "toy_fine"].reason == "carries 1 of 1,000 pixels drawn as “car”"
    by_text = {**draft.links, (label, "toy_fine"): (own, Link("text", 1.0))}
    told = replace(draft, links=by_text)  # texts never claimed that the photos show it
    found = suspicious_links(told, toy_space.label_spaces, {"toy_fine": counts})
    assert (label, "toy_fine") not in found
    counts[other, label] = 700  # but photos may show that it is something else
    found = suspicious_links(told, toy_space.label_spaces, {"toy_fine": counts})
    assert "100 % are drawn as “bus”" in found[label, "toy_fine"].reason
    counts[other, label] = 0
    counts //= 10  # too few to say anything
    assert suspicious_links(draft, toy_space.label_spaces, {"toy_fine": counts}) == {}


def test_low_weights_are_suspicious_in_their_order(toy_space: UnifiedLabelSpace) -> None:
    found = suspicious_links(Review(toy_space).draft, toy_space.label_spaces)
    weak = {
        (label, dataset): link.weight
        for (label, dataset, _), link in toy_space.links.items()
        if link.weight < 0.3
    }
    assert set(weak) <= set(found)
    pairs = sorted(weak, key=weak.__getitem__)
    only_images = [found[p].score for p in pairs if "images" in found[p].reason]
    assert only_images == sorted(only_images, reverse=True)
