"""The other forms, read back by the importers of such exports."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("detectron2")

from unilabel.core.io import write_json
from unilabel.core.label_space import default_color
from unilabel.core.synthetic import TOY_DATASETS, write_toy_world
from unilabel.data.folders import folder_source
from unilabel.data.sources import DatasetSource
from unilabel.harmonize import exports
from unilabel.harmonize.label_png import decode, encode
from unilabel.harmonize.labelling import write_bytes
from unilabel.harmonize.target import Target
from unilabel.importers.links import place_file
from unilabel.importers.prepare import Request, prepare
from unilabel.importers.write import write

pytestmark = pytest.mark.d2
ROOT = Path(__file__).parents[2]
FORMS = {"coco": "coco_panoptic", "voc": "voc", "yolo": "yolo"}


@pytest.fixture(scope="module")
def merged(toy_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import harmonize
    finally:
        sys.path.pop(0)
    root = tmp_path_factory.mktemp("world")
    write_toy_world(root, 5, 3, 2)
    folders = [str(root / name) for name in list(TOY_DATASETS)[:2]]
    base = ["--weights", str(toy_weights), "--output", str(root / "m"), "--workers", "1"]
    assert harmonize.main([*base, "--folders", *folders, "--also", *FORMS]) == 0
    return root / "m"


def named(source: DatasetSource, split: str) -> dict[str, np.ndarray]:
    """Stem of a photo -> map of the names of its labels, "" where there is none."""
    names = np.array([*source.label_space.class_names, ""])
    found = {}
    for sample in source.samples(split):
        ids = source.decode_label(sample.label).astype(int)
        found[Path(sample.image).stem] = names[np.where(ids == 255, -1, ids)]
    return found


@pytest.mark.parametrize(("folder", "agreement"), [("coco", 1.0), ("voc", 1.0), ("yolo", 0.985)])
def test_read_back_by_the_importer(
    merged: Path, folder: str, agreement: float, tmp_path: Path
) -> None:
    names = merged / "voc/labels.txt" if folder == "voc" else None
    prepared = prepare(merged / folder, Request(names=names, name="back", smaller_on_top=True))
    assert FORMS[folder] in prepared.belief().replace(" ", "_").lower() or folder == "yolo"
    back = folder_source(str(write(prepared, tmp_path / "back").folder))
    source = folder_source(str(merged))
    for split in ("train", "val"):
        ours, theirs = named(source, split), named(back, split)
        assert ours.keys() == theirs.keys()
        for stem, labels in ours.items():
            known = (labels != "") if folder == "yolo" else np.ones_like(labels, bool)
            assert (labels == theirs[stem])[known].mean() >= agreement


def test_sixteen_bits_all_the_way(tmp_path: Path) -> None:
    """300 labels: the folder's own maps, and COCO's numbers; a training names its limit."""
    names = tuple(f"label {i}" for i in range(300))
    target = Target("unified", names, tuple(map(default_color, range(300))), (), None)
    values = np.arange(-1, 299, dtype=np.int16).reshape(15, 20)
    root = tmp_path / "wide"
    write_bytes(root / "labels/train/a.png", encode(values, target))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((15, 20, 3), np.uint8))
    place_file(tmp_path / "a.png", root / "images/train/a.png", "copy")
    write_json(root / "classes.json", target.to_dict("wide"))
    write_json(root / "harmonize.json", {"settings": {"options": {"link": "copy"}}})
    assert decode(root / "labels/train/a.png", target.ignore).tolist() == values.tolist()
    exports.export(root, ["coco", "yolo"])
    rgb = cv2.imread(str(root / "coco/annotations/panoptic_train/a.png"))[..., ::-1].astype(int)
    assert (rgb[..., 0] + 256 * rgb[..., 1] == values + 1).all()
    with pytest.raises(exports.UniLabelError, match="--also voc: 300 labels, at most 253"):
        exports.export(root, ["voc"])
    with pytest.raises(exports.UniLabelError, match="has 300 classes, expected 1 to 254"):
        folder_source(str(root))


def test_too_many_labels_for_voc(merged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MAX_CLASSES", 19)
    with pytest.raises(exports.UniLabelError, match="--also voc: 19 labels"):
        exports.export(merged, ["voc"])
