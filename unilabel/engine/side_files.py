"""A model file and the ``label_space.json`` beside it, which a person may have edited."""

from __future__ import annotations

import os
from pathlib import Path

from unilabel.core.compatibility import check_label_space
from unilabel.core.errors import UniLabelError
from unilabel.core.unified_space import UnifiedLabelSpace

LABEL_SPACE = "label_space.json"
INSIDE = "inside"  # of --label-space: the one in the model file


def side_file(weights: Path) -> Path:
    """``label_space.json`` that belongs to a model file: one with its name, or the folder's."""
    own = weights.with_name(f"{weights.stem}.{LABEL_SPACE}")
    return own if own.is_file() else weights.with_name(LABEL_SPACE)


def new_side_file(weights: Path) -> Path:
    """Where the label space of a model to be written goes: another model's file stays."""
    common = weights.with_name(LABEL_SPACE)
    return weights.with_name(f"{weights.stem}.{LABEL_SPACE}") if common.exists() else common


def check_output(weights: Path, output: str | os.PathLike[str]) -> Path:
    """The path of a new model file.

    Raises:
        UniLabelError: it is the old one.
    """
    path = Path(output)
    if path.resolve() == weights.resolve() or (path.exists() and path.samefile(weights)):
        raise UniLabelError(
            f"--output {output} is the model itself, which stays as it is; name another file."
        )
    return path


def settled_space(
    space: UnifiedLabelSpace, weights: Path, label_space: str | None
) -> UnifiedLabelSpace:
    """The label space of a model to go on from.

    Args:
        space: the one inside the model file.
        weights: the model file.
        label_space: a reviewed one; "inside": that of the file, whatever lies beside it; None: the
            same, if nothing else lies beside it.

    Raises:
        UniLabelError: the one beside it was edited and nobody says which holds, or the named one
            belongs to another model.
    """
    if label_space == INSIDE:
        return space
    if label_space is not None:
        edited = UnifiedLabelSpace.load(label_space)
        try:
            check_label_space(space, edited)
        except UniLabelError as error:
            raise UniLabelError(f"--label-space {label_space}: {error}") from None
        return edited
    file = side_file(weights)
    if not file.is_file():
        return space
    beside = UnifiedLabelSpace.load(file)
    if beside.label_spaces.names != space.label_spaces.names:
        return space  # of another model in the same folder
    same = (beside.mapping == space.mapping, beside.names == space.names)
    looks = (beside.colors == space.colors, beside.checked == space.checked)
    if all(same) and all(looks) and beside.human_links().equal(space.human_links()):
        return space
    raise UniLabelError(
        f"{file} differs from the label space inside {weights}: somebody edited it since. Say "
        f"which one holds: --label-space {file} (with the edits), or --label-space {INSIDE}."
    )
