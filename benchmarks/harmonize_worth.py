#!/usr/bin/env python
r"""What a harmonised union is worth to a trainer that is not ours.

A plain PyTorch trainer (timm features of EfficientNet-lite0 with ImageNet weights, one 1 x 1
convolution for each level, one 3 x 3, cross-entropy) learns from
  harmonized    the union that tools/harmonize.py wrote,
  names         the union in which classes of equal names are one class and the others stay apart,
  shared_names  the same, but classes whose name only one dataset has are ignored,
  alone:NAME    one dataset.
All see the same number of images in the same number of iterations, the datasets in turn.

Every network is scored on the validation photos of every dataset. On those that it learned from, in
their own classes: harmonized through the links of the merged folder's label_space.json, the others
by name. On the dataset that was left out, every rival gets the same help: on its training photos
each output label is given to the class with which it shares most pixels.

Results are kept as files below --cells and not computed again; --markdown puts the table into a
page.

Examples:
  python tools/harmonize.py --weights output/mini/model_final.pth --output merged3 \
      --datasets camvid11 iddlite msrc21 --short-side 240
  python benchmarks/harmonize_worth.py --merged merged3 --left-out datasets/camvid7 --seeds 0 1 2
  python benchmarks/harmonize_worth.py --markdown docs/HARMONIZE.md
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unilabel import __version__
from unilabel.core.errors import UniLabelError
from unilabel.core.io import atomic_path, put_table, read_json, write_json
from unilabel.core.label_space import IGNORE
from unilabel.core.metrics import iou_from_confusion, update_confusion
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.data.folders import folder_source
from unilabel.data.label_files import read_id_png
from unilabel.data.sources import DatasetSource, load_sample
from unilabel.data.test_size import TestSize
from unilabel.harmonize.photos import list_photos
from unilabel.harmonize.setup import source_of
from unilabel.modeling.backbone import load_pretrained_file

NET, WEIGHTS = "tf_efficientnet_lite0", "package:efficientnet-lite0"
CELLS = Path(__file__).parent / "results/harmonize_worth"
TABLE = "worth"  # in docs/HARMONIZE.md
SIDE, CROP, BATCH = 176, 160, 6  # short side of the photos, crops, images of a step
RATE = 1e-3


@dataclass(frozen=True)
class Scheme:
    """One way to put datasets together.

    Attributes:
        name: of the way.
        labels: number of output labels.
        targets: for each dataset its label maps: a table from its class ids, or a folder of maps.
        reads: for each dataset (labels,) the class that an output label is read as, -1 for none.
    """

    name: str
    labels: int
    targets: dict[str, np.ndarray | Path]
    reads: dict[str, Tensor]


class Network(nn.Module):
    """Features at strides 4 to 32, brought to one size and added; (B, labels, h / 4, w / 4)."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.body = timm.create_model(NET, features_only=True, out_indices=(1, 2, 3, 4))
        full = {k: v.shape for k, v in timm.create_model(NET).state_dict().items()}
        load_pretrained_file(self.body, WEIGHTS, full)
        channels = self.body.feature_info.channels()
        self.levels = nn.ModuleList(nn.Conv2d(c, 64, 1) for c in channels)
        self.mix = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU())
        self.head = nn.Conv2d(64, labels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) pixels of 0..255 -> scores."""
        features = self.body((pixels - 127) / 128)
        size = features[0].shape[2:]
        total = torch.zeros(())
        for level, feature in zip(self.levels, features, strict=True):
            total = total + F.interpolate(level(feature), size, mode="bilinear")
        return self.head(self.mix(total))


def harmonized(merged: Path, sources: Sequence[DatasetSource]) -> Scheme:
    """The merged folder, read back through its links."""
    space = UnifiedLabelSpace.load(merged / "label_space.json")
    reads = {s.name: space.mapping.class_of(s.name) for s in sources}
    return Scheme("harmonized", len(space.names), {s.name: merged for s in sources}, reads)


def by_name(name: str, sources: Sequence[DatasetSource], shared: bool = False) -> Scheme:
    """Classes of equal names, whatever their case and blanks, are one.

    Args:
        name: of the scheme.
        sources: the datasets.
        shared: leave out names that only one of them has.
    """
    plain = {s.name: [_plain(c) for c in s.label_space.class_names] for s in sources}
    times = Counter(c for names in plain.values() for c in dict.fromkeys(names))
    union = [c for c in times if times[c] > shared]
    tables, reads = {}, {}
    for dataset, names in plain.items():
        table = np.full(256, IGNORE, np.uint8)
        table[: len(names)] = [union.index(c) if c in union else IGNORE for c in names]
        tables[dataset] = table
        reads[dataset] = torch.tensor([names.index(c) if c in names else -1 for c in union])
    return Scheme(name, len(union), tables, reads)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


@dataclass(frozen=True)
class Training:
    """Photos of one dataset with the labels of a scheme, small enough to stay in memory."""

    photos: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, source: DatasetSource, target: np.ndarray | Path) -> Training:
        """Read the training photos of a dataset."""
        size = TestSize(SIDE)
        photos = []
        for photo in list_photos([source], ["train"]):
            image, own = load_sample(source, photo.sample)
            if isinstance(target, Path):
                labels = read_id_png(str(target / photo.label_file))
            else:
                labels = cv2.LUT(own, target)
            small = size.resize(image)
            labels = cv2.resize(labels, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            photos.append((small, labels))
        return cls(photos)

    def crop(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A random part of a random photo, perhaps mirrored; ignored where it ends."""
        image, labels = self.photos[random.integers(len(self.photos))]
        height, width = labels.shape
        top, left = (int(random.integers(max(0, side - CROP) + 1)) for side in (height, width))
        part = (slice(top, top + CROP), slice(left, left + CROP))
        image, labels = image[part], labels[part]
        below, right = CROP - labels.shape[0], CROP - labels.shape[1]
        image = np.pad(image, ((0, below), (0, right), (0, 0)), constant_values=127)
        labels = np.pad(labels, ((0, below), (0, right)), constant_values=IGNORE)
        return (image[:, ::-1], labels[:, ::-1]) if random.random() < 0.5 else (image, labels)


