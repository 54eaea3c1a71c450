"""Faults of label files: each is refused with the file, what was found, and the cure."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from miniature_datasets import write_miniature
from PIL import Image
from scipy.io import savemat

import unilabel.data.label_decoders as decoders
from unilabel.core.errors import UniLabelError
from unilabel.data.builtin import builtin_names, builtin_source
from unilabel.data.label_decoders import UnknownLabelError


@pytest.fixture
def write(tmp_path):
    """Write a miniature dataset; return its source and what was planted."""

    def make(name: str, variant: str | None = None, **options):
        planted = write_miniature(name, tmp_path, **options)
        return builtin_source(name, tmp_path, variant), planted

    return make


@pytest.mark.parametrize("name", builtin_names())
def test_missing_files_are_named_with_their_place(name, write):
    source, planted = write(name, train=3, val=1)
    victim = sorted(planted["train"], key=lambda p: p.image.name)[1]
    victim.label.unlink()
    with pytest.raises(UniLabelError, match="has no label") as caught:
        source.samples("train")
    assert str(victim.image) in str(caught.value)
    assert "unpack the archive again" in str(caught.value)
    write(name, train=3, val=1)
    victim.image.unlink()
    with pytest.raises(UniLabelError, match="has no image") as caught:
        source.samples("train")
    assert victim.image.suffix in str(caught.value)


def test_absent_dataset_names_the_expected_folder(tmp_path):
    source = builtin_source("ade20k150", tmp_path)
    with pytest.raises(UniLabelError, match=r"ADEChallengeData2016/annotations/training") as caught:
        source.samples("train")
    assert "DETECTRON2_DATASETS" in str(caught.value)


def _spoil_ids(path: Path) -> str:
    ids = np.asarray(Image.open(path)).copy()
    ids[:2, :5] = 222
    Image.fromarray(ids).save(path)
    return r"label id 222 on 10 pixels, expected 0\.\."


@pytest.mark.parametrize(
    "name",
    ["cityscapes", "mapillary", "sunrgbd37", "bdd100k", "ade20k150", "kitti", "scannet20", "viper"],
)
def test_unknown_ids_are_refused_with_file_and_id(name, write):
    source, planted = write(name, train=1, val=1)
    label = planted["train"][0].label
    with pytest.raises(UnknownLabelError, match=_spoil_ids(label)) as caught:
        source.decode_label(str(label))
    assert str(label) in str(caught.value)
    assert "official archive" in str(caught.value)


def test_unknown_colour_segment_category_and_name_are_refused(write, tmp_path):
    source, planted = write("camvid11", train=1, val=1)
    label = planted["train"][0].label
    colors = np.asarray(Image.open(label)).copy()
    colors[0, 0] = (1, 2, 3)
    Image.fromarray(colors).save(label)
    with pytest.raises(UnknownLabelError, match=r"colour \(1, 2, 3\) on 1 pixels"):
        source.decode_label(str(label))

    source, planted = write("coco_panoptic133", train=1, val=1)
    label = planted["train"][0].label
    segments = np.asarray(Image.open(label)).copy()
    segments[0, 0] = (4, 1, 1)
    Image.fromarray(segments).save(label)
    with pytest.raises(UnknownLabelError, match=r"segment 65796 on 1 pixels"):  # 4 + 256 + 65536
        source.decode_label(str(label))
    path = tmp_path / "coco/annotations/panoptic_train2017.json"
    path.write_text(path.read_text().replace('"category_id": 1,', '"category_id": 12,'))
    with pytest.raises(UnknownLabelError, match="category 12"):
        source.decode_label(str(label))

    source, planted = write("idd26", train=1, val=1)
    label = planted["train"][0].label
    label.write_text(label.read_text().replace('"road"', '"asphalt"'))
    with pytest.raises(UnknownLabelError, match="object label 'asphalt'"):
        source.decode_label(str(label))


NEGATIVE = '{"annotations": [{"file_name": "a", "segments_info": [{"id": -1, "category_id": 1}]}]}'


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"annotations": [{"file_name": "a"}]}', NEGATIVE, "{"]
)
def test_broken_panoptic_json_is_named(content, write, tmp_path):
    source, _ = write("coco_panoptic133", train=1, val=1)
    path = tmp_path / "coco/annotations/panoptic_train2017.json"
    path.write_text(content)
    with pytest.raises(UniLabelError, match=r"panoptic_train2017\.json is (no panoptic|not valid)"):
        source.samples("train")


def test_panoptic_json_is_parsed_once_and_again_after_a_change(write, tmp_path, monkeypatch):
    calls = []
    original = decoders.read_json
    monkeypatch.setattr(
        decoders, "read_json", lambda *a, **k: (calls.append(a[0]), original(*a, **k))[1]
    )
    source, planted = write("coco_panoptic133")
    for sample in source.samples("train") * 2:
        source.decode_label(sample.label)
    assert len(calls) == 1
    path = tmp_path / "coco/annotations/panoptic_train2017.json"
    data = json.loads(path.read_text())
    data["annotations"] = data["annotations"][1:]
    path.write_text(json.dumps(data))
    os.utime(path, ns=(1, 1))
    with pytest.raises(UniLabelError, match="has no entry"):
        source.decode_label(str(planted["train"][0].label))


@pytest.mark.parametrize(
    "content", ["{}", '{"imgWidth": 4, "imgHeight": 4, "objects": [{"label": "car"}]}', "[1]"]
)
def test_broken_polygon_files_are_named(content, write):
    source, planted = write("idd26", train=1, val=1)
    label = planted["train"][0].label
    label.write_text(content)
    with pytest.raises(UniLabelError, match="is no polygon file"):
        source.decode_label(str(label))


def test_broken_mat_files_are_named(write):
    source, planted = write("context59", train=2, val=1)
    label = planted["train"][0].label
    label.write_bytes(label.read_bytes()[:200])
    with pytest.raises(UniLabelError, match="damaged or truncated"):
        source.decode_label(str(label))
    label.write_bytes(b"")
    with pytest.raises(UniLabelError, match=r"MATLAB label file"):
        source.decode_label(str(label))
    savemat(label, {"Other": np.zeros((2, 2), np.uint16)})
    with pytest.raises(UniLabelError, match="has no variable 'LabelMap'"):
        source.decode_label(str(label))
    savemat(label, {"LabelMap": np.full((2, 2), 460, np.uint16)})
    with pytest.raises(UnknownLabelError, match="label id 460"):
        source.decode_label(str(label))


def test_polygons_are_drawn_as_the_autonue_tools_draw_them(write):
    """A later object covers an earlier one, and the outline belongs to a polygon."""
    source, planted = write("idd26", train=1, val=1)
    label = planted["train"][0].label
    square = [[1, 1], [3, 1], [3, 3], [1, 3]]
    objects = [
        {"label": "road", "deleted": 0, "polygon": [[0, 0], [4, 0], [4, 2], [0, 2]]},
        {"label": "persongroup", "deleted": 0, "polygon": square},
    ]
    label.write_text(json.dumps({"imgWidth": 5, "imgHeight": 5, "objects": objects}))
    assert source.decode_label(str(label)).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 4, 4, 4, 0],
        [0, 4, 4, 4, 0],
        [255, 4, 4, 4, 255],
        [255, 255, 255, 255, 255],
    ]


def test_polygons_of_fewer_than_three_points_are_left_out(write):
    """As AutoNUE/public-code, preparation/json2labelImg.py: ``len(polygon) < 3`` is skipped, before
    the label is looked up; Pillow would draw a line for two points."""
    source, planted = write("idd26", train=1, val=1)
    label = planted["train"][0].label
    objects = [
        {"label": "road", "deleted": 0, "polygon": [[0, 0], [4, 0], [4, 2], [0, 2]]},
        *({"label": "truck", "deleted": 0, "polygon": [[0, 1], [4, 1]][:n]} for n in range(3)),
        {"label": "no such thing", "deleted": 0, "polygon": [[0, 0], [1, 1]]},
        {"label": "no such thing", "deleted": 1, "polygon": [[0, 0], [1, 1], [2, 0]]},
    ]
    label.write_text(json.dumps({"imgWidth": 5, "imgHeight": 3, "objects": objects}))
    assert source.decode_label(str(label)).tolist() == [[0] * 5] * 3
