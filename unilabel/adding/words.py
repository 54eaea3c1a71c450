"""What is believed about a new dataset, in words, and what is not sure."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unilabel.adding.learn import Learned
from unilabel.adding.photos import LabelledPhotos
from unilabel.adding.relations import Relations
from unilabel.core.unified_space import UnifiedLabelSpace

UNSURE = 0.5  # score of a link under which a person should look
FEW_PIXELS = 200  # of a class on the cells of the network
FEW_RELATIONS = 0.6  # share of a class that relations explain under which the dataset is far


@dataclass(frozen=True)
class Belief:
    """What is believed about one class.

    Attributes:
        of_class: class id.
        text: a sentence without its name: "= tree + grass", "new, part of building".
        doubts: why a person should look at it.
        related: it has something in common with the old datasets.
    """

    of_class: int
    text: str
    doubts: tuple[str, ...]
    related: bool


def beliefs(learned: Learned, photos: LabelledPhotos, before: UnifiedLabelSpace) -> list[Belief]:
    """One for each class.

    Args:
        learned: what was found.
        photos: of the new dataset.
        before: the label space without it.
    """
    return [_belief(c, learned, photos, before) for c in range(photos.label_space.num_classes)]


def _belief(
    column: int, learned: Learned, photos: LabelledPhotos, before: UnifiedLabelSpace
) -> Belief:
    relations = learned.relations
    rows = relations.links[:, column].nonzero().flatten().tolist()
    rows.sort(key=lambda r: (-float(relations.forward[column, r]), r))
    new = [label for label in relations.new if label.of_class == column]
    pixels = float(relations.pixels[column])
    parts = [" + ".join([before.names[r] for r in rows])] if rows else []
    doubts = []
    for label in new:
        near = before.names[label.near]
        if label.part:
            parts.append(f"new, part of {near}")
        elif label.seen:
            parts.append("new" if not rows else "new where the photos look different")
        else:
            parts.append("new")
    weak = [r for r in rows if float(relations.score[r, column]) < UNSURE]
    if weak and pixels:
        doubts.append("weak: " + ", ".join(before.names[r] for r in weak))
    if photos.count and not pixels:
        if rows:
            doubts.append("no photo shows it; taken from its name")
        else:
            doubts.append("no photo shows it and no name is like it: it is never answered")
    elif not photos.count and not rows:
        doubts.append("no name is like it: it is never answered until a photo shows it")
    elif 0 < pixels < FEW_PIXELS:
        doubts.append("very few pixels show it")
    sign = "= " if rows else ""
    related = bool(rows) or any(label.part for label in new)
    return Belief(column, sign + "; ".join(parts), tuple(doubts), related)


def explained(relations: Relations, found: list[Belief]) -> float:
    """How much of a class the relations explain, mean over classes, 0..1.

    Of a class with pixels it is the share of them that its unified labels find in the photos, and
    all of it where it is part of one; names alone do not count there, for a car seen from above has
    the name of one. Without pixels a name that is alike counts as all.
    """
    shares = torch.tensor([float(belief.related) for belief in found], dtype=torch.float64)
    part = torch.zeros(len(found), dtype=torch.bool)
    for label in relations.new:
        part[label.of_class] |= label.part
    seen = relations.pixels > 0
    if bool(seen.any()):
        shares = torch.where(part, 1.0, relations.found().double())[seen]
    return float(shares.mean())


def lines(learned: Learned, photos: LabelledPhotos, before: UnifiedLabelSpace) -> list[str]:
    """What the program prints."""
    names = photos.label_space.class_names
    found = beliefs(learned, photos, before)
    told = [
        f"{photos.label_space.name}: {photos.count} photos, {len(names)} classes, "
        f"{len(learned.relations.new)} new unified labels"
    ]
    told += [f"  {names[b.of_class]} {b.text}" for b in found]
    unsure = [f"  {names[b.of_class]}: {'; '.join(b.doubts)}" for b in found if b.doubts]
    if unsure:
        told += ["unsure, look at these:", *unsure]
    share = explained(learned.relations, found)
    if share < FEW_RELATIONS:
        told.append(
            f"few relations were found: they explain {100 * share:.0f} % of a class (mean), so "
            f"these photos have little in common with those of "
            f"{', '.join(before.label_spaces.names)}. The dataset answers by itself, and the old "
            "ones as before; check its links before they are used for more."
        )
    told.append(_about_choice(learned))
    lost = sorted(before.checked - learned.space.checked)
    if lost:
        told.append(
            f"{len(lost)} unified labels that a person had checked have got a link of this "
            f"dataset, and are to be checked again: "
            f"{', '.join(before.names[r] for r in lost[:5])}{', ...' if len(lost) > 5 else ''}"
        )
    return told


def _about_choice(learned: Learned) -> str:
    choice = learned.choice
    if choice.kind == "text":
        return "read through the unified labels, by names and descriptions alone (no photo)"
    if choice.score is None:
        return (
            "read through the unified labels, their classifiers adapted (there is too little to "
            "compare with other ways)"
        )
    near = sum(c.weight for c in learned.choices if c.kind == "near")
    best = {
        kind: max(c.score for c in learned.choices if c.kind == kind and c.score is not None)
        for kind in ("near", "own")
    }
    return (
        f"read {100 * near:.0f} % through the unified labels, their classifiers adapted (mIoU "
        f"{best['near']:.1f} on left-out parts of these photos), {100 - 100 * near:.0f} % by "
        f"classifiers of its own ({best['own']:.1f})"
    )
