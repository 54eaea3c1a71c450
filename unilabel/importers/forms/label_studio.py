"""Label Studio JSON and JSON-MIN: tasks with polygons, brush strokes, rectangles and ellipses."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from functools import partial
from typing import Any

import numpy as np

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.importers.classes import start_table
from unilabel.importers.painter import Shape, Sketch, box, ellipse, outline
from unilabel.importers.per_photo import label_ids, other_json
from unilabel.importers.plan import (
    MAX_JSON_BYTES,
    SHAPE_ERRORS,
    FilePhoto,
    Item,
    Options,
    Outlines,
    Plan,
)
from unilabel.importers.rle import brush_alpha, check_size
from unilabel.importers.splits import folder_words, split_of_file, split_of_path
from unilabel.importers.tree import Tree, local_path, plain

TITLE = "Label Studio"
PREFIX = re.compile(r"^[0-9a-f]{8}-")
KINDS = ("polygon", "brush", "rectangle", "ellipse")
_SHORT = re.compile(r'"(polygon|brush|rectangle|ellipse)labels"\s*:\s*\[')


def files(tree: Tree) -> list[str]:
    """JSON files of Label Studio."""
    found = []
    for path in tree.with_suffix(".json"):
        text = tree.sniff(path)
        if not text.lstrip().startswith("["):
            continue
        whole = '"data"' in text and re.search(r'"(annotations|completions)"', text)
        if whole or ('"original_width"' in text and _SHORT.search(text)):
            found.append(path)
    return found


def detect(tree: Tree) -> list[str]:
    """The root, if a file of Label Studio is below it."""
    return [""] if files(tree) else []


def read(tree: Tree, base: str, options: Options) -> Plan:
    """The plan of an import.

    Raises:
        UniLabelError: a file is damaged, a photo is missing.
    """
    table = start_table(options)
    plan = Plan(table)
    tasks: list[tuple[str, str, str, list[dict[str, Any]]]] = []
    labels: dict[str, str] = {}
    used: dict[str, str] = {}
    found = files(tree)
    other_json(tree, found)
    for file in found:
        path = str(tree.path(file))
        for position, task in enumerate(read_json(path, max_bytes=MAX_JSON_BYTES)):
            where = f"{path}: task {position}"
            try:
                where = f"{path}: task {task.get('id', position)!r}"
                task = _in_full(task)
                results = _results(task, plan.left_out)
                reference = _photo_of(task)
                labels |= {name: where for r in results for name in _labels(r)}
            except SHAPE_ERRORS as error:
                raise UniLabelError(
                    f"{where} is not as Label Studio writes it ({type(error).__name__}: {error}); "
                    "export as JSON."
                ) from None
            if not results:
                plan.left_out["photos without a finished annotation"] += 1
                continue
            photo = _find(tree, reference, file)
            if photo is None or photo in used:
                what = f"is not below {tree.root}" if photo is None else f"is in {used[photo]}, too"
                raise UniLabelError(
                    f"{where}: its photo {reference!r} {what}; put the photos there (Label Studio "
                    "exports them with COCO or YOLO, or take its media folder), or remove the task."
                )
            used[photo] = where
            tasks.append((where, file, photo, results))
    ids = label_ids(labels, table, options)
    for where, file, photo, results in tasks:
        label = Outlines(where, TITLE, partial(sketch, results, ids, where), table.fill)
        split = split_of_path(photo) or split_of_file(file)
        plan.items.append(Item(FilePhoto(str(tree.root), photo), label, split))
    plan.note_unused(tree, used)
    return plan


def _in_full(task: dict[str, Any]) -> dict[str, Any]:
    """A task of JSON-MIN, or of a version before 1.0, in the form of JSON."""
    if "annotations" in task:
        return task
    if "completions" in task:
        return {**task, "annotations": task["completions"]}
    regions = [r for v in task.values() if isinstance(v, list) for r in v if isinstance(r, dict)]
    results = []
    for region in regions:
        kind = next((k for k in region if k.endswith("labels")), "")
        results.append({**region, "type": kind, "value": region})
    texts = {k: v for k, v in task.items() if isinstance(v, str)}
    return {"data": texts, "annotations": [{"result": results}] if results else []}


def _results(task: dict[str, Any], left_out: Counter[str]) -> list[dict[str, Any]]:
    """Results of the annotation that counts: the ground truth, else the first not cancelled."""
    annotations = task["annotations"]
    finished = [a for a in annotations if not a.get("was_cancelled")]
    if len(finished) < len(annotations):
        left_out["cancelled annotations"] += len(annotations) - len(finished)
    finished.sort(key=lambda a: not a.get("ground_truth"))
    if len(finished) > 1:
        left_out["second annotations of a photo"] += len(finished) - 1
    return [r for r in finished[0]["result"] if isinstance(r, dict)] if finished else []


def _photo_of(task: dict[str, Any]) -> str:
    """The first path in the task's data that looks like an image, else what it is called image."""
    data = task["data"]
    names = [v for v in data.values() if isinstance(v, str)]
    images = [v for v in names if re.search(r"\.(jpe?g|png|bmp|webp|tiff?|jfif)\b", v.lower())]
    if not images:
        raise ValueError(f"no photo in its data {str(data)[:80]}")
    return data["image"] if data.get("image") in images else images[0]