def train(scheme: Scheme, sources: Sequence[DatasetSource], seed: int, iterations: int) -> Network:
    """The network after ``iterations`` steps; the rate falls to 0 along a half cosine."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    sets = [Training.of(s, scheme.targets[s.name]) for s in sources]
    network = Network(scheme.labels).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for step in range(iterations):
        crops = [sets[(step * BATCH + i) % len(sets)].crop(random) for i in range(BATCH)]
        pixels = torch.from_numpy(np.stack([image for image, _ in crops])).permute(0, 3, 1, 2)
        labels = torch.from_numpy(np.stack([label for _, label in crops])).long()
        pixels = pixels.float().contiguous(memory_format=torch.channels_last)
        scores = F.interpolate(network(pixels), (CROP, CROP), mode="bilinear")
        loss = F.cross_entropy(scores, labels, ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            print(f"{scheme.name} seed {seed}: step {step}, loss {loss.item():.3f}", flush=True)
    return network.eval()


@torch.inference_mode()
def counts(network: Network, source: DatasetSource, split: str, labels: int) -> Tensor:
    """(C, labels) pixels of every class and output label."""
    size = TestSize(SIDE)
    found = torch.zeros(source.label_space.num_classes, labels, dtype=torch.int64)
    for sample in source.samples(split):
        image, own = load_sample(source, sample)
        pixels = torch.from_numpy(size.resize(image)).permute(2, 0, 1)[None].float()
        scores = F.interpolate(network(pixels), own.shape, mode="bilinear")
        update_confusion(found, scores[0].argmax(0), torch.from_numpy(own))
    return found


def miou(found: Tensor, reads: Tensor) -> float:
    """Mean IoU, 0..1, of output labels that are read as classes."""
    classes = len(found)
    column = torch.where(reads < 0, classes, reads)
    confusion = torch.zeros(classes, classes + 1, dtype=torch.int64)
    confusion.index_add_(1, column, found)
    return float(torch.nanmean(iou_from_confusion(confusion)))


def run(
    scheme: Scheme,
    sources: Sequence[DatasetSource],
    left_out: DatasetSource,
    seed: int,
    iterations: int,
    networks: Path,
) -> dict[str, Any]:
    """Train and score one rival; a network of one dataset is kept in ``networks``."""
    start = time.process_time()
    kept = networks / f"{scheme.name.replace(':', '_')}_{seed}_{iterations}.pth"
    if kept.is_file():
        network = Network(scheme.labels).to(memory_format=torch.channels_last).eval()
        network.load_state_dict(torch.load(kept, weights_only=True))
    else:
        network = train(scheme, sources, seed, iterations)
        if len(sources) == 1:  # the same whatever is left out
            with atomic_path(kept) as path:
                torch.save(network.state_dict(), path)
    trained = time.process_time()
    seen = {
        s.name: round(miou(counts(network, s, "val", scheme.labels), scheme.reads[s.name]), 4)
        for s in sources
    }
    help_of = counts(network, left_out, "train", scheme.labels)
    reads = torch.where(help_of.sum(0) > 0, help_of.argmax(0), -1)
    unseen = miou(counts(network, left_out, "val", scheme.labels), reads)
    return {
        "scheme": scheme.name,
        "seed": seed,
        "iterations": iterations,
        "labels": scheme.labels,
        "seen": seen,
        "left_out": {left_out.name: round(unseen, 4)},
        "cpu_seconds": {
            "train": round(trained - start, 1),
            "all": round(time.process_time() - start, 1),
        },
        "unilabel": __version__,
    }


def schemes(merged: Path, sources: Sequence[DatasetSource]) -> Iterator[tuple[Scheme, list[Any]]]:
    """Every rival with the datasets that it learns from."""
    yield harmonized(merged, sources), list(sources)
    yield by_name("names", sources), list(sources)
    yield by_name("shared_names", sources, shared=True), list(sources)
    for source in sources:
        yield by_name(f"alone:{source.name}", [source]), [source]


def table(folder: Path) -> str:
    """Means over seeds, a line for each rival and left-out dataset; then :func:`summary`."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    columns: dict[str, None] = {}
    for file in sorted(folder.glob("*.json")):
        cell = read_json(file)
        columns.update(dict.fromkeys(cell["seen"]))
        left = next(iter(cell["left_out"]))
        groups[left, cell["scheme"], cell["iterations"]].append(cell)
    head = ["left out", "learned from", "iterations", "seeds", "mIoU left out", *columns]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for (left, scheme, iterations), cells in sorted(groups.items()):
        scores = [[c["left_out"][left] for c in cells]]
        scores += [[c["seen"][n] for c in cells if n in c["seen"]] for n in columns]
        texts = [f"{100 * sum(s) / len(s):.1f}" if s else "-" for s in scores]
        seeds = ", ".join(str(c["seed"]) for c in cells)
        lines.append(f"| {' | '.join([left, scheme, str(iterations), seeds, *texts])} |")
    scores = {
        key: sum(c["left_out"][key[0]] for c in cells) / len(cells) for key, cells in groups.items()
    }
    return "\n".join([*lines, "", *summary(scores)])


