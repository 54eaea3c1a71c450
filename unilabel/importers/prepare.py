"""From the folder of an export to the list of what is going to be written, before anything is."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.label_space import LabelSpace
from unilabel.importers.classes import read_names
from unilabel.importers.detect import Form, find_form
from unilabel.importers.links import LINKS
from unilabel.importers.plan import Item, Options, Plan
from unilabel.importers.splits import TEST, TRAIN, VAL, assign_splits
from unilabel.importers.tree import Tree, plain, stem_of, suffix_of

VERSION = 2  # of the importers: a change of what they write makes old imports be renewed
TEST_PHOTOS = "photos of the split test (training knows train and val; --split decides otherwise)"
NO_VAL = (
    "there is no split val, so nothing is evaluated; --split val=0.2 takes a fifth of the photos"
)
_KEPT_SUFFIX = {".jfif": ".jpg", ".jpe": ".jpg"}


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        form: name of the form, "" to find it.
        names: file of names.
        background: "class", "ignore" or "".
        split: see :func:`unilabel.importers.splits.assign_splits`.
        link: one of :data:`unilabel.importers.links.LINKS`.
        smaller_on_top: paint by size.
        name: of the dataset, "" takes the folder's name.
        workers: processes.
    """

    form: str = ""
    names: Path | None = None
    background: str = ""
    split: str = ""
    link: str = "symlink"
    smaller_on_top: bool = False
    name: str = ""
    workers: int = 1


@dataclass(frozen=True)
class Target:
    """A photo that is going to be written: its split, and its name without suffix."""

    item: Item
    split: str
    key: str

    @property
    def image(self) -> str:
        """Relative path of the photo."""
        suffix = suffix_of(self.item.photo.name)
        return f"images/{self.split}/{self.key}{_KEPT_SUFFIX.get(suffix, suffix)}"

    @property
    def label(self) -> str:
        """Relative path of the label map."""
        return f"labels/{self.split}/{self.key}.png"


@dataclass
class Prepared:
    """An import that can be written.

    Attributes:
        tree: the export.
        form: its form.
        plan: its classes and photos.
        targets: photos that are going to be written.
        request: what the user asked for.
        options: the same, read.
        name: of the dataset.
        fingerprint: of the export's files and the request; equal ones give equal datasets.
    """

    tree: Tree
    form: Form
    plan: Plan
    targets: list[Target]
    request: Request
    options: Options
    name: str
    fingerprint: str

    def belief(self) -> str:
        """What the export is taken for, in a line."""
        splits = Counter(t.split for t in self.targets)
        listed = " / ".join(f"{s} ({splits[s]})" for s in (TRAIN, VAL) if splits[s])
        return (
            f"{self.form.title}: {len(self.plan.table.names)} labels, {len(self.targets)} photos, "
            f"splits {listed or 'none'}"
        )

    def classes_json(self, left_out: Counter[str], notes: Sequence[str]) -> dict[str, Any]:
        """Content of ``classes.json``, checked.

        Raises:
            UniLabelError: a name cannot be used.
        """
        request = self.request
        options = {
            "names": str(request.names) if request.names else None,
            "background": request.background or None,
            "split": request.split or None,
            "smaller_on_top": request.smaller_on_top or None,
        }
        content = {
            "name": self.name,
            "classes": self.plan.table.entries(),
            "provenance": {
                "form": self.form.name,
                "source": str(self.tree.root),
                "options": {k: v for k, v in options.items() if v is not None},
                "left_out": dict(sorted(left_out.items())),
                "notes": list(notes),
                "fingerprint": self.fingerprint,
            },
        }
        LabelSpace.from_dict(content, "the name of the dataset or a class (--name, --names)")
        return content


