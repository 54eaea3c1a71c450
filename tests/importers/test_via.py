"""VGG Image Annotator: its three kinds of files, its shapes, and which attribute is the class."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import export_makers as makers
import export_pictures as scenes
import numpy as np
import pytest
from export_pictures import NAMES
from importing import check, run
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE
from unilabel.importers.forms.via import TWICE
from unilabel.importers.forms.via_classes import find_naming
from unilabel.importers.plan import Options

COLUMNS = ["filename", "file_size", "file_attributes", "region_count", "region_id"]
COLUMNS += ["region_shape_attributes", "region_attributes"]


def made(tmp_path: Path) -> Path:
    makers.via(tmp_path / "export", scenes.draw())
    return tmp_path / "export"


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change every photo's entry."""
    for path in folder.rglob("via_*.json"):
        data = json.loads(path.read_text())
        for entry in data.get("_via_img_metadata", data).values():
            change(entry)
        path.write_text(json.dumps(data))


def as_csv(path: Path, hashed: str = "") -> None:
    """The table that the program writes of the same photos."""
    data = json.loads(path.read_text())
    with open(path.with_suffix(".csv"), "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([hashed + COLUMNS[0], *COLUMNS[1:]])
        for entry in data.get("_via_img_metadata", data).values():
            regions = entry["regions"]
            for number, region in enumerate(regions):
                cells = [json.dumps(region[k]) for k in ("shape_attributes", "region_attributes")]
                writer.writerow(
                    [entry["filename"], entry["size"], "{}", len(regions), number, *cells]
                )
            if not regions:
                writer.writerow([entry["filename"], entry["size"], "{}", 0, 0, "{}", "{}"])


@pytest.mark.parametrize("hashed", ["", "#"])
def test_tables(hashed: str, tmp_path: Path) -> None:
    folder = made(tmp_path)
    for path in list(folder.rglob("via_*.json")):
        as_csv(path, hashed)
        path.unlink()
    check(folder)


def test_files_that_say_the_same_count_once(tmp_path: Path) -> None:
    folder = made(tmp_path)
    as_csv(folder / "train/via_region_data.json")
    assert run(folder, tmp_path / "data").left_out[TWICE] == 3
    check(folder)
    path = folder / "train/via_region_data.json"
    data = json.loads(path.read_text())
    next(iter(data.values()))["regions"].pop()
    path.write_text(json.dumps(data))
    with pytest.raises(UniLabelError, match=r"both of the photo train/photo 0000\.jpg and h"):
        run(folder, tmp_path / "other")


def test_files_of_version_1(tmp_path: Path) -> None:
    folder = made(tmp_path)

    def old(entry: dict[str, Any]) -> None:
        entry["regions"] = {str(i): r for i, r in enumerate(entry["regions"])}
        for region in entry["regions"].values():  # the first point is repeated
            shape = region["shape_attributes"]
            for key in ("all_points_x", "all_points_y"):
                shape[key] = [*shape[key], shape[key][0]]
        entry["fileref"], entry["base64_img_data"] = "", ""

    edit(folder, old)
    check(folder)


def test_photos_given_by_address(tmp_path: Path) -> None:
    folder = made(tmp_path)
    edit(folder, lambda e: e.update(filename=f"https://example.org/set/{e['filename']}"))
    check(folder)


def test_classes_that_are_ticked(tmp_path: Path) -> None:
    folder = made(tmp_path)

    def tick(entry: dict[str, Any]) -> None:
        for region in entry["regions"]:
            name = region["region_attributes"]["label"]
            region["region_attributes"] = {"kind": {name: True}}

    edit(folder, tick)
    check(folder)


def inside(x: np.ndarray, y: np.ndarray, shape: dict[str, Any]) -> np.ndarray:
    """Points of the plane in a shape, by its equation; angles are radians, y points down."""
    if shape["name"] == "rect":
        x0, y0 = shape["x"], shape["y"]
        return (x >= x0) & (x < x0 + shape["width"]) & (y >= y0) & (y < y0 + shape["height"])
    rx, ry = (shape["r"],) * 2 if shape["name"] == "circle" else (shape["rx"], shape["ry"])
    turn, x, y = shape.get("theta", 0.0), x - shape["cx"], y - shape["cy"]
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    return (along / rx) ** 2 + (across / ry) ** 2 <= 1


@pytest.mark.parametrize(
    "shape",
    [
        {"name": "rect", "x": 10.25, "y": 5.25, "width": 20.0, "height": 12.0},
        {"name": "circle", "cx": 30, "cy": 20, "r": 11},
        {"name": "ellipse", "cx": 30, "cy": 20, "rx": 18, "ry": 7, "theta": 0.6},
        {"name": "ellipse", "cx": 30, "cy": 20, "rx": 18.5, "ry": 7},
    ],
)
def test_shapes_by_their_equations(shape: dict[str, Any], tmp_path: Path) -> None:
    """A pixel is in if half of it is, apart from the few that are so near to a half."""
    (tmp_path / "export").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "export/a.png")
    regions = [{"shape_attributes": shape, "region_attributes": {"class": "thing"}}]
    regions += [
        {"shape_attributes": {"name": n, "all_points_x": [1, 9], "all_points_y": [1, 9]},
         "region_attributes": {"class": "wire"}} for n in ("polyline", "point")
    ]  # fmt: skip
    regions.append({"shape_attributes": shape, "region_attributes": {}})
    entry = {"filename": "a.png", "size": 1, "regions": regions, "file_attributes": {}}
    scenes.dump(tmp_path / "export/via.json", {"a.png1": entry})
    summary = run(tmp_path / "export", tmp_path / "data")
    ids = np.array(Image.open(tmp_path / "data/labels/train/a.png"))
    fine = (np.arange(60 * 16) + 0.5) / 16
    share = inside(fine[None], fine[: 40 * 16, None], shape).reshape(40, 16, 60, 16).mean((1, 3))
    clear = np.abs(share - 0.5) > 0.12
    assert ((ids != IGNORE) == (share >= 0.5))[clear].all()
    assert clear.mean() > 0.97
    assert abs(np.count_nonzero(ids != IGNORE) - share.sum()) < 0.03 * share.sum()
    assert summary.left_out["regions of the kind polyline"] == 1
    assert summary.left_out["regions of the kind point"] == 1
    assert summary.left_out["regions without a class"] == 1


