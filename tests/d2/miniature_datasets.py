"""Write a small copy of every built-in dataset: official folders, file names and label encodings.

The label values come from ``unilabel/label_spaces/*.json``; nothing of the loaders is used.
As a script it writes datasets for a trial run::

    python tests/d2/miniature_datasets.py ROOT [--datasets cityscapes idd26 ...] [--train N]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from miniature_files import (
    Miniature,
    Planted,
    Scene,
    panoptic,
    save,
    save_ids,
    save_palette,
    save_polygons,
    write_lines,
)
from scipy.io import savemat

PAPER_DATASETS = (
    "cityscapes",
    "mapillary",
    "sunrgbd37",
    "bdd100k",
    "idd26",
    "ade20k150",
    "coco_panoptic133",
)
Splits = dict[str, list[Planted]]
Counts = dict[str, int]
FOLDERS = {"train": "training", "val": "validation"}


def _write(
    mini: Miniature,
    root: Path,
    counts: Counts,
    image: str,
    label: str,
    key: Callable[[str, int], str],
    store: Callable[[Path, Scene], None] = save_ids,
) -> Splits:
    """Images and labels at ``image`` and ``label``, where ``{}`` is ``key(split, number)``."""
    planted: Splits = {split: [] for split in counts}
    for split, count in counts.items():
        for number in range(count):
            name, scene = key(split, number), mini.scene()
            label_path = root / label.format(name)
            image_path = save(root / image.format(name), mini.photo(scene))
            store(label_path, scene)
            planted[split].append(Planted(image_path, label_path, scene.ids))
    return planted


def cityscapes(mini: Miniature, root: Path, counts: Counts) -> Splits:
    def key(split: str, n: int) -> str:
        city = ("aachen", "bochum")[n % 2] if split == "train" else "frankfurt"
        return f"{split}/{city}/{city}_{n:06d}_000019"

    def store(path: Path, scene: Scene) -> None:
        save_ids(path, scene)
        stem = str(path).removesuffix("labelIds.png")
        save(Path(f"{stem}instanceIds.png"), scene.paint(scene.values, dtype=np.uint16))
        save(Path(f"{stem}color.png"), mini.photo(scene))
        Path(f"{stem}polygons.json").write_text("{}", encoding="utf-8")

    image = "cityscapes/leftImg8bit/{}_leftImg8bit.png"
    return _write(mini, root, counts, image, "cityscapes/gtFine/{}_gtFine_labelIds.png", key, store)


def mapillary(mini: Miniature, root: Path, counts: Counts) -> Splits:
    base = root / "mapillary_vistas"
    planted: Splits = {}
    for split, count in counts.items():
        folder = base / FOLDERS[split]
        images, labels = "images/{}.jpg", "v1.2/labels/{}.png"
        planted |= _write(
            *(mini, folder, {split: count}, images, labels),
            lambda split, n: f"{'_-Ab'[n % 4]}{n:021d}",
            lambda path, scene: save_palette(path, scene, [*mini.colors, (0, 0, 0)]),
        )
    return planted


def sunrgbd37(mini: Miniature, root: Path, counts: Counts) -> Splits:
    planted: Splits = {}
    for split, count in counts.items():
        folder = {"train": "train", "val": "test"}[split]
        images, labels = f"image/{folder}/img-{{}}.jpg", f"label38/{folder}/00{{}}.png"
        planted |= _write(
            *(mini, root / "sunrgbd", {split: count}, images, labels),
            lambda split, n: f"{n + 1:06d}",
        )
    return planted


def bdd100k(mini: Miniature, root: Path, counts: Counts) -> Splits:
    images, labels = "bdd100k/images/10k/{}.jpg", "bdd100k/labels/sem_seg/masks/{}.png"
    return _write(
        mini, root, counts, images, labels, lambda split, n: f"{split}/0004a4c0-d4dff0{n:02x}"
    )


def idd26(mini: Miniature, root: Path, counts: Counts) -> Splits:
    images, labels = "IDD/leftImg8bit/{}_leftImg8bit.png", "IDD/gtFine/{}_gtFine_polygons.json"
    return _write(
        mini,
        root,
        counts,
        images,
        labels,
        lambda split, n: f"{split}/{n % 2}/{n:06d}",
        save_polygons,
    )


def ade20k150(mini: Miniature, root: Path, counts: Counts) -> Splits:
    images, labels = "images/{}.jpg", "annotations/{}.png"
    return _write(
        *(mini, root / "ADEChallengeData2016", counts, images, labels),
        lambda split, n: f"{FOLDERS[split]}/ADE_{split}_{n + 1:08d}",
    )


def coco_panoptic133(mini: Miniature, root: Path, counts: Counts) -> Splits:
    notes: dict[str, list[dict[str, Any]]] = {"panoptic_train2017": [], "panoptic_val2017": []}

    def store(path: Path, scene: Scene) -> None:
        notes[path.parent.name].append(panoptic(path, scene, mini.rng))

    images, labels = "coco/{}.jpg", "coco/annotations/panoptic_{}.png"
    planted = _write(
        *(mini, root, counts, images, labels),
        lambda split, n: f"{split}2017/{9 + 16 * n:012d}",
        store,
    )
    for name, entries in notes.items():
        document = {"images": [], "annotations": entries, "categories": []}
        (root / f"coco/annotations/{name}.json").write_text(json.dumps(document), "utf-8")
    return planted


def wilddash2(mini: Miniature, root: Path, counts: Counts) -> Splits:
    countries = {"train": ("at", "de", "us"), "val": ("it", "pl", "jp")}
    shared = ("ae0013_100000", "zw0012_100000")  # public, and input of the benchmark
    notes: list[dict[str, Any]] = []

    def key(split: str, n: int) -> str:
        return shared[n] if split == "shared" else f"{countries[split][n % 3]}{n:04d}_100000"

    def store(path: Path, scene: Scene) -> None:
        notes.append(panoptic(path, scene, mini.rng))

    images, labels = "wilddash/images/{}.jpg", "wilddash/panoptic/{}.png"
    planted = _write(mini, root, {**counts, "shared": 2}, images, labels, key, store)
    (root / "wilddash/panoptic.json").write_text(json.dumps({"annotations": notes}), "utf-8")
    for name in (*shared, "wd0000_100000"):
        save(root / f"wilddash/test/images/{name}.jpg", np.zeros((8, 8, 3), np.uint8))
    return planted


def kitti(mini: Miniature, root: Path, counts: Counts) -> Splits:
    images, labels = "kitti/training/image_2/{}_10.png", "kitti/training/semantic/{}_10.png"
    return _write(
        mini, root, counts, images, labels, lambda split, n: f"{n + 150 * (split == 'val'):06d}"
    )


def camvid11(mini: Miniature, root: Path, counts: Counts) -> Splits:
    names = {
        "train": ["0001TP_006690", "0006R0_f00930", "0016E5_07959", "0001TP_008520"],
        "val": ["Seq05VD_f00000", "0001TP_008550"],
    }
    more = {"train": "0006R0_f", "val": "Seq05VD_f"}
    images, labels = "camvid/701_StillsRaw_full/{}.png", "camvid/LabeledApproved_full/{}_L.png"
    return _write(
        *(mini, root, counts, images, labels),
        lambda split, n: (names[split] + [f"{more[split]}{i:05d}" for i in range(4, n + 1)])[n],
        lambda path, scene: save(path, scene.paint(scene.values, channels=3)),
    )


def scannet20(mini: Miniature, root: Path, counts: Counts) -> Splits:
    scenes = {"train": ["scene0000_00", "scene0001_00"], "val": ["scene0010_00", "scene0011_00"]}

    def store(path: Path, scene: Scene) -> None:
        folder = path.parents[1]
        save_ids(folder / "label" / path.name, scene)
        for kind in ("instance", "depth"):
            save(folder / kind / path.name, scene.paint(scene.values, dtype=np.uint16))

    planted: Splits = {}
    for split, count in counts.items():
        write_lines(root / f"scannet/scannetv2_{split}.txt", scenes[split])
        for n in range(count):
            folder = f"scannet/scannet_frames_25k/{scenes[split][n % 2]}"
            one = _write(
                *(mini, root, {split: 1}, folder + "/color/{}.jpg", folder + "/label/{}.png"),
                lambda split, _, n=n: f"{100 * n:06d}",
                store,
            )
            planted.setdefault(split, []).extend(one[split])
    return planted


def voc20(mini: Miniature, root: Path, counts: Counts) -> Splits:
    base = root / "VOCdevkit/VOC2012"
    planted = _write(
        *(mini, base, counts, "JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        lambda split, n: f"2007_{n + 500 * (split == 'val'):06d}",
        lambda path, scene: save_palette(path, scene, [(0, 0, 0), *mini.colors]),
    )
    save(base / "JPEGImages/2008_000001.jpg", np.zeros((8, 8, 3), np.uint8))  # has no label
    for split, found in planted.items():
        write_lines(base / f"ImageSets/Segmentation/{split}.txt", [p.label.stem for p in found])
    return planted


def context59(mini: Miniature, root: Path, counts: Counts) -> Splits:
    base = root / "VOCdevkit/VOC2010"

    def store(path: Path, scene: Scene) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"LabelMap": scene.paint(scene.values, dtype=np.uint16)}, do_compression=True)

    planted = _write(
        *(mini, base, counts, "JPEGImages/{}.jpg", "trainval/{}.mat"),
        lambda split, n: f"2008_{n + 500 * (split == 'val'):06d}",
        store,
    )
    for split, found in planted.items():
        write_lines(base / f"ImageSets/Main/{split}.txt", [p.label.stem for p in found])
    return planted


def viper(mini: Miniature, root: Path, counts: Counts) -> Splits:
    planted: Splits = {}
    for split, count in counts.items():
        planted |= _write(
            *(mini, root / f"viper/{split}", {split: count}, "img/{}.jpg", "cls/{}.png"),
            lambda split, n: f"{n % 2 + 1:03d}/{n % 2 + 1:03d}_{10 * n + 1:05d}",
        )
    return planted


WRITERS: dict[str, Callable[[Miniature, Path, Counts], Splits]] = {
    f.__name__: f
    for f in (
        *(cityscapes, mapillary, sunrgbd37, bdd100k, idd26, ade20k150, coco_panoptic133),
        *(wilddash2, kitti, camvid11, scannet20, voc20, context59, viper),
    )
}


def write_miniature(
    name: str,
    root: Path,
    train: int = 4,
    val: int = 2,
    size: tuple[int, int] = (48, 64),
    block: int = 8,
    seed: int = 0,
) -> Splits:
    """Write one dataset below ``root``; return what was planted, by split.

    ``size`` is height and width, ``block`` the side of the rectangles. WildDash 2 gets two more
    images under the key "shared", which its loader has to leave out.
    """
    mini = Miniature(name, size, block, seed)
    return WRITERS[name](mini, Path(root), {"train": train, "val": val})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--datasets", nargs="+", choices=list(WRITERS), default=PAPER_DATASETS)
    parser.add_argument("--train", type=int, default=4, help="training images of each dataset")
    parser.add_argument("--val", type=int, default=2, help="validation images of each dataset")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 192), metavar=("H", "W"))
    parser.add_argument("--block", type=int, default=16, help="side of a label rectangle, pixels")
    args = parser.parse_args()
    for name in args.datasets:
        write_miniature(name, args.root, args.train, args.val, tuple(args.size), args.block)
        print(f"{name}: {args.train} + {args.val} images below {args.root}")


if __name__ == "__main__":
    main()
