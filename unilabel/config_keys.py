"""Checks of what a configuration holds, key by key, before anything uses it."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Mapping, MutableMapping
from typing import Any

import yaml

from unilabel.core.errors import UniLabelError

MAX_VALUES = 100_000  # in a configuration file
# Lists of names or folders. One of them alone may be given without brackets.
WORD_LISTS = ("DATASETS.NAMES", "DATASETS.CUSTOM", "DATASETS.ONLY")
REMOVED = {  # keys of 0.1.0 -> why they are gone
    "LOSS.HEADS_WEIGHT": "heads beside the unified labels measured nothing",
    "UNIFY.FIT_ANCHOR": "a hold of the fit measured nothing",
    "UNIFY.CLUSTER_EPS": "nothing ever set it; text_cluster has one radius",
    "GRAPH.WEIGHT_DECAY": "nothing ever set it; the label graph has no weight decay",
    "UNIFY.SIGNATURE_SHARE": "UNIFY.NODES signature measured nothing",
    "UNIFY.NODE_PENALTY": "nothing ever set it; lambda of Eq. (10) is 0.5",
    "UNIFY.UNLINKED_BELOW": "nothing ever set it; it is 0.5",
    "UNIFY.UOT_REG": "nothing ever set it; it is 0.01",
    "UNIFY.UOT_MOMENTUM": "nothing ever set it; mu of Algorithm 2 is 0.7",
    "GRAPH.LAYERS": "nothing ever set it; the label graph has 3",
    "GRAPH.TEMPERATURE": "nothing ever set it; it is 0.07",
    "GRAPH.CLIP_GRADIENT": "nothing ever set it; gradients of the label graph have no limit",
    "SOLVER.POLY_POWER": "nothing ever set it; it is 0.9",
    "SOLVER.MAX_NONFINITE": "nothing ever set it; it is 10",
    "LOSS.CLASS_WEIGHT_LIMIT": "nothing ever set it; it is 8",
    "LOSS.DATASET_WEIGHTS": "nothing ever set it; all datasets weigh the same",
    "LOSS.ORTH_TEMPERATURE": "it follows LOSS.ORTH_FORM: 0.07 for entropy, else 1",
}
FORMER = {  # what keys that are gone have become; a checkpoint may hold another value
    "UNIFY.NODE_PENALTY": 0.5,
    "UNIFY.UNLINKED_BELOW": 0.5,
    "UNIFY.UOT_REG": 0.01,
    "UNIFY.UOT_MOMENTUM": 0.7,
    "GRAPH.LAYERS": 3,
    "GRAPH.TEMPERATURE": 0.07,
    "GRAPH.CLIP_GRADIENT": 0.0,
    "SOLVER.POLY_POWER": 0.9,
    "SOLVER.MAX_NONFINITE": 10,
    "LOSS.CLASS_WEIGHT_LIMIT": 8.0,
    "LOSS.DATASET_WEIGHTS": [],
}


def flatten(node: Mapping[str, Any], prefix: str = "") -> set[str]:
    """All keys of a tree, groups included, as ``GROUP.KEY``."""
    keys: set[str] = set()
    for key, value in node.items():
        keys.add(prefix + key)
        if isinstance(value, Mapping):
            keys |= flatten(value, f"{prefix}{key}.")
    return keys


def check_amount(loaded: Mapping[str, Any], source: str) -> None:
    """Refuse values that YAML aliases multiply without end; whoever copies them needs memory.

    Raises:
        UniLabelError: there are more than ``MAX_VALUES``.
    """
    waiting: list[Any] = [loaded]
    count = 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            raise UniLabelError(
                f"{source} cannot be read as a configuration: more than {MAX_VALUES} values; write "
                "values out instead of multiplying them by aliases (&name, *name)."
            )
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def check_keys(loaded: Mapping[Any, Any], known: set[str], source: str, prefix: str = "") -> None:
    """Refuse keys that do not exist, at any depth.

    Raises:
        UniLabelError: names the key and the nearest known one.
    """
    for key, value in loaded.items():
        full = f"{prefix}{key}"
        check_key(full, value, known, source)
        if not isinstance(key, str):
            raise UniLabelError(f"{source}: the key {key!r} is no text, expected names of keys.")
        if isinstance(value, Mapping):
            check_keys(value, known, source, f"{full}.")


def check_key(key: str, value: Any, known: set[str], source: str) -> None:
    """Refuse a key that does not exist, or a value for a group of keys.

    Raises:
        UniLabelError: names the key and the nearest known one.
    """
    if key in REMOVED:
        raise UniLabelError(f"{source}: {key} is gone ({REMOVED[key]}); delete its line.")
    if key not in known:
        near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.0)
        raise UniLabelError(
            f"{source}: unknown configuration key {key!r}; did you mean {near[0]!r}?"
        )
    below = [k for k in sorted(known) if k.startswith(f"{key}.")]
    if below and not isinstance(value, Mapping):
        raise UniLabelError(
            f"{source}: {key} is {value!r}, but it is a group of keys; set {below[0]}, for example."
        )


def check_values(cfg: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse empty values and numbers that are not finite, which no comparison would notice.

    Raises:
        UniLabelError: names the key, the value and the default.
    """
    for key, value in cfg.items():
        default = defaults[key]
        if isinstance(value, Mapping):
            check_values(value, default, f"{prefix}{key}.")
        elif (value is None and default is not None) or _has_no_number(value):
            raise UniLabelError(
                f"{prefix}{key} is {value!r}, expected a value like the default {default!r}."
            )


def _has_no_number(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_no_number, value))
    return isinstance(value, float) and not math.isfinite(value)


def read_value(cfg: Mapping[str, Any], key: str, value: str) -> Any:
    """What a value of the command line means for a key.

    Text stays as it is (fvcore would read JSON or a number out of it). Lists may be written without
    quotes, ``[/data/a, /data/b]``, and a list of names or folders with one of them as a word.
    """
    default: Any = cfg
    for part in key.split("."):
        default = default[part]
    if not isinstance(default, str | list | tuple):
        return value
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        literal = None
    if isinstance(default, str):
        return value if isinstance(literal, str) else repr(value)
    if literal is None and value.startswith("["):
        try:
            literal = yaml.safe_load(value)
        except yaml.YAMLError:
            return value  # fvcore names the mismatch
    if key in WORD_LISTS:
        return _words(value if literal is None or isinstance(literal, int | float) else literal)
    return value if literal is None else literal


def lists_of_words(loaded: MutableMapping[str, Any]) -> None:
    """Put single names of a configuration file into lists, where a list of them is expected."""
    for key in WORD_LISTS:
        group, name = key.split(".")
        below = loaded.get(group)
        if isinstance(below, MutableMapping) and name in below:
            below[name] = _words(below[name])


def _words(value: Any) -> Any:
    """A list of texts; numbers in it are names that look like numbers."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        value = [value] if value != "" else []
    if not isinstance(value, list | tuple):
        return value
    return [str(v) if isinstance(v, int | float) else v for v in value]
