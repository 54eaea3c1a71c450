"""Check the files of a dataset: what is missing, what cannot be read, what does not fit together.

``tools/check_dataset.py`` is its command line.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace
from unilabel.data.builtin import builtin_dataset
from unilabel.data.class_list import ClassList
from unilabel.data.dataset_files import PairedFiles
from unilabel.data.findings import Finding, LabelFacts, SplitFacts, find_all, label_facts
from unilabel.data.folders import folder_files
from unilabel.data.images import ImageReader, orientation, read_image
from unilabel.data.label_decoders import UnknownLabelError
from unilabel.data.parallel import run_parallel
from unilabel.data.sources import SPLITS, Sample, check_sizes, no_remarks
from unilabel.data.value_decoder import ValueDecoder

CURES: Mapping[str, str] = {
    "dataset": "put the files where datasets/README.md draws them and set $DETECTRON2_DATASETS, or "
    "give --root.",
    "count": "unpack every part of the archives again; if you keep only a part of the dataset on "
    "purpose, give --subset.",
    "missing label": "unpack the archive of the labels again, or move the image away; labels "
    "written by a datasets/prepare_*.py are completed by running it again.",
    "missing image": "unpack the archive of the images again, or move the label away.",
    "image": "the file is damaged: take it from the archive again (compare the archive's "
    "checksum), or remove it together with its label.",
    "label": "the file is damaged or of another form: take it from the archive again, or convert "
    "it to the form that datasets/README.md names.",
    "label value": "take the label from the official archive of this dataset and release; in your "
    "own folder add the class to classes.json or correct the label file.",
    "size": "image and label must have the same width and height: take both from the same release, "
    "or resize the label with nearest neighbour.",
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong; ``kind`` is a key of :data:`CURES`."""

    kind: str
    message: str


@dataclass(frozen=True)
class Target:
    """A dataset to be checked.

    Attributes:
        name: its name.
        space: its classes.
        files: split -> images and labels found.
        decode: label file -> class ids.
        counts: official number of images by split, or under "all"; empty for a user's folder.
        read_image: reader of its photos.
        classes: the ``classes.json`` of an own folder.
        remarks: what is to be said about its files.
    """

    name: str
    space: LabelSpace
    files: Callable[[str], PairedFiles]
    decode: Callable[[str], np.ndarray]
    counts: Mapping[str, int]
    read_image: ImageReader = read_image
    classes: ClassList | None = None
    remarks: Callable[[], list[str]] = no_remarks


