from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from unilabel.core.errors import UniLabelError
from unilabel.demo_app.unpack import MAX_FILES, unpack


def zipped(*files: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def test_the_folder_of_the_dataset_is_found(tmp_path: Path) -> None:
    data = zipped(("a/b/classes.json", b"{}"), ("a/b/images/1.png", b"x"), ("__MACOSX/x", b""))
    assert unpack(data, "z.zip", tmp_path) == tmp_path / "a/b"
    assert (tmp_path / "a/b/images/1.png").read_bytes() == b"x"


def test_without_a_class_list_the_uppermost_folder_counts(tmp_path: Path) -> None:
    data = zipped(("mine/photos/1.png", b"x"), ("mine/masks/1.png", b"y"))
    assert unpack(data, "z.zip", tmp_path) == tmp_path / "mine"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no zip"),
        (b"PK\x03\x04 cut", "is no zip"),
        (zipped(), "holds 0 files"),
        (zipped(*((f"{i}", b"") for i in range(MAX_FILES + 1))), f"holds {MAX_FILES + 1} files"),
        (zipped(("bomb", bytes(201 * 2**20))), "of 201 MB together"),
        (zipped(("../out", b"x")), "a place outside"),
        (zipped(("/etc/out", b"x")), "a place outside"),
        (zipped(("a\\..\\out", b"x")), "a place outside"),
        (zipped((link("a"), b"/etc/passwd")), "a link"),
        (zipped(("a", b"x"), ("a/b", b"y")), "cannot be written"),
        (zipped(("x" * 300, b"x")), "cannot be written"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(UniLabelError, match=message):
        unpack(data, "z.zip", inside)
    assert [path for path in tmp_path.rglob("*") if path.name == "out"] == []


def test_a_damaged_entry(tmp_path: Path) -> None:
    data = bytearray(zipped(("a.txt", b"hello hello hello")))
    data[40] ^= 0xFF
    with pytest.raises(UniLabelError, match="is no zip that can be read"):
        unpack(bytes(data), "z.zip", tmp_path)
