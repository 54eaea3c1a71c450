"""Which attribute of the regions of VGG Image Annotator holds their class.

A project has any number of attributes with names that its owner chose; nothing says which of them
is the class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.importers.plan import Options

USUAL = ("class", "label", "category", "type", "name", "object", "object_name", "classname")


@dataclass(frozen=True)
class Naming:
    """How a region says its class.

    Attributes:
        key: the attribute; "" if there is none.
        every: the class of every region, where no attribute is used; else "".
    """

    key: str
    every: str = ""

    def classes(self, attributes: Mapping[str, Any]) -> list[str]:
        """The classes of a region: one, none, or several ticked ones."""
        return [self.every] if self.every else values(attributes.get(self.key))


def values(value: Any) -> list[str]:
    """The texts of an attribute: its own, or the options that are ticked.

    Raises:
        TypeError: it is neither a text nor a mapping of options.
    """
    if isinstance(value, Mapping):
        return [str(option).strip() for option, ticked in value.items() if ticked]
    if isinstance(value, bool | list | tuple):
        raise TypeError(f"an attribute is {value!r}")
    text = "" if value is None else str(value).strip()
    return [text] if text and text != "undefined" else []


def find_naming(attributes: Sequence[Mapping[str, Any]], options: Options, where: str) -> Naming:
    """The attribute that holds the class.

    The only one that is used; of several the one all of whose values are in ``--names``, else the
    one of a usual name.

    Args:
        attributes: of every region.
        options: of the user.
        where: the export, for messages.

    Raises:
        UniLabelError: there is no such attribute, or more than one.
    """
    keys = dict.fromkeys(key for a in attributes for key in a)
    used = {key: _distinct(a.get(key) for a in attributes) for key in keys}
    used = {key: found for key, found in used.items() if found}
    listed = [name for name, _ in options.names.ordered()] if options.names else []
    if not used:
        if len(listed) == 1:
            return Naming("", listed[0])
        raise UniLabelError(
            f"{where}: no region has an attribute with a value, so none has a class; if all are of "
            "one class, name it in a file of one line and give that as --names, else set an "
            "attribute of the regions in the tool."
        )
    fitting = [key for key, found in used.items() if listed and found <= set(listed)]
    usual = [key for key in used if key.strip().lower().replace(" ", "_") in USUAL]
    for choice in (list(used), fitting, usual):
        if len(choice) == 1:
            return Naming(choice[0])
    shown = "; ".join(f"{k!r} ({', '.join(sorted(v)[:3])})" for k, v in list(used.items())[:5])
    raise UniLabelError(
        f"{where}: the regions have several attributes: {shown}; which one is the class? List its "
        "values in a text file, a line each, and give that as --names."
    )


def _distinct(found: Iterable[Any]) -> set[str]:
    return {text for value in found for text in values(value)}
