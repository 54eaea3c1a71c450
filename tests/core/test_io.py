"""Atomic writing: the old file or the whole new one, nothing else; JSON in and out."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path, read_json, remove_unfinished, write_json

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # surrogates are no text: UTF-8 cannot hold them
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcé\n"), inner),
    max_leaves=8,
)


def test_atomic_path_writes_and_makes_the_folder(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file.txt"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["file.txt"]


def test_atomic_path_keeps_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half of the ne")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_only_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    left = [f"{place}.x.png.{pid}.tmp" for place in ("", "a/", "a/b/") for pid in (1, 99)]
    theirs = [".x.png.tmp", "x.png.1.tmp", "a/.notes.tmp", "a/b/photo.tmp", ".1.tmp", "x.png"]
    for name in [*left, *theirs]:
        (tmp_path / name).touch()

    def names() -> set[str]:
        return {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}

    remove_unfinished(tmp_path / "missing")
    remove_unfinished(tmp_path, "*.json")
    assert names() == {*left, *theirs}
    remove_unfinished(tmp_path, "x.*")
    assert names() == {*left[2:], *theirs}
    remove_unfinished(tmp_path, "**/*")
    assert names() == set(theirs)


def test_full_disk_is_reported_and_the_old_file_kept(tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "file.json"
    write_json(target, 1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UniLabelError, match=r"cannot write .*file\.json: No space left.*Free some"):
        write_json(target, 2)
    monkeypatch.undo()
    assert read_json(target) == 1
    assert os.listdir(tmp_path) == ["file.json"]


def test_folder_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for below in ("x.json", "sub/x.json"):
        with pytest.raises(UniLabelError, match=r"cannot write .*x\.json") as error:
            write_json(tmp_path / "file" / below, {})
        assert f"{tmp_path / 'file'} is a file where a folder is needed" in str(error.value)
        assert "disk space" not in str(error.value)


def test_cure_fits_the_error(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UniLabelError, match="There is a folder of this name"):
        write_json(tmp_path / "folder.json", {})
    with pytest.raises(UniLabelError, match="Choose a shorter name"):
        write_json(tmp_path / ("x" * 300), {})
    for code in (errno.EACCES, errno.EROFS):

        def refuse(*args, code=code) -> None:
            raise OSError(code, "no")

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(UniLabelError, match=r"You may not write in .*change its rights"):
            write_json(tmp_path / "x.json", {})
    assert os.listdir(tmp_path) == ["folder.json"]


def test_nan_is_refused_and_the_old_file_kept(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert read_json(tmp_path / "a.json") == [1]


@given(JSON_VALUES)
def test_json_comes_back_as_it_went(tmp_path_factory, value) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    assert path.read_text(encoding="utf-8").endswith("\n")


def test_json_is_written_as_utf_8(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "Straße"})
    assert "Straße".encode() in (tmp_path / "a.json").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"1" * 5000, "is not valid JSON"),
        (json.dumps("x" * 100).encode(), "has 102 bytes, expected a JSON file of at most 64"),
    ],
    ids=["cut", "empty", "not UTF-8", "deep", "huge number", "large"],
)
def test_bad_json_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    limit = 64 if len(content) == 102 else 2**20
    with pytest.raises(UniLabelError, match=message) as caught:
        read_json(path, max_bytes=limit)
    assert str(path) in str(caught.value)


def test_missing_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UniLabelError, match=r"cannot read .*none\.json: No such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(UniLabelError, match="cannot read"):
        read_json(tmp_path)
