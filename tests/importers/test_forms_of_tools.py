"""What tools write besides the plain form: other versions, parts, paths and shapes."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import export_makers as makers
import export_pictures as scenes
import numpy as np
import pytest
from export_pictures import NAMES
from importing import check, names_in, run
from PIL import Image

from unilabel.core.label_space import IGNORE


@pytest.mark.parametrize(
    "as_written",
    [
        "train/{}",
        "train\\{}",
        "./train/{}",
        "/home/me/data/train/{}",
        "C:\\data\\train\\{}",
        "../train/{}",
    ],
)
def test_coco_names_of_files_hold_folders(as_written: str, export: Callable[[str], Path]) -> None:
    folder = export("coco_instances")
    (folder / "val/photo 0000.jpg").write_bytes((folder / "train/photo 0000.jpg").read_bytes())
    file = folder / "annotations/instances_train.json"
    data = json.loads(file.read_text())
    for image in data["images"]:
        image["file_name"] = as_written.format(image["file_name"])
    file.write_text(json.dumps(data))
    check(folder)


def test_coco_of_roboflow(export: Callable[[str], Path]) -> None:
    """An annotation file in the folder of every split, and a category that has no object."""
    folder = export("coco_instances")
    for split, name in (("train", "train"), ("val", "valid")):
        if split != name:
            (folder / split).rename(folder / name)
        file = folder / f"annotations/instances_{split}.json"
        data = json.loads(file.read_text())
        data["categories"].insert(0, {"id": 0, "name": "objects", "supercategory": "none"})
        (folder / name / "_annotations.coco.json").write_text(json.dumps(data))
    shutil.rmtree(folder / "annotations")
    check(folder)


def test_coco_with_byte_order_mark_and_other_tasks(export: Callable[[str], Path]) -> None:
    folder = export("coco_instances")
    file = folder / "annotations/instances_val.json"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    data = json.loads((folder / "annotations/instances_train.json").read_text())
    for name in ("captions_train.json", "person_keypoints_train.json"):
        (folder / "annotations" / name).write_text(json.dumps(data))
    check(folder)


def test_panoptic_pngs_in_the_folder_of_their_archive(export: Callable[[str], Path]) -> None:
    folder = export("coco_panoptic")
    place = folder / "annotations/panoptic_train"
    place.rename(folder / "moved")
    place.mkdir()
    (folder / "moved").rename(place / "panoptic_train")
    check(folder)


@pytest.mark.parametrize(
    "yaml",
    [
        "path: /home/me/sets/export\ntrain: train/images\nval: val/images\nnames: {}\n",
        "train: ./train\nval: ./val\nnc: 4\nnames: {}\n",
        "train: [train/images]\nval: [val/images]\ntest:\nnames: {}\n",
        "train: train.txt\nval: val.txt\nnames: {}\n",
        "train: C:\\data\\train\\images\nval: C:\\data\\val\\images\nnames: {}\n",
        "names: {}\ntrain: train/images\nval: val/images\ntest: test/images\n",
    ],
)
def test_yolo_paths(yaml: str, export: Callable[[str], Path]) -> None:
    folder = export("yolo_seg")
    text = yaml.format(json.dumps(list(NAMES))).replace("\n", "\r\n")
    (folder / "data.yaml").write_text(text, encoding="utf-8-sig")
    for split in ("train", "val"):
        lines = [f"./{split}/images/{p.name}" for p in (folder / split / "images").iterdir()]
        (folder / f"{split}.txt").write_text("\n".join(lines))
    check(folder)


@pytest.mark.parametrize(
    "reference",
    [
        "/data/upload/3/1f2e3d4c-{}",
        "/data/local-files/?d=photos%2F{}",
        "http://localhost:8080/data/upload/3/1f2e3d4c-{}",
        "s3://bucket/some/where/{}",
        "{}",
        "/data/upload/3/{}",
    ],
)
@pytest.mark.parametrize("stored", ["", "1f2e3d4c-"])
def test_label_studio_references(
    reference: str, stored: str, export: Callable[[str], Path]
) -> None:
    folder = export("label_studio")
    data = json.loads((folder / "export.json").read_text())
    for task in data:
        name = task["data"]["image"].rpartition("-")[2]
        quoted = name.replace(" ", "%20") if "%" in reference or "://" in reference else name
        task["data"] = {"picture": reference.format(quoted), "note": "hello"}
        path = next(folder.rglob(name))
        path.rename(path.with_name(stored + name))
    (folder / "export.json").write_text(json.dumps(data))
    check(folder)


def test_labelme_annotations_in_a_folder_of_their_own(export: Callable[[str], Path]) -> None:
    folder = export("labelme")
    for path in list(folder.rglob("*.json")):
        place = folder / "annotations" / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        data = json.loads(path.read_text())
        data["imagePath"] = f"..\\..\\{path.parent.name}\\{data['imagePath']}"
        path.unlink()
        place.write_text(json.dumps(data))
    check(folder)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_labelme_photos_inside_the_annotations(kind: str, tmp_path: Path) -> None:
    """One photo lies beside its file, the others only as ``imageData``."""
    makers.labelme(tmp_path / "export", scenes.draw())
    stored = {}
    for path in sorted((tmp_path / "export").rglob("*.json")):
        picture = io.BytesIO()
        Image.open(path.with_suffix(".jpg")).save(picture, kind)
        data = json.loads(path.read_text())
        data["imageData"] = base64.b64encode(picture.getvalue()).decode()
        data["imagePath"] = f"..\\photos\\{data['imagePath']}"
        path.write_text(json.dumps(data))
        stored[path.stem] = picture.getvalue()
        if path.stem != "photo 0000":
            path.with_suffix(".jpg").unlink()
    check(tmp_path / "export")
    for path in (tmp_path / "checked/images").rglob("*.*"):
        if path.stem != "photo 0000":
            assert path.suffix == {"JPEG": ".jpg", "PNG": ".png"}[kind]
            assert path.read_bytes() == stored[path.stem]
            assert not path.is_symlink()


def test_labelme_shapes_of_other_kinds(tmp_path: Path) -> None:
    picture = scenes.Picture("photo 0000", "train", np.full((40, 60), 1, np.uint8))
    makers.labelme(tmp_path / "export", [picture])
    file = tmp_path / "export/train/photo 0000.json"
    data = json.loads(file.read_text())
    bitmap = tmp_path / "bitmap.png"
    Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(bitmap)
    data["shapes"] += [
        {"label": "box", "points": [[50.0, 30.0], [40.0, 20.0]], "shape_type": "rectangle"},
        {"label": "disc", "points": [[20.5, 20.5], [25.5, 20.5]], "shape_type": "circle"},
        {"label": "dots", "points": [[1, 1], [4, 4]], "shape_type": "mask",
         "mask": base64.b64encode(bitmap.read_bytes()).decode()},
        {"label": "__ignore__", "points": [[0, 36], [59, 36], [59, 39], [0, 39]]},
    ]  # fmt: skip
    file.write_text(json.dumps(data))
    summary = run(tmp_path / "export", tmp_path / "data")
    ids = np.array(Image.open(next((tmp_path / "data/labels/train").iterdir())))
    names = [c["name"] for c in json.loads((tmp_path / "data/classes.json").read_text())["classes"]]
    assert names == ["box", "disc", "dots", "road"]
    assert (ids[20:31, 40:51] == 0).all()
    assert np.count_nonzero(ids == 0) == 121
    assert abs(np.count_nonzero(ids == 1) - np.pi * 25) < 4
    assert (ids[1:5, 1:5] == np.where(np.eye(4) > 0, 2, 3)).all()
    assert (ids[36:] == IGNORE).all()
    assert not summary.left_out


def test_cvat_boxes_ellipses_and_lines(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "export/a.png")
    shapes = (
        '<box label="car" xtl="10.5" ytl="5.5" xbr="20.5" ybr="15.5" z_order="1"/>'
        '<ellipse label="sun" cx="40" cy="20" rx="10" ry="5" z_order="0" rotation="90"/>'
        '<polygon label="sky" points="0,0;60,0;60,40;0,40" z_order="-1"/>'
        '<polyline label="wire" points="0,0;9,9"/><points label="dot" points="1,1"/>'
    )
    (tmp_path / "export/annotations.xml").write_text(
        f'<annotations><image name="a.png" width="60" height="40">{shapes}</image></annotations>'
    )
    summary = run(tmp_path / "export", tmp_path / "data")
    names = [c["name"] for c in json.loads((tmp_path / "data/classes.json").read_text())["classes"]]
    ids = np.array(Image.open(tmp_path / "data/labels/train/a.png"))
    at = {name: np.argwhere(ids == number) for number, name in enumerate(names)}
    assert len(at["car"]) in range(100, 122)
    assert np.ptp(at["sun"][:, 0]) > 1.8 * np.ptp(at["sun"][:, 1])
    assert len(at["sky"]) + len(at["car"]) + len(at["sun"]) == 2400
    assert summary.left_out["shapes of the kind polyline"] == 1
    assert summary.left_out["shapes of the kind points"] == 1


def test_darwin_holes_and_raster_layers(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "export/a.png")
    outer = [{"x": x, "y": y} for x, y in ((2, 2), (12, 2), (12, 12), (2, 12))]
    inner = [{"x": x + 0.5, "y": y} for x, y in ((5, 5), (8, 5), (8, 8), (5, 8))]
    runs = [0, 300, 1, 60, 0, 240]
    entries = [
        {"name": "ring", "polygon": {"paths": [outer, inner]}},
        {"name": "band", "id": "b", "mask": {}},
        {"name": "__raster_layer__", "id": "r",
         "raster_layer": {"dense_rle": runs, "mask_annotation_ids_mapping": {"b": 1}}},
    ]  # fmt: skip
    slot = {"type": "image", "width": 30, "height": 20, "source_files": [{"file_name": "a.png"}]}
    item = {"version": "2.0", "item": {"name": "a.png", "slots": [slot]}, "annotations": entries}
    (tmp_path / "export/a.json").write_text(json.dumps(item))
    run(tmp_path / "export", tmp_path / "data")
    ids = np.array(Image.open(tmp_path / "data/labels/train/a.png"))
    names = [c["name"] for c in json.loads((tmp_path / "data/classes.json").read_text())["classes"]]
    assert names == ["band", "ring"]
    assert (ids[10:12] == 0).all()
    assert ids[3, 3] == 1
    assert ids[6, 7] == IGNORE


def test_supervisely_without_datasets(tmp_path: Path) -> None:
    makers.supervisely(tmp_path / "made", [p for p in scenes.draw() if p.split == "train"])
    (tmp_path / "export").mkdir()
    (tmp_path / "made/meta.json").rename(tmp_path / "export/meta.json")
    for kind in ("img", "ann"):
        (tmp_path / "made/train" / kind).rename(tmp_path / "export" / kind)
    check(tmp_path / "export", {"train": 3})


@pytest.mark.parametrize("masks", ["palette", "colours"])
def test_voc_as_the_challenge_has_it(masks: str, tmp_path: Path) -> None:
    base = tmp_path / "export/VOCdevkit/VOC2012"
    makers.voc(base, scenes.draw())
    (base / "ImageSets/Main").mkdir()
    (base / "ImageSets/Main/car_train.txt").write_text("photo 0000 1\n")
    lists = base / "ImageSets/Segmentation"
    (lists / "trainval.txt").write_text("\n".join(p.stem for p in scenes.draw()))
    (base / "SegmentationObject").mkdir()
    shutil.copy(base / "SegmentationClass/photo 0000.png", base / "SegmentationObject")
    Image.new("RGB", (9, 9)).save(base / "JPEGImages/never labelled.jpg")
    if masks == "colours":
        from unilabel.core.label_space import default_color

        for path in (base / "SegmentationClass").iterdir():
            values = np.array(Image.open(path))
            table = np.array([(0, 0, 0), *map(default_color, range(255))], np.uint8)
            Image.fromarray(table[values]).save(path)
    names_in(tmp_path / "export")
    summary = run(tmp_path / "export", tmp_path / "data", names=tmp_path / "names.txt")
    assert summary.counts == {"train": 3, "val": 2}
    assert summary.left_out == {"photos without a mask": 1}
    ids = np.array(Image.open(tmp_path / "data/labels/train/photo 0000.png"))
    np.testing.assert_array_equal(ids, scenes.shifted(scenes.draw()[0].ids))


def test_cvat_without_lists_and_with_default(export: Callable[[str], Path]) -> None:
    folder = export("cvat_masks")
    lists = folder / "ImageSets/Segmentation"
    every = [line for p in lists.iterdir() for line in p.read_text().split("\n")]
    shutil.rmtree(folder / "ImageSets")
    check(folder, {"train": 5})
    shutil.rmtree(folder.with_name("checked"))
    lists.mkdir(parents=True)
    (lists / "default.txt").write_text("\r\n".join(every) + "\r\n")
    check(folder, {"train": 5})