def prepare(source: str | Path, request: Request) -> Prepared:
    """Find the form and read what there is; nothing is written.

    Raises:
        UniLabelError: the export or the request is wrong.
    """
    if request.link not in LINKS:
        raise UniLabelError(f"--link {request.link}: expected one of {', '.join(LINKS)}.")
    tree = Tree(source)
    form, base = find_form(tree, request.form)
    options = Options(
        read_names(request.names) if request.names else None,
        request.background,
        request.smaller_on_top,
        request.workers,
    )
    plan = form.read(tree, base, options)
    if tree.loops:
        plan.left_out["links to a folder above themselves, not followed"] += len(tree.loops)
    if not plan.table.names:
        raise UniLabelError(
            f"{tree.root} ({form.title}) has no classes: {_reasons(plan)}; export it again, with "
            "annotations of areas (polygons or masks)."
        )
    plan.notes += _alike(plan.table.names)
    given = [item.split for item in plan.items]
    photos = [item.photo.name for item in plan.items]
    if not photos:
        raise UniLabelError(
            f"{tree.root} ({form.title}) has no photo with a label: {_reasons(plan)}; export it "
            "again, with photos and annotations."
        )
    splits = assign_splits(photos, given, request.split)
    tests = splits.count(TEST)
    if tests:
        plan.left_out[TEST_PHOTOS] += tests
    targets = _targets(plan.items, splits)
    if not targets:
        raise UniLabelError(
            f"{tree.root} ({form.title}) has only photos of a split test; choose with --split "
            "val=0.2."
        )
    name = request.name or Path(source).expanduser().resolve().name
    prepared = Prepared(tree, form, plan, targets, request, options, name, "")
    prepared.fingerprint = _fingerprint(tree, form, request)
    prepared.classes_json(Counter(), [])
    return prepared


def _alike(names: Sequence[str]) -> list[str]:
    """Notes on classes whose names differ in capitals or in a number alone: are they one?"""
    groups: dict[str, list[str]] = defaultdict(list)
    numbered: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[plain(name)].append(name)
        if match := re.fullmatch(r"(.*[^\W\d].*?)[\s_\-#.(]*\d+\)?", name):
            numbered[match[1]].append(name)
    many = {stem: found for stem, found in numbered.items() if len(found) > 2 and stem != "class"}
    notes = [
        f"{len(found)} classes are called {stem!r} with a number ({', '.join(found[:3])}, ...); if "
        f"they are objects of one class, DATASETS.CLASSES merges them: {{{found[0]!r}: {stem!r}, "
        "...}, or correct the labels in the tool"
        for stem, found in many.items()
    ]
    return notes + [
        f"the names {' and '.join(map(repr, group))} differ in capitals alone; if they mean one "
        f"class, correct the export, or DATASETS.CLASSES merges them: {{{group[1]}: {group[0]}}}"
        for group in groups.values()
        if len(group) > 1
    ]


def _reasons(plan: Plan) -> str:
    counted = [f"{n} {reason}" for reason, n in sorted(plan.left_out.items())]
    return ", ".join(counted) or "there is nothing in it"


def _targets(items: Sequence[Item], splits: Sequence[str]) -> list[Target]:
    """Names of photos: the stem where no other has it, else the whole path, joined by "__"."""
    chosen = [(i, s) for i, s in zip(items, splits, strict=True) if s in (TRAIN, VAL)]
    stems: Counter[tuple[str, str]] = Counter(
        (split, stem_of(item.photo.name).casefold()) for item, split in chosen
    )
    taken: dict[str, set[str]] = defaultdict(set)
    targets = []
    for item, split in chosen:
        key = stem_of(item.photo.name)
        if stems[split, key.casefold()] > 1:
            key = posixpath.splitext(item.photo.name)[0].replace("/", "__")
        bare, number = key, 2
        while key.casefold() in taken[split]:
            key, number = f"{bare}__{number}", number + 1
        taken[split].add(key.casefold())
        targets.append(Target(item, split, key))
    return targets


def _fingerprint(tree: Tree, form: Form, request: Request) -> str:
    names = request.names.read_bytes().hex() if request.names else ""
    listed = Path(request.split)
    split = listed.read_bytes().hex() if request.split and listed.is_file() else request.split
    parts = [VERSION, str(tree.root), tree.fingerprint(), form.name, names, split]
    parts += [request.background, request.link, request.smaller_on_top, request.name]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
