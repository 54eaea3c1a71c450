"""The order of the samples: a pure function of seed and position."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unilabel.data.samplers import BalancedDatasetSampler

pytestmark = pytest.mark.d2


def batches(count: int, *sizes: int, images: int = 2, **more) -> list:
    return list(BalancedDatasetSampler(sizes, images, seed=0, stop=count, **more))


def test_batches_hold_equally_many_images_of_every_dataset() -> None:
    for batch in batches(20, 5, 11, 3, images=3):
        assert [draw.dataset for draw in batch] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        for draw in batch:
            assert 0 <= draw.index < (5, 11, 3)[draw.dataset]


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    images=st.integers(1, 4),
    world=st.integers(1, 3),
    start=st.integers(0, 9),
)
def test_a_batch_depends_on_nothing_but_its_number(sizes, images: int, world: int, start: int):
    for rank in range(world):
        from_zero = BalancedDatasetSampler(sizes, images, 7, rank, world, stop=start + 4)
        resumed = BalancedDatasetSampler(sizes, images, 7, rank, world, start, start + 4)
        assert list(from_zero)[start:] == list(resumed)
        assert [resumed.batch(start + 2)] == list(resumed)[2:3]
        assert len(resumed) == 4


@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=3), world=st.integers(2, 4))
def test_processes_together_see_what_one_would(sizes: list[int], world: int) -> None:
    # two processes of n images walk through the same row as one process of 2 n
    alone = BalancedDatasetSampler(sizes, 2 * world, 7, stop=5)
    ranks = [BalancedDatasetSampler(sizes, 2, 7, r, world, stop=5) for r in range(world)]
    for batch, parts in zip(alone, zip(*ranks, strict=True), strict=True):
        assert sorted(batch) == sorted(draw for part in parts for draw in part)


def test_an_epoch_shows_every_image_once() -> None:
    draws = [d for batch in batches(10, 5, 10, images=2) for d in batch]
    small = [d.index for d in draws if d.dataset == 0]
    large = [d.index for d in draws if d.dataset == 1]
    for epoch in range(4):
        assert sorted(small[5 * epoch : 5 * epoch + 5]) == list(range(5))
    assert sorted(large[:10]) == sorted(large[10:]) == list(range(10))
    assert large[:10] != large[10:]  # shuffled anew


def test_augmentation_keys_never_repeat() -> None:
    keys = Counter(d.key for batch in batches(30, 4, 4) for d in batch)
    assert set(keys.values()) == {1}
    one, two = (
        [d.key for b in BalancedDatasetSampler([4], 2, seed, stop=9) for d in b] for seed in (1, 2)
    )
    assert not set(one) & set(two)


def test_seed_changes_the_order() -> None:
    orders = {
        tuple(d.index for b in BalancedDatasetSampler([50], 5, seed, stop=10) for d in b)
        for seed in range(4)
    }
    assert len(orders) == 4


def test_endless_sampler_has_no_length() -> None:
    sampler = BalancedDatasetSampler([3], 1, seed=0)
    with pytest.raises(TypeError, match="an endless sampler has no length"):
        len(sampler)
    iterator = iter(sampler)
    assert [next(iterator) for _ in range(9)] == list(BalancedDatasetSampler([3], 1, 0, stop=9))
