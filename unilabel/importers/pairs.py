"""Photos and masks (or text files) that belong together by their paths."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from unilabel.core.errors import UniLabelError
from unilabel.importers.tree import Tree

SHOWN = 3


def by_key(tree: Tree, paths: Iterable[str], folder: str, suffix: str = "") -> dict[str, str]:
    """Path below ``folder`` without suffix -> path.

    Args:
        tree: for messages.
        paths: files below the folder.
        folder: "" is the root.
        suffix: ending of the stem that is left out, as ``_mask``.

    Raises:
        UniLabelError: two files have one key.
    """
    found: dict[str, str] = {}
    for path in paths:
        key = posixpath.splitext(path)[0][len(folder) + 1 if folder else 0 :]
        if suffix:
            if not key.lower().endswith(suffix.lower()):
                continue
            key = key[: -len(suffix)]
        if key in found:
            raise UniLabelError(
                f"{tree.path(found[key])} and {path} have the same name apart from the suffix; "
                "which one belongs to the label cannot be told: rename or remove one."
            )
        found[key] = path
    return found


def need_all(
    tree: Tree, wanted: Iterable[str], there: Mapping[str, str], what: str, why: str, place: str
) -> None:
    """Refuse keys that have no file.

    Args:
        tree: the export.
        wanted: keys.
        there: key -> file.
        what: the missing thing, "photo" or "mask".
        why: what names it: text with ``{key}``.
        place: where it is expected.

    Raises:
        UniLabelError: names the first and the number of the others.
    """
    missing = [key for key in wanted if key not in there]
    if missing:
        more = f" ({len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise UniLabelError(
            f"{why.format(key=missing[0])}: the {what} {missing[0]!r} is not in "
            f"{tree.root / place}{more}; export again with {what}s, or remove the entry."
        )
