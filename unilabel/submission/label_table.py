"""What each label of a model is written as: a table that a person can read and edit.

Letters: N labels of the model (unified labels, or the classes of one head).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json, write_json
from unilabel.core.label_space import UNIFIED, LabelSpaceSet
from unilabel.core.unified_space import UnifiedLabelSpace
from unilabel.submission.formats import Benchmark

SCHEMA = "unilabel/submission_mapping"
VERSION = 1
_ENTRY_KEYS = ("id", "label", "class", "evidence")


@dataclass(frozen=True)
class LabelTable:
    """Which value of the benchmark every label of a model becomes.

    Attributes:
        benchmark: name of the benchmark.
        way: "learned", "zero-shot" or "file".
        space: label space of the labels: "unified", or a dataset for a model with one head per
            dataset.
        dataset: dataset whose bias belongs to the unified scores, "" for none.
        labels: N names.
        classes: N classes of the benchmark, None: void.
        evidence: N reasons.
    """

    benchmark: str
    way: str
    space: str
    dataset: str
    labels: tuple[str, ...]
    classes: tuple[str | None, ...]
    evidence: tuple[str, ...]

    def values(self, benchmark: Benchmark) -> list[int | None]:
        """N values of result files, None: void."""
        return [None if name is None else benchmark.ids[name] for name in self.classes]

    def unused(self, benchmark: Benchmark) -> list[str]:
        """Classes of the benchmark that no label becomes."""
        return [name for name in benchmark.ids if name not in self.classes]

    def voids(self) -> list[str]:
        """Labels that become no class of the benchmark."""
        return [n for n, own in zip(self.labels, self.classes, strict=True) if own is None]

    def lines(self, benchmark: Benchmark) -> list[str]:
        """The table as text."""
        width = max(len(name) for name in self.labels)
        rows = [f"{'id':>4}  {'label':<{width}}  {'value':>5}  {'class':<16} evidence"]
        for i, (label, name) in enumerate(zip(self.labels, self.classes, strict=True)):
            value = "void" if name is None else str(benchmark.ids[name])
            rows.append(
                f"{i:>4}  {label:<{width}}  {value:>5}  {name or '-':<16} {self.evidence[i]}"
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        entries = zip(self.labels, self.classes, self.evidence, strict=True)
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "benchmark": self.benchmark,
            "way": self.way,
            "space": self.space,
            "dataset": self.dataset,
            "labels": [
                {"id": i, "label": label, "class": name, "evidence": why}
                for i, (label, name, why) in enumerate(entries)
            ],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table for a person to edit."""
        write_json(path, self.to_dict())


def learned_table(
    benchmark: Benchmark, label_spaces: LabelSpaceSet, space: UnifiedLabelSpace | None
) -> LabelTable:
    """The benchmark's dataset was trained on: its own links, or its own head.

    Classes of the model that the benchmark does not have (a learned class "void") become void.

    Raises:
        UniLabelError: the model does not know the dataset, or knows none of its classes.
    """
    if benchmark.name not in label_spaces.names:
        raise UniLabelError(
            f"the model was not trained on {benchmark.name!r} (but on "
            f"{', '.join(label_spaces.names)}), so it has no learned mapping to it; use "
            "--mapping zero-shot (WildDash 2 only) or a mapping file."
        )
    own = label_spaces.get(benchmark.name).class_names
    if not set(own) & set(benchmark.ids):
        raise UniLabelError(
            f"the model's dataset {benchmark.name!r} has the classes {', '.join(own)}; none is a "
            f"class of the benchmark ({', '.join(benchmark.ids)})."
        )
    if space is None:
        labels, linked, where = own, list(range(len(own))), benchmark.name
    else:
        labels, where = space.names, UNIFIED
        linked = space.mapping.class_of(benchmark.name).tolist()
    names = [own[c] if c >= 0 else None for c in linked]
    return LabelTable(
        benchmark.name,
        "learned",
        where,
        benchmark.name if space is not None else "",
        tuple(labels),
        tuple(name if name in benchmark.ids else None for name in names),
        tuple("no link" if name is None else f"class {name}" for name in names),
    )


def read_table(
    path: str | os.PathLike[str],
    benchmark: Benchmark,
    label_spaces: LabelSpaceSet,
    space: UnifiedLabelSpace | None,
) -> LabelTable:
    """Read a table that ``--write-mapping`` wrote and a person may have edited.

    Raises:
        UniLabelError: it belongs to another benchmark or model, or names an unknown class.
    """
    source = os.fspath(path)
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or data.get("version") != VERSION:
        raise UniLabelError(
            f"{source} is no mapping file of version {VERSION}; write one with --write-mapping and "
            "edit its classes."
        )
    if data.get("benchmark") != benchmark.name:
        raise UniLabelError(
            f"{source} is a mapping to {data.get('benchmark')!r}, not to {benchmark.name!r}."
        )
    where, dataset = data.get("space"), data.get("dataset", "")
    if space is None:
        expected = label_spaces.get(str(where)).class_names
    elif where == UNIFIED:
        expected = space.names
    else:
        raise UniLabelError(f'{source}: "space" is {where!r}, the model has unified labels.')
    if dataset:
        label_spaces.dataset_index(str(dataset))
    entries = data.get("labels")
    if not isinstance(entries, list):
        raise UniLabelError(f'{source}: expected a list "labels".')
    found = [e.get("label") if isinstance(e, dict) else None for e in entries]
    if found != list(expected):
        raise UniLabelError(
            f"{source} lists {len(found)} labels that are not the {len(expected)} of this model in "
            "their order; write the mapping again with --write-mapping and edit only the classes."
        )
    for entry in entries:
        _check_keys(entry, source)
        name = entry["class"]
        if name is not None and not (isinstance(name, str) and name in benchmark.ids):
            raise UniLabelError(
                f"{source}: label {entry['label']!r} has the class {name!r}, expected null (void) "
                f"or one of: {', '.join(benchmark.ids)}."
            )
    return LabelTable(
        benchmark.name,
        "file",
        str(where),
        str(dataset),
        tuple(expected),
        tuple(e["class"] for e in entries),
        tuple(str(e.get("evidence", "")) for e in entries),
    )


def _check_keys(entry: dict[str, Any], source: str) -> None:
    """A key that is left out or misspelt must not make its label void unseen."""
    where = f"{source}: label {entry['label']!r}"
    for key in entry:
        if key not in _ENTRY_KEYS:
            near = get_close_matches(str(key), _ENTRY_KEYS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UniLabelError(
                f"{where} has the unknown key {key!r}.{hint} Expected: {', '.join(_ENTRY_KEYS)}."
            )
    if "class" not in entry:
        raise UniLabelError(
            f'{where} has no "class"; give it the name of a class, or null to make it void.'
        )
