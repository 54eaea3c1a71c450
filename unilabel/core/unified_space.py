"""The learned label space as an artefact: ``label_space.json``.

Letters: K datasets, C classes of all datasets, N unified labels.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json, write_json
from unilabel.core.label_mapping import LabelMapping
from unilabel.core.label_space import LabelSpaceSet, clean_text, default_color, read_color
from unilabel.core.typed_relations import TypedRelation, read_relations

SCHEMA = "unilabel/label_space"
VERSION = 1
SOURCES = ("learned", "text", "human")
MAX_UNIFIED = 20_000
LONGEST_PAIR = 80  # characters of two class names that make the name of a unified label


@dataclass(frozen=True)
class Link:
    """One unified label stands for a class of a dataset.

    Attributes:
        source: who said so: ``learned``, ``text`` or ``human``.
        weight: confidence in 0..1 (edge weight or score).
    """

    source: str = "learned"
    weight: float = 1.0


@dataclass(frozen=True)
class UnifiedLabelSpace:
    """N unified labels, what they are called and what they stand for.

    Attributes:
        mapping: the links as matrices.
        names: N distinct names.
        colors: N display colours.
        links: (unified label, dataset, class id) -> :class:`Link`, for the links of ``mapping``.
        checked: unified labels that a person has marked as checked.
        provenance: free notes (configuration, seed, versions).
        relations: of classes that need not share a unified label; nothing but a reader asks for
            them.
    """

    mapping: LabelMapping
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    links: dict[tuple[int, str, int], Link]
    checked: frozenset[int] = frozenset()
    provenance: dict[str, Any] = field(default_factory=dict)
    relations: tuple[TypedRelation, ...] = ()

    @property
    def label_spaces(self) -> LabelSpaceSet:
        """The datasets' label spaces."""
        return self.mapping.label_spaces

    @classmethod
    def from_mapping(
        cls,
        mapping: LabelMapping,
        weights: Tensor | None = None,
        source: str = "learned",
        provenance: dict[str, Any] | None = None,
        human_links: Tensor | None = None,
        text_links: Tensor | None = None,
    ) -> UnifiedLabelSpace:
        """Name and colour the unified labels after the classes that they stand for.

        Args:
            mapping: the links.
            weights: (N, C) confidence of the links; None: 1.
            source: who made them.
            provenance: notes to keep.
            human_links: (N, C) bool, links whose source is ``human``.
            text_links: (N, C) bool, others whose source is ``text``; every class has one beside.
        """
        links = {}
        offsets = dict(
            zip(mapping.label_spaces.names, mapping.label_spaces.class_offsets, strict=False)
        )
        for name, matrix in mapping.matrices.items():
            for row, column in torch.nonzero(matrix).tolist():
                spot = row, offsets[name] + column
                weight = 1.0 if weights is None else float(weights[spot])
                said = source
                for who, told in (("text", text_links), ("human", human_links)):
                    if told is not None and bool(told[spot]):
                        said = who
                links[row, name, column] = Link(said, min(1.0, max(0.0, round(weight, 6))))
        learned = mapping
        if text_links is not None:  # what only texts tell does not name a label
            stacked = mapping.stacked() & ~text_links
            learned = LabelMapping.from_stacked(mapping.label_spaces, stacked)
        names, colors = _names_and_colors(learned)
        return cls(mapping, names, colors, links, provenance=dict(provenance or {}))

    def human_links(self) -> Tensor:
        """(N, C) bool: links that a person made or confirmed."""
        return self.said_by("human")

    def linked_by(self, *sources: str) -> Tensor:
        """(C, C) bool: classes that share a unified label by links of these sources."""
        links = self.said_by(*sources).float()
        return links.T @ links > 0

    def said_by(self, *sources: str) -> Tensor:
        """(N, C) bool: links of these sources."""
        matrix = torch.zeros_like(self.mapping.stacked())
        offsets = dict(zip(self.label_spaces.names, self.label_spaces.class_offsets, strict=False))
        for (row, dataset, column), link in self.links.items():
            matrix[row, offsets[dataset] + column] = link.source in sources
        return matrix

    def with_mapping(self, mapping: LabelMapping, source: str = "learned") -> UnifiedLabelSpace:
        """The same names with other links; links that stay keep their source and weight."""
        fresh = UnifiedLabelSpace.from_mapping(mapping, source=source)
        links = {key: self.links.get(key, link) for key, link in fresh.links.items()}
        return replace(self, mapping=mapping, links=links)

    def beside(self) -> tuple[TypedRelation, ...]:
        """Typed relations of classes that share no unified label, without those that are denied."""
        linked = self.mapping.links()
        place = self.label_spaces.places()
        return tuple(
            r for r in self.relations if r.type != "none" and not linked[place[r.a], place[r.b]]
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        active = self.mapping.active().tolist()
        columns = {name: self.mapping.class_of(name).tolist() for name in self.label_spaces.names}
        labels = []
        for row, (name, color) in enumerate(zip(self.names, self.colors, strict=True)):
            links: dict[str, Any] = {}
            for space in self.label_spaces:
                column = columns[space.name][row]
                if column < 0:
                    links[space.name] = None
                    continue
                link = self.links[row, space.name, column]
                links[space.name] = {
                    "class": space.class_names[column],
                    "source": link.source,
                    "weight": link.weight,
                }
            labels.append(
                {
                    "id": row,
                    "name": name,
                    "color": list(color),
                    "active": active[row],
                    "checked": row in self.checked,
                    "links": links,
                }
            )
        data = {
            "schema": SCHEMA,
            "version": VERSION,
            "checksum": self.mapping.checksum(),
            "provenance": self.provenance,
            "datasets": self.label_spaces.to_list(),
            "labels": labels,
        }
        if self.relations:
            data["relations"] = [relation.to_dict() for relation in self.relations]
        return data

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``label_space.json`` atomically."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> UnifiedLabelSpace:
        """Read and check ``label_space.json``."""
        return cls.from_dict(read_json(path), os.fspath(path))

    @classmethod
    def from_dict(cls, data: Any, source: str = "label space") -> UnifiedLabelSpace:
        """Read the JSON form.

        Raises:
            UniLabelError: wrong schema or version, unknown class, broken constraint.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise UniLabelError(f'{source}: "schema" is {found!r}, expected {SCHEMA!r}.')
        if data.get("version") != VERSION:
            raise UniLabelError(
                f'{source}: "version" is {data.get("version")!r}, this program reads {VERSION}.'
            )
        spaces = LabelSpaceSet.from_list(data.get("datasets"), f'{source}: "datasets"')
        labels = data.get("labels")
        if not isinstance(labels, list) or not 1 <= len(labels) <= MAX_UNIFIED:
            raise UniLabelError(
                f'{source}: expected a list "labels" of 1 to {MAX_UNIFIED} entries.'
            )
        matrices = {s.name: torch.zeros(len(labels), s.num_classes) for s in spaces}
        names: list[str] = []
        colors: list[tuple[int, int, int]] = []
        links: dict[tuple[int, str, int], Link] = {}
        checked = set()
        for row, entry in enumerate(labels):
            where = f"{source}: labels[{row}]"
            if not isinstance(entry, dict) or entry.get("id") != row:
                raise UniLabelError(f'{where} must be an object with "id" {row}.')
            names.append(clean_text(entry.get("name"), f'{where}["name"]'))
            colors.append(read_color(entry.get("color", default_color(row)), where))
            if entry.get("checked") is True:
                checked.add(row)
            for dataset, column, link in _read_links(entry.get("links"), spaces, where):
                matrices[dataset][row, column] = 1
                links[row, dataset, column] = link
        double = [n for n, count in Counter(names).items() if count > 1]
        if double:
            raise UniLabelError(
                f"{source}: two unified labels are named {double[0]!r}; rename one."
            )
        try:
            mapping = LabelMapping(spaces, matrices)
        except UniLabelError as error:
            raise UniLabelError(f"{source}: {error}") from None
        provenance = data.get("provenance", {})
        if not isinstance(provenance, dict):
            raise UniLabelError(f'{source}: "provenance" must be an object.')
        relations = read_relations(data.get("relations", []), spaces, f'{source}: "relations"')
        return cls(
            mapping, tuple(names), tuple(colors), links, frozenset(checked), provenance, relations
        )


def _read_links(data: Any, spaces: LabelSpaceSet, where: str) -> Sequence[tuple[str, int, Link]]:
    if not isinstance(data, dict):
        raise UniLabelError(f'{where}["links"] is {type(data).__name__}, expected an object.')
    found = []
    for dataset, value in data.items():
        try:
            space = spaces.get(dataset)
            if value is None:
                continue
            if not isinstance(value, dict):
                raise UniLabelError(
                    f'expected null or {{"class", "source", "weight"}}, not {value!r}'
                )
            column = space.index(str(value.get("class")))
        except UniLabelError as error:
            raise UniLabelError(f'{where}["links"]: {error}') from None
        kind, weight = value.get("source", "human"), value.get("weight", 1.0)
        if kind not in SOURCES:
            raise UniLabelError(f"{where}: link source {kind!r}, expected one of {SOURCES}.")
        if not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise UniLabelError(f"{where}: link weight {weight!r}, expected a number of 0..1.")
        found.append((dataset, column, Link(kind, float(weight))))
    return found


def _names_and_colors(
    mapping: LabelMapping,
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Each unified label is called after its most specific class: the one with fewest labels.

    It has the colour of that class or another of its classes, or a free one: no two look the same.
    """
    classes: list[list[str]] = []  # of every unified label, the most specific one first
    colors: dict[int, tuple[int, int, int]] = {}
    taken_colors: set[tuple[int, int, int]] = set()
    widths = {n: m.sum(0).tolist() for n, m in mapping.matrices.items()}
    columns = {n: mapping.class_of(n).tolist() for n in mapping.matrices}
    for row in range(mapping.num_unified):
        options = []
        for space in mapping.label_spaces:
            column = columns[space.name][row]
            if column >= 0:
                width = widths[space.name][column]
                options.append((width, space.class_names[column], space.colors[column]))
        votes = Counter(name for _, name, _ in options)
        options.sort(key=lambda o: (o[0], -votes[o[1]], len(o[1]), o[1]))
        classes.append([name for _, name, _ in options] or ["unused"])
        free = [color for _, _, color in options if color not in taken_colors]
        if free:
            colors[row] = free[0]
            taken_colors.add(free[0])
    others = (c for c in map(default_color, itertools.count()) if c not in taken_colors)
    for row in range(mapping.num_unified):
        if row not in colors:  # only now: a free colour may be that of a later class
            colors[row] = next(others)
    return _distinct_names(classes), tuple(colors[row] for row in range(mapping.num_unified))


def _distinct_names(classes: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """N distinct names: of labels that share their first class, with what tells them apart.

    Two kinds of building become "building (far objects)" and "building (road side objects)"; only
    where no class does that, or for one label of several, they are numbered.

    Args:
        classes: the classes of every unified label, most specific first, at least one.
    """
    sharing: dict[str, Counter[str]] = {}  # first class -> how many of its labels have a class
    for first, *rest in classes:
        sharing.setdefault(first, Counter()).update({first, *rest})
    names: list[str] = []
    taken: set[str] = set()
    for first, *rest in classes:
        name = first
        if sharing[first][first] > 1:
            own = [other for other in rest if sharing[first][other] == 1]
            if own and len(first) + len(own[0]) < LONGEST_PAIR:
                name = f"{first} ({own[0]})"
        numbered, number = name, 1
        while numbered in taken:  # a class itself may be called "road (2)"
            number += 1
            numbered = f"{name} ({number})"
        names.append(numbered)
        taken.add(numbered)
    return tuple(names)


def class_relations(mapping: LabelMapping) -> list[dict[str, Any]]:
    """Relations that a mapping implies between classes of different datasets.

    Returns:
        dicts ``{"a": {"dataset", "label"}, "b": {...}, "type", "shared"}`` with a before b; type is
        ``equal`` (same unified labels), ``subset``, ``superset`` or ``overlap``; ``shared`` counts
        the unified labels in common.
    """
    width = mapping.stacked().sum(0).tolist()  # unified labels of every class
    labels = [(s.name, n) for s in mapping.label_spaces for n in s.class_names]
    found = []
    for a, b, shared in torch.stack(mapping.shared(), 1).tolist():
        if a > b:
            continue
        if width[a] == width[b] == shared:
            kind = "equal"
        elif width[a] == shared:
            kind = "subset"
        elif width[b] == shared:
            kind = "superset"
        else:
            kind = "overlap"
        found.append(
            {
                "a": dict(zip(("dataset", "label"), labels[a], strict=True)),
                "b": dict(zip(("dataset", "label"), labels[b], strict=True)),
                "type": kind,
                "shared": shared,
            }
        )
    return found
