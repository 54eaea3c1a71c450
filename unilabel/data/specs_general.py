"""Indoor and everyday datasets: where people have their files (see ``datasets/README.md``)."""

from __future__ import annotations

from unilabel.data import label_forms as forms
from unilabel.data.dataset_files import FileTree, PatternKey
from unilabel.data.label_forms import tree
from unilabel.data.layouts import DatasetSpec, Labels, Layout, Part
from unilabel.data.split_rules import ListFile

_TEST_IS_VAL = {"train": ("train",), "val": ("test",)}
_TRAINING = {"train": ("training",), "val": ("validation",)}
_VOC_LISTS = "it comes with the VOC archive (ImageSets); unpack that again."


def _lists(*files: str, cure: str, by_folder: bool = False) -> ListFile:
    """Lists named after the split, ``{split}`` in their paths."""
    names = {s: tuple(f.format(split=s) for f in files) for s in ("train", "val")}
    return ListFile(names, cure, by_folder)


def _toolbox_key(stem: str, split: str) -> str | None:
    """SUN RGB-D in the order of its toolbox: 1..5050 is test, what follows is train."""
    number = PatternKey(r"img(?:37labels)?-(\d{6})")(stem, split)
    if number is None or (int(number) > 5050) != (split == "train"):
        return None
    return f"{int(number) - 5050:06d}" if split == "train" else number


def _sun_frames(name: str, suffix: str) -> FileTree:
    """Files in the folders of frames, which lie below a folder for each sensor."""
    return tree(
        ".",
        suffix=suffix,
        recursive=True,
        key=PatternKey(f"(.+)/{name}"),
        within="kv1|kv2|realsense|xtion",
    )


_SUNRGBD = DatasetSpec(
    parts=(Part(("sunrgbd", "SUN_RGBD", "sunrgb"), {"train": 5285, "val": 5050}),),
    layouts=(
        Layout(
            "the repack SUN_RGBD",
            tree("image/{split}", suffix=".jpg", key=PatternKey(r"img-(\d{6})")),
            (
                Labels(
                    tree(
                        "label38/{split}",
                        "label37/{split}",
                        key=PatternKey(r"(?:\d\d|img37labels-)(\d{6})"),
                    ),
                    forms.raw_ids,
                ),
            ),
            _TEST_IS_VAL,
        ),
        Layout(
            "the repack sunrgbd-meta-data",
            tree("SUNRGBD-{split}_images", suffix=".jpg", key=PatternKey(r"img-(\d{6})")),
            (Labels(tree("sunrgbd_train_test_labels", key=_toolbox_key), forms.raw_ids),),
            _TEST_IS_VAL,
        ),
        Layout(
            "the official archives",
            _sun_frames("image/[^/]+", ".jpg"),
            (
                Labels(
                    _sun_frames("label37", ".png"),
                    forms.prepared,
                    prepared_by="datasets/prepare_sunrgbd37.py",
                ),
            ),
            select=ListFile(
                {"train": ("train37.txt",), "val": ("test37.txt",)},
                "run `python datasets/prepare_sunrgbd37.py`, which writes it.",
            ),
            needs=("train37.txt",),
        ),
    ),
)
_ADE20K = DatasetSpec(
    parts=(Part(("ADEChallengeData2016", "ade", "ade20k"), {"train": 20210, "val": 2000}),),
    layouts=(
        Layout(
            "the official archive",
            tree("images/{split}", suffix=".jpg"),
            (Labels(tree("annotations/{split}"), forms.raw_ids),),
            _TRAINING,
        ),
    ),
)
_COCO = DatasetSpec(
    parts=(Part(("coco",), {"train": 118287, "val": 5000}),),
    layouts=(
        Layout(
            "the official archives",
            tree("{split}2017", "images/{split}2017", suffix=".jpg"),
            (
                Labels(
                    tree("panoptic_semseg_{split}2017"),
                    forms.prepared,
                    mark="/panoptic_semseg_",
                    prepared_by="datasets/prepare_coco_panoptic133.py",
                ),
                Labels(
                    tree("annotations/panoptic_{split}2017", "panoptic_{split}2017"),
                    forms.panoptic,
                    mark="/panoptic_",
                ),
            ),
        ),
    ),
)


