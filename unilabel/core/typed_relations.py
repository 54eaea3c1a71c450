"""Relations of classes that share no unified label: a taxonomy beside the links.

A link costs accuracy where two views never meet, since both train one row of the head. A shirt is
part of a person whether or not the head ties them together. Such a relation is written down with
its type and what speaks for it; neither the head nor harmonising asks for it.

Letters: K datasets, C classes of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpaceSet
from unilabel.core.relations import TYPES as RELATION_TYPES

__all__ = [
    "ClassName",
    "TypedRelation",
    "known_ones",
    "merged_with",
    "read_relations",
    "relation_matrix",
]

ClassName = tuple[str, str]  # dataset, class
# "none": a person says that two classes are unrelated, whatever the evidence
TYPES = (*RELATION_TYPES, "none")
FLIPPED = {"subset": "superset", "superset": "subset"}
REASONS = ("kind", "part", "")
SOURCES = ("learned", "text", "human")
MAX_RELATIONS = 1_000_000


@dataclass(frozen=True)
class TypedRelation:
    """How class a is related to class b of another dataset.

    Attributes:
        a: dataset and class.
        b: dataset and class.
        type: ``equal``, ``subset`` (a is in b), ``superset``, ``overlap``; or ``none``, which only
            a person says.
        why: the narrower one is a ``kind`` of the wider one or a ``part`` of it; empty: not known.
        source: ``learned``, ``text`` or ``human``.
        weight: confidence, 0..1.
        pixels: what the first networks say: mean probability of b on the pixels of a, and of a on
            those of b; None: not measured.
    """

    a: ClassName
    b: ClassName
    type: str
    why: str = ""
    source: str = "text"
    weight: float = 1.0
    pixels: tuple[float, float] | None = None

    @property
    def ends(self) -> frozenset[ClassName]:
        """Both classes, in no order."""
        return frozenset((self.a, self.b))

    def seen_from(self, dataset: str) -> TypedRelation:
        """The same with the class of ``dataset`` as a."""
        if self.a[0] == dataset:
            return self
        pixels = self.pixels and self.pixels[::-1]
        kind = FLIPPED.get(self.type, self.type)
        return replace(self, a=self.b, b=self.a, type=kind, pixels=pixels)

    def with_dataset(self, old: str, new: str) -> TypedRelation:
        """The same where the dataset ``old`` is called ``new``."""
        a, b = ((new if name == old else name, label) for name, label in (self.a, self.b))
        return replace(self, a=a, b=b)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; the ends and the type as in a file of known relations."""
        entry: dict[str, Any] = {
            end: {"dataset": dataset, "label": label}
            for end, (dataset, label) in (("a", self.a), ("b", self.b))
        }
        entry |= {"type": self.type, "why": self.why, "source": self.source, "weight": self.weight}
        return entry if self.pixels is None else {**entry, "pixels": list(self.pixels)}


def read_relations(data: Any, spaces: LabelSpaceSet, where: str) -> tuple[TypedRelation, ...]:
    """Read the list "relations" of a label space.

    Raises:
        UniLabelError: an entry is malformed, names an unknown class or a pair twice.
    """
    if not isinstance(data, list) or len(data) > MAX_RELATIONS:
        found = f"{len(data)} entries" if isinstance(data, list) else type(data).__name__
        raise UniLabelError(
            f"{where} is {found}, expected a list of at most {MAX_RELATIONS} relations; delete it "
            "to go on without."
        )
    found_relations: dict[frozenset[ClassName], TypedRelation] = {}
    for number, entry in enumerate(data):
        place = f"{where}[{number}]"
        if not isinstance(entry, dict):
            raise UniLabelError(f'{place} is {entry!r}, expected {{"a", "b", "type"}}.')
        a, b = (_end(entry.get(end), spaces, f'{place}["{end}"]') for end in "ab")
        if a[0] == b[0]:
            raise UniLabelError(
                f"{place} relates {a[1]!r} and {b[1]!r}, both of {a[0]!r}; expected classes of two "
                "datasets."
            )
        relation = _checked(entry, a, b, place)
        if relation.ends in found_relations:
            raise UniLabelError(f"{place}: {a[1]!r} and {b[1]!r} are listed twice; keep one entry.")
        found_relations[relation.ends] = relation
    return tuple(found_relations.values())


def _checked(entry: dict[str, Any], a: ClassName, b: ClassName, place: str) -> TypedRelation:
    kind, why, source = entry.get("type"), entry.get("why", ""), entry.get("source", "human")
    for key, value, known in (
        ("type", kind, TYPES), ("why", why, REASONS), ("source", source, SOURCES),
    ):  # fmt: skip
        if value not in known:
            raise UniLabelError(f'{place}: "{key}" is {value!r}, expected one of {known}.')
    if kind == "none" and source != "human":
        raise UniLabelError(
            f'{place}: "none" is what a person says; give it the "source" "human" or delete it.'
        )
    weight, pixels = entry.get("weight", 1.0), entry.get("pixels")
    shares = [weight, *(pixels if isinstance(pixels, list) else ())]
    if (pixels is not None and len(shares) != 3) or not all(map(_is_share, shares)):
        raise UniLabelError(
            f'{place}: "weight" is {weight!r} and "pixels" {pixels!r}, expected a number of 0..1 '
            "and null or two of them."
        )
    measured = None if pixels is None else (float(pixels[0]), float(pixels[1]))
    return TypedRelation(a, b, str(kind), str(why), str(source), float(weight), measured)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and 0 <= value <= 1


def _end(value: Any, spaces: LabelSpaceSet, where: str) -> ClassName:
    if not isinstance(value, dict) or not all(
        isinstance(value.get(key), str) for key in ("dataset", "label")
    ):
        raise UniLabelError(f'{where} is {value!r}, expected {{"dataset", "label"}}.')
    try:
        spaces.get(value["dataset"]).index(value["label"])
    except UniLabelError as error:
        raise UniLabelError(f"{where}: {error}") from None
    return value["dataset"], value["label"]


def known_ones(
    relations: Iterable[TypedRelation], spaces: LabelSpaceSet
) -> tuple[TypedRelation, ...]:
    """Those whose classes are both there; others went with their dataset or were renamed."""
    present = spaces.places()
    return tuple(r for r in relations if r.a in present and r.b in present)


def merged_with(
    found: Iterable[TypedRelation], reviewed: Iterable[TypedRelation], spaces: LabelSpaceSet
) -> tuple[TypedRelation, ...]:
    """New relations, and in their place what a person said before about the same two classes."""
    human = {r.ends: r for r in known_ones(reviewed, spaces) if r.source == "human"}
    fresh = [r for r in found if r.ends not in human]
    return (*fresh, *human.values())


def relation_matrix(relations: Sequence[TypedRelation], spaces: LabelSpaceSet) -> Tensor:
    """(C, C) bool, symmetric: classes that are related; those called ``none`` are not."""
    matrix = torch.zeros(spaces.total, spaces.total, dtype=torch.bool)
    place = spaces.places()
    for relation in relations:
        a, b = place[relation.a], place[relation.b]
        matrix[a, b] = matrix[b, a] = relation.type != "none"
    return matrix
