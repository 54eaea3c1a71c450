"""Where the archives of the published datasets put their files, and in which form labels are.

``datasets/README.md`` draws these folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unilabel.core.label_space import IGNORE
from unilabel.data.dataset_files import FileTree, PatternKey, SplitRule
from unilabel.data.label_decoders import (
    ColorDecoder,
    IdDecoder,
    MatDecoder,
    PanopticDecoder,
    PolygonDecoder,
)
from unilabel.data.raw_labels import RawLabels
from unilabel.data.split_rules import (
    WILDDASH_KEEP_BENCHMARK,
    ListFile,
    camvid_split,
    kitti_split,
    wilddash_split,
    wilddash_split_all,
)

Decoder = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Labels:
    """One way in which a dataset's labels lie on disk.

    Args:
        tree: the files.
        decoder: (table, dataset name) -> decoder.
        mark: text that only the paths of these files contain, to choose the decoder by.
        prepared_by: the script that writes these files from the official ones, if any.
    """

    tree: FileTree
    decoder: Callable[[RawLabels, str], Decoder]
    mark: str = ""
    prepared_by: str = ""


@dataclass(frozen=True)
class DatasetSpec:
    """What a built-in dataset is, apart from its classes.

    Args:
        folders: names of its folder below the root; the first that exists is used.
        images: the image files.
        labels: forms of the labels; the first of which there are files is used.
        folder_splits: what train and val are called in folder names, if otherwise.
        counts: official number of images; key "all" where there is no official split.
        select: which files belong to a split; None: what the split's folders hold.
        variants: variants that change files or splits, as changes of this object.
    """

    folders: tuple[str, ...]
    images: FileTree
    labels: tuple[Labels, ...]
    counts: Mapping[str, int]
    folder_splits: Mapping[str, str] = field(default_factory=dict)
    select: SplitRule | None = None
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _ids(table: RawLabels, name: str) -> Decoder:
    return IdDecoder(table.ids, name)


def _prepared(table: RawLabels, name: str) -> Decoder:
    """Class ids of the dataset without a variant, as the preparation scripts write them."""
    return IdDecoder({**dict(enumerate(table.base_classes)), IGNORE: IGNORE}, name)


def _context_png(table: RawLabels, name: str) -> Decoder:
    """MMSegmentation's masks: 0 is background, 1..59 the classes in their order."""
    background = table.ids[0]
    return IdDecoder({0: background, **{i + 1: c for i, c in enumerate(table.base_classes)}}, name)


def _panoptic(table: RawLabels, name: str) -> Decoder:
    return PanopticDecoder(table.ids, name)


def _colors(table: RawLabels, name: str) -> Decoder:
    return ColorDecoder(table.colors, name)


def _polygons(table: RawLabels, name: str) -> Decoder:
    return PolygonDecoder(table.names, name)


def _mat(table: RawLabels, name: str) -> Decoder:
    return MatDecoder(table.ids, name)


def _toolbox_key(stem: str, split: str) -> str | None:
    """SUN RGB-D in the order of its toolbox: 1..5050 is test, what follows is train."""
    number = PatternKey(r"img-(\d{6})")(stem, split)
    if number is None or (int(number) > 5050) != (split == "train"):
        return None
    return f"{int(number) - 5050:06d}" if split == "train" else number


def _tree(*folders: str, suffix: str | tuple[str, ...] = ".png", **options: Any) -> FileTree:
    return FileTree(folders, (suffix,) if isinstance(suffix, str) else suffix, **options)


