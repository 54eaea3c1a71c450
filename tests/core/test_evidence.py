"""Evidence for relations: worked by hand, against plain loops, and what must always hold."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unilabel.core import evidence

# Two datasets in the plane: one has up (0) and right (1), the other up, right and down-left.
HEADS = [
    torch.tensor([[0.0, 1.0], [1.0, 0.0]]),
    torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, -1.0]]),
]
PIXELS = [
    torch.tensor([[0.0, 2.0], [3.0, 0.0], [5.0, 1.0]]),
    torch.tensor([[-1.0, -2.0], [0.0, 1.0]]),
]
LABELS = [torch.tensor([0, 0, 1]), torch.tensor([2, 0])]


def random_pixels(seed: int, sizes=(3, 4), dim: int = 5, count: int = 40):
    generator = torch.Generator().manual_seed(seed)
    heads = [torch.randn(c, dim, generator=generator) for c in sizes]
    pixels = [torch.randn(count, dim, generator=generator) for _ in sizes]
    labels = [torch.randint(0, c, (count,), generator=generator) for c in sizes]
    return pixels, labels, heads


def test_confusion_worked_by_hand() -> None:
    counts = evidence.confusion_counts(PIXELS, LABELS, HEADS)
    expected = [
        [1, 1, 1, 1, 0],  # up of the first: answered up once, right once, by both heads
        [0, 1, 0, 1, 0],
        [1, 0, 1, 0, 0],  # up of the second
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 1],  # (-1, -2): the first head says right (-1 > -2), the second down-left
    ]
    assert counts.tolist() == expected
    assert counts.dtype == torch.float64


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_cross_prediction_against_a_loop(power: float) -> None:
    pixels, labels, heads = random_pixels(1)
    labels[0][labels[0] == 2] = 0  # class 2 of the first dataset is never seen
    result = evidence.cross_prediction(pixels, labels, heads, prior_power=power)
    priors = []
    for truth, head in zip(labels, heads, strict=True):
        count = np.array([(truth == c).sum() + 1 for c in range(len(head))], dtype=float)
        priors.append(count / count.sum())
    row = 0
    for x, truth, own in zip(pixels, labels, heads, strict=True):
        for class_id in range(len(own)):
            mine = x[truth == class_id].numpy().astype(float)
            column = 0
            for head, prior in zip(heads, priors, strict=True):
                odds = np.exp(mine @ head.numpy().T.astype(float)) / prior**power
                p = (odds / odds.sum(1, keepdims=True)).sum(0) / max(len(mine), 1)
                found = result[row, column : column + len(head)]
                assert found.numpy() == pytest.approx(p, abs=1e-5)
                column += len(head)
            row += 1
    assert result[2].abs().sum() == 0


def test_class_means_against_numpy() -> None:
    pixels, labels, heads = random_pixels(2, count=60)
    similarity = evidence.class_mean_similarity(pixels, labels, [len(h) for h in heads], ridge=0.1)
    means, residuals = [], []
    for x, truth, head in zip(pixels, labels, heads, strict=True):
        own = np.stack([x[truth == c].mean(0).numpy() for c in range(len(head))]).astype(float)
        residuals.append(x.numpy() - own[truth.numpy()])
        means.append(own - own.mean(0))
    within = np.concatenate(residuals)
    covariance = within.T @ within / len(within)
    covariance += 0.1 * np.trace(covariance) / 5 * np.eye(5)
    # the cosine in the metric of the inverse covariance
    centred = np.concatenate(means)
    product = centred @ np.linalg.inv(covariance) @ centred.T
    length = np.sqrt(np.diag(product))
    assert similarity.numpy() == pytest.approx(product / length[:, None] / length, abs=1e-4)


def test_class_means_of_unseen_labels_are_zero() -> None:
    pixels, labels, heads = random_pixels(3)
    labels[1][labels[1] == 3] = 1
    similarity = evidence.class_mean_similarity(pixels, labels, [len(h) for h in heads], ridge=0.1)
    assert similarity[6].abs().max() == 0
    assert torch.allclose(similarity, similarity.T, atol=1e-6)
    assert similarity.diagonal()[:6].numpy() == pytest.approx(np.ones(6), abs=1e-5)


def test_unseen_labels_do_not_move_the_centre() -> None:
    """A class that no pixel has moves nothing: the centre is that of the seen."""
    pixels, labels, heads = random_pixels(3, count=60)
    pixels = [x + shift for x, shift in zip(pixels, (3.0, -5.0), strict=True)]  # far from zero
    sizes = [len(h) for h in heads]
    plain = evidence.class_mean_similarity(pixels, labels, sizes, ridge=0.1)
    more = evidence.class_mean_similarity(pixels, labels, [sizes[0] + 2, sizes[1] + 1], ridge=0.1)
    first, second = range(sizes[0]), range(sizes[0] + 2, sizes[0] + 2 + sizes[1])
    seen = torch.tensor([*first, *second])
    assert torch.allclose(more[seen][:, seen], plain, atol=1e-5)
    unseen = [i for i in range(len(more)) if i not in seen.tolist()]
    assert more[unseen].abs().max() == 0


def test_whitened_means_do_not_depend_on_the_basis() -> None:
    pixels, labels, heads = random_pixels(4, count=200)
    sizes = [len(h) for h in heads]
    basis = torch.randn(5, 5, generator=torch.Generator().manual_seed(9)) + 2 * torch.eye(5)
    plain = evidence.class_mean_similarity(pixels, labels, sizes, ridge=0.0)
    other = evidence.class_mean_similarity([x @ basis for x in pixels], labels, sizes, ridge=0.0)
    assert torch.allclose(plain, other, atol=1e-3)


def test_text_similarity_is_the_cosine() -> None:
    similarity = evidence.text_similarity(torch.tensor([[1, 0], [3, 3], [0, 0]]))
    assert similarity[0].tolist() == pytest.approx([1, 0.5**0.5, 0])


def test_two_sided_needs_both_directions() -> None:
    cross = torch.tensor([[1.0, 0.9], [0.1, 1.0]])
    assert float(evidence.two_sided(cross, 1.0)[0, 1]) == pytest.approx(0.9 * 0.1)
    assert float(evidence.two_sided(cross, 0.25)[0, 1]) == pytest.approx(0.9 * 0.1**0.25)
    foreign = torch.tensor([[1.0, 0.9], [0.0, 1.0]])
    assert float(evidence.two_sided(foreign)[0, 1]) == 0.0
    assert torch.equal(evidence.two_sided(cross), evidence.two_sided(cross).T)


def test_fused_score_worked_by_hand() -> None:
    one, two = torch.tensor([[1.0, 0.4], [0.2, 1.0]]), torch.tensor([[1.0, 0.8], [0.2, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(evidence.fused_score([one, two], None)[0, 1]) == pytest.approx((0.6 + 0.2) / 2)
    assert float(evidence.fused_score([one, two], text)[0, 1]) == pytest.approx(0.2)
    assert float(evidence.fused_score([one], text)[1, 0]) == pytest.approx(0.15)


def test_text_weight_is_the_share_of_the_text() -> None:
    one, text = torch.tensor([[1.0, 0.4], [0.4, 1.0]]), torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    assert float(evidence.fused_score([one], text, 0.25)[0, 1]) == pytest.approx(0.5)
    assert float(evidence.fused_score([one], text, 1.0)[0, 1]) == pytest.approx(0.8)


# --- tuples ---


def symmetric(total: int, **pairs: float) -> torch.Tensor:
    score = torch.eye(total)
    for name, value in pairs.items():
        a, b = map(int, name.strip("p").split("_"))
        score[a, b] = score[b, a] = value
    return score


def tuples(matrix: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(row.nonzero().flatten().tolist()) for row in matrix}


def test_tuples_express_granularity() -> None:
    # city: road 0, car 1; idd: road 2, marking 3, car 4. The road of city is best met by the road
    # of idd; the marking has no better partner than the road of city, so the road gets two labels.
    score = symmetric(5, p0_2=0.9, p0_3=0.6, p1_4=0.8, p1_3=0.1)
    assert tuples(evidence.label_tuples(score, [2, 3], 0.5)) == {(0, 2), (0, 3), (1, 4)}
    # above 0.6 the marking stands alone
    assert tuples(evidence.label_tuples(score, [2, 3], 0.7)) == {(0, 2), (3,), (1, 4)}


def test_all_pairs_of_a_tuple_must_agree() -> None:
    # three datasets of one label: 0-1 and 0-2 fit, 1-2 does not
    score = symmetric(3, p0_1=0.9, p0_2=0.8, p1_2=0.1)
    assert tuples(evidence.label_tuples(score, [1, 1, 1], 0.5)) == {(0, 1), (0, 2)}
    assert tuples(evidence.label_tuples(score, [1, 1, 1], 0.05)) == {(0, 1, 2)}


def assert_proper(matrix: torch.Tensor, sizes: list[int]) -> None:
    assert matrix.any(0).all()
    for block in matrix.split(sizes, dim=1):
        assert block.sum(1).max() <= 1
    found = [set(row.nonzero().flatten().tolist()) for row in matrix]
    assert all(found)
    assert not any(a < b for a in found for b in found)
    assert len(tuples(matrix)) == len(matrix)


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    seed=st.integers(0, 999),
    threshold=st.floats(0, 1),
)
def test_tuples_cover_all_labels(sizes: list[int], seed: int, threshold: float) -> None:
    total = sum(sizes)
    score = torch.rand(total, total, generator=torch.Generator().manual_seed(seed))
    score = (score + score.T) / 2
    matrix = evidence.label_tuples(score, sizes, threshold)
    assert_proper(matrix, sizes)
    assert len(matrix) <= total
    for row in tuples(matrix):
        assert all(score[a, b] >= threshold for a in row for b in row if a < b)


def test_evidence_finds_the_relations_of_a_made_up_world() -> None:
    # Four atoms on axes; the first dataset tells all apart, the second joins atoms 2 and 3.
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randint(0, 4, (2, 400), generator=generator)
    pixels = [
        3 * F.one_hot(a, 4).float() + 0.3 * torch.randn(400, 4, generator=generator) for a in atoms
    ]
    labels = [atoms[0], atoms[1].clamp(max=2)]
    heads = [torch.eye(4), torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]])]
    cross = evidence.two_sided(evidence.cross_prediction(pixels, labels, heads))
    expected = {(0, 4), (1, 5), (2, 6), (3, 6)}
    assert tuples(evidence.label_tuples(cross, [4, 3], 0.5)) == expected
    means = evidence.class_mean_similarity(pixels, labels, [4, 3], ridge=0.1)
    assert tuples(evidence.label_tuples(means, [4, 3], 0.5)) == expected


def tuples_by_all_pairs(score: torch.Tensor, sizes: list[int], threshold: float) -> set[tuple]:
    """The rule as it is told, over lists of all pairs."""
    dataset_of = [dataset for dataset, size in enumerate(sizes) for _ in range(size)]
    found = set()
    for label, row in enumerate(score.tolist()):
        members = [label]
        for other in sorted(range(len(row)), key=lambda o: (-row[o], o)):
            new = dataset_of[other] not in {dataset_of[m] for m in members}
            if new and all(score[other, m] >= threshold for m in members):
                members.append(other)
        found.add(frozenset(members))
    return {tuple(sorted(t)) for t in found if not any(t < other for other in found)}


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 10**6))
def test_tuples_are_those_of_the_rule_also_where_scores_are_equal(sizes, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    score = torch.randint(0, 5, (sum(sizes),) * 2, generator=generator) / 4
    score = torch.maximum(score, score.T)
    found = evidence.label_tuples(score, sizes, 0.5)
    assert tuples(found) == tuples_by_all_pairs(score, sizes, 0.5)


def test_tuples_of_many_labels_take_less_memory_than_their_scores() -> None:
    sizes = [200] * 8
    score = torch.rand(sum(sizes), sum(sizes), generator=torch.Generator().manual_seed(0))
    score = (score + score.T) / 2
    tracemalloc.start()
    evidence.label_tuples(score, sizes, 0.9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < score.nbytes
