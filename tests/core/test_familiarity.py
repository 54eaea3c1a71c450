from __future__ import annotations

import math

import pytest
import torch

from unilabel.core.errors import UniLabelError
from unilabel.core.familiarity import FOREIGN, Familiarity, mean_energy


def test_energy_of_a_case_done_by_hand() -> None:
    scores = torch.tensor([[math.log(1.0), math.log(3.0)], [math.log(2.0), math.log(6.0)]])
    # log(1 + 3) and log(2 + 6)
    assert mean_energy(scores.T.reshape(1, 2, 1, 2)) == pytest.approx(math.log(32) / 2)


def test_energy_sees_what_the_softmax_divides_away() -> None:
    scores = torch.randn(1, 7, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.softmax(scores, 1), torch.softmax(scores + 3, 1))
    assert mean_energy(scores + 3) == pytest.approx(mean_energy(scores) + 3, abs=1e-5)


def test_limit_lies_below_the_usual_range() -> None:
    usual = Familiarity.of([9.0, 10.0, 11.0, 10.0, 10.0])
    assert usual.mean == 10
    assert usual.limit == pytest.approx(10 - FOREIGN * math.sqrt(0.5))
    assert usual.is_foreign(usual.limit - 1e-6)
    assert not usual.is_foreign(usual.limit)
    assert not usual.is_foreign(50.0)  # more familiar than all others


def test_too_few_pictures() -> None:
    with pytest.raises(UniLabelError, match="4 pictures are known, at least 5"):
        Familiarity.of([1.0, 2.0, 3.0, 4.0])