def summary(scores: dict[tuple[str, str, int], float]) -> list[str]:
    """Mean IoU on every left-out dataset, and their mean, with the sets alone taken together.

    Args:
        scores: (left out, scheme, iterations) -> mIoU, 0..1.
    """
    lefts = sorted({left for left, _, _ in scores})
    found: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for left in lefts:
        for number in sorted({n for of, _, n in scores if of == left}):
            of_left = {k[1]: v for k, v in scores.items() if (k[0], k[2]) == (left, number)}
            alone = [v for k, v in of_left.items() if k.startswith("alone:")]
            rows = {k: v for k, v in of_left.items() if not k.startswith("alone:")}
            if alone:
                rows["alone, mean of the sets"] = sum(alone) / len(alone)
                rows["alone, the best set for it"] = max(alone)
            for scheme, value in rows.items():
                found[scheme, number][left] = value
    head = ["learned from", "iterations", *(f"{left} left out" for left in lefts), "mean"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for (scheme, number), values in sorted(found.items()):
        texts = [f"{100 * values[left]:.1f}" if left in values else "-" for left in lefts]
        whole = len(values) == len(lefts)
        mean = f"{100 * sum(values.values()) / len(values):.1f}" if whole else "-"
        lines.append(f"| {' | '.join([scheme, str(number), *texts, mean])} |")
    return lines


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--merged", type=Path, metavar="DIR", help="folder of tools/harmonize.py")
    add("--left-out", metavar="DIR", help="a dataset that is not in it")
    add("--seeds", nargs="+", type=int, default=[0])
    add("--iterations", type=int, default=600)
    add("--only", nargs="+", metavar="WAY", help="ways of the list above (default: all)")
    add("--cells", type=Path, default=CELLS, metavar="DIR", help="where results are kept")
    add("--markdown", type=Path, metavar="PAGE", help="put the table of all results there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        if args.merged:
            if not args.left_out:
                raise UniLabelError("--merged needs --left-out, a dataset that is not in it.")
            result = read_json(args.merged / "harmonize.json")
            sources = [source_of(entry["origin"]) for entry in result["datasets"]]
            left_out = folder_source(args.left_out)
            if left_out.name in [s.name for s in sources]:
                raise UniLabelError(f"--left-out {left_out.name} is in {args.merged}.")
            for seed in args.seeds:
                for scheme, learned in schemes(args.merged, sources):
                    name = f"{left_out.name}_{scheme.name.replace(':', '_')}_{seed}.json"
                    wanted = not args.only or scheme.name in args.only
                    if wanted and not (args.cells / name).is_file():
                        networks = args.cells / "networks"
                        cell = run(scheme, learned, left_out, seed, args.iterations, networks)
                        write_json(args.cells / name, cell)
                        print(cell, flush=True)
        text = table(args.cells)
        if args.markdown:
            put_table(args.markdown, TABLE, text)
    except UniLabelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
