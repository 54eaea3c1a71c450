"""The published datasets that are built in: their files and the form of their labels.

``datasets/README.md`` draws the folders.
"""

from __future__ import annotations

from unilabel.data.layouts import DatasetSpec
from unilabel.data.specs_general import GENERAL
from unilabel.data.specs_street import STREET

SPECS: dict[str, DatasetSpec] = {**STREET, **GENERAL}