@dataclass
class SplitReport:
    """What was found in one split.

    Attributes:
        split: its name.
        complete: samples with image and label.
        pixels: (C + 1,) pixels of each class, ignored ones last, over all readable samples.
        images: (C,) samples in which each class occurs.
        sizes: (width, height) -> number of readable samples.
        unlabelled: samples without a single labelled pixel.
        readable: samples without a fault.
        facts: what the readable label maps hold together.
        contents: hash of the pixels of a photo -> its path.
        faults: what is wrong.
    """

    split: str
    complete: list[Sample] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    unlabelled: int = 0
    readable: list[Sample] = field(default_factory=list)
    facts: SplitFacts = field(default_factory=lambda: SplitFacts(np.zeros(1, np.int64)))
    contents: dict[bytes, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class _SampleReport:
    size: tuple[int, int] = (0, 0)
    labels: LabelFacts | None = None
    turn: int = 1
    content: bytes = b""
    faults: tuple[Fault, ...] = ()


def builtin_target(name: str, root: Path, variant: str | None) -> Target:
    """A built-in dataset below ``root``.

    Raises:
        UniLabelError: no such dataset or variant.
    """
    dataset = builtin_dataset(name, root, variant)

    def files(split: str) -> PairedFiles:
        form, found = dataset.files(split)
        dataset.preload(form, split)
        return found

    return Target(name, dataset.table.space, files, dataset.decoder(), dataset.counts)


def folder_target(folder: str) -> Target:
    """A user's own folder.

    Raises:
        UniLabelError: it has no valid ``classes.json``.
    """
    found = folder_files(folder)
    space = found.classes.space
    reader = ImageReader(found.classes.image_scale, found.classes.max_pixels)
    decoder = ValueDecoder(found.classes)
    return Target(space.name, space, found.scan, decoder, {}, reader, found.classes, found.remarks)


def inspect_split(target: Target, split: str, limit: int = 0, workers: int = 1) -> SplitReport:
    """Check one split.

    Args:
        target: the dataset.
        split: "train" or "val".
        limit: decode only so many samples, evenly spread; 0: all.
        workers: number of processes.
    """
    report = SplitReport(split)
    report.pixels = np.zeros(target.space.num_classes + 1, np.int64)
    report.images = np.zeros(target.space.num_classes, np.int64)
    report.facts = SplitFacts(report.pixels)
    try:
        found = target.files(split)
    except UniLabelError as error:
        kind = "label value" if isinstance(error, UnknownLabelError) else "dataset"
        report.faults.append(Fault(kind, str(error)))
        return report
    report.faults += [Fault("missing label", m) for m in found.missing_labels()]
    report.faults += [Fault("missing image", m) for m in found.missing_images()]
    report.complete = found.complete()
    chosen = spread(report.complete, limit)

    results = run_parallel(
        partial(_inspect_sample, target), chosen, workers, f"{target.name} {split}"
    )
    for sample, result in zip(chosen, results, strict=True):
        report.faults += result.faults
        if result.labels is None:
            continue
        report.readable.append(sample)
        report.contents[result.content] = sample.image
        report.facts.add(result.labels, result.turn)
        report.sizes[result.size] += 1
        report.images += result.labels.pixels[:-1] > 0
        report.unlabelled += not result.labels.pixels[:-1].any()
    report.pixels = report.facts.pixels
    return report


def findings(target: Target, reports: Sequence[SplitReport]) -> list[Finding]:
    """What the label maps of all splits tell together."""
    found = find_all(target.space, {r.split: r.facts for r in reports}, target.classes)
    if len(reports) == len(SPLITS):
        first, second = (r.contents for r in reports)
        same = [second[content] for content in second if content in first]
        if same:
            names = ", ".join(Path(p).name for p in same[:3]) + (", ..." if len(same) > 3 else "")
            found.append(
                Finding(
                    "warning",
                    f"{target.name!r}: {len(same)} of {len(second)} photos of val are in train too "
                    f"(the same pixels): {names}; scores on them say nothing about new photos.",
                )
            )
    return found + [Finding("note", line) for line in target.remarks()]


def spread(samples: list[Sample], limit: int) -> list[Sample]:
    """At most ``limit`` samples, evenly spread; 0: all."""
    if not limit or len(samples) <= limit:
        return samples
    return [samples[i * len(samples) // limit] for i in range(limit)]


def count_faults(target: Target, found: Mapping[str, int], subset: bool) -> list[Fault]:
    """Compare numbers of samples with the official ones.

    Args:
        target: the dataset.
        found: samples by split, of the splits that were looked at.
        subset: fewer samples than official are wanted.
    """
    official = target.counts
    if "all" in official:
        if len(found) < len(SPLITS):
            return []
        pairs = [("train and val together", sum(found.values()), official["all"])]
    else:
        pairs = [(split, n, official[split]) for split, n in found.items() if split in official]
    return [
        Fault("count", f"{where}: {count} images with labels, officially {expected}")
        for where, count, expected in pairs
        if count > expected or (count < expected and not subset)
    ]


def _inspect_sample(target: Target, sample: Sample) -> _SampleReport:
    faults: list[Fault] = []
    image = label = None
    try:
        image = target.read_image(sample.image)
    except UniLabelError as error:
        faults.append(Fault("image", str(error)))
    try:
        label = target.decode(sample.label)
    except UnknownLabelError as error:
        faults.append(Fault("label value", str(error)))
    except UniLabelError as error:
        faults.append(Fault("label", str(error)))
    if image is None or label is None:
        return _SampleReport(faults=tuple(faults))
    try:
        check_sizes(sample, image, label)
    except UniLabelError as error:
        return _SampleReport(faults=(Fault("size", str(error)),))
    height, width = label.shape
    return _SampleReport(
        (width, height),
        label_facts(label, target.space.num_classes),
        orientation(sample.image),
        hashlib.sha256(image.tobytes()).digest(),
    )
