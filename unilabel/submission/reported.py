"""What the paper's Table 4 reports for the WildDash 2 benchmark (percent).

These are numbers of the server, on hidden frames; they stand beside local numbers to give an idea
of the range, never as a comparison.
"""

from __future__ import annotations

from typing import NamedTuple


class Reported(NamedTuple):
    """One row of the table."""

    method: str
    trained_on_wilddash: bool
    meta: float
    miou_class: float
    iiou_class: float
    miou_category: float
    iiou_category: float
    negative: float


TABLE_4 = (
    Reported("EffPS", False, 32.2, 35.7, 24.4, 63.8, 56.0, 20.4),
    Reported("MSeg", False, 35.2, 38.7, 35.4, 65.1, 50.7, 24.7),
    Reported("SeamSeg", False, 37.9, 41.2, 37.2, 63.1, 58.1, 30.5),
    Reported("UniSeg", False, 39.4, 41.7, 35.3, 65.8, 57.4, 34.8),
    Reported("paper, zero-shot", False, 40.5, 41.2, 33.7, 65.4, 54.2, 43.4),
    Reported("SNpRN152", True, 45.4, 48.9, 42.7, 70.1, 64.8, 32.5),
    Reported("NLL+", True, 46.8, 51.0, 43.9, 71.4, 65.5, 32.6),
    Reported("Uni NLL+", True, 46.9, 51.6, 45.9, 72.8, 67.5, 29.0),
    Reported("FAN", True, 47.5, 50.8, 44.0, 74.2, 67.5, 34.4),
    Reported("MIX6D", True, 48.5, 51.2, 46.5, 72.4, 66.1, 40.8),
    Reported("paper, trained", True, 50.0, 52.2, 47.5, 72.4, 68.6, 44.6),
)
