"""Label text: the paper's template, and descriptions from a file (Section 3.2, Input Nodes)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.label_space import MAX_TEXT, LabelSpace, LabelSpaceSet, clean_text

logger = logging.getLogger(__name__)

MODES = ("name", "prompt", "description", "prompt+description")


def label_prompt(class_name: str, dataset_display_name: str, description: str = "") -> str:
    """The template of Section 3.2, "An image of <label> from the dataset <dataset>".

    Args:
        class_name: name of the class.
        dataset_display_name: name of its dataset as people write it.
        description: one or two sentences that follow the template, or empty.
    """
    prompt = f"An image of {class_name} from the dataset {dataset_display_name}."
    return f"{prompt} {description}" if description else prompt


def label_texts(label_spaces: LabelSpaceSet, mode: str = "prompt+description") -> list[str]:
    """C texts, one per class, in the order of ``label_spaces``.

    Args:
        label_spaces: K label spaces; where a class has no description, its name stands for it.
        mode: ``name``, ``prompt``, ``description`` or ``prompt+description``.

    Raises:
        UniLabelError: the mode is unknown.
    """
    if mode not in MODES:
        raise UniLabelError(f"text mode {mode!r} is unknown; choose one of {', '.join(MODES)}.")
    return [text for space in label_spaces for text in _texts(space, mode)]


def check_texts(texts: Sequence[str]) -> None:
    """Refuse an empty list and texts without a word."""
    if not texts:
        raise UniLabelError("no label text to encode; name at least one dataset.")
    for position, text in enumerate(texts):
        if not re.search(r"\w", text):
            raise UniLabelError(f"label text {position} is {text!r}, expected at least one word.")


@cache  # several readers ask for the same texts; once is enough
def _tell_missing(dataset: str, missing: int, classes: int, mode: str) -> None:
    logger.warning(
        "dataset %r: %d of %d classes have no description, which text mode %r uses; their "
        'names are used instead ("description" in classes.json, or DATASETS.DESCRIPTIONS).',
        dataset,
        missing,
        classes,
        mode,
    )


def _texts(space: LabelSpace, mode: str) -> list[str]:
    if mode == "name":
        return list(space.class_names)
    display = space.display_name or space.name
    if mode == "prompt":
        return [label_prompt(name, display) for name in space.class_names]
    texts = space.descriptions or ("",) * space.num_classes
    missing = texts.count("")
    if missing:
        _tell_missing(space.name, missing, space.num_classes, mode)
    pairs = list(zip(space.class_names, texts, strict=True))
    if mode == "description":
        return [text or name for name, text in pairs]
    return [label_prompt(name, display, text) for name, text in pairs]


def read_descriptions(path: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """Read a descriptions file ``{dataset: {class: description}}``.

    Raises:
        UniLabelError: the file has another form; the message names the entry.
    """
    source = os.fspath(path)
    data: Any = read_json(path)
    if not isinstance(data, dict) or not all(isinstance(v, dict) for v in data.values()):
        raise UniLabelError(f"{source}: expected {{dataset: {{class: description}}}}.")
    return {
        dataset: {
            name: clean_text(text, f"{source}: description of {dataset!r} class {name!r}")
            for name, text in classes.items()
        }
        for dataset, classes in data.items()
    }


def with_descriptions(label_spaces: LabelSpaceSet, path: str | os.PathLike[str]) -> LabelSpaceSet:
    """The label spaces with the descriptions of a file in place of their own.

    A file may describe more datasets than take part, so that one file serves several runs; a name
    that looks like a misspelt one is refused. Datasets that it does not name keep their own text.

    Raises:
        UniLabelError: the file names no dataset of the run or misspells one, names a class that the
            dataset does not have, or leaves a class out.
    """
    source = os.fspath(path)
    described = read_descriptions(path)
    _check_datasets(label_spaces.names, list(described), source)
    spaces = []
    for space in label_spaces:
        texts = described.get(space.name)
        spaces.append(space if texts is None else _describe(space, texts, source))
    return LabelSpaceSet(spaces)


def _check_datasets(known: list[str], found: list[str], source: str) -> None:
    unknown = [name for name in found if name not in known]
    missing = [name for name in known if name not in found]
    for name in unknown:
        near = get_close_matches(name, missing, n=1, cutoff=0.7)
        if near or len(unknown) == len(found):
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UniLabelError(
                f"{source}: unknown dataset {name!r}; the run has: {', '.join(known)}.{hint}"
            )
    if unknown:
        logger.info("%s also describes %s, which do not take part.", source, ", ".join(unknown))


def _describe(space: LabelSpace, texts: dict[str, str], source: str) -> LabelSpace:
    """Texts by the names of now, or by those of before a configuration changed them."""
    before = dict(space.renamed)
    for name in texts:
        if name not in space.class_names and name not in before:
            near = get_close_matches(name, space.class_names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UniLabelError(
                f"{source}: dataset {space.name!r} has no class {name!r}.{hint} It has: "
                f"{', '.join(space.class_names)}."
            )
    described = []
    for name in space.class_names:
        members = [name, *(old for old, new in space.renamed if new == name)]
        found = [texts[member] for member in members if member in texts]
        if not found:
            raise UniLabelError(
                f"{source}: dataset {space.name!r}: class {name!r} has no description; add one."
            )
        described.append(" ".join(found)[:MAX_TEXT])
    return replace(space, descriptions=tuple(described))
