"""Exports of other versions and options of tools: other encodings, names, lists, old keys."""

from __future__ import annotations

import codecs
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import export_makers as makers
import export_pictures as scenes
import numpy as np
import pytest
from export_pictures import NAMES
from importing import check, names_in, run
from PIL import Image

from unilabel.core.errors import UniLabelError

JSON_FORMS = (
    *("coco_instances", "coco_panoptic", "labelme", "label_studio", "supervisely"),
    *("darwin", "cityscapes"),
)


def made(form: str, tmp_path: Path) -> Path:
    makers.MAKERS[form](tmp_path / "export", scenes.draw())
    return tmp_path / "export"


def edit(folder: Path, pattern: str, change: Callable[[Any], object]) -> None:
    for path in sorted(folder.rglob(pattern)):
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))


def masks(folder: Path, change: Callable[[np.ndarray], np.ndarray], suffix: str = ".png") -> None:
    for path in sorted(folder.rglob("masks/*/*.png")):
        values = change(np.array(Image.open(path)))
        path.unlink()
        Image.fromarray(values).save(path.with_suffix(suffix))


@pytest.mark.parametrize("form", JSON_FORMS)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_of_windows_programs(form: str, encoding: str, tmp_path: Path) -> None:
    folder = made(form, tmp_path)
    for path in folder.rglob("*.json"):
        text = json.dumps(json.loads(path.read_text()), indent=2).replace("\n", "\r\n")
        path.write_bytes(text.encode(encoding))
    check(folder)


@pytest.mark.parametrize("kind", [float, "image {}".format])
def test_ids_of_coco_that_are_no_integers(kind: Callable[[int], object], tmp_path: Path) -> None:
    folder = made("coco_instances", tmp_path)

    def change(data: dict[str, Any]) -> None:
        for image in data["images"]:
            image["id"] = kind(image["id"])
        for annotation in data["annotations"]:
            annotation["image_id"] = kind(annotation["image_id"])

    edit(folder, "instances*.json", change)
    check(folder)


def test_panoptic_annotations_that_name_the_photo(tmp_path: Path) -> None:
    folder = made("coco_panoptic", tmp_path)

    def change(data: dict[str, Any]) -> None:
        for annotation in data["annotations"]:
            annotation["file_name"] = annotation["file_name"].replace(".png", ".jpg")

    edit(folder, "panoptic*.json", change)
    check(folder)


def test_photos_that_were_saved_in_another_format(tmp_path: Path) -> None:
    folder = made("labelme", tmp_path)
    for path in sorted(folder.rglob("*.jpg")):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    check(folder)


@pytest.mark.parametrize("path", ["..\\..\\photos\\{}", "../../photos/{}", "C:\\me\\{}", "/me/{}"])
def test_labelme_photos_that_lay_elsewhere_before(path: str, tmp_path: Path) -> None:
    folder = made("labelme", tmp_path)
    edit(folder, "*.json", lambda d: d.update(imagePath=path.format(d["imagePath"])))
    check(folder)


def test_labelme_of_old_versions(tmp_path: Path) -> None:
    folder = made("labelme", tmp_path)

    def change(data: dict[str, Any]) -> None:
        for key in ("version", "flags", "imageHeight", "imageWidth"):
            data.pop(key, None)
        data["lineColor"], data["fillColor"] = [0, 255, 0, 128], [255, 0, 0, 128]
        for shape in data["shapes"]:
            for key in ("shape_type", "group_id", "flags"):
                shape.pop(key, None)

    edit(folder, "*.json", change)
    check(folder)


def test_label_studio_before_version_1(tmp_path: Path) -> None:
    folder = made("label_studio", tmp_path)
    edit(folder, "*.json", lambda d: [t.update(completions=t.pop("annotations")) for t in d])
    check(folder)


def test_label_studio_json_min(tmp_path: Path) -> None:
    folder = made("label_studio", tmp_path)
    path = next(folder.rglob("*.json"))
    tasks = []
    for number, task in enumerate(json.loads(path.read_text())):
        finished = next(a for a in task["annotations"] if not a.get("was_cancelled"))
        sizes = ("original_width", "original_height")
        regions = [{**r["value"], **{k: r[k] for k in sizes}} for r in finished["result"]]
        tasks.append({"id": number, "image": task["data"]["image"], "kinds": regions})
    path.write_text(json.dumps(tasks))
    check(folder)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize(("form", "file"), [("cvat_masks", "labelmap.txt"),
                                            ("roboflow_masks", "_classes.csv")])  # fmt: skip
def test_tables_of_windows_programs(form: str, file: str, mark: bytes, tmp_path: Path) -> None:
    folder = made(form, tmp_path)
    for path in folder.rglob(file):
        text = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        path.write_bytes(mark + text)
    check(folder)


def test_voc_of_other_programs(tmp_path: Path) -> None:
    folder = made("voc", tmp_path)
    names_in(folder)
    (folder / "SegmentationClass").rename(folder / "SegmentationClassAug")
    for path in folder.rglob("ImageSets/*/*.txt"):
        lines = path.read_text().split("\n")
        path.write_text("\r\n".join(f"{line}  1" for line in lines if line))
    summary = run(folder, tmp_path / "data", names=tmp_path / "names.txt")
    assert summary.counts == {"train": 3, "val": 2}
    classes = json.loads((tmp_path / "data/classes.json").read_text())["classes"]
    assert [c["name"] for c in classes] == ["background", *NAMES]


def test_photos_and_masks_that_differ_by_their_format(tmp_path: Path) -> None:
    folder = made("ultralytics_masks", tmp_path)
    for path in sorted(folder.rglob("*.*")):
        if path.suffix in (".jpg", ".png"):
            shutil.move(path, folder / path.name)
    for name in ("images", "masks"):
        shutil.rmtree(folder / name)
    check(folder, {"train": 5})


def test_masks_as_gif(tmp_path: Path) -> None:
    folder = made("ultralytics_masks", tmp_path)
    masks(folder, lambda a: a, ".gif")
    check(folder)


def test_names_that_differ_in_capitals_are_noted(tmp_path: Path) -> None:
    folder = made("labelme", tmp_path)
    path = sorted(folder.rglob("*.json"))[0]
    edit(folder, path.name, lambda d: d["shapes"][0].update(label=d["shapes"][0]["label"].upper()))
    summary = run(folder, tmp_path / "data")
    assert any("differ in capitals alone" in note for note in summary.notes)


def blurred(values: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(np.uint8(255) * (values == 1), (7, 7), 0)


@pytest.mark.parametrize(
    ("form", "change", "said"),
    [
        ("ultralytics_masks", lambda f: masks(f, blurred), r"has no name in .* soft edges"),
        ("ultralytics_masks", lambda f: masks(f, lambda a: a, ".jpg"), "holds JPEGs, which change"),
        (
            "cvat_masks",
            lambda f: [
                Image.fromarray(cv2.GaussianBlur(np.array(Image.open(p)), (3, 3), 0)).save(p)
                for p in f.rglob("SegmentationClass/*.png")
            ],
            r"is of no class; .* colours are of no class: so many come from soft edges",
        ),
        (
            "labelme",
            lambda f: (shutil.rmtree(f), f.mkdir(), (f / "a.zip").write_bytes(b"PK\3\4")),
            "unpack a.zip and give its folder",
        ),
    ],
)
def test_faults_of_whole_exports(
    form: str, change: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    folder = made(form, tmp_path)
    change(folder)
    with pytest.raises(UniLabelError, match=said):
        run(folder, tmp_path / "data")
    assert not (tmp_path / "data").exists()