def _labels(result: dict[str, Any]) -> list[str]:
    kind = result.get("type", "")
    value = result.get("value", {})
    if kind.removesuffix("labels") not in KINDS:
        return []
    names = value.get(kind) or []
    return [name.strip() for name in names[:1]]


def _find(tree: Tree, reference: str, file: str) -> str | None:
    """The photo, with or without the eight digits that Label Studio puts before its name."""
    words = folder_words(split_of_file(file))
    if photo := tree.find_photo(reference, file, words):
        return photo
    name = plain(posixpath.basename(local_path(reference)))
    bare = PREFIX.sub("", name)
    if bare != name and (photo := tree.find_photo(bare, file, words)):
        return photo
    prefixed = [p for p in tree.photos if PREFIX.sub("", plain(posixpath.basename(p))) == bare]
    return prefixed[0] if len(prefixed) == 1 else None


def sketch(results: list[dict[str, Any]], ids: dict[str, int], where: str) -> Sketch:
    """Shapes of a task.

    Raises:
        UniLabelError: wrong numbers, a damaged brush stroke, two sizes.
    """
    result = Sketch(None, [])
    for position, entry in enumerate(results):
        about = f"{where}, result {entry.get('id', position)!r}"
        kind = str(entry.get("type", "")).removesuffix("labels")
        names = _labels(entry)
        if kind not in KINDS or not names:
            reason = "results without a label" if kind in KINDS else f"results of the kind {kind}"
            result.left_out[reason] += 1
            continue
        size = check_size(entry["original_width"], entry["original_height"], about)
        if result.size not in (None, size):
            raise UniLabelError(f"{about}: the photo has the size {size} here, else {result.size}.")
        result.size = size
        shape = Shape(ids[names[0]], about)
        value = entry["value"]
        if kind == "brush":
            shape.bitmap = brush_alpha(value["rle"], *size, about)
        else:
            shape.parts = [_points(kind, value, size, about)]
        result.shapes.append(shape)
    return result


def _points(kind: str, value: dict[str, Any], size: tuple[int, int], where: str) -> np.ndarray:
    """Outline in pixels; the values are percent of width and height."""
    scale = np.array(size) / 100
    if kind == "polygon":
        return outline(value["points"], where) * scale
    corner = outline([(value["x"], value["y"])], where)[0] * scale
    turn = float(value.get("rotation", 0))
    if kind == "ellipse":
        radius = outline([(value["radiusX"], value["radiusY"])], where)[0] * scale
        return outline(ellipse(*corner, *radius, turn), where)
    width, height = outline([(value["width"], value["height"])], where)[0] * scale
    points = np.array(box(0, 0, width, height))
    angle = np.deg2rad(turn)  # clockwise, around the upper left corner
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return outline(points @ matrix.T + corner, where)
