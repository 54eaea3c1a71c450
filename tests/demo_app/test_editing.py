from __future__ import annotations

from dataclasses import replace

import pytest

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
    assert len(review.problems()) == 1
    assert "barrier of Toy streets, fine classes has no unified label" in review.problems()[0]
    assert review.valid is review.base  # predictions keep the last usable links
    with pytest.raises(UniLabelError, match="not saved: barrier"):
        review.export()
    review.set_link(row(review, "curb"), "toy_fine", "barrier")
    review.set_link(label, "toy_fine", "curb")  # the classes have changed places
    assert review.problems() == []
    assert review.valid is not review.base
    assert len(review.export().to_dict()["labels"]) == 19


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
    found = suspicious_links(wrong, toy_space.label_spaces, similarity)
    assert set(keys) <= set(found)
    assert max(found, key=lambda key: found[key].score) in keys
    assert "“building” fits “building” better" in found[keys[1]].reason
    marked = replace(wrong, checked=frozenset({one}))
    assert keys[0] not in suspicious_links(marked, toy_space.label_spaces, similarity)


def test_low_weights_are_suspicious_in_their_order(toy_space: UnifiedLabelSpace) -> None:
    similarity = class_similarity(toy_space.label_spaces)
    found = suspicious_links(Review(toy_space).draft, toy_space.label_spaces, similarity)
    weak = {
        (label, dataset): link.weight
        for (label, dataset, _), link in toy_space.links.items()
        if link.weight < 0.3
    }
    assert set(weak) <= set(found)
    pairs = sorted(weak, key=weak.__getitem__)
    only_images = [found[p].score for p in pairs if "images" in found[p].reason]
    assert only_images == sorted(only_images, reverse=True)
