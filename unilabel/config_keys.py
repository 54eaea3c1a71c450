"""Checks of what a configuration holds, key by key, before anything uses it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from unilabel.core.errors import UniLabelError

MAX_VALUES = 100_000  # in a configuration file


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
