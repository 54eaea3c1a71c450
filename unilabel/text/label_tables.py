"""Label tables: published datasets (``unilabel/label_spaces``) and a user's ``classes.json``."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from unilabel.core.errors import UniLabelError
from unilabel.core.io import read_json
from unilabel.core.label_space import LabelSpace, LabelSpaceSet
from unilabel.core.tables import table_names, table_path

VARIANT_MARK = "@"
PAPER_DATASETS = (
    "cityscapes",
    "mapillary@paper_64",
    "sunrgbd37",
    "bdd100k",
    "idd26",
    "ade20k150",
    "coco_panoptic133",
)


def builtin_names() -> list[str]:
    """Names of the published datasets whose tables come with the package."""
    return table_names()


def load_label_space(spec: str) -> LabelSpace:
    """Read one label table.

    Args:
        spec: the name of a published dataset (``cityscapes``), a variant of it that leaves classes
            out (``mapillary@paper_64``) or adds void (``wilddash2@with_void``), a folder with
            a ``classes.json``, or a JSON file.

    Raises:
        UniLabelError: there is no such dataset, variant or file, or its content is wrong.
    """
    name, _, variant = spec.partition(VARIANT_MARK)
    path = Path(spec)
    if name in builtin_names():
        source = table_path(name)
    elif path.is_dir():
        source, variant = str(path / "classes.json"), ""
    elif path.suffix == ".json":
        source, variant = str(path), ""
    else:
        near = get_close_matches(name, builtin_names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UniLabelError(
            f"no label table {spec!r}.{hint} Known names: {', '.join(builtin_names())}; or give a "
            "folder that holds a classes.json."
        )
    data = read_json(source)
    return LabelSpace.from_dict(
        _without_dropped(data, variant, source) if variant else data, source
    )


def load_label_spaces(specs: Iterable[str]) -> LabelSpaceSet:
    """Read several label tables, in order."""
    return LabelSpaceSet(load_label_space(spec) for spec in specs)


def _without_dropped(data: Any, variant: str, source: str) -> dict[str, Any]:
    """The table without the classes that a variant drops, with the void class that it may add."""
    variants = data.get("variants", {})
    usable = sorted(k for k, v in variants.items() if isinstance(v, dict) and "drop" in v)
    if variant not in usable:
        raise UniLabelError(
            f"{source}: no variant {variant!r} that leaves classes out; there is: "
            f"{', '.join(usable) or 'none'}."
        )
    rule = variants[variant]
    kept = [c for c in data["classes"] if c["name"] not in rule["drop"]]
    kept += [rule["void_class"]] if "void_class" in rule else []
    return {**data, "classes": [{**c, "id": i} for i, c in enumerate(kept)]}