@pytest.mark.parametrize(
    ("attributes", "key"),
    [
        ([{"thing": "car"}, {"thing": "road", "remark": ""}], "thing"),
        ([{"Label": "car", "colour": "red"}, {"Label": "road"}], "Label"),
        ([{"class name": "x", "class": "car"}], "class"),
        ([{"kind": {"car": True, "road": False}, "colour": {"red": False}}], "kind"),
        ([{"type": 3, "sure": "undefined"}], "type"),
    ],
)
def test_the_attribute_of_classes(attributes: list[dict[str, Any]], key: str) -> None:
    assert find_naming(attributes, Options(), "here").key == key


def test_names_tell_the_attribute(tmp_path: Path) -> None:
    folder = made(tmp_path)

    def change(entry: dict[str, Any]) -> None:
        for region in entry["regions"]:
            name = region["region_attributes"]["label"]
            region["region_attributes"] = {"type": "mine", "name": "x", "what": name}

    edit(folder, change)
    with pytest.raises(UniLabelError, match=r"several attributes: 'type' \(mine\); 'name' \(x\)"):
        run(folder, tmp_path / "data")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    run(folder, tmp_path / "data", names=tmp_path / "names.txt")
    classes = json.loads((tmp_path / "data/classes.json").read_text())["classes"]
    assert [c["name"] for c in classes] == list(NAMES)


def test_regions_of_one_kind_need_no_attribute(tmp_path: Path) -> None:
    folder = made(tmp_path)
    edit(folder, lambda e: [r.update(region_attributes={}) for r in e["regions"]])
    with pytest.raises(UniLabelError, match=r"none has a class; if all .* --names"):
        run(folder, tmp_path / "data")
    (tmp_path / "names.txt").write_text("balloon")
    run(folder, tmp_path / "data", names=tmp_path / "names.txt", background="class")
    classes = json.loads((tmp_path / "data/classes.json").read_text())["classes"]
    assert [c["name"] for c in classes] == ["background", "balloon"]
