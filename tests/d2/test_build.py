"""Datasets of a configuration, and the loaders over them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

import cv2
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from folder_datasets import SIZE, write_folder

from unilabel.config import load_config
from unilabel.core.errors import UniLabelError
from unilabel.data.build import (
    build_eval_loader,
    build_sources,
    build_train_loader,
    check_first_samples,
    class_pixel_counts,
    generate_toy_world,
    register_sources,
)
from unilabel.data.sources import DatasetSource

pytestmark = pytest.mark.d2

TOY = Path(__file__).parents[2] / "configs/toy.yaml"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [
        write_folder(tmp_path / "city", "road car sky", train=5),
        write_folder(tmp_path / "idd", "street marking", train=3, val=4, seed=1),
    ]


def config(folders: list[Path], *overrides: str) -> CfgNode:
    values = {
        "DATASETS.TOY": False,
        "DATASETS.CUSTOM": [str(f) for f in folders],
        "OUTPUT_DIR": folders[0].parent,
        "INPUT.CROP_SIZE": [16, 20],
        "INPUT.IMAGES_PER_DATASET": 2,
        "INPUT.TEST_SHORT_SIDE": 0,
        "DATALOADER.NUM_WORKERS": 0,
    }
    pairs = [str(part) for pair in values.items() for part in pair]
    return load_config(TOY, [*pairs, *overrides])


@pytest.fixture
def sources(folders: list[Path]) -> list[DatasetSource]:
    return build_sources(config(folders))


# --- which datasets ---


def test_datasets_come_in_the_order_of_the_configuration(folders: list[Path]) -> None:
    assert [s.name for s in build_sources(config(folders))] == ["city", "idd"]
    assert [s.name for s in build_sources(config(folders[::-1]))] == ["idd", "city"]
    only = build_sources(config(folders, "DATASETS.ONLY", "['idd']"))
    assert [s.name for s in only] == ["idd"]


def test_toy_world_is_generated_and_found(tmp_path: Path) -> None:
    cfg = load_config(TOY, ["OUTPUT_DIR", str(tmp_path), "DATASETS.TOY_IMAGES", "[2, 1]"])
    generate_toy_world(cfg)
    sources = build_sources(cfg)
    assert [s.name for s in sources] == ["toy_fine", "toy_city", "toy_idd", "toy_coarse"]
    assert [len(s.samples("train")) for s in sources] == [2] * 4
    check_first_samples(sources)
    overrides = ["DATASETS.TOY", "False", "DATASETS.NAMES", "['camvid11']"]
    without = load_config(TOY, ["OUTPUT_DIR", str(tmp_path / "x"), *overrides])
    generate_toy_world(without)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["DATASETS.ONLY", "['cty']"], "DATASETS.ONLY names 'cty', expected one of city, idd"),
        (["DATASETS.VARIANTS", "[['city', 'x']]"], "DATASETS.VARIANTS names 'city', expected"),
        (["DATASETS.NAMES", "['cityscape']"], "no built-in dataset 'cityscape'. Did you mean"),
    ],
)  # fmt: skip
def test_unknown_names_are_refused(folders: list[Path], overrides: list[str], message: str) -> None:
    with pytest.raises(UniLabelError, match=message):
        build_sources(config(folders, *overrides))


def test_two_datasets_of_one_name_are_refused(folders: list[Path], tmp_path: Path) -> None:
    twin = write_folder(tmp_path / "other" / "city")
    with pytest.raises(UniLabelError, match="the dataset 'city' is named twice"):
        build_sources(config([*folders, twin]))


def test_descriptions_of_a_file_replace_those_of_the_datasets(folders, tmp_path: Path) -> None:
    path = tmp_path / "texts.json"
    path.write_text('{"idd": {"street": "A way for cars.", "marking": "Paint."}}')
    described = build_sources(config(folders, "DATASETS.DESCRIPTIONS", str(path)))
    assert described[1].label_space.descriptions == ("A way for cars.", "Paint.")
    assert described[1].samples("val") == build_sources(config(folders))[1].samples("val")


def test_first_samples_are_checked_before_anything_starts(sources, folders) -> None:
    check_first_samples(sources)
    (folders[1] / "images/val/val0.png").write_bytes(b"")
    with pytest.raises(UniLabelError, match=r"idd/images/val/val0\.png cannot be decoded"):
        check_first_samples(sources)


def test_detectron2_knows_the_datasets(sources: list[DatasetSource]) -> None:
    for _ in range(2):  # a second run in one process replaces the first
        register_sources(sources)
        records = DatasetCatalog.get("city_val")
        assert [Path(r["file_name"]).name for r in records] == ["val0.png", "val1.png"]
        assert records[0]["sem_seg_file_name"].endswith("labels/val/val0.png")
        metadata = MetadataCatalog.get("idd_train")
        assert metadata.stuff_classes == ["street", "marking"]
        assert metadata.ignore_label == 255
        assert len(metadata.stuff_colors) == 2


# --- loaders ---


def test_training_batches(folders: list[Path], sources: list[DatasetSource]) -> None:
    loader = build_train_loader(config(folders), sources, 0, 7, 0, 1)
    batches = list(loader)
    assert len(batches) == len(loader) == 7
    for batch in batches:
        assert [item["dataset_name"] for item in batch] == ["city", "city", "idd", "idd"]
        assert [item["dataset_id"] for item in batch] == [0, 0, 1, 1]
        for item in batch:
            assert (item["image"].shape, item["image"].dtype) == ((3, 16, 20), torch.uint8)
            assert (item["sem_seg"].shape, item["sem_seg"].dtype) == ((16, 20), torch.uint8)
            assert (item["height"], item["width"]) == (16, 20)
            classes = item["sem_seg"].unique().tolist()
            assert set(classes) <= {0, 1, 2, 255} if item["dataset_id"] == 0 else {0, 1, 255}
    seen = Counter(item["file_name"] for b in batches[:5] for item in b if item["dataset_id"] == 0)
    assert sorted(seen.values()) == [2] * 5  # two whole epochs of five images


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_and_restarts_do_not_change_a_batch(folders, sources, workers: int) -> None:
    reference = list(build_train_loader(config(folders), sources, 0, 5, 0, 1))
    cfg = config(folders, "DATALOADER.NUM_WORKERS", str(workers))
    again = list(build_train_loader(cfg, sources, 3, 5, 0, 1))
    assert len(again) == 2
    for one, two in zip(reference[3:], again, strict=True):
        for a, b in zip(one, two, strict=True):
            assert a["file_name"] == b["file_name"]
            assert torch.equal(a["image"], b["image"])
            assert torch.equal(a["sem_seg"], b["sem_seg"])


def test_evaluation_items_are_whole_images(folders, sources) -> None:
    samples = sources[1].samples("val")
    loader = build_eval_loader(config(folders), sources[1], 1, samples, spaces=["idd", "unified"])
    items = [item for batch in loader for item in batch]
    assert [item["file_name"] for item in items] == [s.image for s in samples]
    for item, sample in zip(items, samples, strict=True):
        image = cv2.imread(sample.image)[:, :, ::-1]
        assert (item["image"].numpy().transpose(1, 2, 0) == image).all()
        assert (item["sem_seg"].numpy() == cv2.imread(sample.label, cv2.IMREAD_UNCHANGED)).all()
        assert item["spaces"] == ["idd", "unified"]
        assert item["dataset_id"] == 1


def test_resized_images_keep_labels_of_the_original_size(folders, sources) -> None:
    cfg = config(folders, "INPUT.TEST_SHORT_SIDE", "12")
    loader = build_eval_loader(cfg, sources[0], 0, sources[0].samples("val"))
    item = next(iter(loader))[0]
    assert item["image"].shape == (3, 12, 16)
    assert item["sem_seg"].shape == SIZE
    assert (item["height"], item["width"]) == SIZE
    assert "spaces" not in item


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_processes_share_the_images_without_loss_or_repetition(folders, sources, world: int):
    samples = sources[0].samples("train")
    seen = [
        item["file_name"]
        for rank in range(world)
        for batch in build_eval_loader(config(folders), sources[0], 0, samples, rank, world)
        for item in batch
    ]
    assert sorted(seen) == [s.image for s in samples]


def test_pixels_of_each_class_are_counted(sources: list[DatasetSource]) -> None:
    samples = sources[0].samples("train")
    maps = [cv2.imread(s.label, cv2.IMREAD_UNCHANGED) for s in samples]
    expected = [sum(int((m == c).sum()) for m in maps) for c in range(3)]
    assert class_pixel_counts(sources[0], samples, 10).tolist() == expected
    # a limit takes evenly spread ones: the first, third and fifth
    expected = [sum(int((m == c).sum()) for m in maps[::2]) for c in range(3)]
    assert class_pixel_counts(sources[0], samples, 3).tolist() == expected
    first = np.bincount(maps[0].ravel(), minlength=256)[:3].tolist()
    assert class_pixel_counts(sources[0], samples, 1).tolist() == first
