from __future__ import annotations

import pytest

from unilabel.core.background import is_background


@pytest.mark.parametrize(
    "name",
    ["background", "Background", "__background__", "OTHER", "unlabeled", "None of the above"],
)
def test_what_a_dataset_did_not_name(name: str) -> None:
    assert is_background(name)


@pytest.mark.parametrize("name", ["other vehicle", "ground", "backpack", "clutter", "rest area"])
def test_kinds_of_things_are_no_background(name: str) -> None:
    assert not is_background(name)
