"""Street datasets: where people have their files (``datasets/README.md`` draws the folders)."""

from __future__ import annotations

from dataclasses import replace

from unilabel.data import label_forms as forms
from unilabel.data.dataset_files import PatternKey
from unilabel.data.label_forms import tree
from unilabel.data.layouts import DatasetSpec, Labels, Layout, Part
from unilabel.data.split_rules import (
    WILDDASH_KEEP_BENCHMARK,
    HeldOut,
    camvid_split,
    check_fastai_codes,
    fastai_split,
    kitti_split,
    wilddash_split,
    wilddash_split_all,
)

_CITYSCAPES = DatasetSpec(
    parts=(Part(("cityscapes",), {"train": 2975, "val": 500}),),
    layouts=(
        Layout(
            "the official archives",
            tree(
                "leftImg8bit/{split}",
                "leftImg8bit_trainvaltest/leftImg8bit/{split}",
                suffix="_leftImg8bit.png",
                recursive=True,
            ),
            (
                Labels(
                    tree(
                        "gtFine/{split}",
                        "gtFine_trainvaltest/gtFine/{split}",
                        suffix="_gtFine_labelIds.png",
                        recursive=True,
                    ),
                    forms.raw_ids,
                ),
            ),
        ),
    ),
)
_MAPILLARY = DatasetSpec(
    parts=(
        Part(
            (
                "mapillary_vistas",
                "mapillary-vistas-dataset_public_v1.2",
                "mapillary-vistas-dataset_public_v2.0",
                "mapillary",
                "mvd",
            ),
            {"train": 18000, "val": 2000},
        ),
    ),
    layouts=(
        Layout(
            "the official archives",
            tree("{split}/images", suffix=".jpg"),
            (Labels(tree("{split}/v1.2/labels", "{split}/labels"), forms.raw_ids),),
            {"train": ("training",), "val": ("validation",)},
        ),
    ),
)
_BDD100K = DatasetSpec(
    parts=(Part(("bdd100k", "bdd100k_seg"), {"train": 7000, "val": 1000}),),
    layouts=(
        Layout(
            "the official archives",
            tree("images/10k/{split}", suffix=".jpg"),
            (Labels(tree("labels/sem_seg/masks/{split}"), forms.raw_ids),),
        ),
        Layout(
            "the older package bdd100k_seg",
            tree("seg/images/{split}", suffix=".jpg"),
            (Labels(tree("seg/labels/{split}", suffix="_train_id.png"), forms.raw_ids),),
        ),
    ),
)
_IDD_PART_1 = Part(("IDD", "IDD_Segmentation"), {"train": 6993, "val": 981})
_IDD_PART_2 = Part(("idd20kII",), {"train": 7034, "val": 1055})
_IDD = DatasetSpec(
    parts=(_IDD_PART_1, _IDD_PART_2),
    layouts=(
        Layout(
            "the official archives",
            tree(
                "leftImg8bit/{split}",
                suffix=("_leftImg8bit.png", "_leftImg8bit.jpg"),
                recursive=True,
            ),
            (
                Labels(
                    tree("gtFine/{split}", suffix="_gtFine_labellevel3Ids.png", recursive=True),
                    forms.raw_ids,
                    mark="_gtFine_labellevel3Ids.png",
                    prepared_by="datasets/prepare_idd26.py",
                ),
                Labels(
                    tree("gtFine/{split}", suffix="_gtFine_polygons.json", recursive=True),
                    forms.polygons,
                    mark="_gtFine_polygons.json",
                ),
            ),
        ),
    ),
    variants={"part_1": {"parts": (_IDD_PART_1,)}},
)
_WILDDASH_LAYOUT = Layout(
    "the official archives",
    tree("images", suffix=".jpg"),
    (
        Labels(
            tree("panoptic_semseg"),
            forms.prepared,
            mark="/panoptic_semseg/",
            prepared_by="datasets/prepare_wilddash2.py",
            refuses=("with_void",),  # they have folded potholes into the road
        ),
        Labels(tree("panoptic"), forms.panoptic, mark="/panoptic/"),
    ),
    select=wilddash_split,
)
_WILDDASH_FOLDERS = ("wilddash", "wd_public_v2p0", "wd_public_02")
_WILDDASH = DatasetSpec(
    parts=(Part(_WILDDASH_FOLDERS, {"all": 4220}),),
    layouts=(_WILDDASH_LAYOUT,),
    variants={
        WILDDASH_KEEP_BENCHMARK: {
            "parts": (Part(_WILDDASH_FOLDERS, {"all": 4256}),),
            "layouts": (replace(_WILDDASH_LAYOUT, select=wilddash_split_all),),
        },
    },
)
_KITTI = DatasetSpec(
    parts=(Part(("kitti", "data_semantics"), {"train": 150, "val": 50}),),
    layouts=(
        Layout(
            "the official archive",
            tree("training/image_2", key=PatternKey(r"(\d{6}_10)")),
            (Labels(tree("training/semantic", key=PatternKey(r"(\d{6}_10)")), forms.raw_ids),),
            select=kitti_split,
        ),
    ),
)

