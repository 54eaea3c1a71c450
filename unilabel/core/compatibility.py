"""Whether an edited label space belongs to a model."""

from __future__ import annotations

from unilabel.core.errors import UniLabelError
from unilabel.core.unified_space import UnifiedLabelSpace

__all__ = ["check_label_space"]

_MIN_COMMON = 0.5  # share of links that an edited label space has in common with the model's


def check_label_space(own: UnifiedLabelSpace | None, edited: UnifiedLabelSpace) -> None:
    """Whether ``edited`` describes the unified labels of a model: other links and names only.

    Raises:
        UniLabelError: it has other datasets, classes or another number of unified labels, or so
            few links in common that it must belong to another model.
    """
    if own is None:
        raise UniLabelError(
            "this model has one head per dataset and no unified labels; a label space cannot be "
            "applied to it. Use a model that was trained to the end."
        )
    if len(edited.names) != len(own.names):
        raise UniLabelError(
            f"the label space has {len(edited.names)} unified labels, the model {len(own.names)}; "
            "it belongs to another model."
        )
    found = {space.name: space.class_names for space in edited.label_spaces}
    expected = {space.name: space.class_names for space in own.label_spaces}
    if found.keys() != expected.keys():
        raise UniLabelError(
            f"the label space has the datasets {', '.join(sorted(found))}, the model "
            f"{', '.join(sorted(expected))}; it belongs to another model."
        )
    for name, classes in expected.items():
        if found[name] != classes:
            raise UniLabelError(
                f"the classes of {name!r} in the label space are not those of the model "
                f"({', '.join(classes)}); only links, names and colours can be edited."
            )
    common = sum(key in edited.links for key in own.links)
    if common < _MIN_COMMON * len(own.links):
        raise UniLabelError(
            f"only {common} of the model's {len(own.links)} links are in the label space; it "
            "belongs to another model."
        )
