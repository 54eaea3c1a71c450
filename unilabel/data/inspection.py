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
from unilabel.data.near_copies import Look, near_copies, small_photo
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
    "label value": "take the label from the official archive of this dataset and release.",
    "size": "image and label must have the same width and height: take both from the same release, "
    "or resize the label with nearest neighbour.",
}
OWN_CURES: Mapping[str, str] = {
    "dataset": "photos go into images/train and images/val, label maps of the same names into "
    "labels/train and labels/val (docs/CUSTOM_DATASET.md); exports of annotation tools are "
    "converted by tools/import_dataset.py.",
    "count": "",
    "missing label": "export the labels again, or move the image away.",
    "missing image": "copy the image there, or move the label away.",
    "image": "do what the line says; a damaged file has to be copied again from where the photo "
    "came from, or removed together with its label.",
    "label": "do what the line says; a damaged file has to be exported again from the annotation "
    "tool, or removed together with its image.",
    "label value": "add the value to classes.json as the line shows, or correct the label file.",
    "size": "image and label must have the same width and height: export the label for the photo "
    "as it is, or restore the photo that the label was drawn on.",
}


def cure_of(kind: str, own: bool) -> str:
    """What to do about a kind of fault.

    Args:
        kind: a key of :data:`CURES`.
        own: in a person's own folder, which no archive and no release has.
    """
    return (OWN_CURES if own else CURES)[kind]


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

    @property
    def own(self) -> bool:
        """Whether it is a person's own folder."""
        return self.classes is not None


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
        looks: what the readable photos look like.
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
    looks: list[Look] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class _SampleReport:
    size: tuple[int, int] = (0, 0)
    labels: LabelFacts | None = None
    turn: int = 1
    content: bytes = b""
    small: bytes = b""
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
        report.looks.append(Look(sample.image, result.content, result.small))
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
        found += _copies(target.name, *(r.looks for r in reports))
    try:
        return found + [Finding("note", line) for line in target.remarks()]
    except UniLabelError:  # a fault of the split is why its files could not be listed
        return found


def _copies(name: str, train: Sequence[Look], val: Sequence[Look]) -> list[Finding]:
    """Photos of val that training sees, and those that look like one of train."""
    seen = {look.content for look in train}
    same = [Path(look.path).name for look in val if look.content in seen]
    near = [f"{Path(v).name} like {Path(t).name}" for v, t in near_copies(train, val)]
    found = []
    if same:
        found.append(
            Finding(
                "warning",
                f"{name!r}: {len(same)} of {len(val)} photos of val are in train too "
                f"(the same pixels): {_first(same)}; scores on them say nothing about new photos.",
            )
        )
    if near:
        found.append(
            Finding(
                "note",
                f"{name!r}: {len(near)} of {len(val)} photos of val look like a photo of train: "
                f"{_first(near)}. If they are copies or neighbouring frames of a video, scores on "
                "them say little about new photos.",
            )
        )
    return found


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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
        small_photo(image),
    )
