"""The key "split" of a person's own folder: a share of the files is divided, and divided well."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cv2")

from hypothesis import given, settings
from hypothesis import strategies as st

from unilabel.core.errors import UniLabelError
from unilabel.data.split_choice import read_split

pytestmark = pytest.mark.d2

SHARES = st.floats(0.001, 0.999)


def names(count: int, folders: int) -> set[str]:
    return {f"drive{i % folders}/{i}" for i in range(count)}


@settings(max_examples=60)
@given(count=st.integers(2, 40), folders=st.integers(1, 12), share=SHARES, by_folder=st.booleans())
def test_a_share_leaves_files_on_both_sides(
    count: int, folders: int, share: float, by_folder: bool
) -> None:
    keys, folders = names(count, folders), min(count, folders)
    choice = read_split({"val": share, "by": "folder" if by_folder else "file"}, "classes.json")
    if by_folder and folders == 1:
        with pytest.raises(UniLabelError, match="only one folder"):
            choice.select(Path(), "val", keys)
        return
    train, val = (choice.select(Path(), split, sorted(keys)) for split in ("train", "val"))
    assert train
    assert val
    assert train | val == keys
    assert not train & val
    if by_folder:
        assert not {k.split("/")[0] for k in train} & {k.split("/")[0] for k in val}
    else:
        assert len(val) == min(max(1, round(share * count)), count - 1)


def test_a_file_that_is_added_moves_few_others() -> None:
    """The order is a hash of the names, so it does not hang on how many there are."""
    choice = read_split({"val": 0.25}, "classes.json")
    before = choice.select(Path(), "val", names(40, 1))
    after = choice.select(Path(), "val", names(41, 1))
    assert len(before) == len(after) == 10
    assert len(before & after) >= 9