_EVERY_FOLDER = ("train", "val", "test")
_CAMVID_OFFICIAL = Layout(
    "the official archives",
    tree("701_StillsRaw_full"),
    (Labels(tree("LabeledApproved_full", "Labels32-RGB", suffix="_L.png"), forms.colors),),
    select=camvid_split,
)
_CAMVID_KAGGLE = Layout(
    "Kaggle's copy",
    tree("{split}"),
    (Labels(tree("{split}_labels", suffix="_L.png"), forms.colors),),
    {"train": _EVERY_FOLDER, "val": _EVERY_FOLDER},  # its own test folder has 232 frames
    select=camvid_split,
)
_CAMVID_SEGNET = Layout(
    "the SegNet tutorial",
    tree("{split}"),
    (Labels(tree("{split}annot"), forms.segnet_ids),),
    {"train": ("train", "val"), "val": ("test",)},
    refuses=("mseg",),
)
_CAMVID_FASTAI = Layout(
    "fast.ai's copy",
    tree("images"),
    (Labels(tree("labels", suffix="_P.png"), forms.alphabet_ids),),
    select=fastai_split,
    needs=("codes.txt",),
)
_TEST_232 = HeldOut(
    "test.txt",
    "take it from the paper's repository (AutoUniSeg, auto_uni_seg/datasets/CamVid/test.txt), or "
    "use Kaggle's copy of the dataset, whose folder test/ has 232 frames.",
)
_CAMVID = DatasetSpec(
    parts=(Part(("camvid",), {"train": 468, "val": 233}),),
    layouts=(_CAMVID_OFFICIAL, _CAMVID_KAGGLE, _CAMVID_SEGNET, _CAMVID_FASTAI),
    variants={
        "test_232": {
            "parts": (Part(("camvid",), {"train": 469, "val": 232}),),
            "layouts": (
                replace(_CAMVID_OFFICIAL, select=_TEST_232),
                replace(
                    _CAMVID_KAGGLE,
                    splits={"train": ("train", "val"), "val": ("test",)},
                    select=None,
                ),
                replace(_CAMVID_FASTAI, select=replace(_TEST_232, first=check_fastai_codes)),
            ),
        }
    },
)
_VIPER = DatasetSpec(
    parts=(Part(("viper",), {"train": 13367, "val": 4959}),),
    layouts=(
        Layout(
            "the official archives",
            tree("{split}/img", suffix=(".png", ".jpg"), recursive=True, prefer=True),
            (Labels(tree("{split}/cls", recursive=True), forms.raw_ids),),
        ),
    ),
)

STREET: dict[str, DatasetSpec] = {
    "cityscapes": _CITYSCAPES,
    "mapillary": _MAPILLARY,
    "bdd100k": _BDD100K,
    "idd26": _IDD,
    "wilddash2": _WILDDASH,
    "kitti": _KITTI,
    "camvid11": _CAMVID,
    "viper": _VIPER,
}
