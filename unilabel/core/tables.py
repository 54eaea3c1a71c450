"""The label tables of published datasets, which come with the package: ``label_spaces/*.json``."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from unilabel.core.io import read_json


def table_names() -> list[str]:
    """Names of the datasets that have a table, in the order of the alphabet."""
    folder = files("unilabel") / "label_spaces"
    return sorted(p.name[: -len(".json")] for p in folder.iterdir() if p.name.endswith(".json"))


def table_path(name: str) -> str:
    """The file of a dataset's table."""
    return str(files("unilabel") / "label_spaces" / f"{name}.json")


def read_table(name: str) -> dict[str, Any]:
    """A dataset's classes and what its label files hold, as JSON says it.

    Raises:
        UniLabelError: there is no such table.
    """
    table: dict[str, Any] = read_json(table_path(name))
    return table
