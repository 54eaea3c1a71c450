"""How foreign a photo is to a model: the energy of its scores (Liu et al., NeurIPS 2020).

A probability says which label fits best, not whether any does: a model of drawn streets is "92 %
sure" of a bicycle on a car bonnet. The energy keeps what the softmax divides away, the size of the
scores, and is lower on pictures unlike those of the training.

Letters: B images, R score channels, h x w feature size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError

FEWEST = 5  # energies from which a usual range can be told
FOREIGN = 2.5  # standard deviations below the mean of the model's own pictures


def mean_energy(scores: Tensor) -> float:
    """Mean over all places of the log-sum-exp of the scores: higher is more familiar.

    Args:
        scores: (B, R, h, w) logits.
    """
    return float(torch.logsumexp(scores.float(), dim=1).mean())


@dataclass(frozen=True)
class Familiarity:
    """The energies of pictures that a model knows the kind of.

    Attributes:
        mean: of the energies.
        spread: their standard deviation.
        count: how many pictures.
    """

    mean: float
    spread: float
    count: int

    @classmethod
    def of(cls, energies: Sequence[float]) -> Familiarity:
        """The usual range.

        Raises:
            UniLabelError: there are too few pictures to tell.
        """
        if len(energies) < FEWEST:
            raise UniLabelError(
                f"{len(energies)} pictures are known, at least {FEWEST} are needed to tell which "
                "others are foreign; give more."
            )
        values = torch.tensor(energies, dtype=torch.float64)
        return cls(float(values.mean()), float(values.std()), len(energies))

    @property
    def limit(self) -> float:
        """Energy below which a picture is foreign."""
        return self.mean - FOREIGN * self.spread

    def is_foreign(self, energy: float) -> bool:
        """Whether a picture is unlike those that the model knows."""
        return energy < self.limit
