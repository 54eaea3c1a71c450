"""What people and lesser known tools leave in folders: other names, lists, tables, previews."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import export_makers as makers
import export_pictures as scenes
import numpy as np
import pytest
from export_pictures import COLORS, NAMES
from importing import check, run
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE
from unilabel.importers.classes import read_names
from unilabel.importers.forms.folders import OTHER_MAPS

Change = Callable[[np.ndarray], np.ndarray]


def same(ids: np.ndarray) -> np.ndarray:
    return ids


def colored(ids: np.ndarray) -> np.ndarray:
    return scenes.palette()[ids]


def lay(folder: Path, photo: str, mask: str, change: Change = same, names: str = "classes.txt"):
    """Photos and masks at places with {s} for the split and {n} for the name."""
    for picture in scenes.draw():
        at = {"s": picture.split, "n": picture.stem}
        scenes.photo(folder / photo.format(**at), picture)
        scenes.mask(folder / mask.format(**at), change(picture.ids))
    if names:
        (folder / names).write_text("\n".join(NAMES))
    return folder


def edit(folder: Path, change: Callable[[Any], object]) -> None:
    for path in sorted(folder.rglob("*.json")):
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))


ROWS = [(n, *c) for n, c in zip(NAMES, COLORS, strict=True)]
TABLES = {
    "class_dict.csv": "name,r,g,b\n" + "\n".join(f"{n},{r},{g},{b}" for n, r, g, b in ROWS),
    "table.tsv": "\n".join(
        ["red\tgreen\tblue\tclass", *(f"{r}\t{g}\t{b}\t{n}" for n, r, g, b in ROWS)]),
    "label_colors.txt": "\n".join(f"{r} {g} {b}\t\t{n}" for n, r, g, b in ROWS),
    "reversed.txt": "\n".join(f"{n} {r} {g} {b}" for n, r, g, b in ROWS),
    "labelmap.txt": "\n".join(f"{n}:{r},{g},{b}::" for n, r, g, b in ROWS),
    "eiseg.txt": "\n".join(f"{i} {n} {r} {g} {b}" for i, (n, r, g, b) in enumerate(ROWS)),
    "ids.csv": "id,name\n" + "\n".join(f"{i},{n}" for i, n in enumerate(NAMES)),
    "turned.csv": "Name; Value\n" + "\n".join(f"{n}; {i}" for i, n in enumerate(NAMES)),
    "plain.csv": "\n".join(f"{n},{i}" for i, n in enumerate(NAMES)),
    "labels.txt": "__ignore__\n" + "\n".join(NAMES),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_names(name: str, tmp_path: Path) -> None:
    """Masks of colours where the table has some, else of values."""
    (tmp_path / name).write_text(TABLES[name])
    names = read_names(tmp_path / name)
    assert [n for n, _ in names.ordered()] == list(NAMES)
    with_colors = names.listed[0][1] is not None
    assert with_colors == (name not in ("ids.csv", "turned.csv", "plain.csv", "labels.txt"))
    assert (names.values is not None) == (
        name in ("ids.csv", "turned.csv", "plain.csv", "eiseg.txt")
    )
    folder = lay(tmp_path / "export", "images/{s}/{n}.jpg", "masks/{s}/{n}.png",
                 colored if with_colors else same, "")  # fmt: skip
    run(folder, tmp_path / "data", names=tmp_path / name)
    ids = np.array(Image.open(tmp_path / "data/labels/train/photo 0000.png"))
    drawn = scenes.draw()[0].ids
    np.testing.assert_array_equal(ids[drawn != scenes.VOID], drawn[drawn != scenes.VOID])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,name\n0,sky\n1\n", "row 3 has 1 columns, the first row 2"),
        ("id,name\none,sky\n", "row 2: 'one' is no whole number"),
        ("name,r,g,b\nsky,1,2,300\n", "row 2: the colour 300 is above 255"),
    ],
)
def test_bad_tables_of_names(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UniLabelError, match=said):
        read_names(tmp_path / "table.csv")


def test_names_with_numbers_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("route 66\nboeing 747\ncar, bus\n")
    listed = [n for n, _ in read_names(tmp_path / "names.txt").listed]
    assert listed == ["route 66", "boeing 747", "car, bus"]


@pytest.mark.parametrize("name", ["class_dict.csv", "label_colors.txt"])
@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("{s}/{n}.png", "{s}_labels/{n}_L.png"),
        ("{s}/{n}.png", "{s}annot/{n}.png"),
        ("{s}/StillsRaw_full/{n}.png", "{s}/LabeledApproved_full/{n}_L.png"),
        ("{s}/image_2/{n}.png", "{s}/semantic/{n}.png"),
        ("{s}/images/{n}.jpg", "{s}/v2.0/labels/{n}.png"),
    ],
)
def test_folders_of_published_sets(name: str, photo: str, mask: str, tmp_path: Path) -> None:
    folder = lay(tmp_path / "export", photo, mask, colored, "")
    (folder / name).write_text(TABLES[name])
    check(folder)


def test_pictures_beside_the_masks(tmp_path: Path) -> None:
    """Cityscapes and EISeg write numbers of objects and colours beside the ids."""
    folder = tmp_path / "export"
    for ending, change in (("labelIds", same), ("instanceIds", same), ("color", colored)):
        mask = "gtFine/{s}/town/{n}_gtFine_" + ending + ".png"
        lay(folder, "leftImg8bit/{s}/town/{n}_leftImg8bit.png", mask, change)
    assert run(folder, tmp_path / "data").left_out[OTHER_MAPS] == 10
    check(folder)
    folder = tmp_path / "second"
    lay(folder, "{n}.jpg", "label/{n}.png")
    lay(folder, "{n}.jpg", "label/{n}_pseudo.png", colored)
    check(folder, {"train": 5})


def test_folders_called_eval(tmp_path: Path) -> None:
    folder = lay(tmp_path / "export", "images/{s}/{n}.jpg", "masks/{s}/{n}.png")
    for kind in ("images", "masks"):
        (folder / kind / "val").rename(folder / kind / "eval")
    check(folder)


@pytest.mark.parametrize(
    "line", ["{n}", "{n}.jpg", "images/{n}.jpg", "images/{n}.jpg masks/{n}.png",
             "./images/{n}.jpg\tmasks/{n}.png", "/images/{n}.jpg,/masks/{n}.png"],
)  # fmt: skip
def test_lists_of_the_splits(line: str, tmp_path: Path) -> None:
    folder = lay(tmp_path / "export", "images/{n}.jpg", "masks/{n}.png")
    for split, chosen in scenes.by_split(scenes.draw()).items():
        (folder / f"{split}.txt").write_text("\n".join(line.format(n=p.stem) for p in chosen))
    check(folder)


def test_lists_of_pairs_need_no_names_of_folders(tmp_path: Path) -> None:
    folder = lay(tmp_path / "export", "a/{n}.jpg", "b/{n}.png")
    for split, chosen in scenes.by_split(scenes.draw()).items():
        lines = [f"a/{p.stem}.jpg b/{p.stem}.png" for p in chosen]
        (folder / f"{split}.txt").write_text("\n".join(lines))
    check(folder)
    (folder / "b/photo 0001.png").unlink()
    with pytest.raises(UniLabelError, match=r"train\.txt: line 2: b/photo 0001\.png is not below"):
        run(folder, tmp_path / "data")


def test_a_photo_in_two_lists(tmp_path: Path) -> None:
    folder = lay(tmp_path / "export", "images/{n}.jpg", "masks/{n}.png")
    for split in ("train", "val"):
        (folder / f"{split}.txt").write_text("photo 0000\nphoto 0001\n")
    with pytest.raises(UniLabelError, match=r"photo 0000\.jpg is in the lists of train and of val"):
        run(folder, tmp_path / "data")


@pytest.mark.parametrize("form", ["coco_instances", "labelme", "ultralytics_masks"])
@pytest.mark.parametrize("place", ["@eaDir", "$RECYCLE.BIN", "#recycle"])
def test_what_systems_put_beside_photos(form: str, place: str, tmp_path: Path) -> None:
    makers.MAKERS[form](tmp_path / "export", scenes.draw())
    for path in list((tmp_path / "export").rglob("*.jpg")):
        (path.parent / place).mkdir(exist_ok=True)
        shutil.copy(path, path.parent / place / path.name)
    check(tmp_path / "export")


@pytest.mark.parametrize("arrays", [False, True])
def test_labelme2voc(arrays: bool, tmp_path: Path) -> None:
    """Its masks lie in SegmentationClassPNG, arrays in SegmentationClass, in old versions."""
    folder = tmp_path / "export"
    makers.voc(folder, scenes.draw())
    shutil.rmtree(folder / "ImageSets")
    if arrays:
        (folder / "SegmentationClass").rename(folder / "SegmentationClassPNG")
        (folder / "SegmentationClass").mkdir()
        np.save(folder / "SegmentationClass/photo 0000.npy", scenes.draw()[0].ids)
    (folder / "class_names.txt").write_text("\n".join(["_background_", *NAMES]))
    check(folder, {"train": 5}, background="_background_")


def test_lists_of_voc_with_two_columns(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    makers.voc(folder, scenes.draw())
    for path in folder.rglob("ImageSets/*/*.txt"):
        lines = [f"/JPEGImages/{n}.jpg /SegmentationClassAug/{n}.png"
                 for n in path.read_text().split("\n")]  # fmt: skip
        path.write_text("\n".join(lines))
    (folder / "SegmentationClass").rename(folder / "SegmentationClassAug")
    (folder / "classes.txt").write_text("\n".join(NAMES))
    check(folder, background="background")


@pytest.mark.parametrize("name", ["classes.txt", "obj.names"])
def test_yolo_without_yaml(name: str, tmp_path: Path) -> None:
    """As Label Studio exports it."""
    folder = tmp_path / "export"
    makers.yolo_seg(folder, scenes.draw())
    (folder / "data.yaml").unlink()
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            shutil.copytree(folder / split / kind, folder / kind, dirs_exist_ok=True)
    for split in ("train", "val"):
        shutil.rmtree(folder / split)
    (folder / name).write_text("\n".join(NAMES))
    check(folder, {"train": 5})


def test_texts_for_numbers_and_addresses_in_coco(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    makers.coco_instances(folder, scenes.draw())

    def change(data: dict[str, Any]) -> None:
        for annotation in data["annotations"]:
            annotation["category_id"] = str(annotation["category_id"])
        for image in data["images"]:
            image["file_name"] = image["file_name"].replace(" ", "%20")

    edit(folder, change)
    check(folder)


def test_turned_boxes(tmp_path: Path) -> None:
    """CVAT turns them around their middle; X-AnyLabeling writes the corners."""
    folder = tmp_path / "export"
    folder.mkdir()
    Image.new("RGB", (60, 40)).save(folder / "a.png")
    shape = (
        '<box label="car" xtl="20.2" ytl="15.2" xbr="40.2" ybr="25.2" rotation="{}" z_order="0"/>'
    )
    for rotation, size in ((90, (20, 10)), (180, (10, 20)), (0, (10, 20))):
        (folder / "annotations.xml").write_text(
            '<annotations><image name="a.png" width="60" height="40">'
            f"{shape.format(rotation)}</image></annotations>"
        )
        run(folder, tmp_path / f"data{rotation}")
        y, x = np.nonzero(
            np.array(Image.open(tmp_path / f"data{rotation}/labels/train/a.png")) != IGNORE
        )
        assert (np.ptp(y) + 1, np.ptp(x) + 1) == size
        assert (y.mean(), x.mean()) == pytest.approx((19.5, 29.5), abs=0.6)
    folder = tmp_path / "other"
    makers.labelme(folder, scenes.draw())
    edit(folder, lambda d: [s.update(shape_type="rotation", direction=0.3) for s in d["shapes"]])
    check(folder)


def test_numbers_of_objects_in_names_are_noted(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    makers.labelme(folder, scenes.draw())
    count = iter(range(99))
    edit(folder, lambda d: [s.update(label=f"{s['label']}-{next(count)}") for s in d["shapes"]])
    notes = run(folder, tmp_path / "data").notes
    assert any("5 classes are called 'traffic sign' with a number" in note for note in notes)
    shutil.rmtree(folder)
    makers.MAKERS["mmseg"](folder, scenes.draw())
    (folder / "classes.txt").unlink()
    assert not any("with a number" in n for n in run(folder, tmp_path / "other").notes)


def swapped(folder: Path) -> None:
    lay(folder, "images/{n}.jpg", "masks/{n}.png", lambda ids: colored(ids)[..., ::-1].copy(), "")
    (folder / "class_dict.csv").write_text(TABLES["class_dict.csv"])


def with_confidence(folder: Path) -> None:
    makers.yolo_seg(folder, scenes.draw())
    for path in folder.rglob("labels/*.txt"):
        path.write_text("\n".join(f"{line} 0.97" for line in path.read_text().split("\n")))


def write(name: str, content: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        scenes.photo(folder / "photo 0000.jpg", scenes.draw()[0])
        (folder / name).write_text(content)

    return do


def one_for_each_class(folder: Path) -> None:
    for number, name in enumerate(NAMES):
        lay(folder, "images/{n}.jpg", f"masks/{name}/{{n}}.png",
            lambda ids, k=number: np.where(ids == k, 255, 0).astype(np.uint8), "")  # fmt: skip


def arrays(folder: Path) -> None:
    write("photo 0000.npy", "")(folder)


def packed(folder: Path) -> None:
    makers.coco_instances(folder, scenes.draw())
    for path in list(folder.rglob("*.json")):
        path.with_suffix(".json.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


UNREAD = {
    "swapped colours": (swapped, "in all masks red and blue are swapped, as OpenCV writes them"),
    "predictions of YOLO": (with_confidence, "9 numbers behind the class, .*a confidence at the"),
    "arrays": (arrays, r"photo 0000\.npy is an array of NumPy: save the label maps as PNG"),
    "packed": (packed, r"unpack annotations/instances_train\.json\.gz"),
    "Labelbox": (write("a.ndjson", "{}"), r"a\.ndjson is of Labelbox: export COCO"),
    "VIA 3": (write("a.json", '{"project": {"pid": 1}, "view": {"1": {"fid_list": [1]}}}'),
        r"a\.json looks like a project of VGG Image Annotator 3: export it as COCO"),
    "ISAT": (write("a.json", '{"info": {"description": "ISAT"}, "objects": []}'),
        "annotations of ISAT: export them as COCO or LabelMe"),
    "Segment Anything": (
        write("a.json", '{"annotations": [{"segmentation": {"counts": "a"}, "area": 3}]}'),
        "masks of Segment Anything, which have no classes"),
    "Datumaro": (write("a.json", '{"items": [], "annotations": [], "categories": {}}'),
        "looks like Datumaro's own form: export as COCO"),
    "a mask for each class": (one_for_each_class,
        "masks/car and masks/road seem to hold a mask for each class"),
    "masks of single objects": (lambda f: scenes.mask(
        f / "task-1-annotation-1-by-1-tag-car-0.png", scenes.draw()[0].ids),
        "is the mask of one object: export JSON from Label Studio"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREAD)
def test_what_is_not_read_is_called_by_its_name(case: str, tmp_path: Path) -> None:
    make, said = UNREAD[case]
    make(tmp_path / "export")
    with pytest.raises(UniLabelError, match=said):
        run(tmp_path / "export", tmp_path / "data")
    assert not (tmp_path / "data").exists()
