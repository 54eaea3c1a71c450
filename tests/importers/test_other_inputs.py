"""Exports as people have them: nested, renamed, in other letters, of other versions of tools."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import export_makers as makers
import export_pictures as scenes
import numpy as np
import pytest
from export_pictures import NAMES
from importing import check, run
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.importers.prepare import Request, prepare


@pytest.mark.parametrize("form", [f for f in makers.MAKERS if f != "voc"])
def test_the_folder_above_an_export_will_do(form: str, tmp_path: Path) -> None:
    makers.MAKERS[form](tmp_path / "download/my project ü/task 1", scenes.draw())
    if form == "hf_parquet":
        pytest.skip("rows have no names")
    check(tmp_path / "download", background="")


@pytest.mark.parametrize(
    "form", ["coco_instances", "cvat_masks", "labelme", "yolo_seg", "mmseg", "roboflow_masks"]
)
def test_suffixes_in_capitals(form: str, export: Callable[[str], Path]) -> None:
    folder = export(form)
    for path in list(folder.rglob("*.jpg")):
        path.rename(path.with_suffix(".JPG"))
    check(folder)


@pytest.mark.parametrize("form", ["ultralytics_masks", "hf_folders", "mmseg", "cvat_masks"])
def test_folders_in_capitals(form: str, export: Callable[[str], Path]) -> None:
    folder = export(form)
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        path.rename(path.with_name(path.name.upper()))
    check(folder)


@pytest.mark.parametrize("form", ["coco_instances", "cvat_xml", "labelme", "label_studio"])
def test_names_in_other_letters(form: str, tmp_path: Path) -> None:
    """Photos named in NFD, as macOS stores them, and in NFC in the annotations."""
    name = "straße Ångström 天空"
    pictures = [
        scenes.Picture(f"{name} {p.stem.split()[-1]}", p.split, p.ids) for p in scenes.draw()
    ]
    makers.MAKERS[form](tmp_path / "export", pictures)
    for path in list((tmp_path / "export").rglob("*.jpg")):
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    check(tmp_path / "export")


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("images/{split}/{stem}.jpg", "labels/{split}/{stem}.png"),
        ("{split}/images/{stem}.jpg", "{split}/masks/{stem}.png"),
        ("{split}/{stem}.jpg", "{split}/{stem}_L.png"),
        ("{split}/{stem}.jpg", "{split}_masks/{stem}.png"),
        ("{split}_images/{stem}.jpg", "{split}_labels/{stem}.png"),
        ("images/{split}/img_{number}.jpg", "masks/{split}/mask_{number}.png"),
        ("original/{split}/{stem}.jpg", "ground_truth/{split}/{stem}_gt.png"),
        ("{split}/{stem}/image.jpg", "{split}/{stem}/mask.png"),
        (
            "leftImg8bit/{split}/a/{stem}_leftImg8bit.jpg",
            "gtFine/{split}/a/{stem}_gtFine_labelIds.png",
        ),
        ("Photos/{split}/{stem}.JPG", "Masks/{split}/{stem}.PNG"),
        ("x/{split}/{stem}.jpg", "x/{split}/{stem}.mask.tif"),
    ],
)
def test_pairs_of_photos_and_masks(photo: str, mask: str, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    for picture in scenes.draw():
        parts = {"split": picture.split, "stem": picture.stem, "number": picture.stem.split()[-1]}
        scenes.photo(folder / photo.format(**parts), picture)
        scenes.mask(folder / mask.format(**parts), picture.ids)
    (folder / "classes.txt").write_text("\n".join(NAMES))
    check(folder)


def test_masks_of_other_kinds(export: Callable[[str], Path]) -> None:
    """16 bits, palettes, grey with alpha and grey as colours in one folder."""
    folder = export("mmseg")
    paths = sorted(folder.rglob("ann_dir/*/*.png"))
    for number, path in enumerate(paths):
        ids = np.array(Image.open(path))
        if number == 0:
            Image.fromarray(ids.astype(np.uint16)).save(path)
        elif number == 1:
            scenes.mask(path, ids, scenes.palette())
        elif number == 2:
            Image.merge("LA", [Image.fromarray(ids), Image.new("L", ids.shape[::-1], 255)]).save(
                path
            )
        elif number == 3:
            Image.fromarray(np.stack([ids] * 3, -1)).save(path)
    check(folder)


def test_coloured_masks_with_names(tmp_path: Path) -> None:
    makers.MAKERS["folders"](tmp_path / "export", scenes.draw())
    (tmp_path / "export/classes.txt").unlink()
    for path in (tmp_path / "export").rglob("*_mask.png"):
        Image.fromarray(scenes.palette()[np.array(Image.open(path))]).save(path)
    summary = run(tmp_path / "export", tmp_path / "unnamed")
    assert any("the colours are taken as names" in n for n in summary.notes)
    names = {n: c for n, c in zip(NAMES, scenes.COLORS, strict=True)}
    (tmp_path / "export/classes.json").unlink(missing_ok=True)
    (tmp_path / "names.json").write_text(json.dumps(names))
    run(tmp_path / "export", tmp_path / "data", names=tmp_path / "names.json")
    ids = np.array(Image.open(tmp_path / "data/labels/train/photo 0000.png"))
    np.testing.assert_array_equal(ids, scenes.draw()[0].ids)


@pytest.mark.parametrize(
    "text",
    [
        "sky\nroad\ncar\ntraffic sign\n",
        "0 sky\n1 road\n2 car\n3 traffic sign\n",
        '["sky", "road", "car", "traffic sign"]',
        '{"3": "traffic sign", "0": "sky", "1": "road", "2": "car"}',
        '{"sky": 0, "road": 1, "car": 2, "traffic sign": 3}',
        '{"id2label": {"0": "sky", "1": "road", "2": "car", "3": "traffic sign"}}',
        '[{"id": 1, "name": "road"}, {"id": 0, "name": "sky"}, {"id": 2, "name": "car"},'
        ' {"id": 3, "name": "traffic sign"}]',
        "names:\n  0: sky\n  1: road\n  2: car\n  3: traffic sign\n",
        "[sky, road, car, traffic sign]\n",
    ],
)
def test_files_of_names(text: str, export: Callable[[str], Path], tmp_path: Path) -> None:
    folder = export("mmseg")
    (folder / "classes.txt").unlink()
    yaml = ":" in text or "[" in text
    suffix = ".json" if text[0] in "{[" and '"' in text else ".yaml" if yaml else ".txt"
    file = tmp_path / f"list{suffix}"
    file.write_text(text, encoding="utf-8-sig" if suffix != ".json" else "utf-8")
    run(folder, tmp_path / "data", names=file)
    entries = json.loads((tmp_path / "data/classes.json").read_text())["classes"]
    assert [e["name"] for e in entries] == list(NAMES)


def test_a_dataset_needs_no_import(export: Callable[[str], Path], tmp_path: Path) -> None:
    run(export("labelme"), tmp_path / "data")
    with pytest.raises(UniLabelError, match=r"has the form of unilabel already.*DATASETS\.CUSTOM"):
        prepare(tmp_path / "data", Request())


def test_classes_of_roboflow_differ_between_splits(export: Callable[[str], Path]) -> None:
    """Each folder's table counts for its own masks; classes are one by their names."""
    folder = export("roboflow_masks")
    order = (2, 0, 3, 1)
    with open(folder / "valid/_classes.csv", "w", newline="") as file:
        rows = [[0, "background"], *([i + 1, NAMES[k]] for i, k in enumerate(order))]
        csv.writer(file).writerows([["Pixel Value", "Class"], *rows])
    table = np.zeros(256, np.uint8)
    for value, kind in enumerate(order, 1):
        table[kind + 1] = value
    for path in (folder / "valid").glob("*_mask.png"):
        Image.fromarray(table[np.array(Image.open(path))]).save(path)
    check(folder)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_metadata_of_hugging_face(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    for split, chosen in scenes.by_split(scenes.draw()).items():
        rows = []
        for picture in chosen:
            scenes.photo(folder / split / f"{picture.stem}.jpg", picture)
            scenes.mask(folder / split / f"m{picture.stem}.png", picture.ids)
            names = {"file_name": f"{picture.stem}.jpg", "mask_file_name": f"m{picture.stem}.png"}
            rows.append({**names, "text": "a street"})
        with open(folder / split / f"metadata.{kind}", "w", newline="") as file:
            if kind == "csv":
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            else:
                file.write("\n".join(json.dumps(row) for row in rows))
    scenes.dump(folder / "id2label.json", {str(i): n for i, n in enumerate(NAMES)})
    assert prepare(folder, Request()).form.name == "hf_folders"
    check(folder)
    next(folder.rglob("mphoto 0001.png")).unlink()
    with pytest.raises(UniLabelError, match=r"row 2: train/mphoto 0001\.png is not in"):
        prepare(folder, Request())
