"""The exports of ``../shared/cases``, imported and compared with their label maps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from importing import train

from unilabel.core.label_space import LabelSpace
from unilabel.importers.prepare import Request, prepare
from unilabel.importers.write import write

SHARED = Path(__file__).resolve().parents[3] / "shared"
MAKER = SHARED / "cases" / "make_cases.py"
SOURCE = SHARED / "data" / "mini" / "camvid11"
pytestmark = pytest.mark.skipif(
    not (MAKER.is_file() and SOURCE.is_dir()), reason="the cases are not beside the repository"
)
# form that is found; whether masks are kept pixel by pixel; class of pixels that nobody labelled
CASES = {
    "coco_instances": ("coco_instances", False, None),
    "coco_panoptic": ("coco_panoptic", True, None),
    "coco_panoptic_minimal": ("coco_panoptic", True, None),
    "cvat_mask": ("cvat_masks", True, "background"),
    "voc_palette": ("voc", True, None),
    "labelme": ("labelme", False, None),
    "roboflow_masks": ("roboflow_masks", True, "background"),
    "yolo_seg": ("yolo_seg", False, None),
    "supervisely": ("supervisely", False, None),
    "mmseg": ("mmseg", True, None),
    "hf_folders": ("hf_folders", True, None),
    "ultralytics_masks": ("ultralytics_masks", True, None),
}
PAIRS = list(zip(list(CASES)[::2], list(CASES)[1::2], strict=True))
NAMELESS = {"voc_palette", "mmseg", "ultralytics_masks"}
COLORED = {"cvat_mask", "voc_palette", "supervisely"}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, str(MAKER), str(folder)], check=True, capture_output=True)
    return folder / "exports"


def test_every_export_is_known(cases: Path) -> None:
    assert {p.name for p in cases.iterdir()} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_export_gives_the_label_maps_it_was_made_of(cases: Path, case: str, tmp_path: Path) -> None:
    form, exact, background = CASES[case]
    truth = LabelSpace.from_json(SOURCE / "classes.json")
    names = None
    if case in NAMELESS:
        names = tmp_path / "names.txt"
        names.write_text("\n".join(truth.class_names), encoding="utf-8")
    prepared = prepare(cases / case, Request(names=names))
    assert prepared.form.name == form
    summary = write(prepared, tmp_path / "data")
    space = LabelSpace.from_json(summary.folder / "classes.json")
    extra = (background,) if background else ()
    assert sorted(space.class_names) == sorted((*extra, *truth.class_names))
    if case in COLORED:
        for name, color in zip(space.class_names, space.colors, strict=True):
            assert color == (0, 0, 0) if name == background else truth.colors[truth.index(name)]
    counts = {"train": 6, "val": 2} if case != "supervisely" else {"train": 6}
    assert summary.counts == counts
    compare(summary.folder, space, truth, exact, background)


def compare(
    folder: Path, space: LabelSpace, truth: LabelSpace, exact: bool, background: str | None
) -> None:
    """Pixel-equal, or IoU of .97 and more for every class on the labelled pixels."""
    to_own = np.full(256, 255, np.uint8)
    for number, name in enumerate(truth.class_names):
        to_own[number] = space.index(name)
    if background:
        to_own[255] = space.index(background)
    both = np.zeros(256, np.int64)
    either = np.zeros(256, np.int64)
    for path in sorted((folder / "labels").rglob("*.png")):
        stem = path.stem.split("_png.rf.")[0]
        split = path.parent.name
        original = cv2.imread(str(SOURCE / "labels" / split / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        wanted, got = to_own[original], cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        photo = next((folder / "images" / split).glob(f"{path.stem}.*"))
        assert photo.read_bytes() == (SOURCE / "images" / split / f"{stem}.jpg").read_bytes()
        if exact:
            np.testing.assert_array_equal(got, wanted)
        labelled = original != 255
        for number in range(space.num_classes):
            a, b = (got == number) & labelled, (wanted == number) & labelled
            both[number] += np.count_nonzero(a & b)
            either[number] += np.count_nonzero(a | b)
    present = either > 0
    worst = (both[present] / either[present]).min()
    assert worst >= 0.97, f"IoU {worst}"


def test_the_answer_of_the_tool(cases: Path, tmp_path: Path) -> None:
    tool = Path(__file__).parents[2] / "tools" / "import_dataset.py"
    done = subprocess.run(
        [sys.executable, str(tool), str(cases / "cvat_mask"), str(tmp_path / "mine")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("CVAT masks: 12 labels, 8 photos, splits train (6) / val (2)\n")
    assert json.loads((tmp_path / "mine/classes.json").read_text())["name"] == "mine"


@pytest.mark.d2
@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_training_on_two_cases(cases: Path, pair: tuple[str, str], tmp_path: Path) -> None:
    """No file is edited; a mask form without names gets those of its values."""
    pytest.importorskip("detectron2")
    train([cases / case for case in pair], tmp_path / "run")
    space = (tmp_path / "run/label_space.json").read_text()
    assert all(f'"{case}"' in space for case in pair)  # one of them has no photo to evaluate on
