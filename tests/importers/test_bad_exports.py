"""Broken exports: one clear error that names file and item, and nothing is written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import bad_exports
import export_makers as makers
import export_pictures as scenes
import numpy as np
import pytest
from bad_exports import BAD, edit, first, segment
from PIL import Image

from unilabel.core.errors import UniLabelError
from unilabel.importers.painter import FEW_POINTS, OUTSIDE
from unilabel.importers.prepare import Request, prepare
from unilabel.importers.write import Summary, write

ROOT = Path(__file__).parents[2]


def made(form: str, tmp_path: Path) -> Path:
    if form == "hf_parquet":
        pytest.importorskip("pyarrow")
    folder = tmp_path / "export"
    makers.MAKERS[form](folder, scenes.draw())
    (tmp_path / "names.txt").write_text("\n".join(scenes.NAMES))
    return folder


def run(folder: Path, **request: Any) -> Summary:
    if "names" in request:
        request["names"] = folder.with_name(request["names"])
    return write(prepare(folder, Request(**request)), folder.with_name("data"))


@pytest.mark.parametrize("case", BAD)
def test_one_error_and_nothing_written(case: str, tmp_path: Path) -> None:
    bad = BAD[case]
    folder = made(bad.form, tmp_path)
    bad.damage(folder)
    with pytest.raises(UniLabelError) as caught:
        run(folder, **bad.request)
    message = str(caught.value)
    for part in bad.said:
        assert re.search(part, message), message
    assert "\n" not in message
    assert sorted(os.listdir(tmp_path)) == ["export", "names.txt"]


HARMLESS = {
    "an outline of two points": ("coco_instances", segment({"segmentation": [[1, 1, 5, 5]]}),
        FEW_POINTS),
    "an object outside": ("coco_instances", segment({"segmentation": [[90, 90, 99, 90, 99, 99]]}),
        OUTSIDE),
    "a box without outline": ("coco_instances", segment({"segmentation": []}),
        "annotations that are a box only"),
    "an annotation of no image": ("coco_instances", segment({"image_id": 12345}),
        "annotations of images that the file does not list"),
    "a photo that nothing names": ("labelme",
        lambda f: shutil.copy(f / "train/photo 0000.jpg", f / "train/new.jpg"),
        "photos beside the others that no annotation names"),
    "a photo without mask": ("mmseg", bad_exports.gone("ann_dir/train/*.png"),
        "photos without a mask"),
    "a photo without label file": ("yolo_seg", bad_exports.gone("labels/*.txt"),
        "photos without a label file (nothing labelled)"),
    "a label file without photo": ("yolo_seg", bad_exports.gone("images/*.jpg"),
        "label files without a photo"),
    "a photo without annotation": ("labelme",
        edit("photo 0000.json", lambda d: d.update(shapes=[])),
        "photos without a labelled pixel"),
    "a line": ("labelme", edit("photo 0000.json", lambda d: d["shapes"].append(
        {"label": "road", "points": [[0, 0], [9, 9]], "shape_type": "line"})),
        "shapes of the kind line"),
    "a link to the folder above": ("labelme", lambda f: (f / "again").symlink_to(f),
        "links to a folder above themselves, not followed"),
    "a test split": ("labelme", lambda f: shutil.copytree(f / "val", f / "test"),
        "photos of the split test"),
    "a mask without photo": ("folders", lambda f: shutil.copy(f / "train/photo 0000_mask.png",
        f / "train/other_mask.png"), "masks without a photo"),
    "cancelled work": ("label_studio", lambda f: None, "cancelled annotations"),
    "what was deleted": ("cityscapes", lambda f: None, "objects marked as deleted"),
}  # fmt: skip


@pytest.mark.parametrize("case", HARMLESS)
def test_what_is_harmless_is_left_out_and_counted(case: str, tmp_path: Path) -> None:
    form, damage, reason = HARMLESS[case]
    whole = run(made(form, tmp_path / "whole"))
    folder = made(form, tmp_path)
    damage(folder)
    summary = run(folder)
    more = Counter(summary.left_out)
    if case not in ("cancelled work", "what was deleted"):  # every export of the maker has these
        more.subtract(whole.left_out)
    assert [r for r, n in more.items() if n > 0 and r.startswith(reason)], more
    content = json.loads((summary.folder / "classes.json").read_text())
    assert content["provenance"]["left_out"] == dict(summary.left_out)


def test_a_target_that_holds_something_else_is_kept(tmp_path: Path) -> None:
    folder = made("labelme", tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/thesis.txt").write_text("years of work")
    with pytest.raises(UniLabelError, match="exists and was not written by an import"):
        run(folder)
    assert (tmp_path / "data/thesis.txt").read_text() == "years of work"


def test_a_target_inside_the_export_is_refused(tmp_path: Path) -> None:
    folder = made("labelme", tmp_path)
    with pytest.raises(UniLabelError, match="would lie in the export"):
        write(prepare(folder, Request()), folder / "data")


def test_an_error_keeps_the_import_that_was_there(tmp_path: Path) -> None:
    folder = made("labelme", tmp_path)
    before = run(folder)
    listed = sorted(str(p) for p in before.folder.rglob("*"))
    bad_exports.cut("photo 0001.json")(folder)
    with pytest.raises(UniLabelError):
        run(folder)
    assert sorted(str(p) for p in before.folder.rglob("*")) == listed


def test_an_archive_has_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "export.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(UniLabelError, match=r"export\.zip is no folder; unpack the archive"):
        prepare(tmp_path / "export.zip", Request())


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = made("labelme", tmp_path)
    try:
        (folder / "train" / os.fsdecode(b"stra\xdfe.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    with pytest.raises(UniLabelError, match=r"the file name .*stra\\xdfe\.jpg.* is not UTF-8"):
        run(folder)


def test_parquet_without_pyarrow(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "sys.path.insert(0, 'tools'); import import_dataset\n"
        f"sys.exit(import_dataset.main([{str(tmp_path)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "parquet files are read with pyarrow, which is not installed: pip install pyarrow.\n"
    )


def test_parquet_without_masks(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(UniLabelError, match=r"train\.parquet has the columns text, expected"):
        prepare(tmp_path, Request())


def test_names_answer_what_255_is(tmp_path: Path) -> None:
    folder = made("folders", tmp_path)
    (folder / "classes.txt").unlink()
    for path in folder.rglob("*_mask.png"):
        ids = np.array(Image.open(path))
        Image.fromarray(np.where(ids == 2, 255, 0).astype(np.uint8)).save(path)
    with pytest.raises(UniLabelError, match='is 255 the object, or "ignore"'):
        run(folder)
    for names, values in (
        ({"0": "background", "255": "car"}, {0, 1}),
        ({"0": "road"}, {0, 255}),
    ):
        (tmp_path / "names.json").write_text(json.dumps(names))
        summary = run(folder, names="names.json")
        label = np.array(Image.open(first(summary.folder / "labels", "*.png")))
        assert set(np.unique(label).tolist()) == values
