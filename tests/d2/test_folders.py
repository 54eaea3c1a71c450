"""Folders as people have them: names, arrangements and lists, and what is said about the rest."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_datasets import write_folder
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.data.findings import source_findings
from unilabel.data.folders import folder_source
from unilabel.data.images import ORIENTATION
from unilabel.data.sources import load_sample
from unilabel.importers.prepare import Request, prepare
from unilabel.importers.write import write

pytestmark = pytest.mark.d2
Change = Callable[[Path], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "streets")


def files(folder: Path, kind: str) -> list[Path]:
    return sorted(p for p in (folder / kind).rglob("*") if p.is_file())


def rename(folder: Path, kind: str, change: Change) -> None:
    for path in files(folder, kind):
        target = change(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


def add(folder: Path, **keys: Any) -> None:
    file = folder / "classes.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def maps(folder: Path) -> dict[str, list[np.ndarray]]:
    source = folder_source(str(folder))
    return {
        split: [load_sample(source, s)[1] for s in source.list_samples(split)]
        for split in ("train", "val")
    }


def refusal(folder: Path) -> str:
    with pytest.raises(UniLabelError) as caught:
        folder_source(str(folder)).samples("train")
    return str(caught.value)


NFC, NFD = (unicodedata.normalize(form, "Größe Ä ") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (lambda p: p.with_name(NFC + p.name), lambda p: p.with_name(NFD + p.name)),
        (lambda p: p.with_name(NFD + p.name), lambda p: p.with_name(NFC + p.name)),
        (lambda p: p.with_name(p.name.upper()), lambda p: p),
        (lambda p: p, lambda p: p.with_name(p.stem.title() + ".PNG")),
        (lambda p: p.with_name("天空 " + p.name), lambda p: p.with_name("天空 " + p.name)),
        (lambda p: p.parent / "a b" / "ü" / p.name, lambda p: p.parent / "A B" / "ü" / p.name),
    ],
)
def test_names_that_systems_change_still_pair(folder: Path, images: Change, labels: Change) -> None:
    wanted = maps(folder)
    rename(folder, "images", images)
    rename(folder, "labels", labels)
    found = maps(folder)
    assert all(np.array_equal(found[s], wanted[s]) for s in wanted)
    assert folder_source(str(folder)).remarks() == []


def test_names_that_could_be_of_two_photos_are_not_guessed(folder: Path) -> None:
    for name in ("a.png", "A.png"):
        shutil.copy(folder / "images/train/train0.png", folder / "images/train" / name)
    rename(folder, "labels", lambda p: p)
    (folder / "labels/train/train0.png").rename(folder / "labels/train/Á.png")
    message = refusal(folder)
    assert "3 images in" in message
    assert "1 label in" in message


@pytest.mark.parametrize("name", [str.title, str.upper])
def test_folders_in_capitals(folder: Path, name: Callable[[str], str]) -> None:
    wanted = maps(folder)
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (folder / kind / split).rename(folder / kind / name(split))
        (folder / kind).rename(folder / name(kind))
    found = maps(folder)
    assert all(np.array_equal(found[s], wanted[s]) for s in wanted)
    (folder / "images").mkdir()
    assert "would both be the folder 'images'" in refusal(folder)


@pytest.mark.parametrize(
    ("train", "val"), [("train2017", "val2017"), ("Training Set", "dev"), ("train_images", "valid")]
)
def test_other_names_of_the_splits(folder: Path, train: str, val: str) -> None:
    wanted = maps(folder)
    for kind in ("images", "labels"):
        (folder / kind / "train").rename(folder / kind / train)
        (folder / kind / "val").rename(folder / kind / val)
    found = maps(folder)
    assert all(np.array_equal(found[s], wanted[s]) for s in wanted)
    assert folder_source(str(folder)).remarks() == []


def test_photos_of_a_test_split_are_not_trained_on(folder: Path) -> None:
    for kind in ("images", "labels"):
        shutil.rmtree(folder / kind / "train")
        (folder / kind / "val").rename(folder / kind / "test2017")
    assert "has no images to train on" in refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: rename(f, "labels", lambda p: p.with_name("mask_" + p.name)),
        lambda f: (
            rename(f, "images", lambda p: p.with_name("img_" + p.name)),
            rename(f, "labels", lambda p: p.with_name("mask_" + p.name)),
        ),
        lambda f: (
            rename(f, "images", lambda p: p.with_name(p.stem + "_photo.png")),
            rename(f, "labels", lambda p: p.with_name(p.stem + "_classes.png")),
        ),
        lambda f: [
            rename(f, kind, lambda p: f / p.parent.name / p.parent.parent.name / p.name)
            for kind in ("images", "labels")
        ],
    ],
)
def test_other_arrangements_name_the_import_that_reads_them(
    folder: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    wanted = maps(folder)
    change(folder)
    for kind in ("images", "labels"):
        if (folder / kind).is_dir() and not files(folder, kind):
            shutil.rmtree(folder / kind)
    cure = f"python tools/import_dataset.py {folder} NEW --form folders"
    assert cure in refusal(folder)
    target = tmp_path / "new"
    write(prepare(folder, Request(form="folders")), target)
    assert folder_source(str(target)).label_space.class_names == ("road", "car", "sky")
    found = maps(target)
    assert all(np.array_equal(found[s], wanted[s]) for s in wanted)


def test_a_folder_of_masks_is_recognised_by_its_name(folder: Path) -> None:
    (folder / "labels").rename(folder / "masks")
    assert "is masks meant? Call it labels" in refusal(folder)


def test_photos_in_formats_that_are_not_read_are_counted(folder: Path) -> None:
    rename(folder, "images", lambda p: p.with_suffix(".HEIC"))
    assert "there are 3 files .heic, which are not read: save them as JPEG or PNG" in refusal(
        folder
    )


@pytest.mark.parametrize(
    "line",
    [
        "{name}",
        "{stem}",
        "images/{split}/{name}",
        ".\\images\\{split}\\{name}",
        "/home/me/streets/images/{split}/{name}",
        "images/{split}/{name} labels/{split}/{name}",
        "images/{split}/{name},labels/{split}/{name}",
        '"{name}"',
        "{stem};1",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_as_tools_write_them(folder: Path, line: str, encoding: str) -> None:
    for split in ("train", "val"):
        images = files(folder, f"images/{split}")
        lines = [line.format(name=p.name, stem=p.stem, split=split) for p in images]
        (folder / f"{split}.txt").write_text("# mine\r\n" + "\r\n".join(lines), encoding)
    add(folder, split={"train": "train.txt", "val": "val.txt"})
    source = folder_source(str(folder))
    assert [len(source.samples(split)) for split in ("train", "val")] == [3, 2]
    assert source.remarks() == []


def test_photos_of_both_lists_are_named(folder: Path) -> None:
    (folder / "train.txt").write_text("train0\ntrain1\nval0\n")
    (folder / "val.txt").write_text("val0\nval1\n")
    add(folder, split={"train": "train.txt", "val": "val.txt"})
    lines = folder_source(str(folder)).remarks()
    (line,) = [x for x in lines if "1 photo stands in the lists of train and of val" in x]
    assert "val0" in line
    assert all("not used" in other for other in lines if other != line)


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_quarter_turns_of_square_photos_are_asked_about(tmp_path: Path, turn: int) -> None:
    folder = write_folder(tmp_path / "streets")
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    for kind in ("images", "labels"):
        for path in files(folder, kind):
            image = Image.open(path).crop((0, 0, 20, 20))
            image.save(path, **({"exif": exif} if kind == "images" else {}))
    found = [f.message for f in source_findings(folder_source(str(folder)))]
    assert sum(f"EXIF orientation {turn}" in message for message in found) == 2


@pytest.mark.parametrize(("kind", "said"), [("images", "as an image"), ("labels", "a label map")])
@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"<html>", b"version https://git-lfs"]
)
def test_files_that_are_no_pictures(folder: Path, kind: str, said: str, content: bytes) -> None:
    path = files(folder, f"{kind}/train")[0]
    path.write_bytes(content)
    with pytest.raises(UniLabelError, match=said) as caught:
        maps(folder)
    assert str(path) in str(caught.value)


def test_one_photo_is_trained_on_and_cannot_be_divided(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "streets", train=1, val=0)
    for kind in ("images", "labels"):
        shutil.rmtree(folder / kind / "val")
    assert len(folder_source(str(folder)).samples("train")) == 1
    add(folder, split={"val": 0.5})
    assert "there is only one file below images" in refusal(folder)