def _scannet(origin: str, folder: str) -> Layout:
    """Frames below ``folder``, which is a scene's parent."""

    def frames(kind: str, suffix: str) -> FileTree:
        key = PatternKey(rf"(scene\d+_\d+)/{kind}/(\d+)", r"\1/\2")
        return tree(folder, suffix=suffix, recursive=True, key=key, within=r"scene\d+_\d+")

    lists = "scannetv2_{split}.txt"
    return Layout(
        origin,
        frames("color", ".jpg"),
        (Labels(frames("label", ".png"), forms.raw_ids),),
        select=_lists(
            lists,
            f"../{lists}",
            f"Tasks/Benchmark/{lists}",
            f"meta_data/{lists}",
            cure="fetch it from the folder Tasks/Benchmark of the ScanNet repository.",
            by_folder=True,
        ),
    )


_SCANNET = DatasetSpec(
    parts=(Part(("scannet", "scannet_frames_25k"), {"train": 19466, "val": 5436}),),
    layouts=(
        _scannet("the official archive", "scannet_frames_25k"),
        _scannet("scenes without the folder scannet_frames_25k", "."),
    ),
)


def _voc(labels: str, origin: str, lists: ListFile) -> Layout:
    return Layout(
        origin,
        tree("JPEGImages", suffix=".jpg"),
        (Labels(tree(labels), forms.raw_ids),),
        select=lists,
    )


_VOC_FOLDERS = ("VOCdevkit/VOC2012", "VOC2012", "VOCtrainval_11-May-2012/VOCdevkit/VOC2012")
_SBD_LISTS = ListFile(
    {
        "train": (
            "ImageSets/Segmentation/trainaug.txt",
            "ImageSets/Segmentation/train_aug.txt",
            "ImageSets/SegmentationAug/train_aug.txt",
        ),
        "val": ("ImageSets/Segmentation/val.txt",),
    },
    "it comes with the augmented labels (SBD), not with VOC.",
)
_VOC = DatasetSpec(
    parts=(Part(_VOC_FOLDERS, {"train": 1464, "val": 1449}),),
    layouts=(
        _voc(
            "SegmentationClass",
            "the official archive",
            _lists("ImageSets/Segmentation/{split}.txt", cure=_VOC_LISTS),
        ),
    ),
    variants={
        "aug": {
            "parts": (Part(_VOC_FOLDERS, {"train": 10582, "val": 1449}),),
            "layouts": (_voc("SegmentationClassAug", "MMSegmentation", _SBD_LISTS),),
        }
    },
)

_CONTEXT_LABELS = (
    Labels(tree("SegmentationClassContext"), forms.context_png, mark="/SegmentationClassContext/"),
    Labels(tree("trainval", suffix=".mat"), forms.mat, mark="/trainval/"),
)
_CONTEXT = DatasetSpec(
    parts=(
        Part(
            ("VOCdevkit/VOC2010", "VOC2010", "VOCtrainval_03-May-2010/VOCdevkit/VOC2010"),
            {"train": 4998, "val": 5105},
        ),
    ),
    layouts=(
        Layout(
            "MMSegmentation",
            tree("JPEGImages", suffix=".jpg"),
            _CONTEXT_LABELS,
            select=_lists("ImageSets/SegmentationContext/{split}.txt", cure=_VOC_LISTS),
            needs=("ImageSets/SegmentationContext/train.txt",),
            counts={"train": 4996, "val": 5104},
        ),
        Layout(
            "the official archives",
            tree("JPEGImages", suffix=".jpg"),
            _CONTEXT_LABELS,
            select=_lists("ImageSets/Main/{split}.txt", cure=_VOC_LISTS),
        ),
    ),
)

GENERAL: dict[str, DatasetSpec] = {
    "sunrgbd37": _SUNRGBD,
    "ade20k150": _ADE20K,
    "coco_panoptic133": _COCO,
    "scannet20": _SCANNET,
    "voc20": _VOC,
    "context59": _CONTEXT,
}
