"""Unified labels are split and merged: what is exact is, and what is not says so."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

from test_datasets import IMAGES, assert_same_answers, by_name, reviewed

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import UNIFIED
from unilabel.editing.imitate import Sample, look_at
from unilabel.editing.labels import merge_labels, split_label
from unilabel.editing.parts import BIAS, EMBEDDING, Parts, read_parts, write_parts
from unilabel.engine.segmentor import SHIFT
from unilabel.predictor import UniLabelPredictor, build_predictor

pytestmark = pytest.mark.d2


def predictor(parts: Parts, folder: Path) -> UniLabelPredictor:
    write_parts(parts, folder / "edited.pth")
    return build_predictor(folder / "edited.pth")


@pytest.fixture(
    params=[
        "toy_weights",
        "logit_sum_weights",
        "shifted_weights",
        "shifted_logit_sum_weights",
    ]
)
def weights(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def shared_label(parts: Parts) -> tuple[str, list[str]]:
    """A unified label with links in several datasets, and these."""
    for row, name in enumerate(parts.space.names):
        linked = [n for n in parts.label_spaces.names if parts.space.mapping[n][row].any()]
        if len(linked) >= 3:
            return name, linked
    raise AssertionError


# --- split ---


def test_parts_of_a_label_answer_as_before(weights: Path, tmp_path: Path) -> None:
    parts = read_parts(weights)
    label, linked = shared_label(parts)
    done = split_label(parts, label, linked[:1])
    after = predictor(done, tmp_path)
    before = build_predictor(weights)
    assert_same_answers(before, after)
    for image in IMAGES:  # the first part wins ties, so the unified answer is the same as well
        old, new = before.predict(image, UNIFIED).labels, after.predict(image, UNIFIED).labels
        assert np.array_equal(old, new)
    assert done.space.names == (*parts.space.names, f"{label} (2)")
    assert len(set(done.space.colors)) == len(done.space.colors)
    row = parts.space.names.index(label)
    for dataset in parts.label_spaces.names:
        matrix, old = done.space.mapping[dataset], parts.space.mapping[dataset]
        assert torch.equal(matrix[-1], old[row] & (dataset in linked[:1]))
        assert torch.equal(matrix[row], old[row] & (dataset not in linked[:1]))


def test_a_class_of_both_parts(toy_weights: Path, tmp_path: Path) -> None:
    parts = read_parts(toy_weights)
    label, linked = shared_label(parts)
    done = split_label(parts, label, linked[:1], linked[1:2], name="a part")
    before, after = build_predictor(toy_weights), predictor(done, tmp_path)
    assert_same_answers(before, after)
    for image in IMAGES:  # probabilities too: neither part adds to a denominator
        for dataset in parts.label_spaces.names:
            old, new = (p.predict(image, dataset).confidence for p in (before, after))
            assert np.abs(old.astype(float) - new.astype(float)).max() < 2e-3
    both = done.space.mapping[linked[1]]
    assert torch.equal(both[-1], both[parts.space.names.index(label)])


def test_sums_of_logits_do_not_have_a_class_twice(logit_sum_weights: Path) -> None:
    parts = read_parts(logit_sum_weights)
    label, linked = shared_label(parts)
    with pytest.raises(UniLabelError, match=r"would count its row twice.*--approximate") as error:
        split_label(parts, label, [], linked[1:2])
    assert linked[1] in str(error.value)
    split_label(parts, label, [], linked[1:2], approximate=True)


def test_a_review_outlives_edits(toy_weights: Path, tmp_path: Path) -> None:
    parts = read_parts(reviewed(toy_weights, tmp_path / "old.pth"))
    before = by_name(parts.space)
    linked = sorted(d for d, _ in before["mine"][2])
    done = split_label(parts, "mine", linked[:1])
    after = by_name(done.space)
    assert any("counts as not checked" in note for note in done.notes)
    assert not after["mine"][1]
    assert {**after["mine"][2], **after["mine (2)"][2]} == before["mine"][2]
    for name in parts.space.names:
        if name != "mine":
            assert after[name] == before[name]
    joined = merge_labels(done, ["mine", "mine (2)"])
    assert by_name(joined.space)["mine"][0] == (9, 8, 7)
    assert by_name(joined.space)["mine"][2] == before["mine"][2]


@pytest.mark.parametrize(
    ("away", "both", "message"),
    [
        ([], [], "name at least one dataset whose link the new part"),
        (["nowhere"], [], "stands for no class of 'nowhere'; it has links to"),
        (["all"], [], "would keep no link: leave it at least one of"),
        (["first", "first"], [], "is named twice; a link goes to one part or to both"),
        (["first"], ["first"], "is named twice; a link goes to one part or to both"),
    ],
)
def test_splits_that_make_no_sense(toy_weights: Path, away, both, message: str) -> None:
    parts = read_parts(toy_weights)
    label, linked = shared_label(parts)
    words = {"first": linked[:1], "all": linked}
    given = [[d for w in names for d in words.get(w, [w])] for names in (away, both)]
    with pytest.raises(UniLabelError, match=message):
        split_label(parts, label, *given)


def test_names_are_found_and_free(toy_weights: Path, multi_head_weights: Path) -> None:
    parts = read_parts(toy_weights)
    label, linked = shared_label(parts)
    assert parts.row(label) == parts.row(str(parts.space.names.index(label)))
    for wrong in ("nothing", "99", "-1"):
        with pytest.raises(UniLabelError, match=f"no unified label '{wrong}'; it has "):
            split_label(parts, wrong, linked[:1])
    taken = next(n for n in parts.space.names if n != label)
    with pytest.raises(UniLabelError, match=f"'{taken}' is the name of a unified label already"):
        split_label(parts, label, linked[:1], name=taken)
    with pytest.raises(UniLabelError, match="has one head per dataset and no unified labels"):
        split_label(read_parts(multi_head_weights), label, linked[:1])


# --- merge ---


def twins(parts: Parts) -> Parts:
    """With a second label of the same links and another row behind label 0."""
    linked = [n for n in parts.label_spaces.names if parts.space.mapping[n][0].any()]
    if parts.mode == "logit_sum":
        parts = split_label(parts, "0", [], linked, approximate=True)
    else:
        parts = split_label(parts, "0", [], linked)
    return moved(parts)


def moved(parts: Parts) -> Parts:
    """With another row of the last label."""
    x_u = parts.weights[EMBEDDING].clone()
    x_u[-1] += torch.randn(x_u.shape[1], generator=torch.Generator().manual_seed(1))
    return replace(parts, weights={**parts.weights, EMBEDDING: x_u}, notes=())


def test_the_sum_of_rows_is_exact(logit_sum_weights: Path, tmp_path: Path) -> None:
    parts = twins(read_parts(logit_sum_weights))
    (tmp_path / "before").mkdir()
    before = predictor(parts, tmp_path / "before")
    names = [parts.space.names[0], parts.space.names[-1]]
    done = merge_labels(parts, names, name="one")
    assert done.space.names == ("one", *parts.space.names[1:-1])
    x_u = parts.weights[EMBEDDING]
    assert torch.equal(done.weights[EMBEDDING][0], x_u[0] + x_u[-1])
    bias = parts.weights[BIAS]
    assert torch.equal(done.weights[BIAS][:, 0], bias[:, 0] + bias[:, -1])
    assert_same_answers(before, predictor(done, tmp_path))
    assert done.space.provenance["edits"][-1] == {"merged_labels": names, "exact": True}


def test_a_split_is_undone(weights: Path, tmp_path: Path) -> None:
    parts = read_parts(weights)
    label, linked = shared_label(parts)
    both = linked[1:2] if parts.mode == "probability_sum" else []
    done = merge_labels(split_label(parts, label, linked[:1], both), [label, f"{label} (2)"])
    assert done.space.to_dict()["labels"] == parts.space.to_dict()["labels"]
    assert torch.equal(done.weights[EMBEDDING], parts.weights[EMBEDDING])
    assert torch.allclose(done.weights[BIAS], parts.weights[BIAS], atol=1e-6)
    assert_same_answers(build_predictor(weights), predictor(done, tmp_path))


def test_what_is_not_exact_is_refused(toy_weights: Path, logit_sum_weights: Path) -> None:
    parts = twins(read_parts(toy_weights))
    names = [parts.space.names[0], parts.space.names[-1]]
    with pytest.raises(UniLabelError, match=r"adds probabilities up .* --photos DIR .*approximate"):
        merge_labels(parts, names)
    done = merge_labels(parts, names, approximate=True)
    assert any("as near as one row comes" in note for note in done.notes)
    assert torch.equal(done.weights[EMBEDDING][0], parts.weights[EMBEDDING][[0, -1]].mean(0))
    parts, names = parted(read_parts(logit_sum_weights))
    with pytest.raises(UniLabelError, match="each dataset would need another row"):
        merge_labels(parts, names)


def parted(parts: Parts) -> tuple[Parts, list[str]]:
    """With a label of links in all datasets made two of different rows, and their names."""
    label, linked = shared_label(parts)
    return moved(split_label(parts, label, linked[:1])), [label, f"{label} (2)"]


def divergence(one: Parts, two: Parts, pixels: torch.Tensor) -> float:
    """Mean Kullback-Leibler divergence of the class probabilities of all datasets."""
    total = 0.0
    for i, name in enumerate(one.label_spaces.names):
        found = []
        for parts in (one, two):
            links = parts.space.mapping[name].float()
            shift = parts.weights[SHIFT][i] if SHIFT in parts.weights else 0.0
            logits = pixels @ (parts.weights[EMBEDDING] + shift).T + parts.weights[BIAS][i]
            if parts.mode == "logit_sum":
                found.append((logits @ links).softmax(1))
            else:
                mass = logits.softmax(1) @ links
                found.append(mass / mass.sum(1, keepdim=True))
        before, after = found
        total += float((before * (before / after).clamp(min=1e-9).log()).sum(1).mean())
    return total / len(one.label_spaces)


@pytest.mark.parametrize("apart", [False, True])
def test_photos_find_a_nearer_row(weights: Path, apart: bool) -> None:
    parts = read_parts(weights)
    if apart or parts.mode == "logit_sum":
        parts, labels = parted(parts)
    else:
        parts = twins(parts)
        labels = [parts.space.names[0], parts.space.names[-1]]
    pixels = torch.randn(3000, parts.weights[EMBEDDING].shape[1], generator=torch.Generator())
    sample, unseen = Sample(pixels[:1500], 3), pixels[1500:]
    guessed = merge_labels(parts, labels, approximate=True)
    fitted = merge_labels(parts, labels, sample=sample)
    guess = divergence(parts, guessed, unseen)
    if SHIFT in parts.weights and parts.mode == "logit_sum":  # own classifiers take the difference
        assert max(guess, divergence(parts, fitted, unseen)) < 1e-6
    else:
        assert divergence(parts, fitted, unseen) < guess
    assert any("answers that changed on 1500 pixels of 3 photos: toy_" in n for n in fitted.notes)


def test_photos_are_looked_at_as_in_predictions(toy_weights: Path, tmp_path: Path) -> None:
    import cv2

    for i, image in enumerate(IMAGES):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    found = look_at(build_predictor(toy_weights), sorted(tmp_path.glob("*.png")))
    assert found.photos == 3
    assert found.pixels.shape[1] == read_parts(toy_weights).weights[EMBEDDING].shape[1]
    with pytest.raises(UniLabelError, match="--photos holds no photo"):
        look_at(build_predictor(toy_weights), [])


def test_labels_that_a_dataset_tells_apart_stay_two(toy_weights: Path) -> None:
    parts = read_parts(toy_weights)
    name = parts.label_spaces.names[0]
    classes = parts.space.mapping.class_of(name)
    rows = [int((classes == c).nonzero()[0]) for c in (0, 1)]
    with pytest.raises(UniLabelError, match=f"{name} tells them apart"):
        merge_labels(parts, [str(r) for r in rows], approximate=True)
    with pytest.raises(UniLabelError, match="two or more different unified labels"):
        merge_labels(parts, ["0", "0"], approximate=True)


def test_a_merged_label_of_equal_parts_has_twice_the_probability() -> None:
    """By hand: two labels of logits 1 and 1 are one of logit 1 + log 2."""
    from unilabel.editing.rows import _joined

    x_u = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    row = _joined(["a"], [torch.tensor([[True], [True]])], x_u, torch.zeros(1, 2), None)
    assert torch.equal(row.embedding, x_u[0])
    assert float(row.bias[0]) == pytest.approx(math.log(2))
    assert row.inexact == ""
