"""Ways in which an export can be broken, and what the error has to say."""

from __future__ import annotations

import json
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from export_pictures import NAMES
from PIL import Image

Damage = Callable[[Path], object]


@dataclass(frozen=True)
class Bad:
    """A broken export.

    Attributes:
        form: how it is made before it is broken.
        damage: what is done to the folder.
        said: regular expressions that the message fits, the file's name among them.
        request: arguments of the request.
    """

    form: str
    damage: Damage
    said: tuple[str, ...]
    request: dict[str, Any] = field(default_factory=dict)


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[0]


def cut(pattern: str) -> Damage:
    def do(folder: Path) -> None:
        path = first(folder, pattern)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return do


def gone(pattern: str) -> Damage:
    return lambda folder: first(folder, pattern).unlink()


def edit(pattern: str, change: Callable[[Any], object]) -> Damage:
    def do(folder: Path) -> None:
        path = first(folder, pattern)
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return do


def text(pattern: str, old: str, new: str) -> Damage:
    """Replace the first match of a regular expression in a file."""

    def do(folder: Path) -> None:
        path = first(folder, pattern)
        changed = re.sub(old, new, path.read_text(), count=1)
        assert changed != path.read_text()
        path.write_text(changed)

    return do


def write(pattern: str, content: bytes) -> Damage:
    return lambda folder: first(folder, pattern).write_bytes(content)


def picture(pattern: str, values: np.ndarray, kind: str = "PNG") -> Damage:
    return lambda folder: Image.fromarray(values).save(first(folder, pattern), kind)


def every(pattern: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def do(folder: Path) -> None:
        for path in folder.rglob(pattern):
            Image.fromarray(change(np.array(Image.open(path)))).save(path)

    return do


def huge_png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 99))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rows + chunk(b"IEND", b"")


def segment(values: dict[str, Any]) -> Damage:
    """Change the first annotation of COCO's training file."""
    return edit("instances_train.json", lambda d: d["annotations"][0].update(values))


def shape(values: dict[str, Any]) -> Damage:
    """Change the first shape of LabelMe's first file."""
    return edit("photo 0000.json", lambda d: d["shapes"][0].update(values))


def several(*damages: Damage) -> Damage:
    return lambda folder: [damage(folder) for damage in damages]


def second_form(folder: Path) -> None:
    from export_makers import yolo_seg
    from export_pictures import draw

    yolo_seg(folder / "yolo", draw())


def names_file(content: str) -> Damage:
    return lambda folder: folder.with_name("names.txt").write_text(content)


def region(change: dict[str, Any]) -> Damage:
    """Change the first region's shape in an export of VGG Image Annotator."""

    def do(data: Any) -> None:
        next(iter(data.values()))["regions"][0]["shape_attributes"].update(change)

    return edit("via_region_data.json", do)


MANY = [{"id": i, "name": f"class {i}"} for i in range(300)]
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotations>&b;</annotations>'
RED = np.full((48, 64, 3), (200, 10, 10), np.uint8)
SMALL = np.zeros((10, 12), np.uint8)
NAMED = {"names": "names.txt"}

