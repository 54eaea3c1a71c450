"""What to do about a training sample that cannot be used (DATASETS.ON_BAD_SAMPLE).

``error`` stops at the first one. ``skip`` takes another sample of the same dataset in its place,
which depends on nothing but the seed and the position, so that a resumed run repeats it. Either way
a dataset with too many of them stops the run: a wrong folder must not pass as a few bad files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.data.samplers import Draw

logger = logging.getLogger(__name__)

POLICIES = ("error", "skip")
TRIES = 10  # samples drawn in place of a bad one
UNLABELLED = "unlabelled"  # key of an item whose whole label map is void
FAULTS = "faults"  # key of an item: what was wrong with the samples that were drawn for it


def load_good(
    draw: Draw, count: int, load: Callable[[Draw], dict[str, Any]], skip: bool
) -> dict[str, Any]:
    """The item of a draw, or of the first good sample in its place.

    Args:
        draw: what the sampler wants.
        count: samples of the dataset.
        load: the item of a draw; ``UNLABELLED`` in it says that it has no labelled pixel.
        skip: whether another sample may take the place of a bad one.

    Returns:
        the item, with [(index, message)] under ``FAULTS`` if something was wrong.

    Raises:
        UniLabelError: the sample is bad and ``skip`` is False, or all that were tried are bad.
    """
    faults: list[tuple[int, str]] = []
    for index in _candidates(draw, count):
        try:
            item = load(draw._replace(index=index))
        except UniLabelError as error:
            if not skip:
                raise
            faults.append((index, str(error)))
            continue
        if item.pop(UNLABELLED, False):
            faults.append(
                (
                    index,
                    f"{item['sem_seg_file_name']} labels nothing: all its pixels are void, expected"
                    " some of a class; correct it, or remove it together with its image.",
                )
            )
            if skip:
                continue
        if faults:
            item[FAULTS] = faults
        return item
    raise UniLabelError(
        f"{len(faults)} samples drawn in a row are bad (tools/check_dataset.py lists all faults of "
        f"a dataset). The first: {faults[0][1]}"
    )


def _candidates(draw: Draw, count: int) -> Iterator[int]:
    yield draw.index
    rng = np.random.default_rng([*draw.key, 1])
    for _ in range(TRIES):
        yield int(rng.integers(count))


class BadSampleCounter:
    """Which samples were bad so far, by dataset."""

    def __init__(self, sizes: Mapping[str, int], max_share: float) -> None:
        """Set the limit.

        Args:
            sizes: dataset -> training samples.
            max_share: more bad samples than this share of a dataset stop the run.
        """
        self.sizes = dict(sizes)
        self.max_share = max_share
        self.seen: dict[str, set[int]] = {name: set() for name in sizes}

    def add(self, batch: list[dict[str, Any]]) -> None:
        """Log what is new in a batch.

        Raises:
            UniLabelError: a dataset has too many bad samples.
        """
        for item in batch:
            for index, message in item.get(FAULTS, ()):
                self._add(item["dataset_name"], index, message)

    def _add(self, dataset: str, index: int, message: str) -> None:
        seen, size = self.seen[dataset], self.sizes[dataset]
        if index in seen:
            return
        seen.add(index)
        logger.warning(
            "bad sample %d (of %d in the dataset) of %r: %s", len(seen), size, dataset, message
        )
        if len(seen) > self.max_share * size:
            raise UniLabelError(
                f"dataset {dataset!r}: {len(seen)} of {size} training samples are bad, more than "
                f"DATASETS.MAX_BAD_SHARE {self.max_share:g}; check them all with "
                f"tools/check_dataset.py. The last one: {message}"
            )

    def counts(self) -> dict[str, int]:
        """Dataset -> bad samples, for the datasets that have some."""
        return {name: len(seen) for name, seen in self.seen.items() if seen}

    def state_dict(self) -> dict[str, list[int]]:
        """Indices of the bad samples by dataset."""
        return {name: sorted(seen) for name, seen in self.seen.items()}

    def merge(self, state: Mapping[str, list[int]]) -> None:
        """Add what another process, or the run before it was interrupted, has seen."""
        for name, seen in state.items():
            self.seen[name] |= set(seen)
