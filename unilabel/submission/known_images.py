"""Images of which it is known, pixel by pixel, whether they show a class of WildDash 2 or void."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE, LabelSpaceSet
from unilabel.data.builtin import builtin_source, datasets_root
from unilabel.data.folders import folder_source
from unilabel.data.images import read_image
from unilabel.data.sources import DatasetSource, Sample, load_sample
from unilabel.submission.formats import get_benchmark
from unilabel.submission.frames import list_frames
from unilabel.submission.wilddash import DATASET, VOID

Item = TypeVar("Item")
UNKNOWN = "unknown"  # in place of DATASET:CLASS: every class that the policy has no word for


@dataclass(frozen=True)
class KnownImage:
    """One image.

    Attributes:
        path: the image.
        label: its dataset, its sample, and (256,) what the class ids of the dataset are in
            WildDash 2; None: it is void altogether.
    """

    path: str
    label: tuple[DatasetSource, Sample, NDArray[np.uint8]] | None

    def load(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(H, W, 3) RGB and (H, W) ids of WildDash 2; 0: known to be void; 255: not known."""
        if self.label is None:
            pixels = read_image(self.path)
            return pixels, np.full(pixels.shape[:2], VOID, np.uint8)
        source, sample, table = self.label
        pixels, ids = load_sample(source, sample)
        return pixels, table[ids]


def add_image_options(parser: argparse.ArgumentParser, split_option: str = "--split") -> None:
    """Options that choose images of which it is known what is void."""
    parser.add_argument(
        "--datasets", nargs="+", default=[], metavar="NAME", help="built-in datasets"
    )
    parser.add_argument("--root", type=Path, default=datasets_root(), help="folder of all datasets")
    parser.add_argument(
        "--folders",
        nargs="+",
        default=[],
        metavar="DIR",
        help="own datasets: images, labels, classes.json",
    )
    parser.add_argument(
        split_option,
        dest="label_split",
        choices=("train", "val"),
        default="val",
        help="which part of the labelled sets (default: val)",
    )
    parser.add_argument(
        "--void-classes",
        nargs="+",
        default=[],
        metavar="CLASS",
        help=f"more classes that are void: DATASET:CLASS, or {UNKNOWN}",
    )
    parser.add_argument(
        "--negative", nargs="+", default=[], metavar="DIR", help="images that are void altogether"
    )
    parser.add_argument(
        "--limit", type=int, default=0, metavar="N", help="images of each set (default: all)"
    )
    parser.add_argument(
        "--negative-weight",
        type=float,
        metavar="W",
        default=1.0,
        help="how often each pixel known to be void counts in the score (default: 1, as they "
        "occur)",
    )


def known_images(args: argparse.Namespace, say: Callable[[str], None]) -> list[KnownImage]:
    """The images of :func:`add_image_options`.

    Args:
        args: the options.
        say: takes a line for a person: which classes of a dataset are void, and which not used.

    Raises:
        UniLabelError: a dataset, a class or a folder is not there, or the weight is out of range.
    """
    if not 0 <= args.negative_weight < float("inf"):
        raise UniLabelError(f"--negative-weight {args.negative_weight}: expected 0 or more.")
    sources = [builtin_source(name, args.root) for name in args.datasets]
    sources += map(folder_source, args.folders)
    _check_void_classes(args.void_classes, sources)
    images = []
    for source in sources:
        table = wilddash_ids(source, args.void_classes, say)
        images += [
            KnownImage(sample.image, (source, sample, table))
            for sample in spread(source.samples(args.label_split), args.limit)
        ]
    for folder in args.negative:
        frames = list_frames(folder, get_benchmark(DATASET))
        images += [KnownImage(frame.path, None) for frame in spread(frames, args.limit)]
    if not images:
        raise UniLabelError(
            "no image of which it is known what is void: give --datasets or --folders, and "
            "--negative."
        )
    return images


def _check_void_classes(words: Sequence[str], sources: Sequence[DatasetSource]) -> None:
    spaces = {source.label_space.name: source.label_space for source in sources}
    for word in words:
        dataset, _, name = word.partition(":")
        if word == UNKNOWN:
            continue
        if dataset not in spaces or not name:
            raise UniLabelError(
                f"--void-classes {word!r}: expected {UNKNOWN}, or DATASET:CLASS of: "
                f"{', '.join(spaces) or 'none'}."
            )
        spaces[dataset].index(name)


def spread(items: list[Item], limit: int) -> list[Item]:
    """At most ``limit`` items, evenly spread; 0: all."""
    if not 0 < limit < len(items):
        return items
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, limit)]


def wilddash_ids(
    source: DatasetSource, void_classes: Sequence[str], say: Callable[[str], None]
) -> NDArray[np.uint8]:
    """(256,) class id of a dataset -> id of WildDash 2, 0 for void, 255 for not known."""
    from unilabel.submission.class_names import meanings_by_name  # slow: imports torch

    space = source.label_space
    named = [c for c in void_classes if c.startswith(f"{space.name}:")]
    void = {space.index(c.split(":", 1)[1]) for c in named}
    ids = get_benchmark(DATASET).ids
    table = np.full(256, IGNORE, np.uint8)
    words: dict[str, list[str]] = {"void": [], "not used": []}
    for i, meaning in enumerate(meanings_by_name(LabelSpaceSet([space]))):
        unknown = meaning is not None and not meaning.known
        if i in void or (unknown and UNKNOWN in void_classes):
            table[i] = VOID
        elif meaning is not None and meaning.known:
            table[i] = VOID if meaning.scored is None else ids[meaning.scored]
        if table[i] in (VOID, IGNORE):
            words["void" if table[i] == VOID else "not used"].append(space.class_names[i])
    for word, names in words.items():
        say(f"{space.name}: {word}: {', '.join(names) or '-'}")
    return table