BAD = {
    # files that cannot be read
    "coco json cut": Bad("coco_instances", cut("instances_train.json"),
        (r"instances_train\.json is not valid JSON",)),
    "labelme json cut": Bad("labelme", cut("photo 0001.json"),
        (r"photo 0001\.json.*not valid JSON",)),
    "supervisely json cut": Bad("supervisely", cut("photo 0001.jpg.json"),
        (r"photo 0001\.jpg\.json is not valid JSON",)),
    "cvat xml cut": Bad("cvat_xml", cut("annotations.xml"),
        (r"annotations\.xml is not valid XML",)),
    "cvat xml with entities": Bad("cvat_xml", write("annotations.xml", BOMB.encode()),
        (r"annotations\.xml defines a document type",)),
    "cvat xml of a video": Bad("cvat_xml",
        text("annotations.xml", "<image ", "<track></track><image "),
        (r"annotations\.xml is of a video", "CVAT for images")),
    "json not utf-8": Bad("labelme",
        write("photo 0000.json", b'{"shapes": [], "imagePath": "\xe4"}'),
        (r"photo 0000\.json is not valid JSON", "utf-8")),
    "json not utf-8, coco": Bad("coco_instances", lambda f: first(f, "instances_val.json")
        .write_bytes(first(f, "instances_val.json").read_bytes().replace(b"sky", b"\xff")),
        (r"instances_val\.json is not valid JSON", "utf-8")),
    "label map not utf-8": Bad("cvat_masks", write("labelmap.txt", b"stra\xdfe:1,2,3::\n"),
        (r"cannot read .*labelmap\.txt: not UTF-8", "save it as UTF-8")),
    "yaml broken": Bad("yolo_seg", write("data.yaml", b"train: a\nnames: [a\n"),
        (r"data\.yaml is not valid YAML",)),
    "mask cut": Bad("mmseg", cut("ann_dir/train/photo 0001.png"),
        (r"photo 0001\.png cannot be decoded as a label map",)),
    "mask is text": Bad("roboflow_masks", write("photo 0001*_mask.png", b"<html>"),
        (r"photo 0001.*_mask\.png cannot be decoded",)),
    "mask is a jpeg": Bad("folders", picture("photo 0001_mask.png", SMALL, "JPEG"),
        (r"photo 0001_mask\.png cannot be decoded .*it is a JPEG", "expected a PNG")),
    "mask of absurd size": Bad("cvat_masks", write("SegmentationClass/photo 0002.png", huge_png()),
        (r"photo 0002\.png", "60000x60000")),
    "photo is text": Bad("coco_panoptic", write("train/photo 0001.png", b"hello"),
        (r"the photo .*photo 0001\.png cannot be opened",)),
    "parquet is text": Bad("hf_parquet", write("train*.parquet", b"hello"),
        (r"train.*\.parquet is no parquet file",)),
    # files that are missing, or too many
    "photo missing, coco": Bad("coco_instances", gone("train/photo 0001.jpg"),
        (r"instances_train\.json: the photo of image 10 \(photo 0001\.jpg\) is not below",)),
    "photo missing, cvat masks": Bad("cvat_masks", gone("JPEGImages/photo 0001.jpg"),
        (r"the photo 'photo 0001' is not in", "JPEGImages")),
    "photo missing, cvat xml": Bad("cvat_xml", gone("photo 0003.jpg"),
        (r"annotations\.xml: image 'photo 0003\.jpg': this photo is not below",)),
    "photo missing, labelme": Bad("labelme", gone("photo 0001.jpg"),
        (r"photo 0001\.json: its photo 'photo 0001\.jpg' is not below",)),
    "photo missing, label studio": Bad("label_studio", gone("photo 0004.jpg"),
        (r"export\.json: task 4: its photo .*photo 0004\.jpg' is not below",)),
    "photo missing, roboflow": Bad("roboflow_masks", gone("photo 0001.rf.12ab.jpg"),
        (r"train/photo 0001\.rf\.12ab_mask: the photo .* is not in",)),
    "photo missing, supervisely": Bad("supervisely", gone("photo 0001.jpg"),
        (r"photo 0001\.jpg\.json: its photo train/img/photo 0001\.jpg is not in",)),
    "photo missing, cityscapes": Bad("cityscapes", gone("*0002*_leftImg8bit.png"),
        (r"town_0002.*_polygons\.json: its photo",)),
    "mask missing, panoptic": Bad("coco_panoptic", gone("panoptic_val/photo 0003.png"),
        (r"panoptic_val\.json: the mask 'photo 0003\.png' of image 0 is expected", "found none")),
    "mask missing, voc": Bad("voc", gone("SegmentationClass/photo 0001.png"),
        (r"the list of the split names photo 0001: the mask", r"SegmentationClass"), NAMED),
    "mask missing, roboflow": Bad("roboflow_masks", gone("photo 0002*_mask.png"),
        (r"photo 0002\.rf\.12ab: the mask .* is not in",)),
    "folder of the yaml missing": Bad("yolo_seg", lambda f: shutil.rmtree(f / "val"),
        (r'data\.yaml: "val: \.\./val/images" is neither a folder',)),
    "coco lists a photo twice": Bad("coco_instances",
        edit("instances_train.json", lambda d: d["images"][1].update(file_name="photo 0000.jpg")),
        (r"_train\.json: image 10 is the photo train/photo 0000\.jpg, which .*image 7 names",)),
    "coco image id twice": Bad("coco_instances",
        edit("instances_train.json", lambda d: d["images"][1].update(id=7)),
        (r"instances_train\.json: two images have the id 7",)),
    "coco category id twice": Bad("coco_instances",
        edit("instances_train.json", lambda d: d["categories"][1].update(id=40)),
        (r"instances_train\.json: two categories have the id 40",)),
    "two photos of one stem": Bad("folders",
        lambda f: shutil.copy(f / "train/photo 0000.jpg", f / "train/photo 0000.bmp"),
        (r"photo 0000\.(bmp|jpg) and .*photo 0000\.(bmp|jpg) have the same name",)),
    "two label files of one photo": Bad("labelme",
        lambda f: shutil.copy(f / "train/photo 0000.json", f / "train/other.json"),
        (r"photo 0000\.json and .*other\.json are both of the photo train/photo 0000\.jpg",)),
    "photo in two splits": Bad("voc", lambda f: (f / "ImageSets/Segmentation/val.txt").write_text(
        "photo 0000\nphoto 0003"), (r"val\.txt: 'photo 0000' is in train and in val",), NAMED),
    "path out of the export": Bad("coco_instances",
        edit("instances_train.json", lambda d: d["images"][0].update(file_name="../../../x.jpg")),
        (r"instances_train\.json: the photo '\.\./\.\./\.\./x\.jpg' lies outside of",)),
    "path out of the export, labelme": Bad("labelme",
        edit("photo 0000.json", lambda d: d.update(imagePath="..\\..\\..\\secret.jpg")),
        (r"photo 0000\.json: the photo .*secret\.jpg' lies outside of",)),
    # content that is wrong
    "coco without categories": Bad("coco_instances",
        edit("instances_train.json", lambda d: d.pop("categories")),
        (r'instances_train\.json: there is no list "categories"',)),
    "coco unknown category": Bad("coco_instances", segment({"category_id": 999}),
        (r"instances_train\.json: annotation \d+ has the category 999, which is not in",)),
    "panoptic unknown category": Bad("coco_panoptic",
        edit("panoptic_train.json", lambda d: d["annotations"][0]["segments_info"][0].update(
            category_id=77)),
        (r"panoptic_train\.json: photo 0000\.png: segment 300 has the category 77",)),
    "panoptic unknown segment": Bad("coco_panoptic",
        edit("panoptic_train.json", lambda d: d["annotations"][0]["segments_info"].pop(0)),
        (r"panoptic_train/photo 0000\.png: the colour \(44, 1, 0\) on \d+ pixels is of no class",)),
    "rle of another size": Bad("coco_instances",
        segment({"segmentation": {"size": [10, 10], "counts": [100]}}),
        (r"annotation \d+: the run lengths are of the size \[10, 10\]", r"expected \[48, 64\]")),
    "rle too long": Bad("coco_instances",
        segment({"segmentation": {"size": [48, 64], "counts": [2**40, 5]}}),
        (r"annotation \d+: the run lengths are of 1099511627781 pixels, expected 3072",)),
    "rle damaged": Bad("coco_instances",
        segment({"segmentation": {"size": [48, 64], "counts": "ooooo"}}),
        (r"annotation \d+: the run lengths are cut off",)),
    "cvat rle too short": Bad("cvat_xml", text("annotations.xml", r'rle="\d+,', 'rle="'),
        (r"annotations\.xml: image 'photo 0000\.jpg', shape \d \(mask 'traffic sign'\): the run",)),
    "brush damaged": Bad("label_studio", edit("export.json", lambda d: [
        r["value"]["rle"].__delitem__(slice(30, None)) for r in d[0]["annotations"][1]["result"]
        if r["type"] == "brushlabels"]),
        (r"export\.json: task 0, result 'r\d': the brush stroke is damaged",)),
    "bitmap damaged": Bad("supervisely", edit("photo 0000.jpg.json", lambda d: [
        o["bitmap"].update(data="AAAA") for o in d["objects"] if "bitmap" in o]),
        (r"photo 0000\.jpg\.json: objects\[\d\] \('traffic sign'\): the mask cannot be decoded",)),
    "not a number, labelme": Bad("labelme", shape({"points": [[0, 0], [float("nan"), 3], [9, 9]]}),
        (r"photo 0000\.json: shapes\[0\] \('\w+'\): .*no finite number",)),
    "not a number, cvat": Bad("cvat_xml",
        text("annotations.xml", r'points="[\d.]+,', 'points="nan,'),
        (r"annotations\.xml: image 'photo 0000\.jpg', shape .*no finite number",)),
    "not a number, yolo": Bad("yolo_seg", text("photo 0000.txt", r"0\.\d+", "nan"),
        (r"photo 0000\.txt: line 1: .*no finite number",)),
    "words for numbers": Bad("yolo_seg", write("photo 0000.txt", b"0 a b c\n"),
        (r"photo 0000\.txt: line 1: '0 a b c' is no list of numbers",)),
    "pixels for shares": Bad("yolo_seg", write("photo 0000.txt", b"0 1 1 30 1 30 30\n"),
        (r"photo 0000\.txt: line 1: the coordinate 30 is no share",)),
    "yolo unknown class": Bad("yolo_seg", text("photo 0000.txt", r"^\d", "9"),
        (r"photo 0000\.txt: line 1: the class 9 is none of 0 to 3",)),
    "shapes without label": Bad("labelme",
        edit("photo 0000.json", lambda d: d["shapes"][0].pop("label")),
        (r"photo 0000\.json is not as LabelMe writes it \(KeyError",)),
    "points that are a word": Bad("labelme", shape({"points": "here"}),
        (r"photo 0000\.json: shapes\[0\]", "no list of x, y pairs")),
    "supervisely unknown class": Bad("supervisely",
        edit("photo 0000.jpg.json", lambda d: d["objects"][0].update(classTitle="boat")),
        (r"photo 0000\.jpg\.json: objects\[0\] \('boat'\): the class is not in meta\.json",)),
    "via outline of unequal lists": Bad("via", region({"all_points_x": [1, 2, 3]}),
        (r"via_region_data\.json: photo 0000\.jpg\d+, region 0: the outline has 3 x and \d+ y",)),
    "via circle without radius": Bad("via", region({"name": "circle", "cx": 3, "cy": 4}),
        (r"photo 0000\.jpg\d+, region 0: the circle has no 'r'",)),
    "via coordinate that is no number": Bad("via", region({"all_points_x": [float("nan")] * 4,
        "all_points_y": [1] * 4}), (r"photo 0000\.jpg\d+, region 0: .*no finite number",)),
    "via without shapes": Bad("via", edit("via_region_data.json", lambda d: [
        r.pop("shape_attributes") for r in next(iter(d.values()))["regions"]]),
        (r"via_region_data\.json is not as VGG Image Annotator writes it \(KeyError",)),
    "photo missing, via": Bad("via", gone("photo 0001.jpg"),
        (r"photo 0001\.jpg\d+: its photo 'photo 0001\.jpg' is not below",)),
    "via json cut": Bad("via", cut("via_project.json"), (r"via_project\.json is not valid JSON",)),
    "via with several attributes": Bad("via", lambda f: (
        shutil.rmtree(f / "val"), edit("via_region_data.json", lambda d: [
            r.update(region_attributes={"colour": "red", "part": "left"})
            for v in d.values() for r in v["regions"]])(f)),
        (r"several attributes: 'colour' \(red\); 'part' \(left\)", "--names")),
    "labelme photo inside, no base64": Bad("labelme", lambda f: (
        edit("photo 0001.json", lambda d: d.update(imageData="!!"))(f), gone("photo 0001.jpg")(f)),
        (r'photo 0001\.json: its "imageData" is no picture in base64',)),
    "labelme photo inside, no picture": Bad("labelme", lambda f: (
        edit("photo 0001.json", lambda d: d.update(imageData="aGVsbG8="))(f),
        gone("photo 0001.jpg")(f)), (r'in "imageData" of .*photo 0001\.json cannot be opened',)),
    "declared size is wrong": Bad("labelme",
        edit("photo 0000.json", lambda d: d.update(imageWidth=99)),
        (r"photo 0000\.json is made for a photo of 99x48, but .*photo 0000\.jpg has 64x48",)),
    "declared size is absurd": Bad("cityscapes",
        edit("*0000*_polygons.json", lambda d: d.update(imgWidth=10**9)),
        (r"0000.*_polygons\.json: the size is 1000000000x48, expected at most",)),
    "declared size is no number": Bad("darwin",
        edit("photo 0000.json", lambda d: d["image"].update(width="wide")),
        (r"photo 0000\.json: the size is wide x 48, expected two positive",)),
    "mask of another size": Bad("mmseg", picture("train/photo 0000.png", SMALL),
        (r"the mask .*photo 0000\.png is made for a photo of 12x10, but .* has 64x48",)),
    "colour of no label": Bad("cvat_masks", picture("SegmentationClass/photo 0000.png", RED),
        (r"photo 0000\.png: the colour \(200, 10, 10\) on 3072 pixels", r"not in .*labelmap\.txt")),
    "value of no class": Bad("roboflow_masks", every("photo 0001*_mask.png", lambda a: a + 40),
        (r"photo 0001.*_mask\.png: the value 4\d on \d+ pixels is of no class", r"_classes\.csv")),
    "classes.csv is no table": Bad("roboflow_masks", write("_classes.csv", b"a\nb\nc\n"),
        (r"_classes\.csv is no table of classes",)),
    "two labels of one colour": Bad("cvat_masks", text("labelmap.txt", "128,64,128", "70,130,180"),
        (r"labelmap\.txt: the label 'road' has the colour of another label",)),
    "class without name": Bad("coco_instances",
        edit("instances_train.json", lambda d: d["categories"][0].update(name=" ")),
        (r"instances_train\.json: the name of a class is ' '",)),
    "300 classes": Bad("coco_instances",
        edit("instances_train.json", lambda d: d.update(categories=MANY)),
        (r"instances_train\.json: there are more than 254 classes", "8 bits", "merge or remove")),
    "smoothed colours": Bad("folders", every("*_mask.png", lambda a: np.stack(
        [a, np.arange(3072).reshape(48, 64) % 251, np.arange(3072).reshape(48, 64) // 251], 2)
        .astype(np.uint8)),
        (r"the masks hold \d+ colours \(one is in .*_mask\.png\), expected at most",)),
    "0 and 255": Bad("folders",
        every("*_mask.png", lambda a: np.where(a == 2, 255, 0).astype(np.uint8)),
        (r"_mask\.png\) hold the values \[0, 255\] only", "--names FILE.json")),
    # what names and options say
    "names are too few": Bad("voc", names_file("\n".join(NAMES[:2])),
        (r"photo 0000\.png: the value 3 has no name in .*names\.txt, which names 2 classes",),
        NAMED),
    "names are none": Bad("voc", names_file("\n"), (r"names\.txt holds no names",), NAMED),
    "label that names do not have": Bad("labelme", names_file("sky\nroad\n"),
        (r"photo 000\d\.json: the class 'car' is none of the 2 classes \(sky, road\)",), NAMED),
    "unknown form": Bad("voc", lambda f: None,
        ("--form voc2012: expected one of .*did you mean voc",), {"form": "voc2012"}),
    "another form": Bad("voc", lambda f: None,
        (r"has not the form labelme .*it holds ImageSets, JPEGImages, SegmentationClass",),
        {"form": "labelme"}),
    "split is no share": Bad("labelme", lambda f: None, ("--split val=2: expected a share",),
        {"split": "val=2"}),
    "split is no file": Bad("labelme", lambda f: None, ("--split nowhere.txt: no such file",),
        {"split": "nowhere.txt"}),
    "reserved name": Bad("labelme", lambda f: None, (r"unified",), {"name": "unified"}),
    # nothing there, or too much
    "empty folder": Bad("labelme", lambda f: [shutil.rmtree(p) for p in f.iterdir()],
        (r"export is empty",)),
    "photos only": Bad("labelme", lambda f: [p.unlink() for p in f.rglob("*.json")],
        (r"has none of the known forms of exports: it holds train, val",)),
    "coco with empty lists": Bad("coco_instances", lambda f: [p.write_text(json.dumps(
        {"images": [], "annotations": [], "categories": []})) for p in f.rglob("*.json")],
        (r"\(COCO instances\) has no classes",)),
    "boxes only": Bad("coco_instances", lambda f: [edit(p.name, lambda d: [
        a.update(segmentation=[]) for a in d["annotations"]])(f) for p in f.rglob("*.json")],
        (r"nothing is left to train on: \d+ annotations that are a box only",)),
    "two forms at once": Bad("coco_instances", second_form,
        (r"holds several exports: COCO instances in \.; YOLO segmentation in yolo",
         "--form coco_instances or --form yolo_seg")),
    "two exports of a form": Bad("cvat_masks",
        lambda f: shutil.copytree(f, f / "copy"),
        (r"several exports: CVAT masks in \.; CVAT masks in copy", "give the path of one")),
}  # fmt: skip
