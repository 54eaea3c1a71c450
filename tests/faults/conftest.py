"""The helpers of the other test folders are used here as well."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "d2"), str(TESTS / "e2e")]
