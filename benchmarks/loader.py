"""One training item from files: our way against Detectron2's with PIL.

    OMP_NUM_THREADS=1 python benchmarks/loader.py --fmt jpeg png

The reference does what a mapper of Detectron2 does: PIL decodes image and label and resizes both
as a whole, a crop is drawn until no class covers too much (``np.unique``), colours change in
PointRend's way, flip, padding, tensors. Ours is an item of ``TrainDataset``. Both give a crop of
equal size, and a round takes one item of each of eight ratios from 0.5 to 2.

Parity rows compare the pixels of equal windows, all ratios together: the mean colour difference
(of 255) and the share of equal labels. Two filters never give equal pixels, and a window of whole
source pixels differs from one of the resized image by up to a pixel.
The limit is the time to decode both files.

Both sides run on one thread, so the processor time is given as well; wall time on a machine that
others use is less certain.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from common import Report, compare, compare_clocks
from detectron2.config import get_cfg
from detectron2.data import transforms
from detectron2.projects.point_rend import ColorAugSSDTransform
from PIL import Image

from unilabel.config import add_unilabel_config
from unilabel.core.io import write_json
from unilabel.data.augment import TrainAugmentation
from unilabel.data.build import TrainDataset
from unilabel.data.folders import folder_source
from unilabel.data.samplers import Draw
from unilabel.data.sources import load_sample

CLASSES = 19
IGNORE = 255
RATIOS = tuple(float(ratio) for ratio in np.geomspace(0.5, 2.0, 8))
AREA = 0.8  # largest share of one class in a crop
TARGETS = {"jpeg": 3.0, "png": 1.7}


def make_scene(size: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) image of detail at several scales, and (H, W) regions with a border of void."""
    rng = np.random.default_rng(seed)
    height, width = size
    image = np.full((*size, 3), 128, np.float32)
    for step, strength in ((256, 60), (64, 30), (16, 14), (4, 4)):
        grid = rng.standard_normal((height // step + 2, width // step + 2, 3)).astype(np.float32)
        image += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    image += rng.standard_normal(image.shape, dtype=np.float32)
    fields = rng.standard_normal((height // 96 + 2, width // 96 + 2, CLASSES)).astype(np.float32)
    regions = cv2.resize(fields, (width // 4, height // 4), interpolation=cv2.INTER_CUBIC)
    label = cv2.resize(
        regions.argmax(2).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
    )
    label[-height // 16 :] = IGNORE
    return np.clip(image, 0, 255).astype(np.uint8), label


def write_dataset(root: Path, fmt: str, count: int, size: tuple[int, int]) -> None:
    """A dataset folder of ``count`` scenes."""
    classes = [{"id": i, "name": f"class {i}", "color": [i, 2 * i, 3 * i]} for i in range(CLASSES)]
    write_json(root / "classes.json", {"name": "scenes", "classes": classes})
    for part in ("images", "labels"):
        (root / part / "train").mkdir(parents=True)
    for index in range(count):
        image, label = make_scene(size, index)
        options = {"quality": 85} if fmt == "jpeg" else {}
        suffix = "jpg" if fmt == "jpeg" else "png"
        Image.fromarray(image).save(root / f"images/train/{index}.{suffix}", **options)
        Image.fromarray(label).save(root / f"labels/train/{index}.png")


class Detectron2Mapper:
    """A training item the way of Detectron2's mappers for semantic segmentation."""

    def __init__(self, crop: int, size: tuple[int, int], ratio: float) -> None:
        self.crop = crop
        self.augment = transforms.AugmentationList(
            [
                transforms.ResizeShortestEdge(round(min(size) * ratio), 10**6),
                transforms.RandomCrop_CategoryAreaConstraint(
                    "absolute", (crop, crop), AREA, IGNORE
                ),
                ColorAugSSDTransform(img_format="RGB"),
                transforms.RandomFlip(),
            ]
        )

    def __call__(self, image_file: str, label_file: str) -> dict[str, Any]:
        """Item of two files."""
        with Image.open(image_file) as opened:
            image = np.asarray(opened.convert("RGB"))
        with Image.open(label_file) as opened:
            label = np.asarray(opened).astype("double")
        content = transforms.AugInput(image, sem_seg=label)
        self.augment(content)
        tensor = torch.as_tensor(np.ascontiguousarray(content.image.transpose(2, 0, 1)))
        label = torch.as_tensor(content.sem_seg.astype("long"))
        missing = [0, self.crop - label.shape[1], 0, self.crop - label.shape[0]]
        pad = torch.nn.functional.pad
        return {"image": pad(tensor, missing), "sem_seg": pad(label, missing, value=IGNORE)}


def our_dataset(root: Path, crop: int, ratio: float) -> TrainDataset:
    """Items of the folder, with the settings of the reference."""
    cfg = get_cfg()
    add_unilabel_config(cfg)
    cfg.INPUT.CROP_SIZE = [crop, crop]
    cfg.INPUT.SCALE_RANGE = [ratio, ratio]
    cfg.INPUT.SINGLE_CLASS_MAX_AREA = AREA
    return TrainDataset(cfg, [folder_source(str(root))])


def plain_augmentation(crop: int, ratio: float) -> TrainAugmentation:
    """Resize and crop only."""
    return TrainAugmentation((crop, crop), (ratio, ratio), 1.0, 0.0, 0.0)


def parity_rows(report: Report, case: str, dataset: TrainDataset, crop: int) -> bool:
    """Pixels of equal windows: ours, and resizing the whole image first."""
    differences, equal, total = [], 0, 0
    image, label = load_sample(dataset.sources[0], dataset.samples[0][0])
    for ratio in RATIOS:
        augment = TrainAugmentation((crop, crop), (ratio, ratio), 1.0, 0.0, 0.0)
        rng = np.random.default_rng(0)
        window = augment.choose(label, rng)
        pixels, ids, _ = augment.apply(image, label, window, rng)
        size = tuple(round(side * ratio) for side in label.shape[::-1])
        y, x = (round(int(start) * ratio) for start in (window.top, window.left))
        place = (slice(y, y + crop), slice(x, x + crop))
        whole = np.asarray(Image.fromarray(image).resize(size, Image.BILINEAR))[place]
        whole_ids = np.asarray(Image.fromarray(label).resize(size, Image.NEAREST))[place]
        height, width = whole_ids.shape  # the image may end inside the crop
        distance = np.abs(pixels[:height, :width].astype(np.float32) - whole)
        differences.append(float(distance.mean()))
        equal += int((ids[:height, :width] == whole_ids).sum())
        total += whole_ids.size
    colour, agreement = float(np.mean(differences)), equal / total
    similar, same = colour <= 2.0, agreement >= 0.98
    report.row(case, "mean colour difference", colour, target="<= 2 of 255", ok=similar)
    report.row(case, "equal labels", agreement, target=">= 0.98", ok=same)
    return similar and same


def measure(report: Report, fmt: str, args: argparse.Namespace) -> None:
    """All rows of one file format."""
    case = f"{fmt}, {args.size[0]} x {args.size[1]} to {args.crop}^2"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset(root, fmt, args.images, tuple(args.size))
        datasets = [our_dataset(root, args.crop, ratio) for ratio in RATIOS]
        mappers = [Detectron2Mapper(args.crop, tuple(args.size), ratio) for ratio in RATIOS]
        samples = datasets[0].samples[0]
        items = [(k, Draw(0, k % len(samples), (0, 0, k))) for k in range(len(RATIOS))]

        def ours() -> None:
            for k, draw in items:
                assert datasets[k][draw]["image"].shape == (3, args.crop, args.crop)

        def reference() -> None:
            np.random.seed(0)  # the same crops and colours in every round
            random.seed(0)
            for k, draw in items:
                item = mappers[k](samples[draw.index].image, samples[draw.index].label)
                assert item["image"].shape == (3, args.crop, args.crop)

        def decode() -> None:
            for _, draw in items:
                load_sample(datasets[0].sources[0], samples[draw.index])

        parity = parity_rows(report, case, datasets[0], args.crop)
        wall, busy = compare_clocks(ours, reference, rounds=args.rounds)
        floor, _ = compare(decode, lambda: None, rounds=args.rounds)
        each = [seconds / len(items) for seconds in (*wall, floor)]
        report.row(case, "item [s]", *each[:2], target=TARGETS[fmt], parity=parity, limit=each[2])
        busy = tuple(seconds / len(items) for seconds in busy)
        report.row(case, "processor time of an item [s]", *busy, target=TARGETS[fmt], parity=parity)


def main() -> int:
    """Run the benchmark; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fmt", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS))
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), help="height, width")
    parser.add_argument("--crop", type=int, default=768, help="side of the crop in pixels")
    parser.add_argument("--images", type=int, default=4, help="different files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the report")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    report = Report("loader")
    for fmt in args.fmt:
        measure(report, fmt, args)
    report.print()
    if args.json:
        report.write(args.json)
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
