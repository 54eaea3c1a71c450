"""What forms with one annotation file for each photo have in common."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.label_space import IGNORE
from unilabel.data.parallel import run_parallel
from unilabel.importers.classes import ClassTable, is_background
from unilabel.importers.painter import Sketch
from unilabel.importers.plan import (
    MAX_JSON_BYTES,
    SHAPE_ERRORS,
    FilePhoto,
    Item,
    Options,
    Outlines,
    Photo,
    Plan,
)
from unilabel.importers.splits import folder_words, split_of_path
from unilabel.importers.tree import Tree

# annotation file -> (reference to the photo, labels in it)
Look = Callable[[Path], "tuple[str, set[str]]"]
# annotation file, class id of every label -> shapes
SketchFile = Callable[[Path, Mapping[str, int]], Sketch]
# a label, all labels -> the label that it counts as
Alias = Callable[[str, Collection[str]], str]
# the export, reference to a photo, annotation file -> path of the photo or None
Find = Callable[[Tree, str, str], "str | None"]
# the export, reference to a photo, annotation file -> the photo that the file holds, or None
Inside = Callable[[Tree, str, str], "Photo | None"]


def find_by_name(tree: Tree, reference: str, file: str) -> str | None:
    """The photo of a name, in the split of its annotation file if there are several."""
    return tree.find_photo(reference, file, folder_words(split_of_path(file)))


def read_per_photo(
    tree: Tree,
    files: Sequence[str],
    title: str,
    table: ClassTable,
    options: Options,
    look: Look,
    sketch: SketchFile,
    find: Find = find_by_name,
    alias: Alias | None = None,
    inside: Inside | None = None,
) -> Plan:
    """The plan of an import.

    Args:
        tree: the export.
        files: annotation files.
        title: of the form.
        table: classes that are known; the labels of the files are added in alphabetical order,
            unless names are given.
        options: of the user.
        look: finds photo and labels of a file; called in other processes.
        sketch: finds the shapes of a file; called in other processes.
        find: finds the photo.
        alias: labels that count as others.
        inside: finds a photo that an annotation file holds in itself, where no file is found.

    Raises:
        UniLabelError: a file is damaged, a photo is missing or named twice.
    """
    other_json(tree, files)
    paths = [str(tree.path(f)) for f in files]
    labels: dict[str, str] = {}
    references: list[str] = []
    looked = run_parallel(partial(_safely, look, title), paths, options.workers, "annotations")
    for path, (reference, found, error) in zip(paths, looked, strict=True):
        if error:
            raise UniLabelError(error)
        references.append(reference)
        for label in found:
            labels.setdefault(label, path)
    ids = label_ids(labels, table, options, alias)
    plan = Plan(table)
    for photo, file in _photos(tree, files, references, find, inside):
        path = tree.path(file)
        label = Outlines(str(path), title, partial(sketch, path, ids), table.fill)
        split = split_of_path(file) or split_of_path(photo.name)
        plan.items.append(Item(photo, label, split))
    plan.note_unused(tree, {item.photo.name for item in plan.items})
    return plan


def other_json(tree: Tree, files: Collection[str], skip: tuple[str, ...] = ()) -> None:
    """Refuse damaged JSON files beside those of a form: what they were cannot be told.

    Args:
        tree: the export.
        files: those of the form.
        skip: beginnings of names of files that are not looked at.

    Raises:
        UniLabelError: one is no JSON.
    """
    folders = {posixpath.dirname(f) for f in files}
    for file in tree.with_suffix(".json"):
        beside = posixpath.dirname(file) in folders and file not in files
        if beside and not posixpath.basename(file).startswith(skip or "\0"):
            read_json(tree.path(file), max_bytes=MAX_JSON_BYTES)


def label_ids(
    labels: Mapping[str, str], table: ClassTable, options: Options, alias: Alias | None = None
) -> dict[str, int]:
    """Class id of every label, as it is written in the files but without blanks around it.

    Args:
        labels: label -> a file that has it.
        table: classes that are known.
        options: with names every label has to be one of them.
        alias: labels that count as others.
    """
    ids: dict[str, int] = {}
    for label in sorted(labels):
        name = alias(label, labels) if alias else label
        if is_background(name) and options.background == "ignore":
            number = IGNORE
        elif is_background(name) and table.background is not None:
            number = table.background
        else:
            add = table.add if options.names is None else table.id_of
            number = add(name, labels[label])
        ids[label.strip()] = number
    return ids


def _safely(look: Look, title: str, path: str) -> tuple[str, set[str], str | None]:
    try:
        reference, labels = look(Path(path))
        if not isinstance(reference, str) or not all(isinstance(x, str) for x in labels):
            raise TypeError("a name is no text")
        return reference, labels, None
    except SHAPE_ERRORS as error:
        if isinstance(error, UniLabelError):
            return "", set(), str(error)
        kind = f"{type(error).__name__}: {error}"
        return "", set(), f"{path} is not as {title} writes it ({kind}); export it again."


def _photos(
    tree: Tree,
    files: Sequence[str],
    references: Sequence[str],
    find: Find,
    inside: Inside | None,
) -> Iterator[tuple[Photo, str]]:
    """Photos and their annotation files."""
    used: dict[str, str] = {}
    photos: list[tuple[Photo, str]] = []
    missing: list[tuple[Any, str]] = []
    for file, reference in zip(files, references, strict=True):
        path = find(tree, reference, file)
        photo: Photo | None = None
        if path is not None:
            photo = FilePhoto(str(tree.root), path)
        elif inside is not None:
            photo = inside(tree, reference, file)
        if photo is None:
            missing.append((reference, file))
        elif photo.name in used:
            raise UniLabelError(
                f"{tree.path(file)} and {tree.path(used[photo.name])} are both of the photo "
                f"{photo.name}; remove one."
            )
        else:
            used[photo.name] = file
            photos.append((photo, file))
    if missing:
        reference, file = missing[0]
        more = f" ({len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise UniLabelError(
            f"{tree.path(file)}: its photo {reference!r} is not below {tree.root}{more}; put the "
            "photos there, or remove the annotation file."
        )
    yield from photos
