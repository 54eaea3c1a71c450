"""What label maps tell about a dataset together, though each of them is in order.

A class never occurs, 255 may be a class, ids may run from 1, labels may give no signal.

The check of a dataset and the start of a training ask the same questions. Letters: C classes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import IGNORE, LabelSpace
from unilabel.data.class_list import ClassList
from unilabel.data.images import orientation
from unilabel.data.sources import SPLITS, DatasetSource, Sample

logger = logging.getLogger(__name__)

LOOKED_AT = 60  # label maps of a split that are read before a training
_BACKGROUND = ("background", "void", "unlabel", "ignore", "other", "none", "unknown")
_TOUCHES, _OCCURS = 0.9, 0.8  # of unlabelled pixels: share of the other classes they border on
_SLIVER, _CORE = 0.02, 0.65  # or: small, and little of it is further than 2 pixels from an edge
_MIN_CLASSES = 4  # with fewer, any class borders on all others


@dataclass(frozen=True)
class Finding:
    """Something that its owner should look at.

    Attributes:
        level: "fault" (a question that has to be answered), "warning" or "note".
        message: what was found and what to do.
    """

    level: str
    message: str


@dataclass(frozen=True)
class LabelFacts:
    """What one label map holds.

    Attributes:
        pixels: (C + 1,) pixels of each class, ignored ones last.
        touches: share of the other classes in the map that class 0 borders on.
        core: pixels of class 0 further than 2 pixels from its edge.
        square: it is as wide as high.
    """

    pixels: np.ndarray
    touches: float
    core: int
    square: bool = False


@dataclass
class SplitFacts:
    """Sums of :class:`LabelFacts` over a split.

    Attributes:
        pixels: (C + 1,) as there.
        maps: label maps.
        with_first: maps in which class 0 occurs.
        touches: sum over those.
        core: sum.
        turned: photos whose EXIF orientation does not show in their size.
        orientations: the orientations of these.
    """

    pixels: np.ndarray
    maps: int = 0
    with_first: int = 0
    touches: float = 0.0
    core: int = 0
    turned: int = 0
    orientations: set[int] = field(default_factory=set)

    def add(self, facts: LabelFacts, turn: int = 1) -> None:
        """Count one label map and the EXIF orientation of its photo.

        A quarter turn shows in the size of a photo, unless it is square.
        """
        self.pixels = self.pixels + facts.pixels
        self.maps += 1
        self.with_first += bool(facts.pixels[0])
        self.touches += facts.touches
        self.core += facts.core
        if turn in (2, 3, 4) or (turn > 4 and facts.square):
            self.turned += 1
            self.orientations.add(turn)


def label_facts(label: np.ndarray, classes: int) -> LabelFacts:
    """Facts of a decoded label map (H, W)."""
    counts = np.bincount(label.reshape(-1), minlength=256)
    pixels = np.append(counts[:classes], counts[IGNORE])
    others = np.count_nonzero(pixels[1:-1])
    square = label.shape[0] == label.shape[1]
    if not pixels[0] or others < _MIN_CLASSES - 1:
        return LabelFacts(pixels, 0.0, int(pixels[0]), square)
    first = (label == 0).astype(np.uint8)
    ring = cv2.dilate(first, np.ones((3, 3), np.uint8)) - first
    touched = np.bincount(label[ring > 0], minlength=256)[1:classes]
    core = cv2.erode(first, np.ones((5, 5), np.uint8), borderValue=1)
    return LabelFacts(pixels, np.count_nonzero(touched) / others, int(core.sum()), square)


def find_all(
    space: LabelSpace, splits: Mapping[str, SplitFacts], classes: ClassList | None
) -> list[Finding]:
    """The answers to all questions.

    Args:
        space: the classes.
        splits: facts of the splits that were looked at.
        classes: the ``classes.json`` of an own folder.
    """
    looked = {s: f for s, f in splits.items() if f.maps}
    if not looked:
        return []
    found = _is_255_a_class(space, looked, classes) or _no_signal(space, looked)
    found += _ids_from_one(space, looked, classes)
    for split, facts in looked.items():
        found += _of_split(space, split, facts)
    return found


def source_findings(source: DatasetSource) -> list[Finding]:
    """Findings from some label maps of every split, as a training sees them at its start.

    Bad files are left to whoever reads all of them.
    """
    count = source.label_space.num_classes
    splits = {}
    for split in SPLITS:
        facts = SplitFacts(np.zeros(count + 1, np.int64))
        samples = source.list_samples(split)
        for sample in samples[:: max(1, len(samples) // LOOKED_AT)][:LOOKED_AT]:
            _look_at(source, sample, facts)
        splits[split] = facts
    return find_all(source.label_space, splits, getattr(source.list_samples, "classes", None))


def _look_at(source: DatasetSource, sample: Sample, facts: SplitFacts) -> None:
    try:
        label = source.decode_label(sample.label)
    except UniLabelError:
        return
    facts.add(label_facts(label, source.label_space.num_classes), orientation(sample.image))


def _is_255_a_class(
    space: LabelSpace, splits: Mapping[str, SplitFacts], classes: ClassList | None
) -> list[Finding]:
    if classes is None or classes.says_ignored or classes.says_values or space.num_classes > 2:
        return []
    total = sum(f.pixels for f in splits.values())
    if not total[0] or not total[-1] or total[1:-1].any():
        return []
    first, last = space.class_names[0], space.class_names[-1]
    turned = ""
    if space.num_classes == 1:
        turned = (
            f"If 0 is {first!r} and 255 is known to be something else:\n"
            f'  "classes": [{{"name": "{first}", "values": [0]}}, '
            '{"name": "background", "values": [255]}]\n'
        )
    where = f'"name": "{last}"'
    other = f'{{"name": "{first if space.num_classes > 1 else "background"}", "values": [0]}}'
    return [
        Finding(
            "fault",
            f"the labels of {space.name!r} hold the values 0 and 255 alone: is 255 a class, or "
            f"does it mean unlabelled? If it is the class {last!r}, write in {classes.path}:\n"
            f'  "classes": [{other}, {{{where}, "values": [255]}}]\n'
            + turned
            + f"if 255 is unlabelled (then only {first!r} is labelled, which gives no signal):\n"
            '  "ignore_values": [255]',
        )
    ]


def _no_signal(space: LabelSpace, splits: Mapping[str, SplitFacts]) -> list[Finding]:
    facts = splits.get("train")
    if facts is None or np.count_nonzero(facts.pixels[:-1]) != 1:
        return []
    name = space.class_names[int(np.flatnonzero(facts.pixels[:-1])[0])]
    return [
        Finding(
            "warning",
            f"{space.name!r}: {name!r} is the only class in the training labels and the rest is "
            "unlabelled: any constant answer is right, so there is nothing to learn from them. "
            'Make the rest a class, {"name": "background", "values": [255]} for example, if it is '
            "known to be something else.",
        )
    ]


def _ids_from_one(
    space: LabelSpace, splits: Mapping[str, SplitFacts], classes: ClassList | None
) -> list[Finding]:
    """Whether class 0 lies where unlabelled pixels lie: between all others, in nearly all maps."""
    if classes is None or classes.says_values or classes.says_ignored or classes.colors:
        return []
    name = space.class_names[0]
    facts = list(splits.values())
    pixels = sum(f.pixels for f in facts)
    seen = sum(f.with_first for f in facts)
    if pixels[-1] or not seen or any(word in name.lower() for word in _BACKGROUND):
        return []
    between = sum(f.touches for f in facts) / seen >= _TOUCHES
    usual = seen / sum(f.maps for f in facts) >= _OCCURS
    sliver = pixels[0] < _SLIVER * pixels.sum() and sum(f.core for f in facts) < _CORE * pixels[0]
    if np.count_nonzero(pixels[:-1]) < _MIN_CLASSES or not ((between and usual) or sliver):
        return []
    return [
        Finding(
            "warning",
            f"{space.name!r}: no pixel is unlabelled, and the id 0 ({name!r}) lies between all "
            "other classes, as unlabelled pixels do. Do the ids run from 1? Then all classes are "
            f'shifted by one: write {{"id": 1, "name": "{name}"}}, {{"id": 2, ...}} and '
            f'"ignore_values": [0] in {classes.path}. If 0 is right, "ignore_values": [255] there '
            "says so.",
        )
    ]


def _of_split(space: LabelSpace, split: str, facts: SplitFacts) -> list[Finding]:
    found = []
    looked = f"{facts.maps} label map{'s' if facts.maps != 1 else ''}"
    if not facts.pixels[:-1].any():
        found.append(
            Finding(
                "warning",
                f"{space.name!r}: no pixel of {looked} of {split} is labelled; "
                + ("nothing can be learned." if split == "train" else "nothing can be scored."),
            )
        )
    else:
        unseen = [n for n, p in zip(space.class_names, facts.pixels[:-1], strict=True) if not p]
        if unseen:
            names = ", ".join(unseen[:12]) + (", ..." if len(unseen) > 12 else "")
            found.append(
                Finding(
                    "warning",
                    f"{space.name!r}: {len(unseen)} of {space.num_classes} classes occur in none "
                    f"of {looked} of {split}: {names}.",
                )
            )
    if facts.turned:
        tags = " and ".join(str(t) for t in sorted(facts.orientations))
        found.append(
            Finding(
                "warning",
                f"{space.name!r}: {facts.turned} of the photos of {split} carry the EXIF "
                f"orientation {tags} and are turned when they are read, which their size does not "
                "show. If the labels were drawn on the stored pixels, they lie wrong: look at the "
                "contact sheet (tools/check_dataset.py --output), and turn these labels or remove "
                "the tag.",
            )
        )
    return found
