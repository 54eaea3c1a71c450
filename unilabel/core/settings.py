"""Settings that results were made with, for jobs that can be interrupted and go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unilabel.core.errors import UniLabelError


def require_same_settings(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    place: str,
    cure: str,
    also: Sequence[str] = (),
) -> None:
    """Refuse to mix results of two ways to make them.

    Args:
        old: what the results that are there were made with, in JSON form.
        new: what this run would use.
        place: where the results are.
        cure: what else than the same settings the user can choose.
        also: names of further things that differ.

    Raises:
        UniLabelError: something differs; names it.
    """
    other = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    other += also
    if other:
        raise UniLabelError(
            f"the results in {place} were made with other settings ({', '.join(other)}); run with "
            f"the same ones, or {cure}."
        )