_VOC_LISTS = "it comes with the VOC archive (ImageSets); unpack that again."
SPECS: dict[str, DatasetSpec] = {
    "cityscapes": DatasetSpec(
        folders=("cityscapes",),
        images=_tree("leftImg8bit/{split}", suffix="_leftImg8bit.png", recursive=True),
        labels=(
            Labels(_tree("gtFine/{split}", suffix="_gtFine_labelIds.png", recursive=True), _ids),
        ),
        counts={"train": 2975, "val": 500},
    ),
    "mapillary": DatasetSpec(
        folders=("mapillary_vistas", "mapillary-vistas-dataset_public_v1.2"),
        images=_tree("{split}/images", suffix=".jpg"),
        labels=(Labels(_tree("{split}/v1.2/labels", "{split}/labels"), _ids),),
        counts={"train": 18000, "val": 2000},
        folder_splits={"train": "training", "val": "validation"},
    ),
    "sunrgbd37": DatasetSpec(
        folders=("sunrgbd", "SUNRGBD"),
        images=_tree(
            "image/{split}",
            "SUNRGBD-{split}_images",
            suffix=".jpg",
            key=PatternKey(r"img-(\d{6})"),
        ),
        labels=(
            Labels(
                _tree("label38/{split}", "label37/{split}", key=PatternKey(r"\d\d(\d{6})")), _ids
            ),
            Labels(_tree("sunrgbd_train_test_labels", key=_toolbox_key), _ids),
        ),
        counts={"train": 5285, "val": 5050},
        folder_splits={"train": "train", "val": "test"},
    ),
    "bdd100k": DatasetSpec(
        folders=("bdd100k",),
        images=_tree("images/10k/{split}", "seg/images/{split}", suffix=".jpg"),
        labels=(
            Labels(_tree("labels/sem_seg/masks/{split}"), _ids),
            Labels(_tree("seg/labels/{split}", suffix="_train_id.png"), _ids),
        ),
        counts={"train": 7000, "val": 1000},
    ),
    "idd26": DatasetSpec(
        folders=("IDD", "IDD_Segmentation"),
        images=_tree(
            "leftImg8bit/{split}",
            suffix=("_leftImg8bit.png", "_leftImg8bit.jpg"),
            recursive=True,
        ),
        labels=(
            Labels(
                _tree("gtFine/{split}", suffix="_gtFine_labellevel3Ids.png", recursive=True),
                _ids,
                mark="_gtFine_labellevel3Ids.png",
                prepared_by="datasets/prepare_idd26.py",
            ),
            Labels(
                _tree("gtFine/{split}", suffix="_gtFine_polygons.json", recursive=True),
                _polygons,
                mark="_gtFine_polygons.json",
            ),
        ),
        counts={"train": 6993, "val": 981},
    ),
    "ade20k150": DatasetSpec(
        folders=("ADEChallengeData2016",),
        images=_tree("images/{split}", suffix=".jpg"),
        labels=(Labels(_tree("annotations/{split}"), _ids),),
        counts={"train": 20210, "val": 2000},
        folder_splits={"train": "training", "val": "validation"},
    ),
    "coco_panoptic133": DatasetSpec(
        folders=("coco",),
        images=_tree("{split}2017", "images/{split}2017", suffix=".jpg"),
        labels=(
            Labels(
                _tree("panoptic_semseg_{split}2017"),
                _prepared,
                mark="/panoptic_semseg_",
                prepared_by="datasets/prepare_coco_panoptic133.py",
            ),
            Labels(_tree("annotations/panoptic_{split}2017"), _panoptic, mark="/panoptic_"),
        ),
        counts={"train": 118287, "val": 5000},
    ),
    "wilddash2": DatasetSpec(
        folders=("wilddash", "wd_public_v2p0"),
        images=_tree("images", suffix=".jpg"),
        labels=(
            Labels(
                _tree("panoptic_semseg"),
                _prepared,
                mark="/panoptic_semseg/",
                prepared_by="datasets/prepare_wilddash2.py",
            ),
            Labels(_tree("panoptic"), _panoptic, mark="/panoptic/"),
        ),
        counts={"all": 4220},
        select=wilddash_split,
        variants={
            WILDDASH_KEEP_BENCHMARK: {"select": wilddash_split_all, "counts": {"all": 4256}},
        },
    ),
    "kitti": DatasetSpec(
        folders=("kitti", "data_semantics"),
        images=_tree("training/image_2", key=PatternKey(r"(\d{6}_10)")),
        labels=(Labels(_tree("training/semantic", key=PatternKey(r"(\d{6}_10)")), _ids),),
        counts={"train": 150, "val": 50},
        select=kitti_split,
    ),
    "camvid11": DatasetSpec(
        folders=("camvid", "CamVid"),
        images=_tree("701_StillsRaw_full"),
        labels=(
            Labels(
                _tree("LabeledApproved_full", "Labels32-RGB", suffix="_L.png"),
                _colors,
            ),
        ),
        counts={"train": 468, "val": 233},
        select=camvid_split,
    ),
    "scannet20": DatasetSpec(
        folders=("scannet",),
        images=_tree(
            "scannet_frames_25k",
            suffix=".jpg",
            recursive=True,
            key=PatternKey(r"(scene\d+_\d+)/color/(\d+)", r"\1/\2"),
        ),
        labels=(
            Labels(
                _tree(
                    "scannet_frames_25k",
                    recursive=True,
                    key=PatternKey(r"(scene\d+_\d+)/label/(\d+)", r"\1/\2"),
                ),
                _ids,
            ),
        ),
        counts={"train": 19466, "val": 5436},
        select=ListFile(
            {s: (f"scannetv2_{s}.txt",) for s in ("train", "val")},
            "fetch it from the folder Tasks/Benchmark of the ScanNet repository.",
            by_folder=True,
        ),
    ),
    "voc20": DatasetSpec(
        folders=("VOCdevkit/VOC2012", "VOC2012"),
        images=_tree("JPEGImages", suffix=".jpg"),
        labels=(Labels(_tree("SegmentationClass"), _ids),),
        counts={"train": 1464, "val": 1449},
        select=ListFile(
            {s: (f"ImageSets/Segmentation/{s}.txt",) for s in ("train", "val")}, _VOC_LISTS
        ),
        variants={
            "aug": {
                "labels": (Labels(_tree("SegmentationClassAug"), _ids),),
                "counts": {"train": 10582, "val": 1449},
                "select": ListFile(
                    {
                        "train": (
                            "ImageSets/Segmentation/trainaug.txt",
                            "ImageSets/Segmentation/train_aug.txt",
                        ),
                        "val": ("ImageSets/Segmentation/val.txt",),
                    },
                    "it comes with the augmented labels (SBD), not with VOC.",
                ),
            }
        },
    ),
    "context59": DatasetSpec(
        folders=("VOCdevkit/VOC2010", "VOC2010"),
        images=_tree("JPEGImages", suffix=".jpg"),
        labels=(
            Labels(
                _tree("SegmentationClassContext"), _context_png, mark="/SegmentationClassContext/"
            ),
            Labels(
                _tree("trainval", suffix=".mat"),
                _mat,
                mark="/trainval/",
            ),
        ),
        counts={"train": 4998, "val": 5105},
        select=ListFile(
            {
                s: (f"ImageSets/SegmentationContext/{s}.txt", f"ImageSets/Main/{s}.txt")
                for s in ("train", "val")
            },
            _VOC_LISTS,
        ),
    ),
    "viper": DatasetSpec(
        folders=("viper",),
        images=_tree("{split}/img", suffix=(".jpg", ".png"), recursive=True),
        labels=(Labels(_tree("{split}/cls", recursive=True), _ids),),
        counts={"train": 13367, "val": 4959},
    ),
}
