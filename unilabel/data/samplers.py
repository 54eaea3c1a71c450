"""Which sample stands where: a pure function of the position, so that resuming is exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One sample to load: dataset, index in it, and the key of its random augmentation."""

    dataset: int
    index: int
    key: tuple[int, int, int]


class BalancedDatasetSampler(Sampler[list[Draw]]):
    """Batches with n images of every dataset, for one rank.

    Each dataset is an endless row of shuffled epochs; rank r takes every ``world_size``-th group of
    n. Position p of a dataset depends only on the seed, never on workers or on what ran before.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        images_per_dataset: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        """Set the row of batches.

        Args:
            sizes: number of images of every dataset.
            images_per_dataset: n.
            seed: of the shuffling and of the augmentation keys.
            rank: of this process.
            world_size: number of processes.
            start: first batch.
            stop: the one after the last (None: endless).
        """
        self.sizes = list(sizes)
        self.count = images_per_dataset
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start
        self.stop = stop
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __iter__(self) -> Iterator[list[Draw]]:
        batch = self.start
        while self.stop is None or batch < self.stop:
            yield self.batch(batch)
            batch += 1

    def __len__(self) -> int:
        if self.stop is None:
            raise TypeError("an endless sampler has no length")
        return self.stop - self.start

    def batch(self, number: int) -> list[Draw]:
        """The draws of batch ``number``, sorted by dataset."""
        first = (number * self.world_size + self.rank) * self.count
        return [
            self._draw(dataset, first + k)
            for dataset in range(len(self.sizes))
            for k in range(self.count)
        ]

    def _draw(self, dataset: int, position: int) -> Draw:
        epoch, place = divmod(position, self.sizes[dataset])
        if self._orders.get(dataset, (-1,))[0] != epoch:
            rng = np.random.default_rng([self.seed, dataset, epoch])
            self._orders[dataset] = (epoch, rng.permutation(self.sizes[dataset]))
        index = int(self._orders[dataset][1][place])
        return Draw(dataset, index, (self.seed, dataset, position))
